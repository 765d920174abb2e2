"""Measures what world models know of a disc's position, with three objectives.

What we expected, written before the first run:

- Plain ground, rho 1: all objectives know where the disc is, R^2 above 0.8 for x and y.
- Moving clips, rho 1: none does, R^2 below 0.4. The ground is 97 % of the decoder's pixels, and
  each sequence shows its own clip, so that clips alone tell the samples of a batch apart.
- Moving clips, rho 1000: the reward, which is about the disc, brings the position back: with
  every objective the mean over x and y is at least 0.2 higher than at rho 1.

It would be wrong if an objective stayed above 0.6 on moving clips at rho 1, or if rho 1000 raised
none of the three by 0.2. Which objective is best is not asked: minutes on a toy cannot tell.

A first version of the toy, a yellow disc before brighter clips of more contrast, was given up after
seed 0: at rho 1000 the R^2 of x / y was 0.18 / -0.02 (reconstruction) and 0.29 / 0.15 (prototypes),
no more than untrained, 0.23 / 0.09. A white disc before darker clips is easier to find. The version
was chosen on seed 0, which is therefore not among the seeds below; expectations are unchanged.

PYTHONPATH=. OMP_NUM_THREADS=1 python outputs/published/disc/disc_table.py

The results are in disc.json beside this file; what it holds already is not run again.
"""

import json
import platform
import subprocess
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch

from lib.algos.dreamer import on_disc
from lib.algos.dreamer.learn_model import learn_model
from lib.core import metrics
from lib.core.files import atomic_write
from lib.envs import disc
from lib.plotting import charts

TARGET = Path(__file__).with_name("disc.json")
SEEDS, TRAIN, TEST = (1, 2, 3), 52, 16  # seeds of data and networks; episodes
CONDITIONS = {  # background, rho, whether it is trained
    "untrained, moving": ("moving", 1.0, False),
    "plain, rho 1": ("plain", 1.0, True),
    "moving, rho 1": ("moving", 1.0, True),
    "moving, rho 1000": ("moving", 1000.0, True),
}
# Contrast draws twice the rows, so that all see as many records.
UPDATES = {"reconstruction": 300, "prototypes": 300, "contrast": 150}


def measured(objective: str, condition: str, seed: int) -> dict:
    """Trains one world model and returns R^2 of x and y on test episodes, its losses and time."""
    background, rho, trained = CONDITIONS[condition]
    updates = UPDATES[objective] if trained else 0
    train, test = (
        disc.episodes(count, background, split, seed)
        for count, split in ((TRAIN, "train"), (TEST, "test"))
    )
    agent = on_disc.new_agent(on_disc.configured(objective, rho, seed), train)
    began = time.perf_counter()
    logged = learn_model(agent, updates)
    seconds = time.perf_counter() - began
    last = {name: float(values[-20:].mean()) for name, values in logged.items()}
    return {
        "objective": objective,
        "condition": condition,
        "seed": seed,
        "updates": updates,
        "r2": on_disc.probe_position(agent, train, test).tolist(),
        "losses": last,  # mean of the last 20 updates
        "seconds": round(seconds, 1),
    }


def machine() -> dict[str, str]:
    """Returns what the numbers were made on and with."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(": ")[2] if names else cpu
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    )
    return {
        "cpu": f"{cpu}, one thread",
        "torch": torch.__version__,
        "commit": commit.stdout.strip(),
        "command": "PYTHONPATH=. OMP_NUM_THREADS=1 python outputs/published/disc/disc_table.py",
    }


def draw(runs: list[dict], path: Path) -> None:
    """Draws R^2, the mean over x and y, of every seed and the mean over seeds."""
    _, ax = plt.subplots(figsize=(7.6, 3.4), layout="constrained")
    width = 0.8 / len(on_disc.OBJECTIVES)
    for i, objective in enumerate(on_disc.OBJECTIVES):
        look = charts.style(objective, i)
        for k, condition in enumerate(CONDITIONS):
            each = np.mean(scores(runs, objective, condition), axis=1)
            at = k + (i - 1) * width
            label = objective if not k else None
            ax.bar(at, each.mean(), 0.9 * width, color=look["color"], alpha=0.55, label=label)
            ax.plot(np.full(len(each), at), each, "o", color=charts.BLACK, markersize=3)
    ax.axhline(0, color=charts.GREY, linewidth=1)
    ax.set_xticks(range(len(CONDITIONS)), CONDITIONS)
    ax.set_ylabel("R² of the disc's position")
    ax.set_ylim(top=1)
    ax.set_title("What a linear probe finds in the state (dots: seeds)", fontsize=11)
    charts.legend_apart(ax)
    ax.figure.savefig(path, dpi=120)


def scores(runs: list[dict], objective: str, condition: str) -> np.ndarray:
    """R^2 of x and y, (seeds, 2)."""
    return np.array(
        [
            run["r2"]
            for run in runs
            if (run["objective"], run["condition"]) == (objective, condition)
        ]
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    held = json.loads(TARGET.read_text()) if TARGET.is_file() else {"made on": machine()}
    runs = held.setdefault("runs", [])
    done = {(run["objective"], run["condition"], run["seed"]) for run in runs}
    for seed in SEEDS:
        for condition in CONDITIONS:
            for objective in on_disc.OBJECTIVES:
                if (objective, condition, seed) in done:
                    continue
                runs.append(measured(objective, condition, seed))
                atomic_write(TARGET, json.dumps(held, indent=1) + "\n")
                print(objective, condition, seed, np.round(runs[-1]["r2"], 2), flush=True)
    for objective in on_disc.OBJECTIVES:
        for condition in CONDITIONS:
            x, y = scores(runs, objective, condition).T
            print(f"{objective:15} {condition:18} x {metrics.interval(x).text()}", end="  ")
            print(f"y {metrics.interval(y).text()}")
    draw(runs, TARGET.with_name("disc.png"))
