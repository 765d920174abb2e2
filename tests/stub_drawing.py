# %% [markdown]
# Stands in for 20_run in the tests of drawing: the run is there, and what it draws takes no time.

# %%
from pathlib import Path

from lib.plotting import charts

# %% tags=["parameters"]
name: str = ""
preset: str = "grid-quick"
method: str = "drago"
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

# %%
figures = Path(out_dir) / "figures"
print(f"seed {seed}, {overrides}")

# %%
ax = charts.series({"one": ([0, 1], [2, 3])}, "x", "y", "First")
charts.save(ax, figures / "learning_curves.png")

# %%
ax = charts.series({"one": ([0, 1], [3, 2])}, "x", "y", "Second")
charts.save(ax, figures / "final_returns.png")

# %%
ax = charts.series({"one": ([0, 1], [1, 1])}, "x", "y", "Third")
charts.save(ax, figures / "return_matrix.png")
