"""Renders words, formulas and code as HTML that a browser shows without fetching anything.

Formulas become MathML, which browsers draw themselves; code is coloured by classes that
`style.css` knows.
"""

import html
import os
import re
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mistune import HTMLRenderer
from nbconvert.filters.markdown_mistune import MarkdownWithMath
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from lib.core.errors import UserError

ELSEWHERE = re.compile(r"[a-z]+:|#")  # a link that does not lead to a file
LETTER = re.compile(r'<mi mathvariant="(script|bold|double-struck)">([A-Za-z])</mi>')
NAMES = re.compile(r"\\(ln|log|exp|tanh|max|min)\s+(?=[A-Za-z\\])")
# Left by terminals in tracebacks and progress lines.
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Renderer(HTMLRenderer):
    """Renders the Markdown of one notebook.

    Args:
        source: the file that it stands in; links are relative to its folder.
        page: the page that it goes to.
        pages: file of a chapter -> its page.
    """

    def __init__(self, source: Path, page: Path, pages: dict[Path, Path]):
        super().__init__(escape=False)
        self.source, self.page, self.pages = source, page, pages
        self.headings: list[tuple[int, str, str]] = []  # level, anchor, text without marks

    def heading(self, text: str, level: int, **_: Any) -> str:
        plain = plain_text(text)
        words = re.findall(r"\w+", plain.lower())
        anchor, taken = "-".join(words) or "section", {there for _, there, _ in self.headings}
        while anchor in taken:
            anchor += "-again"
        self.headings.append((level, anchor, plain))
        label = f'<a class="anchor" href="#{anchor}" aria-label="Link to this section">#</a>'
        return f'<h{level} id="{anchor}">{text}{label}</h{level}>\n'

    def block_code(self, code: str, info: str | None = None) -> str:
        return code_block(code, (info or "text").split()[0])

    def table(self, text: str) -> str:
        return scrolled(f"<table>\n{text}</table>", "Table")

    def block_math(self, body: str) -> str:
        return scrolled(self._math(body, "block"), "Equation", "equation")

    def inline_math(self, body: str) -> str:
        return self._math(body, "inline")

    def link(self, text: str, url: str, title: str | None = None) -> str:
        return super().link(text, self._address(url), title)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return super().image(text, self._address(url), title)

    def _math(self, body: str, display: str) -> str:
        try:
            made = convert(NAMES.sub(r"\\\1\\,", body.strip()), display=display)
        except Exception as error:  # whatever the converter may raise
            raise self._cannot_set(body, f"{type(error).__name__}: {error}") from error
        if unknown := re.search(r"\\[A-Za-z]+", made):  # it leaves what it does not know
            raise self._cannot_set(body, f"{unknown.group()} is not known")
        return LETTER.sub(_letter, made)

    def _cannot_set(self, body: str, reason: str) -> UserError:
        reason = reason.rstrip(": ")
        return UserError(f"{self.source.name}: cannot set ${body.strip()}$: {reason}")

    def _address(self, url: str) -> str:
        """Returns where a link of the notebook leads to from the page."""
        if ELSEWHERE.match(url):
            return url
        path, mark, anchor = url.partition("#")
        target = (self.source.parent / path).resolve()
        target = self.pages.get(target.with_suffix(".ipynb"), target)
        return Path(os.path.relpath(target, self.page.parent)).as_posix() + mark + anchor


def _letter(match: re.Match[str]) -> str:
    """Returns a letter of another alphabet as its own character: browsers ignore `mathvariant`."""
    kind, letter = match[1].upper(), match[2]
    name = f"{kind} {'CAPITAL' if letter.isupper() else 'SMALL'} {letter.upper()}"
    for whole in (f"MATHEMATICAL {name}", name):  # a few are older and called without it
        with suppress(KeyError):
            return f"<mi>{unicodedata.lookup(whole)}</mi>"
    return match[0]


def markdown(text: str, renderer: Renderer) -> str:
    return MarkdownWithMath(renderer=renderer).render(text)


def code_block(code: str, language: str, label: str = "Code") -> str:
    """Returns coloured code; a language that nobody knows stays plain."""
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        lexer = get_lexer_by_name("text")
    shown = highlight(code, lexer, HtmlFormatter(nowrap=True))
    return scrolled(f"<pre><code>{shown.rstrip()}</code></pre>", label, "code")


def plain_block(text: str, label: str, kind: str = "printed") -> str:
    """Returns what a cell printed."""
    return scrolled(f"<pre>{html.escape(ESCAPES.sub('', text).rstrip())}</pre>", label, kind)


def scrolled(inner: str, label: str, kind: str = "") -> str:
    """Wraps what may be wider than the page, so that it can be scrolled, with keys too."""
    classes = f"wide {kind}".strip()
    return f'<div class="{classes}" tabindex="0" role="group" aria-label="{label}">{inner}</div>\n'


def plain_text(markup: str) -> str:
    """Returns HTML without its tags, on one line."""
    markup = re.sub(r'<a class="anchor".*?</a>', " ", markup)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", markup)).split())
