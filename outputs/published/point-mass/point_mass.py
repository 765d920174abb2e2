"""Trains a stream of four tasks of a pushed point with five methods, and collects what is left.

What was expected:

- Full tuning forgets: by 0.4 or more of the share of episodes that end at the goal.
- LoRA that is told the task (an oracle) forgets exactly nothing, as evaluations are the same
  episodes every time.
- HiDe-LoRA and L2M, which nobody tells the task, lie between.

It would be wrong if full tuning forgot less than 0.4, or if the oracle changed at all.

PYTHONPATH=. python outputs/published/point-mass/point_mass.py [SEED ...]

trains the runs of these seeds that are not finished (0 to 4 if none is given), about two minutes of
one core each, as `python -m lib run NAME-point-mass-quick -p seed=SEED -p budget.eval_every=75`
does, and writes point-mass.json and point-mass.png beside this file once all are there. Files of
experience come first: python -m lib data make point-mass.
"""

import json
import platform
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from lib.analysis import continual, results
from lib.core.errors import UserError
from lib.core.files import atomic_write
from lib.core.paths import OUTPUTS, PARAMS
from lib.experiments import catalogue, run_config
from lib.plotting import charts
from lib.runner.training import train

TARGET = Path(__file__).with_name("point-mass.json")
SEEDS = (0, 1, 2, 3, 4)
EVERY = 75  # updates between evaluations
ARMS = {  # what learns, to the method
    "full": "dt-full",
    "LoRA (oracle)": "dt-lora",
    "L2M": "dt-l2m",
    "HiDe-LoRA": "dt-hide-lora",
    "EWC": "dt-ewc",
}


def home(method: str, seed: int) -> Path:
    """Returns the folder of a run."""
    return OUTPUTS / f"{method}-point-mass-quick-s{seed}"


def make(seeds: tuple[int, ...]) -> None:
    """Trains what is not there, one seed of all methods after the other."""
    for seed in seeds:
        for method in ARMS.values():
            try:
                results.load_run(home(method, seed))
            except UserError:
                given = catalogue.read(f"{method}-point-mass-quick", PARAMS)
                given |= {"seed": seed, "overrides": {"budget.eval_every": EVERY}}
                config = run_config.resolve(given)
                train(config, home(method, seed), tensorboard=False, progress=False)
            print(f"{method}, seed {seed}", flush=True)


def groups() -> dict[str, results.Group]:
    """Returns the runs of every arm."""
    return {
        arm: results.Group(arm, tuple(results.load_run(home(method, seed)) for seed in SEEDS))
        for arm, method in ARMS.items()
    }


def collected(found: dict[str, results.Group]) -> dict:
    """Returns every run's matrices, with the commit and the machine."""
    runs = [
        {
            "arm": arm,
            "seed": run.seed,
            **{
                name: run.summary[name]
                for name in ("tasks", "return_matrix", "success_matrix", "success_any_matrix")
            },
            "inferred_as": _rounded(run.audit_arrays(len(run.tasks) - 1).get("inferred_as")),
        }
        for arm, group in found.items()
        for run in group.runs
    ]
    every = [run for group in found.values() for run in group.runs]
    return {
        "command": "PYTHONPATH=. python outputs/published/point-mass/point_mass.py",
        "commits": sorted({str(run.summary["commit"]) for run in every}),
        "machine": f"{platform.machine()}, one shared CPU core a run",
        "minutes_a_run": round(np.mean([run.summary["wall_clock_s"] for run in every]) / 60, 1),
        "prepares": every[0].prepares,
        "runs": runs,
    }


def _rounded(matrix: np.ndarray | None) -> list | None:
    return None if matrix is None else np.round(matrix, 3).tolist()


def draw(found: dict[str, results.Group]) -> None:
    """Draws the mean over seeds of what is left of every task, and forgetting seed by seed."""
    figure, axes = plt.subplots(1, len(ARMS) + 1, figsize=(15, 3.3), layout="constrained")
    for ax, (arm, group) in zip(axes, found.items(), strict=False):
        matrix = group.stack("success_matrix").mean(0)[1:, 1:]
        tasks = [name.removeprefix("point-mass-") for name in group.first.tasks[1:]]
        charts.return_matrix(matrix, tasks, arm, colorbar=False, ax=ax)
    ax = axes[-1]
    for place, group in enumerate(found.values()):
        lost = continual.of_stream(group, group.stack("success_matrix"))["forgetting"]
        ax.bar(place, lost.mean(), color=charts.BLUE, width=0.6)
        ax.plot([place] * len(lost), lost, "o", color="black", markersize=4)
    ax.set_xticks(range(len(found)), list(found), rotation=30, ha="right", fontsize=9)
    ax.set_title("Forgetting, each seed a dot", fontsize=11)
    ax.spines[["top", "right"]].set_visible(False)
    figure.suptitle("Share of episodes that end at the goal, mean of five seeds", fontsize=11)
    charts.save(ax, TARGET.with_suffix(".png"))
    plt.close(figure)


if __name__ == "__main__":
    make(tuple(map(int, sys.argv[1:])) or SEEDS)
    try:
        found = groups()
    except UserError as error:
        sys.exit(f"not all runs are there yet: {error}")
    atomic_write(TARGET, json.dumps(collected(found), indent=1, ensure_ascii=False) + "\n")
    draw(found)
    for header, rows in continual.tables(list(found.values())).values():
        print(results.markdown_table(header, rows), end="\n\n")
