# %% [markdown]
# Stands in for 20_run in the tests of the command line: it trains, and draws nothing.

# %%
from pathlib import Path

from lib.experiments import run_config, runs
from tests.holding import hold

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
hold(Path(out_dir).parent)
given = {key: globals()[key] for key in run_config.PARAMETERS}
runs.train(runs.prepare(given, Path("outputs")), tensorboard=False)
