"""What a run took from other runs when it began, as tables and shares."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lib.algos.api import Moved
from lib.runner import parts
from lib.runner.run_folder import RunFolder

UNUSED = "unused"


def of_run(folder: str | Path) -> list[Moved]:
    """Returns what became of every tensor when a run began; nothing where it took no parts."""
    return parts.read_table(RunFolder(Path(folder)).parts)


def rows(moved: Sequence[Moved]) -> list[list[str]]:
    """Returns a table: tensor, what became of it, its shape here and there."""
    return [
        [row.name, f"{row.how}: {row.note}" if row.note else row.how, *map(_shape, row[2:4])]
        for row in moved
    ]


def shares(moved: Sequence[Moved]) -> tuple[list[str], dict[str, list[float]]]:
    """Returns components of the agent, and by what became of them the share of their tensors.

    A component is a network, or a part of the world model. Tensors of the other run that are not
    used here are left out.
    """
    taken = [(_component(row), row.how) for row in moved if row.how != UNUSED]
    whole, count = Counter(name for name, _ in taken), Counter(taken)
    ways = dict.fromkeys(way for _, way in taken)
    return [*whole], {way: [count[name, way] / whole[name] for name in whole] for way in ways}


def _component(row: Moved) -> str:
    network, _, rest = row.name.partition(".")
    return rest.split(".")[0].replace("_", " ") if network == "model" else network


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) if shape else "–"
