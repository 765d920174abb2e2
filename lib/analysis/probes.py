"""Which part of an agent forgot: what its probes said of earlier tasks along the run.

See `lib.algos.api.Capabilities.probe`; agents that have none leave nothing behind.
"""

from collections.abc import Sequence

import numpy as np

from lib.analysis.results import Run
from lib.runner.record import describe

PARTS = {
    # A part of the agent to what its probe may measure; the first that was logged is shown.
    "world model": ("cells", "pixels", "mse"),
    "reward": ("reward_mse",),
    "critic": ("critic_mse",),
    "actor": ("actor_agreement", "actor_mse"),
}

Curves = dict[str, tuple[np.ndarray, np.ndarray]]


def along(runs: Sequence[Run]) -> dict[str, tuple[str, Curves]]:
    """Returns every part's label and its curve on each earlier task, the mean over runs.

    Returns:
        Part to (label with unit, task to env steps of the whole run and values); parts that no
        probe measured are left out.
    """
    found = {}
    for part, quantities in PARTS.items():
        for quantity in quantities:
            curves = {}
            for task in runs[0].tasks[:-1]:
                each = [run.series(f"probe/{task}/{quantity}") for run in runs]
                count = min(len(steps) for steps, _ in each)
                if count:
                    values = np.mean([values[:count] for _, values in each], axis=0)
                    curves[task] = np.asarray(each[0][0][:count]), values
            if curves:
                found[part] = describe(f"probe/x/{quantity}").label, curves
                break
    return found
