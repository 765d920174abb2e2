"""Says what came out differently when a notebook was built again, cell by cell, and why."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import unified_diff
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbformat import NotebookNode

SHORT = 70  # characters of a line that are repeated
UNTOUCHED = "no source above it changed, so the library, its packages or the machine did"


def changes(old: "NotebookNode", new: "NotebookNode") -> list[str]:
    """Returns one line for every cell that differs; empty where the two are alike.

    A result that differs below a changed source follows from that; one that differs without it
    was computed differently.
    """
    found, edited = [], 0  # number of the first cell whose source changed
    if len(old.cells) != len(new.cells):
        found.append(f"{len(new.cells)} cells, there were {len(old.cells)}")
    for number, (before, after) in enumerate(zip(old.cells, new.cells, strict=False), 1):
        if (before.cell_type, before.source) != (after.cell_type, after.source):
            found.append(f"cell {number} has another source: {_line(before.source, after.source)}")
            if after.cell_type == "code":
                edited = edited or number
            continue
        told = _results(before.get("outputs", []), after.get("outputs", []))
        if told:
            why = f"after cell {edited} was edited" if edited else UNTOUCHED
            found.append(f"cell {number} {told} ({why})")
        elif before != after:
            found.append(f"cell {number} has another id, number or tag")
    if not found and old != new:
        found.append("what the file says about itself, none of its cells")
    return found


def _results(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> str:
    """Returns what differs in a cell's results; empty where nothing does."""
    if before == after:
        return ""
    if len(before) != len(after):
        return f"leaves {len(after)} results, there were {len(before)}"
    for one, other in zip(before, after, strict=True):
        if one != other:
            return _result(one, other)
    return ""


def _result(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    told = [_texts(result) for result in (one, other)]
    for kind in sorted(set(told[0]) | set(told[1])):
        first, second = (texts.get(kind, "") for texts in told)
        if first != second:
            return f"prints another line: {_line(first, second)}"
    if one.get("data") != other.get("data"):
        return "shows another picture"
    return "carries another note on a result (of a view, other pictures)"


def _texts(result: Mapping[str, Any]) -> dict[str, str]:
    """Returns the texts of a result, by kind."""
    data = result.get("data", {})
    texts = {kind: str(text) for kind, text in data.items() if kind.startswith("text/")}
    return texts | {"printed": result.get("text", ""), "error": result.get("evalue", "")}


def _line(old: str, new: str) -> str:
    """Returns the first line in which two texts differ."""
    lines = list(unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm=""))[2:]
    gone, come = (_first(line[1:] for line in lines if line.startswith(mark)) for mark in "-+")
    return f"{come!r}, was {gone!r}"


def _first(lines: Iterable[str]) -> str:
    line = next(iter(lines), "").strip()
    return line if len(line) <= SHORT else f"{line[:SHORT]}…"
