"""What a run took from other runs when it began, as tables and shares."""

import math
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
    """Returns components of the agent, and by what became of them the share of their numbers.

    A component is a network, or a part of the world model. Tensors of the other run that are not
    used here are left out.
    """
    taken = [row for row in moved if row.how != UNUSED]
    components = list(dict.fromkeys(map(_component, taken)))
    ways = list(dict.fromkeys(row.how for row in taken))
    count = {(_component(row), row.how): 0 for row in taken}
    for row in taken:
        count[_component(row), row.how] += math.prod(row.shape)
    whole = {name: sum(count.get((name, way), 0) for way in ways) for name in components}
    return components, {
        way: [count.get((name, way), 0) / whole[name] for name in components] for way in ways
    }


def _component(row: Moved) -> str:
    network, _, rest = row.name.partition(".")
    return rest.split(".")[0].replace("_", " ") if network == "model" else network


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) if shape else "–"
