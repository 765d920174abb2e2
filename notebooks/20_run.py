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
# # 20 · Run a method over a stream of tasks
#
# **Question.** An agent learns several tasks one after another in one world. What does each task
# end at, and what is left of the earlier ones?
#
# This notebook trains one agent and then draws what happened. It is usually executed from the
# command line, which leaves a copy with its figures in the run's folder:
#
#     python -m lib run params/drago-grid-quick.yaml -p seed=3
#
# A quick run takes minutes on one CPU core, a full one hours on a GPU; each file in `params/`
# says. Chapter assumed: 00.

# %% tags=["parameters"]
name: str = ""  # name of the run, empty for method and preset joined by a dash
preset: str = "grid-quick"  # sizes and budgets, see lib/tdmpc/presets.py
method: str = "drago"  # one of the methods in lib/tdmpc/presets.py
seed: int = 0  # seeds networks, environment, actions and batches
device: str = "auto"  # "auto" takes a GPU where there is one, otherwise "cpu", "cuda:1" and so on
tasks: list = []  # names, or mappings with name, start and goal; empty for the preset's
env_steps_per_task: int = 0  # environment steps, learner and reviewer together; 0 for the preset's
load_mode: str = ""  # "" starts fresh, "world-model" or "agent" starts from another run
load_from: str = ""  # that run's folder or checkpoint
overrides: dict = {}  # any other setting by its dotted name, for example planner.samples
wandb: str = ""  # "" off, "offline" or "online"
out_dir: str = ""  # where the run writes, empty for outputs/NAME-sSEED

# %% [markdown]
# ## The run card
#
# A misspelt parameter or a value that does not fit stops here with one line, before anything is
# trained.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display

from lib import families, maps, metrics, plots, results
from lib.envs import stream
from lib.runner.loop import train
from lib.runner.provenance import versions
from lib.tdmpc.presets import ABOUT

if Path.cwd().name == "notebooks":  # where JupyterLab starts; paths count from the root
    os.chdir("..")

config = families.resolve(
    {
        "name": name,
        "preset": preset,
        "method": method,
        "seed": seed,
        "device": device,
        "tasks": tasks,
        "env_steps_per_task": env_steps_per_task,
        "overrides": overrides,
    }
)
folder = Path(out_dir or f"outputs/{config.name}-s{config.seed}")
figures = folder / "figures"
task_names = [task if isinstance(task, str) else task["name"] for task in config.tasks]

card = {
    "method": f"{config.method_name}: {ABOUT[config.method_name]}",
    "preset": config.preset,
    "seed": config.seed,
    "device": families.choose_device(config.device),
    "tasks": " → ".join(task_names),
    "world": f"{config.env.size} × {config.env.size} cells, {config.env.episode_length} steps",
    "environment steps": f"{config.budget.env_steps_per_task:,} per task",
    "starts from": f"{load_mode} of {load_from}" if load_mode else "nothing",
    "overrides": ", ".join(f"{key} {value}" for key, value in overrides.items()) or "none",
    "folder": folder,
    "versions": ", ".join(f"{package} {number}" for package, number in versions().items()),
}
Markdown(results.markdown_table(["run", config.name], card.items(), numbers=False))

# %% [markdown]
# ## Train
#
# The next cell is the only one that computes for long. It writes metrics and checkpoints as it
# goes. Stop it and run it again: it continues where it stood. If the folder holds the finished
# run already, it does nothing, so the figures below can be redrawn at will.

# %%
summary_path = train(config, folder, load_mode=load_mode, load_from=load_from, wandb=wandb)

# %% [markdown]
# ## Does it learn each task?
#
# Everything from here on only reads the files in the folder. The dashed line is the best mean
# return that any behaviour can reach, computed exactly by dynamic programming. Expect each curve
# to climb towards its line. A curve that stays flat means that the task was not learnt, and what
# follows then says little about remembering it.

# %%
run = results.load_run(folder)
many = len(run.tasks)
figure, axes = plt.subplots(
    1, many, figsize=(3.6 * many + 0.6, 3.2), layout="constrained", squeeze=False
)
for ax, task, best in zip(axes[0], run.tasks, run.optimum, strict=True):
    steps, returns = run.curves[task]
    plots.learning_curves({run.method: (steps, returns[None])}, best, title=task, ax=ax)
plots.save(axes[0, 0], figures / "learning_curves.png")

# %%
plots.save(
    plots.return_bars(run.tasks, {run.method: run.final_return}, run.optimum, "At the task's end"),
    figures / "final_returns.png",
)

# %% [markdown]
# ## What is left of earlier tasks?
#
# After each task, every task learnt so far is played again: planning uses the world model as it
# is *now*, with the reward and value networks saved at the end of that task. A row is a moment,
# a column a task. Reading down a column shows forgetting.

# %%
performance = run.performance()
plots.save(
    plots.return_matrix(performance, run.tasks, f"Return matrix, {run.method}"),
    figures / "return_matrix.png",
)
measures = {
    "average performance": metrics.average_performance(performance),
    "forgetting": metrics.forgetting(performance),
    "backward transfer": metrics.backward_transfer(performance),
}
Markdown(
    results.markdown_table(
        ["as shares of the optimum", "value"], [(k, f"{v:.3f}") for k, v in measures.items()]
    )
)

# %% [markdown]
# ## What does the world model still know?
#
# Returns can hide forgetting, because a planner gets by with a model that is right along one
# path. So the model is examined directly: it predicts the next cell and heading, and the
# prediction is *right* when it rounds to exactly the true one.
#
# First on the transitions that the agent met during each task. A protected model keeps its
# lines level; an unprotected one drops as soon as the next task begins.

# %%
met = run.met("accuracy")
if np.isfinite(met).any():
    ax = plots.retention_curves(
        {f"met in {task}": met[:, j] for j, task in enumerate(run.tasks)},
        title=f"One-step prediction, {run.method}",
    )
    plots.save(ax, figures / "retention_met.png")
else:
    print("This world has no audit of the transitions met.")

# %% [markdown]
# Then over *all* transitions of each room, whether the agent ever took them or not. Rooms that
# no task has visited yet stand near zero.

# %%
rooms, accuracy = run.rooms(), run.by_room("accuracy")
rows = [[task, *(f"{a:.2f}" for a in row)] for task, row in zip(run.tasks, accuracy, strict=False)]
Markdown(results.markdown_table(["right-cell accuracy after", *rooms], rows))

# %% [markdown]
# The same on the map: squared error of the predicted observation, averaged over headings and
# actions, on one logarithmic scale. Dark is known, bright is not.

# %%
audits = [run.audit_arrays(k) for k in range(len(run.tasks))]
drawn = [k for k, found in enumerate(audits) if "error" in found]
titles = [f"after {run.tasks[k]}" for k in drawn]
if drawn:
    cells = audits[drawn[0]]["cells"]
    ax = maps.boundary_maps(
        cells, [audits[k]["error"] for k in drawn], titles, "squared error", log=True
    )[0]
    plots.save(ax, figures / "model_error.png")
    ax = maps.boundary_maps(
        cells, [audits[k]["right"] for k in drawn], titles, "right-cell accuracy", low=0, high=1
    )[0]
    plots.save(ax, figures / "model_accuracy.png")
else:
    print("This world has no map of model errors.")

# %% [markdown]
# ## What does it dream of?
#
# Methods with a generator rehearse on state-action pairs that it invents. Dreams should cover
# what the agent met (blue) and stay out of what it never saw (purple). Coverage that shrinks
# from task to task is the generator's own forgetting.

# %%
dreamers = [k for k in drawn if "dream_count" in audits[k]]
if dreamers:
    last = audits[dreamers[-1]]
    ax = maps.coverage_map(
        cells, last["met"].any(0), last["dream_count"], f"Dreams after {run.tasks[dreamers[-1]]}"
    )
    plots.save(ax, figures / "dream_coverage.png")
    rows = [
        [run.tasks[k]]
        + [f"{run.audit[k].get(key, np.nan):.2f}" for key in ("dream/valid", "dream/met")]
        + [f"{run.audit[k].get(f'dream/met-{task}/coverage', np.nan):.2f}" for task in run.tasks]
        for k in dreamers
    ]
    header = ["after", "on free cells", "met before", *(f"coverage of {t}" for t in run.tasks)]
    display(Markdown(results.markdown_table(header, rows).replace("nan", "–")))
else:
    print(f"Method '{run.method}' has no generator, so there are no dreams to show.")

# %%
if dreamers:
    places = [room for room in rooms if f"dream/{room}/share" in run.audit[dreamers[-1]]]
    shares = {
        f"after {run.tasks[k]}": [run.audit[k][f"dream/{room}/share"] for room in places]
        for k in dreamers
    }
    ax = plots.share_bars(places, shares, "share of all dreams", "Where the dreams lie")
    plots.save(ax, figures / "dream_rooms.png")

# %% [markdown]
# ## Where does the reviewer want to go?
#
# A reviewer is paid for transitions that the old model predicts well and the current one does
# not. Orange cells attract it, purple ones repel it. From the second task on, expect orange in
# rooms learnt before.

# %%
reviewers = [k for k in drawn if "intrinsic" in audits[k]]
for k in reviewers:
    ax = maps.reward_map(cells, audits[k]["intrinsic"], f"Review reward, end of {run.tasks[k]}")
    plots.save(ax, figures / f"review_reward_{k + 1}.png")
if not reviewers:
    print(f"There was no reviewer: method '{run.method}' has none, or there was only one task.")

# %% [markdown]
# ## How did training go?
#
# The prediction score is −log of the squared error over a whole planning window, so higher is
# better; dotted lines are task switches. A sudden dip late in a task would be an unstable update.

# %%
score_steps, score = run.series("train/learner/score")
ends = np.cumsum([run.curves[task][0][-1] for task in run.tasks])
if len(score):
    ax = plots.series(
        {"prediction score": (score_steps, score)},
        "environment steps of the whole run",
        "−log squared error [nats]",
        "World model on the learner's batches",
        boundaries=ends[:-1],
    )
    plots.save(ax, figures / "prediction_score.png")

# %% [markdown]
# ## What it does now
#
# Four evaluation episodes of every task from start (S) to goal (G), played after the last task
# with the final world model.

# %%
last = audits[-1]
if any(key.startswith("eval_obs") for key in last):
    figure, axes = plt.subplots(
        1, many, figsize=(3.2 * many, 3.4), layout="constrained", squeeze=False
    )
    places = stream.resolve(config.tasks, config.env.size, config.env.put_blocks)
    for j, (ax, task) in enumerate(zip(axes[0], places, strict=True)):
        paths = maps.positions(last[f"eval_obs_{j}"][:4], config.env.size)
        marks = {"S": task.start, "G": task.goal}
        maps.trajectories(cells, paths, title=task.name, marks=marks, legend=False, ax=ax)
    plots.save(axes[0, 0], figures / "trajectories.png")

# %% [markdown]
# ## What we saw

# %%
kept = metrics.retention(met)
rows = [
    [
        task,
        f"{run.final_return[j]:.1f} of {run.optimum[j]:.1f}",
        f"{run.final_return[j] / run.optimum[j]:.0%}",
        f"{performance[-1, j]:.0%}",
        f"{met[j, j]:.2f}",
        f"{met[-1, j]:.2f}",
        f"{kept[-1, j]:.0%}",
    ]
    for j, task in enumerate(run.tasks)
]
header = ["task", "return at its end", "of the optimum", "after the last task"]
header += ["model accuracy at its end", "after the last task", "kept"]
display(Markdown(results.markdown_table(header, rows).replace("nan", "–")))

weakest = np.argmin(run.final_return / run.optimum)
print(
    f"Weakest task: {run.tasks[weakest]}, "
    f"{run.final_return[weakest] / run.optimum[weakest]:.0%} of the exact optimum at its end."
)
if len(run.tasks) > 1 and np.isfinite(kept[-1, 0]):
    print(
        f"Of its accuracy on what it met in {run.tasks[0]}, the world model keeps "
        f"{kept[-1, 0]:.0%} after {len(run.tasks)} tasks."
    )
print("One seed shows no spread: repeat with other seeds before comparing methods.")

# %% [markdown]
# **Where it fails.** One seed can be lucky. The audit counts all transitions alike, also those
# that no good behaviour needs. And accuracy on a shrunk grid says nothing about larger worlds.
#
# **What to try.** Another method on the same stream (`-p method=tdmpc`), more seeds
# (`-p seed=1`), then `python -m lib compare` to see them side by side in notebook 21.
