# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 · New tasks for an old world model
#
# **Question.** A world model has been carried through several tasks. Does what it kept help with a
# task that it was never trained on, and does it help more if nothing was forgotten on the way?
#
# This chapter takes world models that finished runs left behind, gives each a few new tasks, and
# gives the same tasks to a learner that starts from nothing. It is usually executed from the
# command line, which leaves a copy with its figures under `outputs/`:
#
#     python -m lib transfer --preset grid-transfer-quick
#     python -m lib transfer --preset cheetah-transfer-quick --tasks jump2run --seeds 0,1,2
#
# The runs to build on must be there; if not, the cell after next says how to make them. A quick run
# on the grid takes about two minutes on one CPU core, on a body about five, and every task takes
# three of them for each seed. Reading takes a quarter of an hour. Chapters assumed: 00, 20.

# %% tags=["parameters"]
preset: str = "cheetah-transfer-quick"  # what every run is, see lib/tdmpc/presets.py
tasks: list = []  # names such as jump2run; empty for the four of the domain
sources: list = []  # finished run folders to build on; empty for those of TD-MPC and DRAGO
seeds: list = []  # empty for all that every method has a source of
pre_rollout: str = ""  # who acts first in jump2run and its like; empty for a source that can
overrides: dict = {}  # any other setting of every run by its dotted name
device: str = "auto"  # "auto" takes a GPU where there is one, otherwise "cpu", "cuda:1" and so on
out_dir: str = ""  # where all runs and figures go, empty for outputs/PRESET

# %% [markdown]
# ## The run card
#
# `transfer.plan` lists every run that the comparison takes and checks all of them before the first
# one starts: that the sources are there and finished, that they come from this world and have
# networks of the same sizes, and who acts first where another agent has to.

# %%
import json
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display

from lib import families, measures, metrics, plots, results, transfer
from lib.envs import worlds
from lib.errors import UserError
from lib.places import shown
from lib.runner import sources as starting_points
from lib.runner.files import atomic_write
from lib.runner.provenance import versions
from lib.seeding import generator
from lib.tdmpc.drago import ContinualAgent
from lib.tdmpc.presets import FEW_EPISODES
from lib.teach import show

if Path.cwd().name == "notebooks":  # where JupyterLab starts; paths count from the root
    os.chdir("..")

plan = transfer.plan(
    {
        "preset": preset,
        "tasks": tasks,
        "sources": sources,
        "seeds": seeds,
        "pre_rollout": pre_rollout,
        "overrides": overrides,
        "device": device,
        "out_dir": out_dir,
    },
    Path("outputs"),
)
folder = plan.out
figures = folder / "figures"
example = plan.trials[0].config
episode = example.env.episode_length
budget = example.budget.env_steps_per_task
card = {
    "preset": preset,
    "new tasks": ", ".join(plan.tasks),
    "starts": ", ".join(plan.starts),
    "seeds": ", ".join(str(seed) for seed in plan.parameters["seeds"]),
    "runs": f"{len(plan.trials)} of {budget:,} environment steps ({budget // episode} episodes)",
    "device": families.choose_device(device),
    "overrides": ", ".join(f"{key} {value}" for key, value in overrides.items()) or "none",
    "folder": shown(folder),
    "versions": ", ".join(f"{package} {number}" for package, number in versions().items()),
}
Markdown(results.markdown_table(["comparison", "transfer"], card.items(), numbers=False))

# %% [markdown]
# The runs that it builds on. A fair comparison needs sources that learnt the same tasks with the
# same budget.

# %%
rows = [
    [run.method, run.seed, " → ".join(run.tasks), f"{run.summary['env_steps']:,}", run.folder]
    for run in plan.sources
]
header = ["source", "seed", "tasks learnt", "environment steps", "folder"]
Markdown(results.markdown_table(header, rows, numbers=False))

# %% [markdown]
# ## The mechanism: what crosses over
#
# ```
#    finished run                          a new task
#
#    world model f     ───────────────▶    f goes on learning
#    reward network    ── left behind      reward network   fresh
#    critics, policy   ── left behind      critics, policy  fresh
#    its replay        ── left behind      replay           empty
# ```
#
# What pays is new, so everything that judges starts afresh; how the world answers is not, so the
# world model stays. A learner with a good one needs to find out *what* is wanted, but not again
# *how* to get it. There is no reviewer, no rehearsal and no random warm-up here, as in the transfer
# run that DRAGO's authors logged: what was kept before the new task is what is being tested.
#
# Three starts are compared. **scratch** has a fresh world model too. **tdmpc** and **drago** have
# those of the sources with these methods, one that nothing protected and one that rehearsed and
# reviewed. New tasks come in three kinds:
#
# - *another place* (in the grid): start in one known room, goal in another;
# - *a composite* (jump-and-run): wants at once what earlier tasks wanted separately;
# - *a pair* (jump2run): the task is known, but episodes begin where the agent of another task has
#   brought the body.

# %%
show(ContinualAgent.load_world_model)

# %% [markdown]
# ## Beginning where another agent leaves off
#
# In a pair such as jump2run an agent that can jump acts first, for so many decisions, with its own
# networks and its full planning horizon. None of its steps are rewarded or stored, and a whole
# episode of the learner follows. All starts and seeds of a task share this first agent, so they
# begin alike. Training and evaluation do the same.

# %%
show(starting_points.PreRollout.reset)

# %% [markdown]
# **What we expect** in the pictures: above, bodies as the simulator drops them, lying around at
# rest. Below, the same bodies in mid-task: for jump2run upright on one leg or in the air. What
# would prove us wrong: rows that look alike. Then the first agent never learnt its task, and the
# pair is no harder than the task alone.

# %%
led = next((trial for trial in plan.trials if trial.parameters["pre_rollout"]), None)
if led is None:
    print("No task here begins with another agent.")
else:
    where = families.choose_device(device)
    domain = worlds.build(led.config.env, led.config.tasks, where)
    actor = starting_points.first_actors(
        led.parameters["pre_rollout"], domain.tasks, led.config, where
    )[0]
    first_steps = led.config.budget.pre_rollout
    worlds_of = {
        "reset": domain.make(0),
        f"{first_steps} decisions later": starting_points.PreRollout(
            domain.make(0), actor, first_steps
        ),
    }
    try:
        scene = domain.scene(0)
        figure, axes = plt.subplots(2, 4, figsize=(9.6, 5.2), layout="constrained")
        for row, (label, env) in zip(axes, worlds_of.items(), strict=True):
            env.reset(4, generator(0, "pictures", where))
            for ax, pose in zip(row, env.pose(), strict=True):
                ax.imshow(scene.frame(pose))
                ax.set_xticks([])
                ax.set_yticks([])
            row[0].set_ylabel(label)
        figure.suptitle(f"Where episodes of {led.task} begin", fontsize=11)
        plots.save(axes[0, 0], figures / "beginnings.png")
        scene.close()
    except UserError as error:
        print(f"No pictures: {error}")

# %% [markdown]
# ## The equation: faster by how much?
#
# Let $p(t)$ be the evaluation return after $t$ of $D$ environment steps, divided by the return that
# counts as 100 %. Four numbers sum up a learning curve:
#
# $$\underbrace{p(0)}_{\text{first evaluation}} \qquad
# \underbrace{p(20 \text{ episodes})}_{\text{few-shot}} \qquad
# \underbrace{\mathrm{AUC} = \frac1D \int_0^D p(t)\,dt}_{\text{area}} \qquad
# \underbrace{p(D)}_{\text{at the end}}$$
#
# *Forward transfer* is the share of what scratch leaves to be gained that a start gains (Continual
# World, section 4.3): $(\mathrm{AUC} - \mathrm{AUC}_\text{scratch}) /
# (1 - \mathrm{AUC}_\text{scratch})$. Positive: the old world model helped. Negative: it was in the
# way.

# %%
show(transfer.few_shot, metrics.forward_transfer)

# %% [markdown]
# ## Train, after a prediction
#
# **What we expect.**
#
# 1. The *first* evaluations are all alike. A perfect world model plans no better than none while
#    nothing says what pays.
# 2. From then on the curves that start from a world model rise earlier than scratch.
# 3. DRAGO's rise at least as early as those of continual TD-MPC, most visibly where a task needs
#    what the sources learnt early on and TD-MPC has overwritten since.
#
# What would prove us wrong: scratch within the intervals of the others after 20 episodes, or
# TD-MPC ahead of DRAGO.
#
# The next cell is the only one that computes for long. Stop it and run it again: finished runs are
# passed over, and the one that was stopped goes on where it stood.

# %%
transfer.run(plan)

# %% [markdown]
# ## Learning curves
#
# From here on only files are read. Lines are interquartile means, bands 95 % bootstrap intervals
# over seeds; fewer than three seeds are drawn one by one. The dashed line, in a grid, is the exact
# optimum; for a body nobody knows it, and the most that an episode can pay is far above the frame.

# %%
found = transfer.load(plan)
for trial in plan.trials:
    if trial.seed not in [run.seed for g in found.get(trial.task, []) for run in g.runs]:
        print("not finished:", trial)
columns = min(2, len(found))
height = -(-len(found) // columns)
figure, axes = plt.subplots(
    height, columns, figsize=(5.0 * columns + 1.6, 3.1 * height), layout="constrained", squeeze=False
)
for ax in axes.flat[len(found) :]:
    ax.axis("off")
for ax, (task, groups) in zip(axes.flat, found.items(), strict=False):
    exact = groups[0].first.yardstick is measures.YARDSTICKS["exact"]
    best = float(groups[0].first.optimum[0]) if exact else None
    curves = {group.label: group.curve(task) for group in groups}
    plots.learning_curves(curves, best, title=task, legend=False, ax=ax)
    few = FEW_EPISODES * episode
    if few < budget:
        ax.axvline(few, color=plots.GREY, linestyle=":", label=f"{FEW_EPISODES} episodes")
handles, labels = axes[0, 0].get_legend_handles_labels()
figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=9)
plots.save(axes[0, 0], figures / "learning_curves.png")

# %% [markdown]
# ## The same in numbers
#
# Returns, and areas as shares of the return that counts as 100 %, for a body of the most that an
# episode can pay.

# %%
header = ["start", "first evaluation", f"after {FEW_EPISODES} episodes", "at the end"]
header += ["area under the curve", "forward transfer"]
tables = []
for task, groups in found.items():
    rows = []
    for group in groups:
        gain = results.forward_transfer(group, groups)
        first, few = (
            np.array([number(run) for run in group.runs])
            for number in (transfer.first_return, transfer.few_shot)
        )
        rows.append(
            [
                group.label,
                results.table_cell(first, ".1f"),
                results.table_cell(few, ".1f"),
                results.table_cell(group.stack("final_return")[:, 0], ".1f"),
                results.table_cell(group.stack("areas")[:, 0], ".3f"),
                "–" if gain is None or group.label == transfer.NOTHING
                else results.table_cell(gain[:, 0], "+.3f"),
            ]
        )  # fmt: skip
    tables.append(f"**{task}**\n\n" + results.markdown_table(header, rows))
folder.mkdir(parents=True, exist_ok=True)
(folder / "transfer.md").write_text("\n\n".join(tables) + "\n")
display(Markdown("\n\n".join(tables)))

# %% [markdown]
# ## Few shots
#
# The return after 20 episodes of the new task, side by side: on a straight line between the
# evaluations around that moment, and missing where runs were shorter. Dots are seeds.

# %%
few = {
    start: np.array(
        [
            [
                next((transfer.few_shot(run) for run in group.runs if run.seed == seed), np.nan)
                for group in (next((g for g in groups if g.label == start), groups[0]),)
            ][0]
            for groups in found.values()
            for seed in plan.parameters["seeds"]
        ]
    ).reshape(len(found), -1).T
    for start in plan.starts
}  # fmt: skip
if np.isfinite(list(few.values())).any():
    unknown = np.full(len(found), np.nan)
    ax = plots.return_bars(list(found), few, unknown, f"Return after {FEW_EPISODES} episodes")
    plots.save(ax, figures / "few_shot.png")
else:
    print(f"These runs are shorter than {FEW_EPISODES} episodes.")
