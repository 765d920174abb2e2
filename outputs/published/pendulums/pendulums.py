"""Collects whole runs on a torque pendulum that begin with different parts of two others.

What was expected:

- Modular transfer (ω 0) and fractional transfer (ω 0.2) lie above scratch in the mean return over
  the run, with intervals that do not meet.
- Meta-model transfer is not told from its control, which reads zeros in place of the sources'
  rewards: the sources' heads read states that are foreign to them.

It would be wrong if scratch were as good, or if the control were clearly worse.

The runs are made first, in this order, since later ones start from earlier ones:

    for name in two "" modular ftl reward-a reward-b mmtl mmtl-control:
        python -m lib run dreamer-v1-sources-quick-NAME -p seeds=0,1,2,3,4

PYTHONPATH=. python outputs/published/pendulums/pendulums.py [FOLDER OF THE RUNS]

Returns go into pendulums.json beside this file, curves into pendulums.png.
"""

import json
import platform
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from lib.analysis import results
from lib.core.files import atomic_write
from lib.core.paths import OUTPUTS
from lib.plotting import charts

TARGET = Path(__file__).with_name("pendulums.json")
SEEDS = (0, 1, 2, 3, 4)
ARMS = {  # what a target begins with, to the end of its runs' name
    "scratch": "",
    "modular (ω 0)": "-modular",
    "fractional (ω 0.2)": "-ftl",
    "meta-model": "-mmtl",
    "meta-model, control": "-mmtl-control",
}


def collected(folder: Path) -> dict:
    """Returns every run's returns at its evaluations, with the commit and the machine."""
    runs, commits = [], set()
    for arm, end in ARMS.items():
        for seed in SEEDS:
            run = results.load_run(folder / f"dreamer-v1-sources-quick{end}-s{seed}")
            env_steps, returns = run.curves["target"]
            runs.append(
                {
                    "arm": arm,
                    "seed": seed,
                    "env_steps": np.asarray(env_steps).tolist(),
                    "returns": [round(float(value), 2) for value in np.asarray(returns)],
                }
            )
            commits.add(run.summary["commit"])
    return {
        "command": "python -m lib run dreamer-v1-sources-quick... -p seeds=0,1,2,3,4",
        "commits": sorted(commits),
        "machine": f"{platform.machine()}, one CPU core for five seeds together",
        "runs": runs,
    }


def draw(found: dict) -> None:
    """Draws mean curves over seeds."""
    curves = {}
    for arm in ARMS:
        mine = [run for run in found["runs"] if run["arm"] == arm]
        curves[arm] = mine[0]["env_steps"], np.mean([run["returns"] for run in mine], 0)
    title = "A third pendulum, mean of five seeds"
    ax = charts.series(curves, "environment steps", "return", title)
    charts.save(ax, TARGET.with_suffix(".png"))
    plt.close(ax.figure)


if __name__ == "__main__":
    found = collected(Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUTS)
    atomic_write(TARGET, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    draw(found)
    for arm in ARMS:
        returns = np.array([run["returns"] for run in found["runs"] if run["arm"] == arm])
        print(arm, results.table_cell(returns.mean(1)), results.table_cell(returns[:, -1]))
