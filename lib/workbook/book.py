"""Builds the chapters' notebooks from their sources, and compares the pairs.

The percent `.py` is the source of every notebook. `build` writes the committed `.ipynb`, executed
unless it is a template; `check` says where a pair has come apart. Building twice gives the same
bytes, or `build` says which cells came out differently. `site` makes pages of what was built.
`lib.experiments.notebooks` executes one with parameters of its own.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lib.core.errors import UserError, unknown
from lib.core.files import atomic_write
from lib.core.paths import BOOK, FILMS, NOTEBOOKS, shown
from lib.experiments.notebooks import read

if TYPE_CHECKING:  # the notebook packages take a second to import, so only when they are used
    from nbformat import NotebookNode

# Committed without outputs; copies are executed elsewhere.
TEMPLATES = ("10_transfer", "20_run", "21_compare", "22_speed")


# Building -----------------------------------------------------------------------------------


def build(
    names: Iterable[str] = (),
    folder: Path = NOTEBOOKS,
    *,
    films: Path = FILMS,
    say: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Writes the .ipynb beside each .py: chapters executed top to bottom, templates as they are.

    Args:
        names: chapter names such as "00_start_here"; none means all.
        films: where views leave their pictures for pages without a kernel.
        say: told every chapter, how long it took, and which cells came out differently.

    Raises:
        UserError: unknown name, a cell that failed, or an output that would differ on another
            machine; the old .ipynb is kept.
    """
    import nbformat

    from lib.workbook.cell_diff import changes
    from lib.workbook.execute import execute, refuse_what_cannot_be_repeated

    built, sources = [], _sources(names, folder)
    for number, source in enumerate(sources, 1):
        say(f"{source.stem} ({number} of {len(sources)})")
        node, start = read(source), time.monotonic()
        if source.stem not in TEMPLATES:
            execute(node, source.stem, films)
            refuse_what_cannot_be_repeated(node, source.stem)
        target, node = source.with_suffix(".ipynb"), tidy(node)
        found = changes(nbformat.read(target, 4), node) if _readable(target) else ["new"]
        atomic_write(target, nbformat.writes(node).rstrip() + "\n")
        say(f"  {time.monotonic() - start:.0f} s, {'changed:' if found else 'as it was'}")
        for line in found:
            say(f"    {line}")
        built.append(target)
    return built


def tidy(node: "NotebookNode") -> "NotebookNode":
    """Returns a copy whose bytes depend on sources and outputs alone: no versions, no times."""
    import nbformat

    cells = []
    for index, cell in enumerate(node.cells, 1):
        kept = {key: cell[key] for key in ("cell_type", "source")}
        metadata = {key: value for key, value in cell.metadata.items() if key in ("tags", "nbmake")}
        kept |= {"id": f"cell-{index:02d}", "metadata": metadata}
        if cell.cell_type == "code":
            kept |= {"outputs": cell.outputs, "execution_count": cell.execution_count}
        cells.append(kept)
    return nbformat.from_dict(
        {
            "cells": cells,
            "metadata": {
                "kernelspec": node.metadata.kernelspec,
                "language_info": {"name": "python"},
            },
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    )


def check(names: Iterable[str] = (), folder: Path = NOTEBOOKS) -> list[str]:
    """Returns one line for every way in which a pair has come apart; an empty list is good news."""
    problems = []
    for source in _sources(names, folder):
        target = source.with_suffix(".ipynb")
        if target.exists():
            problems += [f"{target.name}: {line}" for line in _differences(source, target)]
        else:
            problems.append(f"{source.name}: no {target.name} beside it")
    if not names:
        alone = (p for p in sorted(folder.glob("*.ipynb")) if not p.with_suffix(".py").exists())
        problems += [f"{path.name}: no {path.stem}.py beside it" for path in alone]
    return [f"{line}; run 'make book'" for line in problems]


def _sources(names: Iterable[str], folder: Path) -> list[Path]:
    there = {path.stem: path for path in sorted(folder.glob("*.py"))}
    wanted = [Path(name).stem for name in names] or list(there)
    for name in wanted:
        if name not in there:
            raise unknown("chapter", name, there)
    return [there[name] for name in wanted]


def _readable(notebook: Path) -> bool:
    import nbformat

    try:
        nbformat.read(notebook, 4)
    except Exception:  # missing, half of a merge, or not a notebook at all
        return False
    return True


def _differences(source: Path, target: Path) -> Iterable[str]:
    wanted, found = read(source).cells, read(target).cells
    if len(wanted) != len(found):
        yield f"{len(found)} cells, {source.name} has {len(wanted)}"
        return
    for index, (one, other) in enumerate(zip(wanted, found, strict=True), 1):
        for part in ("cell_type", "source"):
            if one[part] != other[part]:
                yield f"cell {index} has another {part.replace('_', ' ')} than in {source.name}"
        if one.metadata.get("tags", []) != other.metadata.get("tags", []):
            yield f"cell {index} has other tags than in {source.name}"
        if other.cell_type != "code":
            continue
        if any(output.output_type == "error" for output in other.outputs):
            yield f"cell {index} holds an error"
        executed = other.execution_count is not None
        if executed == (source.stem in TEMPLATES) and other.source.strip():
            yield f"cell {index} is {'executed' if executed else 'not executed'}"


def main(arguments: list[str] | None = None) -> int:
    """Runs `python -m lib.workbook.book build|check|site [CHAPTER ...]`."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.workbook.book", description=__doc__.split("\n")[0]
    )
    parser.add_argument("action", choices=("build", "check", "site"))
    parser.add_argument(
        "chapters", nargs="*", help="such as 00_start_here; none means all (site: always all)"
    )
    given = parser.parse_args(arguments)
    if given.action == "site" and given.chapters:
        parser.error("site makes the pages of all chapters, as they link to each other; name none")
    problems = []
    try:
        if given.action == "build":
            build(given.chapters, say=lambda line: print(line, flush=True))
        elif given.action == "check":
            problems = check(given.chapters)
        else:
            _render()
    except UserError as error:
        problems = [str(error)]
    for line in problems:
        print(line, file=sys.stderr)
    return 1 if problems else 0


def _render() -> None:
    """Writes the site, and says what it lacks."""
    from lib.workbook import site

    pages = site.render()
    still = sum(page.missing_films for page in pages)
    if still:
        print(f"views shown as stills, since 'make book' has not made their films: {still}")
    print(f"{len(pages)} chapters: open {shown(BOOK / 'index.html')}")


if __name__ == "__main__":
    sys.exit(main())
