"""Frames every chapter as a page, with an index and a search that works from a folder."""

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path

from lib.core.errors import UserError
from lib.core.files import atomic_write
from lib.core.paths import BOOK, FILMS, NOTEBOOKS
from lib.workbook.site.page import Page, Section, read
from lib.workbook.site.text import Renderer, markdown

ASSETS = Path(__file__).parent
LONGEST = 6000  # characters of a section that can be found


def render(folder: Path = NOTEBOOKS, out: Path = BOOK, films: Path = FILMS) -> list[Page]:
    """Writes the site; the chapters are taken as they are and nothing is executed.

    Args:
        folder: with the built notebooks.
        out: the folder of the site; its old pages and figures are replaced.
        films: what views left behind while chapters were executed.

    Raises:
        UserError: no notebooks, or something in them that a page without a network cannot show.
    """
    out, sources = out.resolve(), sorted(folder.glob("*.ipynb"))
    if not sources:
        raise UserError(f"no built notebooks in {folder}; run 'make book'")
    pages = {source.resolve(): out / f"{source.stem}.html" for source in sources}
    made = [read(source, pages[source.resolve()], pages, films) for source in sources]
    title, welcome, pictures = _welcome(folder.parent / "README.md", out, pages)
    (out / "figures").mkdir(parents=True, exist_ok=True)
    for name in ("style.css", "page.js"):
        atomic_write(out / name, (ASSETS / name).read_bytes())
    # A script rather than JSON: a page that was opened from a folder may load no other file.
    found = json.dumps(_findable(made), ensure_ascii=False)
    atomic_write(out / "search-index.js", f"window.workbook = {found};\n")
    for index, page in enumerate(made):
        before, after = made[index - 1 : index][-1:], made[index + 1 : index + 2]
        atomic_write(out / page.href, _chapter(page, before, after, title))
        pictures |= page.figures
    atomic_write(out / "index.html", _index(made, title, welcome))
    for name, pixels in pictures.items():
        if not (out / "figures" / name).exists():  # named by what is in it
            atomic_write(out / "figures" / name, pixels)
    _remove_others(out, {page.href for page in made} | {"index.html"}, set(pictures))
    return made


# Pages ---------------------------------------------------------------------------------------


def _frame(title: str, site: str, body: str, contents: str = "") -> str:
    heading = html.escape(title if title == site else f"{title} · {site}")
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{heading}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="style.css">
<script src="page.js" defer></script>
</head>
<body>
<a class="skip" href="#main">Skip to the text</a>
<header class="top">
<a class="home" href="index.html">{html.escape(site)}</a>
<form role="search" id="search" hidden>
<label for="query">Search</label>
<input id="query" type="search" autocomplete="off" placeholder="press / to search">
<p id="count" role="status"></p>
<ol id="found"></ol>
</form>
</header>
<div class="columns">
{contents}<main id="main">
{body}</main>
</div>
</body>
</html>
"""


def _chapter(page: Page, before: Sequence[Page], after: Sequence[Page], site: str) -> str:
    note = "" if page.executed else NOT_EXECUTED
    return _frame(
        page.title,
        site,
        f"<article>\n{note}{page.body}</article>\n{_neighbours(before, after)}",
        _contents(page.sections),
    )


NOT_EXECUTED = """\
<p class="note">This notebook works on what you ran or measured yourself, so it is shown without \
results here. Executed copies lie in <code>outputs/</code>.</p>
"""


def _contents(sections: Sequence[Section]) -> str:
    """Returns a table of contents: open beside the text, folded above it on small screens."""
    entries = [
        f'<li class="level-{section.level}"><a href="#{section.anchor}">'
        f"{html.escape(section.title)}</a></li>"
        for section in sections
        if section.level in (2, 3)
    ]
    if not entries:
        return ""
    return (
        '<nav class="contents" aria-label="On this page">\n<details open>\n'
        f"<summary>On this page</summary>\n<ol>\n{chr(10).join(entries)}\n</ol>\n"
        "</details>\n</nav>\n"
    )


def _neighbours(before: Sequence[Page], after: Sequence[Page]) -> str:
    links = [
        f'<a rel="{rel}" href="{page.href}"><span>{word}</span> {html.escape(page.title)}</a>'
        for rel, word, there in (("prev", "Previous", before), ("next", "Next", after))
        for page in there
    ]
    return f'<nav class="neighbours" aria-label="Chapters">\n{chr(10).join(links)}\n</nav>\n'


def _index(pages: Sequence[Page], title: str, welcome: str) -> str:
    entries = "\n".join(
        f'<li><a href="{page.href}">{html.escape(page.title)}</a>\n{page.question}</li>'
        for page in pages
    )
    return _frame(
        title,
        title,
        f'{welcome}<h2 id="chapters">Chapters</h2>\n<ul class="map">\n{entries}\n</ul>\n',
    )


def _welcome(readme: Path, out: Path, pages: dict[Path, Path]) -> tuple[str, str, dict[str, bytes]]:
    """Returns title and opening of the README, up to its first section, and its pictures."""
    if not readme.is_file():
        return "Workbook", "<h1>Workbook</h1>\n", {}
    opening = readme.read_text().split("\n## ")[0]
    pictures = {}

    def bring(match: re.Match[str]) -> str:
        path = readme.parent / match[2]
        pictures[path.name] = path.read_bytes()
        return f"{match[1]}({out / 'figures' / path.name})"

    opening = re.sub(r"(!\[[^\]]*\])\(([^):]+)\)", bring, opening)
    renderer = Renderer(readme, out / "index.html", pages)
    made = markdown(opening, renderer)
    return next((text for _, _, text in renderer.headings), "Workbook"), made, pictures


# Search --------------------------------------------------------------------------------------


def _findable(pages: Sequence[Page]) -> list[list[str]]:
    """Returns address, chapter, section and words of everything that can be found."""
    return [
        [
            page.href + (f"#{section.anchor}" if section.anchor and section.level > 1 else ""),
            page.title,
            section.title if section.level > 1 else "",
            " ".join(word for word in section.words if word)[:LONGEST],
        ]
        for page in pages
        for section in page.sections
        if any(section.words)
    ]


def _remove_others(out: Path, pages: set[str], figures: set[str]) -> None:
    """Removes what an earlier site left in the same folder."""
    for path in out.glob("*.html"):
        if path.name not in pages:
            path.unlink()
    for path in (out / "figures").glob("*.png"):
        if path.name not in figures:
            path.unlink()
