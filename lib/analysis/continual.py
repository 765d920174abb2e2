"""What a stream of tasks left behind: returns, and both kinds of success, by the same measures.

Tasks in which an agent only got ready for the stream, such as pre-training, are no part of it; what
is left of them is told apart.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from lib.analysis.results import Group, forward_transfer, table_cell
from lib.core import metrics
from lib.core.metrics import Array

SUCCESS = {
    # Matrices of `results.Run` to what they hold.
    "success_matrix": "success at the last step",
    "success_any_matrix": "success at any step",
}


def quantities(group: Group) -> dict[str, Array]:
    """Returns everything that is known of all runs, (seeds, tasks, tasks) each, by its name."""
    found = {group.first.yardstick.share: group.stack("performance")}
    found |= {name: group.stack(matrix) for matrix, name in SUCCESS.items()}
    return {name: values for name, values in found.items() if _known(values)}


def _known(matrices: Array) -> bool:
    return bool(np.isfinite(matrices[:, *np.tril_indices(matrices.shape[1])]).all())


def of_stream(group: Group, matrices: Array) -> dict[str, Array]:
    """Returns what each measure makes of the stream, (seeds,) by the measure's name.

    Args:
        matrices: (seeds, tasks, tasks) of all tasks, those before the stream as well.
    """
    first = group.first.prepares
    stream = matrices[:, first:, first:]
    told: dict[str, Array] = {}
    if stream.shape[1]:
        for name, measure in MEASURES.items():
            told[name] = np.array([measure(one) for one in stream])
    return told


def interquartile_end(matrix: Array) -> float:
    """Returns the mean over tasks after the last one, without the best and the worst quarter."""
    return float(metrics.interquartile_mean(matrix[-1]))


MEASURES = {
    "average": metrics.average_performance,
    "interquartile mean over tasks": interquartile_end,
    "forgetting": metrics.forgetting,
    "backward transfer": metrics.backward_transfer,
}
FORWARD = "forward transfer"


def before_stream(group: Group, matrices: Array) -> tuple[Array, Array] | None:
    """Returns how tasks before the stream were done at its beginning and end, (seeds,) each.

    None where there are none, or nothing after them.
    """
    first = group.first.prepares
    if not 0 < first < matrices.shape[1]:
        return None
    return matrices[:, first - 1, :first].mean(1), matrices[:, -1, :first].mean(1)


def forward(group: Group, groups: Sequence[Group]) -> Array | None:
    """Returns (seeds,) mean forward transfer of returns over the stream, None without reference."""
    found = forward_transfer(group, groups)
    if found is None or group.first.prepares >= found.shape[1]:
        return None
    return found[:, group.first.prepares :].mean(1)


def tables(groups: Sequence[Group]) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Returns header and rows of a table for every quantity that some group knows."""
    asked = [quantities(group) for group in groups]
    names = dict.fromkeys(name for found in asked for name in found)
    returns = groups[0].first.yardstick.share if groups else ""
    told = {}
    for name in names:
        rows = [
            [group.label, *_cells(group, found[name], groups, name == returns)]
            for group, found in zip(groups, asked, strict=True)
            if name in found
        ]
        header = [name, *MEASURES, *([FORWARD] if name == returns else [])]
        early = any(group.first.prepares for group in groups)
        header += ["before the stream", "the same after it"] if early else []
        told[name] = header, rows
    return told


def _cells(group: Group, matrices: Array, groups: Sequence[Group], is_return: bool) -> list[str]:
    found: Mapping[str, Array] = of_stream(group, matrices)
    cells = [table_cell(found[name]) if name in found else "–" for name in MEASURES]
    if is_return:
        transfer = forward(group, groups)
        cells.append("–" if transfer is None else table_cell(transfer))
    if any(one.first.prepares for one in groups):
        early = before_stream(group, matrices)
        cells += ["–", "–"] if early is None else [table_cell(values) for values in early]
    return cells
