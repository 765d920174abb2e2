# %% [markdown]
# Stands in for 10_transfer in the tests of the command line: it trains, and draws nothing.

# %%
from pathlib import Path

from lib.experiments import transfer, trials
from tests.holding import hold

# %% tags=["parameters"]
study: str = ""
preset: str = "cheetah-transfer-quick"
tasks: list = []
sources: list = []
seeds: list = []
pre_rollout: str = ""
overrides: dict = {}
device: str = "auto"
out_dir: str = ""

# %%
hold(Path(out_dir).parent)
given = {name: globals()[name] for name in transfer.PARAMETERS}
trials.run(transfer.prepare(given, Path("outputs")), tensorboard=False)
