"""Collects the learning curves of a published study into one JSON file and one figure.

    PYTHONPATH=. python outputs/published/curves.py STUDY [FOLDER OF THE RUNS]

A study's runs are made first, by the commands that it names, in their order, since later ones may
start from earlier ones. What was expected of each before it ran stands in `STUDIES`; README.md
beside this file says what came out. Data go to STUDY/STUDY.json, curves to STUDY/STUDY.png.
"""

import json
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from lib.analysis import results
from lib.core.errors import UserError, unknown
from lib.core.files import atomic_write
from lib.core.paths import OUTPUTS
from lib.plotting import charts

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Study:
    """Runs of several arms over the same seeds.

    `expected` says what was expected, and what would be wrong with it.
    """

    title: str
    task: str
    seeds: tuple[int, ...]
    arms: dict[str, str]  # what a figure calls it, to its runs' name
    commands: tuple[str, ...]
    expected: str
    level: tuple[str, float] | None = None  # a line to compare with, and what it is


PENDULUM, SWING_UP = "dreamer-v1-sources-quick", "dreamer-v1-sources-medium"
IN_ORDER = ("-two", "", "-modular", "-ftl", "-reward-a", "-reward-b", "-mmtl", "-mmtl-control")
PIXELS = {"DreamerPro": "dreamer-pro", "Dreamer": "dreamer", "TPC": "tpc"}
STUDIES = {
    "pendulums": Study(
        "A third pendulum",
        "target",
        (0, 1, 2, 3, 4),
        {
            "scratch": PENDULUM,
            "modular (ω 0)": f"{PENDULUM}-modular",
            "fractional (ω 0.2)": f"{PENDULUM}-ftl",
            "meta-model": f"{PENDULUM}-mmtl",
            "meta-model, control": f"{PENDULUM}-mmtl-control",
        },
        tuple(f"python -m lib run {PENDULUM}{end} -p seeds=0,1,2,3,4" for end in IN_ORDER),
        "Modular and fractional transfer lie above scratch in the mean return over the run, with "
        "intervals that do not meet; meta-model transfer is not told from its control. Wrong if "
        "scratch were as good, or the control clearly worse.",
    ),
    "swing-up": Study(
        "A pole on a cart swings up",
        "InvertedPendulumSwingup",
        (0, 1, 2),
        {
            "scratch": SWING_UP,
            "modular (ω 0)": f"{SWING_UP}-modular",
            "fractional (ω 0.2)": f"{SWING_UP}-ftl",
        },
        tuple(f"python -m lib run {SWING_UP}{end} -p seed=SEED" for end in IN_ORDER[:4]),
        "Fractional transfer lies above scratch in the mean return over the run, with intervals "
        "that do not meet. Wrong if scratch were as good.",
    ),
    "walker-stand": Study(
        "A walker learns to stand, seen in 32 x 32 pixels",
        "walker_stand",
        (0, 1, 2),
        {arm: f"{method}-dmc-quick" for arm, method in PIXELS.items()},
        tuple(f"python -m lib run {method}-dmc-quick -p seed=SEED" for method in PIXELS.values()),
        "All three end at more than twice what random actions earn, with intervals above it. "
        "Wrong if an agent's interval held the random return.",
        ("random actions", 128.0),
    ),
}


def collected(study: Study, folder: Path, known: list[dict]) -> dict:
    """Returns every run's returns at its evaluations, with commits and the machine.

    Args:
        known: runs of an earlier call; those that `folder` lacks are taken from them, and where
            they are not there either, they are named and left out.
    """
    runs, before = [], {(run["arm"], run["seed"]): run for run in known}
    for arm, name in study.arms.items():
        for seed in study.seeds:
            place = folder / f"{name}-s{seed}"
            run = results.load_run(place) if (place / "summary.json").is_file() else None
            if run and run.summary["status"] == "complete":
                runs.append(told(run, study.task, arm, seed))
            elif (arm, seed) in before:
                runs.append(before[arm, seed])
            else:
                print(f"left out, not run: {place.name}")
    return {
        "commands": study.commands,
        "expected": study.expected,
        "machine": f"{platform.machine()}, one CPU core",
        "runs": runs,
    }


def told(run: results.Run, task: str, arm: str, seed: int) -> dict:
    """Returns what is kept of a run."""
    env_steps, returns = run.curves[task]
    return {
        "arm": arm,
        "seed": seed,
        "commit": run.summary["commit"],
        "env_steps": np.asarray(env_steps).tolist(),
        "returns": [round(float(value), 2) for value in np.asarray(returns)],
    }


def returns_of(found: dict, arm: str) -> np.ndarray:
    """Returns (seeds, evaluations) of an arm."""
    return np.array([run["returns"] for run in found["runs"] if run["arm"] == arm])


def draw(study: Study, found: dict, path: Path) -> None:
    """Draws every arm's interquartile mean over seeds with its interval."""
    steps = {run["arm"]: run["env_steps"] for run in found["runs"]}
    curves = {arm: (steps[arm], returns_of(found, arm)) for arm in study.arms}
    name, height = study.level or ("", None)
    ax = charts.learning_curves(curves, height, study.title, optimum_name=name)
    charts.save(ax, path)
    plt.close(ax.figure)


def main(name: str, folder: Path = OUTPUTS) -> None:
    """Writes a study's data and figure, and prints its table."""
    if name not in STUDIES:
        raise unknown("study", name, STUDIES)
    study, target = STUDIES[name], HERE / name / f"{name}.json"
    known = json.loads(target.read_text())["runs"] if target.is_file() else []
    found = collected(study, Path(folder), known)
    target.parent.mkdir(exist_ok=True)
    atomic_write(target, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    draw(study, found, target.with_suffix(".png"))
    for arm in study.arms:
        returns = returns_of(found, arm)
        whole, end = (results.table_cell(part) for part in (returns.mean(1), returns[:, -1]))
        print(f"{arm}: mean over the run {whole}, end {end}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except UserError as error:
        sys.exit(str(error))
