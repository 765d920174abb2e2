"""Turns a built notebook into the body of a page, its sections, and what can be found in them."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.core.errors import UserError
from lib.workbook.site.text import Renderer, code_block, markdown, plain_block, plain_text

QUESTION = re.compile(r"\*\*Question\.\*\*\s+(.*?)(?:\n\n|\Z)", re.DOTALL)
FETCHED = re.compile(r"""(?:\bsrc=|<link[^>]*\bhref=|url\()\s*["']?(?:https?:)?//[^"')\s>]+""")


@dataclass
class Section:
    """Holds a stretch below one heading."""

    level: int
    anchor: str
    title: str
    words: list[str] = field(default_factory=list)  # everything said and computed in it


@dataclass
class Page:
    """Holds a chapter, ready to be framed."""

    name: str  # file name without its ending
    title: str
    question: str  # HTML of what the chapter asks, "" if it does not say
    body: str
    sections: list[Section]
    figures: dict[str, bytes]  # file name -> PNG
    executed: bool
    missing_films: int  # views that stay still, as their pictures are not there

    @property
    def href(self) -> str:
        return f"{self.name}.html"


def read(source: Path, page: Path, pages: dict[Path, Path], films: Path) -> Page:
    """Returns a built notebook as a page.

    Args:
        source: the .ipynb.
        page: where the page will lie; figures lie in `figures/` beside it.
        pages: file of every chapter -> its page.
        films: folder with what views left behind while the chapter was executed.

    Raises:
        UserError: a formula that cannot be set, or an output that would fetch something.
    """
    import nbformat

    node = nbformat.read(source, 4)
    renderer = Renderer(source, page, pages)
    writer = _Writer(renderer, films)
    for number, cell in enumerate(node.cells, 1):
        writer.cell(number, cell)
    title = next((text for level, _, text in renderer.headings if level == 1), source.stem)
    first = next((cell.source for cell in node.cells if cell.cell_type == "markdown"), "")
    asked = QUESTION.search(first)
    return Page(
        name=source.stem,
        title=title,
        question=markdown(asked[1], Renderer(source, page, pages)) if asked else "",
        body="".join(writer.parts),
        sections=writer.sections,
        figures=writer.figures,
        executed=any(cell.get("execution_count") for cell in node.cells),
        missing_films=writer.missing_films,
    )


class _Writer:
    """Goes through the cells once and collects what a page needs."""

    def __init__(self, renderer: Renderer, films: Path):
        self.renderer, self.films = renderer, films
        self.parts: list[str] = []
        self.sections = [Section(1, "", "")]
        self.figures: dict[str, bytes] = {}
        self.missing_films = 0

    def cell(self, number: int, cell: Mapping[str, Any]) -> None:
        if not cell["source"].strip():
            return
        if cell["cell_type"] == "markdown":
            self._text(cell["source"])
        elif cell["cell_type"] == "code":
            self._say(cell["source"])
            self.parts.append(code_block(cell["source"], "python", f"Code of cell {number}"))
            for output in cell["outputs"]:
                self._output(number, output)

    def _text(self, source: str) -> None:
        """Adds words of the chapter; every heading among them opens a section."""
        before = len(self.renderer.headings)
        made = markdown(source, self.renderer)
        self.parts.append(made)
        parts = re.split(r"(?=<h[1-6] id=)", made)
        found = iter(self.renderer.headings[before:])
        for part in parts:
            if part.startswith("<h"):
                self.sections.append(Section(*next(found)))
            self._say(plain_text(part))

    def _say(self, text: str) -> None:
        self.sections[-1].words.append(" ".join(text.split()))

    def _output(self, number: int, output: Mapping[str, Any]) -> None:
        kind = output["output_type"]
        if kind == "stream":
            self._say(output["text"])
            self.parts.append(plain_block(output["text"], f"Printed by cell {number}"))
        elif kind == "error":
            text = "\n".join(output["traceback"]) or f"{output['ename']}: {output['evalue']}"
            self.parts.append(plain_block(text, f"Error of cell {number}", "printed error"))
        else:
            self._shown(number, output["data"], output.get("metadata", {}))

    def _shown(self, number: int, data: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        """Returns the richest form of a result that needs no kernel."""
        if "image/png" in data:
            said = str(data.get("text/plain", ""))
            if not said.startswith("<"):  # a view's caption; figures only say their size
                self._say(said)
            self._picture(data["image/png"], said, metadata.get("workbook", {}).get("film", ""))
        elif "text/markdown" in data:
            self._say(data["text/markdown"])
            made = markdown(data["text/markdown"], self.renderer)
            self.parts.append(f'<div class="shown">{made}</div>')
        elif "text/html" in data:
            if found := FETCHED.search(data["text/html"]):
                raise UserError(
                    f"{self.renderer.source.name}, cell {number} would fetch {found.group()!r}; "
                    "pages of the workbook need no network"
                )
            self._say(plain_text(data["text/html"]))
            self.parts.append(f'<div class="shown">{data["text/html"]}</div>')
        elif "text/plain" in data:
            self._say(data["text/plain"])
            self.parts.append(plain_block(data["text/plain"], f"Result of cell {number}"))

    def _picture(self, encoded: str, said: str, film: str) -> None:
        if film:
            path = self.films / f"{film}.json"
            if path.is_file():
                from lib.viewer import player

                self.parts.append(player.html(json.loads(path.read_text())))
                return
            self.missing_films += 1
        pixels = base64.b64decode(encoded)
        name = f"{hashlib.sha256(pixels).hexdigest()[:16]}.png"
        self.figures[name] = pixels
        width, height = _size(pixels)
        alt = said if said and not said.startswith("<") else f"Figure: {self.sections[-1].title}"
        self.parts.append(
            f'<figure><img src="figures/{name}" alt="{html.escape(alt)}" width="{width}" '
            f'height="{height}" loading="lazy"></figure>\n'
        )


def _size(png: bytes) -> tuple[int, int]:
    """Returns the width and height, which stand at a fixed place in every PNG."""
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
