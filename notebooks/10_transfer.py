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
#     python -m lib transfer dreamer-v1-sources-quick -p seeds=[0,1,2]
#
# The third command names a *study*, a file below `params/studies/`: it says what a task may begin
# with, its *arms*, such as parts of an agent (chapter 11), and the runs that arms build on are
# trained first. Without a study these must be there; if not, the run card's cell says how to make
# them. A quick run on the grid or a pendulum takes about a minute on one CPU core, on a body two or
# three, and every task takes one for each start and seed. Reading takes a quarter of an hour.
# Chapters assumed: 00, 20.

# %% tags=["parameters"]
study: str = ""  # a file below params/studies/ or a path, which says what arms begin with
preset: str = "cheetah-transfer-quick"  # what every run is; that of a study goes without saying
tasks: list = []  # names such as jump2run; empty for those of the study, or the domain's four
sources: list = []  # finished run folders to build on; empty for those that are found
seeds: list = []  # empty for those of the study, or all that every method has a source of
pre_rollout: str = ""  # who acts first in jump2run and its like; empty for a source that can
overrides: dict = {}  # any other setting of every run by its dotted name
device: str = "auto"  # "auto" takes a GPU where there is one, otherwise "cpu", "cuda:1" and so on
out_dir: str = ""  # where all runs and figures go, empty for outputs/PRESET

# %% [markdown]
# ## The run card
#
# `transfer.prepare` lists every run that the comparison takes, and checks them all before the first
# one starts: that the sources are there and finished or can be made, that they come from this world
# and have networks of the same sizes, and who acts first where another agent has to.

# %%
import itertools
import json
import os
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display

from lib.algos import registry
from lib.algos.tdmpc.transfer import WarmStart
from lib.analysis import (
    measures,
    moved,
    origins,
    published,
    results,
    transfer_results,
    whole_runs,
)
from lib.core import metrics
from lib.core.errors import UserError
from lib.core.files import atomic_write
from lib.core.paths import shown
from lib.core.plain import escape
from lib.core.seeding import generator
from lib.engine import machine
from lib.envs import worlds
from lib.experiments import params, summaries, transfer, trials
from lib.plotting import charts, intervals, network
from lib.runner import warm_start as starting_points
from lib.runner.provenance import versions
from lib.workbook.teach import show

if Path.cwd().name == "notebooks":  # where JupyterLab starts; paths count from the root
    os.chdir("..")

plan = transfer.prepare(
    {
        "study": study,
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
rules = registry.of(example).transfer_study
FEW = rules.few_episodes if rules else budget // episode // 4  # episodes until a return is read
card = {
    "study": plan.parameters["study"] or "world models of finished runs",
    "preset": plan.parameters["preset"],
    "new tasks": ", ".join(plan.tasks),
    "starts": ", ".join(plan.starts),
    "seeds": ", ".join(str(seed) for seed in plan.parameters["seeds"]),
    "runs": f"{len(plan.trials)} of {budget:,} environment steps ({budget // episode} episodes)",
    "trained first": ", ".join(dict.fromkeys(trial.start for trial in plan.made)) or "nothing",
    "device": machine.choose_device(device),
    "overrides": ", ".join(f"{key} {value}" for key, value in overrides.items()) or "none",
    "folder": shown(folder),
    "versions": ", ".join(f"{package} {number}" for package, number in versions().items()),
}
Markdown(results.markdown_table(["comparison", "transfer"], card.items(), numbers=False))

# %% [markdown]
# What each start begins with, and the runs that it builds on. A fair comparison needs sources that
# learnt the same tasks with the same budget.

# %%
for note in plan.notes:
    print(note)
rows = []
for start in plan.starts:
    trial = next(trial for trial in plan.trials if trial.start == start)
    began = origins.of_record(params.record(trial.config, trial.parameters))
    rows.append([start, began.begins or "nothing", ", ".join(began.sources) or "–"])
header = ["start", "begins with", "of"]
display(Markdown(results.markdown_table(header, rows, numbers=False)))
rows = [
    [run.name, run.seed, " → ".join(run.tasks), f"{run.env_steps:,}", run.folder]
    for run in plan.sources
    if run.seed in plan.parameters["seeds"]
]
for trial in plan.made:
    steps = trial.config.budget.steps_before(len(trial.config.tasks))
    rows.append([trial.start, trial.seed, trial.task, f"{steps:,}", shown(trial.folder)])
header = ["source", "seed", "tasks learnt", "environment steps", "folder"]
display(Markdown(results.markdown_table(header, rows, numbers=False)))

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
# So it is without a study, where three starts are compared. **scratch** has a fresh world model
# too. **tdmpc** and **drago** have those of the sources with these methods, one that nothing
# protected and one that rehearsed and reviewed. New tasks come in three kinds:
#
# - *another place* (in the grid): start in one known room, goal in another;
# - *a composite* (jump-and-run): wants at once what earlier tasks wanted separately;
# - *a pair* (jump2run): the task is known, but episodes begin where the agent of another task has
#   brought the body.
#
# Arms of a study say for themselves what crosses over, see the table above; after training, the
# networks of each are drawn with what became of them.

# %%
show(WarmStart.load_world_model)

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
# **What we expect** in the pictures: above, the body as a reset leaves it, much the same each time.
# Below, the same episodes in mid-task and on the move: for jump2run upright on one leg or in the
# air. What would prove us wrong: rows that look alike. Then the first agent never learnt its task,
# and the pair asks for no more than the task alone.

# %%
led = next((trial for trial in plan.trials if trial.parameters["pre_rollout"]), None)
if led is None:
    print("No task here begins with another agent.")
else:
    where = machine.choose_device(device)
    domain = worlds.build(led.config.env, led.config.tasks, where)
    actor = starting_points.first_actors(led.parameters["pre_rollout"], domain, led.config, where)[
        0
    ]
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
        charts.save(axes[0, 0], figures / "beginnings.png")
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
show(transfer_results.few_shot, metrics.forward_transfer)

# %% [markdown]
# ## Train, after a prediction
#
# **What we expect.**
#
# 1. The *first* evaluations are all alike. Reward and value networks begin at zero, so every plan
#    scores the same: a perfect world model is worth nothing while nothing says what pays.
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
trials.run(plan)

# %% [markdown]
# ## What crossed over
#
# Of agents that took parts of others: what became of every layer, in the first seed. A bar is a
# layer; in the recurrent model's first one, what reads actions stands below what reads the state.

# %%
drawn = False
for start in plan.starts:
    first = next(trial for trial in plan.trials if trial.start == start)
    if taken := moved.of_run(first.folder):
        ax = network.network(moved.layers(taken), start, moved.omega_of(taken))
        charts.save(ax, figures / f"parts-{start}.png")
        drawn = True
if not drawn:
    print("Nothing but whole world models, or agents as they were.")

# %% [markdown]
# ## Learning curves
#
# From here on only files are read. Lines are interquartile means, bands 95 % bootstrap intervals
# over seeds; fewer than three seeds are drawn one by one. The dashed line, in a grid, is the exact
# optimum; for a body nobody knows it, and the most that an episode can pay is far above the frame.

# %%
found = transfer_results.load(plan)
for trial in plan.trials:
    if not summaries.is_finished(trial.folder):
        print("not finished:", trial)
wide = min(2, len(found))
high = -(-len(found) // wide)
size = (5.0 * wide + 1.6, 3.1 * high)
figure, axes = plt.subplots(high, wide, figsize=size, layout="constrained", squeeze=False)
for ax in axes.flat[len(found) :]:
    ax.axis("off")
for ax, (task, groups) in zip(axes.flat, found.items(), strict=False):
    exact = groups[0].first.yardstick is measures.YARDSTICKS["exact"]
    best = float(groups[0].first.optimum[0]) if exact else None
    curves = {group.label: group.curve(task) for group in groups}
    charts.learning_curves(curves, best, title=task, legend="", ax=ax)
    few = FEW * episode
    if few < budget:
        ax.axvline(few, color=charts.GREY, linestyle=":", label=f"{FEW} episodes")
charts.legend_apart(axes[0, 0], "figure")
charts.save(axes[0, 0], figures / "learning_curves.png")

# %% [markdown]
# ## The same in numbers
#
# Returns, and areas as shares of the return that counts as 100 %, which for a body is the most that
# an episode can pay; where returns are negative there are none. Forward transfer sets each area
# against the mean of scratch.

# %%
columns = {
    "first evaluation": (
        transfer_results.table(plan, found, transfer_results.first_return),
        ".1f",
    ),
    f"after {FEW} episodes": (
        transfer_results.table(plan, found, partial(transfer_results.few_shot, episodes=FEW)),
        ".1f",
    ),
    "at the end": (transfer_results.table(plan, found, transfer_results.last_return), ".1f"),
    "area under the curve": (transfer_results.table(plan, found, transfer_results.area), ".3f"),
}
areas = columns["area under the curve"][0]
few = columns[f"after {FEW} episodes"][0]
columns["forward transfer"] = (transfer_results.gains(areas), "+.3f")


def cell(values, form):
    """Interquartile mean and interval of (seeds,) numbers, those that there are."""
    return "–" if values is None else results.table_cell(values[np.isfinite(values)], form)


tables = []
for j, task in enumerate(plan.tasks):
    rows = [
        [start, *(cell(v[start][:, j] if start in v else None, f) for v, f in columns.values())]
        for start in plan.starts
    ]
    tables.append(f"**{escape(task)}**\n\n" + results.markdown_table(["start", *columns], rows))
(folder / "transfer.md").write_text("\n\n".join(tables) + "\n")
display(Markdown("\n\n".join(tables)))

# %% [markdown]
# ## Whole runs
#
# The returns of all evaluations, and of the last tenth of them. The first two columns are how the
# authors of multi-source transfer tell it (Sasso, Sabatelli and Wiering, TMLR 2023): mean and
# standard deviation over runs and evaluations, which is no error of the mean. Then means of single
# runs, with an interval over runs; the area under the curve (the mean return over environment
# steps), and the last evaluation. Lines of others are read at our environment steps.

# %%
tables = []
for task, groups in found.items():
    theirs = published.curves(task, groups[0].first.background)
    measured = {group.label: whole_runs.of_group(group, task) for group in groups}
    size = (10.4, 1.0 + 0.4 * len(groups))
    figure, axes = plt.subplots(1, 2, figsize=size, layout="constrained", sharex=True)
    of_all = {label: runs.overall.of_runs for label, runs in measured.items()}
    of_last = {label: runs.last.of_runs for label, runs in measured.items()}
    intervals.interval_rows(of_all, f"{task}: all evaluations", "mean return of a run", ax=axes[0])
    look = {"names": False, "ax": axes[1]}
    intervals.interval_rows(of_last, "the last tenth", "mean return of a run", **look)
    charts.save(axes[0], figures / f"whole_runs-{task}.png")
    for header, rows in (whole_runs.table(groups, task, theirs), whole_runs.by_run(groups, task)):
        tables.append(f"**{escape(task)}**\n\n" + results.markdown_table(header, rows))
(folder / "whole_runs.md").write_text("\n\n".join(tables) + "\n")
display(Markdown("\n\n".join(tables)))

# %% [markdown]
# ## Few shots
#
# The return after a few episodes of the new task, side by side: on a straight line between the
# evaluations around that moment, and missing where runs are shorter. Dots are seeds.

# %%
if np.isfinite(list(few.values())).any():
    no_line = np.full(len(plan.tasks), np.nan)
    ax = charts.return_bars(plan.tasks, few, no_line, f"After {FEW} episodes")
    charts.save(ax, figures / "few_shot.png")
else:
    print(f"These runs are shorter than {FEW} episodes.")

# %% [markdown]
# ## Why? What the models knew beforehand
#
# Each source's world model, exactly as the new task found it, is asked about transitions of that
# task that it has never seen: those that the best of all finished learners met with the same seed.
# In a grid these are all that it met, and a prediction is right or wrong; for a body, those of its
# last evaluation. *scratch* is a world model that has learnt nothing.
#
# **What we expect.** DRAGO's model knows most, TD-MPC's less, scratch nothing. If the order here is
# that of the areas above, then what was kept explains what was gained. If a model knows more and
# its learner is no faster, then something else limits it: finding out what pays, or networks that
# have lost the ability to learn.

# %%
show(transfer_results.foreknowledge)
known = {}
if plan.parameters["study"]:
    print("Not asked: arms of a study hand over more than a world model, or less.")
for task in () if plan.parameters["study"] else plan.tasks:
    for seed in plan.parameters["seeds"]:
        judge = transfer_results.best_trial(plan, task, seed)
        for start in plan.starts if judge else ():
            answer = transfer_results.foreknowledge(judge, plan.source(start, seed))
            known.setdefault(task, {}).setdefault(start, []).append(answer)
tables = []
for task, answers in known.items():
    kinds = measures.measures_in(answers[transfer.NOTHING][0])
    rows = [
        [
            start,
            *(
                kind.cell([row.get(f"audit/met-{task}/{kind.quantity}", np.nan) for row in asked])
                for kind in kinds
            ),
        ]
        for start, asked in answers.items()
    ]
    header = ["world model of", *(kind.axis for kind in kinds)]
    tables.append(f"**{escape(task)}**\n\n" + results.markdown_table(header, rows))
display(Markdown("\n\n".join(tables)))

# %% [markdown]
# ## The same as data
#
# Every number with its seeds, hardware, commit and the command that repeats it.

# %%
asked = plan.parameters
names = [name if isinstance(name, str) else name["name"] for name in asked["tasks"]]
command = " ".join(
    [
        "python -m lib transfer",
        *([asked["study"]] if asked["study"] else []),
        *asked["sources"],
        *([] if asked["study"] else [f"--preset {preset}"]),
        f"--tasks {','.join(names)}",
        f"--seeds {','.join(str(seed) for seed in asked['seeds'])}",
    ]
)
record = {"command": command, "parameters": asked, "starts": {}}
for task, groups in found.items():
    for group in groups:
        entry = results.comparison([group])[group.label] | {"command": command}
        record["starts"].setdefault(group.label, {})[task] = entry
atomic_write(folder / "transfer.json", json.dumps(record, indent=1) + "\n")
print("written to", shown(folder / "transfer.json"))

# %% [markdown]
# ## What we saw

# %%
means = transfer_results.table(plan, found, transfer_results.mean_return)
for j, task in enumerate(plan.tasks):
    estimates = {
        start: metrics.interval(values[:, j][np.isfinite(values[:, j])])
        for start, values in means.items()
        if np.isfinite(values[:, j]).any()
    }
    ranked = sorted(estimates, key=lambda start: -estimates[start].point)
    if len(ranked) < 2:
        continue
    best, second = (estimates[start] for start in ranked[:2])
    print(f"{task}: {ranked[0]} learns fastest (mean return over the run {best.text('.1f')}),")
    print(f"  ahead of {ranked[1]} ({second.text('.1f')}).")
    if best.has_interval and second.has_interval:
        apart = best.low > second.high
        print(f"  The intervals {'do not overlap' if apart else 'overlap'}.")
    else:
        print(f"  At least {metrics.FEWEST_SEEDS} seeds are needed to tell this from chance.")

for what, values in {"return over the run": means, f"return after {FEW} episodes": few}.items():
    for other, one in itertools.combinations(plan.starts, 2):
        lead = transfer_results.over_seeds(values[one]) - transfer_results.over_seeds(values[other])
        known = np.isfinite(lead).sum()
        print(f"Mean {what}: {one} ahead of {other} in {(lead > 0).sum()} of {known} tasks.")

# %% [markdown]
# **Where it fails.** The comparison is only as good as its sources: one that never learnt its tasks
# passes on a model of nothing but stumbling, and a pair whose first agent cannot jump is not a
# pair. Means over few seeds decide little. Scratch here has no random warm-up either, so that
# budget and schedule are the same for all; with one it may do better. And a world model that has
# learnt too much of one thing can be *worse* than a fresh one at learning another, which areas
# below scratch would show.
#
# **What to try.** Another kind of start is one more source: finished runs of `ewc` or `multitask`
# can be named beside the others. Exactly 20 episodes, nothing interpolated:
#
#     python -m lib transfer --preset cheetah-few-shot-quick
#
# One task by itself, with films, is a run like any other: `python -m lib run
# cheetah-transfer-quick-jump2run`.
