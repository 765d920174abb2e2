# %% [markdown]
# Stands in for 20_run and 21_compare where disks fail: it trains what there is to train, and draws.

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt

from lib.experiments import run_config
from lib.experiments import runs as experiments
from lib.plotting import charts

# %% tags=["parameters"]
name: str = ""
preset: str = "grid-quick"
method: str = ""
seed: int = 0
seeds: list = []
device: str = "auto"
tasks: list = []
start_at: str = ""
env_steps_per_task: int = 0
load_mode: str = ""
load_from: str = ""
pre_rollout: str = ""
overrides: dict = {}
video: str = "final"
render: str = ""
wandb: str = ""
out_dir: str = ""
runs: list = []

# %%
folders = [Path(run) for run in runs]
if not folders:
    given = {key: globals()[key] for key in run_config.PARAMETERS}
    spec = experiments.prepare(given, Path("outputs"))
    experiments.train(spec, tensorboard=False, progress=False)
    folders = list(spec.folders)

# %%
told = [json.loads((folder / "summary.json").read_text()) for folder in folders]
for number, quantity in enumerate(("learning_curves", "final_returns")):
    figure, ax = plt.subplots(figsize=(1, 1))
    ax.plot([sum(one["final_return"].values()) * (number + 1) for one in told] * 2)
    charts.save(ax, Path(out_dir) / ("" if runs else "figures") / f"{quantity}.png")
    plt.close(figure)
print("drawn:", *told[0]["tasks"])
