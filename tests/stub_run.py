# %% [markdown]
# Stands in for 20_run in the tests of the command line. What it does depends on its name.

# %%
import json
import os
import signal
import time
from pathlib import Path

from lib.core.errors import NonFiniteError, RunInterrupted, UserError

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
out = Path(out_dir)
total = 40
counter = out / "metrics.jsonl"
print(f"seed {seed}, samples {overrides.get('planner.samples')}, in {Path.cwd().name}")


def progress(steps, phase="collect"):
    state = {"task": "room-1", "task_index": 0, "tasks": 4, "env_steps": steps, "phase": phase}
    state |= {"env_steps_total": total, "decisions": steps, "env_steps_per_s": 50.0, "eta_s": 1.0}
    partial = out / ".progress.json.partial"
    partial.write_text(json.dumps(state | {"last_return": 7.0, "optimum": 8.0}))
    os.replace(partial, out / "progress.json")


# %%
if name == "user-error":
    raise UserError("tasks: got\nnothing; name one")
if name == "non-finite":
    raise NonFiniteError("non-finite loss")
if name == "bug":
    1 / 0  # noqa: B018
if name == "crash":
    os.write(2, b"fatal: out of luck\n")
    os.abort()
if name == "dead":
    os.kill(os.getpid(), signal.SIGKILL)
(out / "kernel.pid").write_text(str(os.getpid()))
began = time.monotonic()
steps = len(counter.read_bytes()) if counter.exists() else 0
# The slow ones go on until they are stopped, but not for ever should nobody do it.
while steps < total or (name in ("slow", "stubborn") and time.monotonic() - began < 600):
    steps += 1
    progress(min(steps, total))
    with open(counter, "a") as file:  # the last of the files that tests wait for
        file.write("x")
    while (out.parent / "hold").exists():
        time.sleep(0.02)
    if (out / "stop").exists() and name != "stubborn":
        (out / "stop").unlink()
        raise RunInterrupted(f"stopped at {steps} env steps; resume with: python -m lib resume X")
    time.sleep(0.02)

# %%
summary = {
    "status": "complete",
    "name": name,
    "method": method,
    "preset": preset,
    "seeds": [seed],
    "return_matrix": [[7.0, None], [None, None]],
    "env_steps": total,
    "tasks": ["room-1", "room-2"],
    "optimum": {"room-1": 8.0, "room-2": None},
    "final_return": {"room-1": 7.0},
}
(out / "summary.json").write_text(json.dumps(summary))
