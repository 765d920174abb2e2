"""What a run took from other runs when it began, as tables and as layers to draw."""

import re
from collections.abc import Sequence
from pathlib import Path

from lib.algos.api import Moved
from lib.plotting.network import Layer
from lib.runner import parts
from lib.runner.run_folder import RunFolder

UNUSED, FRACTION = "unused", "fraction"
PARTS = {  # with what tensors' names begin, to the part that they belong to
    r"model\.encoder\.": "encoder",
    r"model\.rssm\.": "recurrent model",
    r"model\.objective\.decoder\.": "decoder",
    r"model\.reward_head\.sources\.(\d+)\.": "source {}",
    r"model\.reward_head\.": "reward model",
    r"model\.discount_head\.": "discount model",
    r"model\.": "rest of the world model",
}
LABELS = {  # layers that are told apart by name
    "cell.of_input": "cell",
    "prior_hidden": "prior",
    "posterior_hidden": "posterior",
}


def of_run(folder: str | Path) -> list[Moved]:
    """Returns what became of every tensor when a run began; nothing where it took no parts."""
    return parts.read_table(RunFolder(Path(folder)).parts)


def rows(moved: Sequence[Moved]) -> list[list[str]]:
    """Returns a table: tensor, what became of it, its shape here and there."""
    return [
        [row.name, f"{row.how}: {row.note}" if row.note else row.how, *map(_shape, row[2:4])]
        for row in moved
    ]


def layers(moved: Sequence[Moved]) -> dict[str, list[Layer]]:
    """Returns the layers of every part of the agent, for `lib.plotting.network`.

    A layer is what a weight and a bias make. Where a tensor has several rows, the last one counts;
    what only the other run has is left out. A fraction of 0 leaves a layer new.
    """
    last = {row.name: row for row in moved if row.how != UNUSED}
    found: dict[str, dict[str, list[Moved]]] = {}
    for name, row in last.items():
        part, layer = _place(name)
        found.setdefault(part, {}).setdefault(layer, []).append(row)
    return {part: _drawn(of_part) for part, of_part in found.items()}


def omega_of(moved: Sequence[Moved]) -> float | None:
    """Returns the share of the source that was added; None where none was, or nothing of it."""
    shares = (re.search(r"([0-9.e-]+) source", row.note) for row in moved if row.how == FRACTION)
    return next((float(share[1]) for share in shares if share), None) or None


def _place(name: str) -> tuple[str, str]:
    """Returns the part that a tensor belongs to, and its layer's name in it."""
    for pattern, part in PARTS.items():
        if match := re.match(pattern, name):
            rest = name[match.end() :]
            number = int(match[1]) + 1 if match.groups() else 0
            return part.format(number), rest.rpartition(".")[0]
    network, _, rest = name.partition(".")
    return network, rest.rpartition(".")[0]


def _drawn(layers: dict[str, list[Moved]]) -> list[Layer]:
    """Returns a part's layers as they are drawn, without those that only scale and shift."""
    weighed = [name for name, rows in layers.items() if any(len(row.shape) > 1 for row in rows)]
    return [_layer(name, layers[name]) for name in weighed or layers]


def _layer(name: str, tensors: Sequence[Moved]) -> Layer:
    """Returns a layer as it is drawn: its weight, or its first tensor, says what became of it."""
    first = next((row for row in tensors if len(row.shape) > 1), tensors[0])
    split = re.match(r"(\d+) columns copied", first.note)
    share = int(split[1]) / first.shape[1] if split else 1.0
    nothing = first.how == FRACTION and omega_of([first]) is None
    return Layer("random" if nothing else first.how, share, LABELS.get(name, ""))


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) if shape else "–"
