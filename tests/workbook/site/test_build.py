import base64
import json
import re

import nbformat
import pytest
from nbformat.v4 import (
    new_code_cell,
    new_markdown_cell,
    new_notebook,
    new_output,
)

from lib.core.errors import UserError
from lib.workbook import book, site
from tests.viewer.test_base import Colours

PIXELS = Colours().picture(0, 0)  # 3 wide, 2 high
PICTURE = base64.b64encode(PIXELS).decode()


def shown(data, **metadata):
    return new_output("display_data", data, metadata=metadata)


def chapter(number, *outputs, words="Some words."):
    text = f"# {number} · Chapter\n\n**Question.** Why *{number}*?\n\nMore.\n\n## A part\n\n{words}"
    code = new_code_cell("1 + 1", execution_count=1, outputs=list(outputs))
    return new_notebook(cells=[new_markdown_cell(text), code, new_markdown_cell("## The end")])


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    return folder


@pytest.fixture
def made(folder, tmp_path):
    """Writes chapters, makes the site and reads a page of it."""

    def make(*chapters, films=tmp_path / "films", page="00_c.html"):
        for number, node in enumerate(chapters):
            nbformat.write(node, folder / f"{number:02d}_c.ipynb")
        site.render(folder, tmp_path / "book", films)
        return (tmp_path / "book" / page).read_text()

    return make


def findable(tmp_path):
    text = (tmp_path / "book" / "search-index.js").read_text()
    return json.loads(text.removeprefix("window.workbook = ").rstrip(";\n"))


def test_the_index_names_every_chapter_with_its_question(made):
    index = made(chapter(0), chapter(1), page="index.html")
    assert '<a href="01_c.html">1 · Chapter</a>\n<p>Why <em>1</em>?</p>' in index
    assert "More." not in index


def test_the_index_opens_like_the_readme_and_brings_its_picture(made, tmp_path):
    (tmp_path / "a.png").write_bytes(PIXELS)
    (tmp_path / "README.md").write_text("# Title\n\n![What it is](a.png)\n\n## Install\n\nmake\n")
    index = made(chapter(0), page="index.html")
    assert "<h1 id=" in index and 'alt="What it is"' in index and "Install" not in index
    assert 'src="figures/a.png"' in index
    assert (tmp_path / "book" / "figures" / "a.png").read_bytes() == PIXELS


def test_chapters_lead_to_their_neighbours_and_parts(made):
    text = made(chapter(0), chapter(1), chapter(2), page="01_c.html")
    assert re.findall(r'rel="(\w+)" href="(\w+\.html)"', text) == [
        ("prev", "00_c.html"),
        ("next", "02_c.html"),
    ]
    assert re.findall(r'level-2"><a href="(#[\w-]+)"', text) == ["#a-part", "#the-end"]


def test_figures_are_files_with_size_and_words(made, tmp_path):
    data = {"image/png": PICTURE, "text/plain": "<Figure size 3x2>"}
    text = made(chapter(0, shown(data)))
    (name,) = re.findall(
        r'src="figures/(\w+\.png)" alt="Figure: A part" width="3" height="2"', text
    )
    assert (tmp_path / "book" / "figures" / name).read_bytes() == PIXELS
    captioned = {"image/png": PICTURE, "text/plain": 'step 1, "x"'}
    assert 'alt="step 1, &quot;x&quot;"' in made(chapter(0, shown(captioned)))


def test_the_richest_form_without_a_kernel_is_shown(made):
    outputs = [
        new_output("stream", text="printed <here>\n"),
        shown({"text/plain": "object", "text/markdown": "| a |\n|--|\n| b |"}),
        shown({"text/plain": "object", "text/html": "<details>answer</details>"}),
        shown({"text/plain": "'just text'"}),
    ]
    text = made(chapter(0, *outputs))
    for part in ("printed &lt;here&gt;", "<td>b</td>", "<details>answer", "&#x27;just text&#x27;"):
        assert part in text
    assert "object" not in text


def test_a_view_is_a_player_where_its_film_is_and_a_still_elsewhere(made, tmp_path):
    view = shown({"image/png": PICTURE, "text/plain": "red 1"}, workbook={"film": "abc"})
    assert "<figure><img" in made(chapter(0, view))
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "abc.json").write_text(json.dumps(Colours().film()))
    text = made(chapter(0, view))
    assert '<figure class="film">' in text and "<figure><img" not in text


def test_films_that_are_missing_are_counted(folder, tmp_path):
    view = shown({"image/png": PICTURE, "text/plain": "red 1"}, workbook={"film": "abc"})
    nbformat.write(chapter(0, view), folder / "00_c.ipynb")
    (page,) = site.render(folder, tmp_path / "book", tmp_path / "no")
    assert page.missing_films == 1


def test_what_is_said_and_computed_can_be_found_in_its_part(made, tmp_path):
    printed = new_output("stream", text="The answer is\n  42.\n")
    made(chapter(0, printed, words="Let $x$ be."), chapter(1))
    rows = findable(tmp_path)
    assert [row[:3] for row in rows[:2]] == [
        ["00_c.html", "0 · Chapter", ""],
        ["00_c.html#a-part", "0 · Chapter", "A part"],
    ]
    assert "Let x be. 1 + 1 The answer is 42." in rows[1][3]


@pytest.mark.parametrize("html", ['<img src="https://x.y/z.png">', "<i style='a:url(//x.y)'></i>"])
def test_an_output_that_would_fetch_something_is_refused(made, html):
    with pytest.raises(UserError, match="00_c.ipynb, cell 2 would fetch .*need no network"):
        made(chapter(0, shown({"text/html": html})))


def test_templates_say_why_they_are_empty(made):
    node = chapter(0)
    node.cells[1].execution_count = None
    assert "so it is shown without results here" in made(node)
    assert "so it is shown without results here" not in made(chapter(0))


def test_what_an_earlier_site_left_is_removed_but_films_stay(made, tmp_path):
    old = tmp_path / "book"
    (old / "films").mkdir(parents=True)
    (old / "figures").mkdir()
    kept = old / "films" / "a.json"
    gone = [old / "09_old.html", old / "figures" / "old.png"]
    for path in (kept, *gone):
        path.write_text("")
    made(chapter(0))
    assert kept.exists() and not any(path.exists() for path in gone)


def test_the_same_notebooks_give_the_same_bytes(made, tmp_path):
    def everything():
        made(chapter(0, shown({"image/png": PICTURE})), chapter(1))
        return {p: p.read_bytes() for p in (tmp_path / "book").rglob("*") if p.is_file()}

    assert everything() == everything()


def test_no_notebooks_is_one_line(folder, tmp_path):
    with pytest.raises(UserError, match="no built notebooks in .*; run 'make book'"):
        site.render(folder, tmp_path / "book")


def test_the_committed_chapters_make_a_site(tmp_path):
    pages = site.render(out=tmp_path, films=tmp_path / "films")
    assert {page.name for page in pages} == {path.stem for path in book.NOTEBOOKS.glob("*.py")}
    for page in pages:
        text = (tmp_path / page.href).read_text()
        assert page.question and page.executed == (page.name not in book.TEMPLATES)
        assert not re.findall(r"""(?:src|<link[^>]*href)=["']https?:""", text)
        links = re.findall(r'href="([^":#]+)(?:#[^"]*)?"', text)
        assert [link for link in links if not (tmp_path / link).exists()] == []
