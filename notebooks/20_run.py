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
tasks: list = []  # names, or in a grid mappings with name, start, goal; empty for the preset's
start_at: str = ""  # name of the task of the sequence to begin with; empty for the first
env_steps_per_task: int = 0  # environment steps, learner and reviewer together; 0 for the preset's
load_mode: str = ""  # "" starts fresh, "world-model" or "agent" starts from another run
load_from: str = ""  # that run's folder or checkpoint
pre_rollout: str = ""  # folder or checkpoint of the agent that acts first in jump2run and its like
overrides: dict = {}  # any other setting by its dotted name, for example planner.samples
video: str = "final"  # films of evaluation: "" none, "final" one a task, "every" one each time
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
from lib.envs import worlds
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
        "start_at": start_at,
        "load_mode": load_mode,
        "env_steps_per_task": env_steps_per_task,
        "overrides": overrides,
    }
)
folder = Path(out_dir or f"outputs/{config.name}-s{config.seed}")
figures = folder / "figures"
env = config.env
stream = worlds.resolve(env, config.tasks)  # in a grid also where each task starts and ends
place = f"{env.size} × {env.size} cells" if env.domain == "grid" else env.domain

card = {
    "method": f"{config.method_name}: {ABOUT[config.method_name]}",
    "preset": config.preset,
    "seed": config.seed,
    "device": families.choose_device(config.device),
    "tasks": " → ".join(task.name for task in stream),
    "world": f"{place}, {env.episode_length:,} environment steps an episode",
    "environment steps": f"{config.budget.env_steps_per_task:,} per task",
    "decisions": f"{config.decisions_per_task:,} per task, action repeat {env.action_repeat}",
    "starts from": f"{load_mode} of {load_from}" if load_mode else "nothing",
    "acts first": pre_rollout or "nobody else",
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
summary_path = train(
    config,
    folder,
    load_mode=load_mode,
    load_from=load_from,
    pre_rollout=pre_rollout,
    video=video,
    wandb=wandb,
)

# %% [markdown]
# ## Does it learn each task?
#
# Everything from here on only reads the files in the folder. The dashed line counts as 100 %; its
# legend says what it is. In a grid that is the *exact optimum*, the best mean return that any
# behaviour can reach, by dynamic programming. For a simulated body nobody knows it, so the line is
# the *most an episode can pay*, which the best behaviour may well stay below. Expect each curve to
# climb towards its line. A curve that stays flat means that the task was not learnt, and what
# follows then says little about remembering it.

# %%
run = results.load_run(folder)
yardstick, many = run.yardstick, len(run.tasks)
if dropped := run.summary.get("dropped_episodes"):
    print(f"Episodes left out because the simulation broke in them: {dropped}.")
figure, axes = plt.subplots(
    1, many, figsize=(3.6 * many + 0.6, 3.2), layout="constrained", squeeze=False
)
for ax, task, best in zip(axes[0], run.tasks, run.optimum, strict=True):
    steps, returns = run.curves[task]
    mine = {run.method: (steps, returns[None])}
    plots.learning_curves(mine, best, title=task, ax=ax, optimum_name=yardstick.name)
plots.save(axes[0, 0], figures / "learning_curves.png")

# %%
ax = plots.return_bars(
    run.tasks,
    {run.method: run.final_return},
    run.optimum,
    "At the task's end",
    optimum_name=yardstick.name,
)
plots.save(ax, figures / "final_returns.png")

# %% [markdown]
# ## What is left of earlier tasks?
#
# After each task, every task learnt so far is played again: planning uses the world model as it
# is *now*, with the reward and value networks saved at the end of that task. A row is a moment,
# a column a task. Reading down a column shows forgetting.

# %%
performance = run.performance()
heading = f"Return matrix, {run.method}"
ax = plots.return_matrix(performance, run.tasks, heading, label=yardstick.share)
plots.save(ax, figures / "return_matrix.png")
shares = {
    "average performance": metrics.average_performance(performance),
    "forgetting": metrics.forgetting(performance),
    "backward transfer": metrics.backward_transfer(performance),
}
rows = [(name, f"{value:.3f}".replace("nan", "–")) for name, value in shares.items()]
Markdown(results.markdown_table([yardstick.share, "value"], rows))

# %% [markdown]
# ## What does the world model still know?
#
# Returns can hide forgetting, because a planner gets by with a model that is right along one
# path. So the model is examined directly, one step at a time, on the transitions of each task.
#
# - *In a grid*, on all that the agent met: it predicts the next cell and heading, and is *right*
#   when that rounds to exactly the true one. Higher is better.
# - *For a body*, on transitions held out from evaluation episodes, which it never learnt from: the
#   squared error of the predicted observation, on a logarithmic scale. Lower is better.
#
# A protected model keeps its lines level; an unprotected one gets worse as soon as the next task
# begins.

# %%
measure, met = run.measures[0], run.met()
if np.isfinite(met).any():
    ax = plots.retention_curves(
        {f"{measure.of} {task}": met[:, j] for j, task in enumerate(run.tasks)},
        title=f"One-step prediction, {run.method}",
        ylabel=measure.axis,
        log=measure.log,
    )
    plots.save(ax, figures / "retention_met.png")
else:
    print("This world has no audit of the transitions met.")

# %% [markdown]
# The other things that this audit measures, if there are any. The *unexplained share* sets every
# error against the variance of the change that was to be predicted: 0 is perfect, 1 no better than
# always foretelling the mean change, and more is worse than that. The *prediction score* is the
# mean of −log of the error, so that a few transitions with huge errors, such as a foot hitting the
# ground, do not decide it.

# %%
for other in run.measures[1:]:
    rows = [
        [task, *(other.value(number) for number in row)]
        for task, row in zip(run.tasks, run.met(other.quantity), strict=True)
    ]
    header = [f"{other.axis} after", *(f"{other.of} {task}" for task in run.tasks)]
    display(Markdown(results.markdown_table(header, rows)))

# %% [markdown]
# Where the world has rooms, over *all* transitions of each of them, whether the agent ever took
# them or not. Rooms that no task has visited yet stand near zero.

# %%
rooms, accuracy = run.rooms(), run.by_room()
if rooms:
    header = [f"{measure.axis} after", *rooms]
    rows = [
        [task, *(measure.value(number) for number in row)]
        for task, row in zip(run.tasks, accuracy, strict=False)
    ]
    display(Markdown(results.markdown_table(header, rows)))

# %% [markdown]
# Where the error sits. In a grid, on the map: squared error of the predicted observation, averaged
# over headings and actions, on one logarithmic scale. Dark is known, bright is not. For a body, by
# number of the observation, positions first and velocities after them.

# %%
audits = [run.audit_arrays(k) for k in range(len(run.tasks))]
drawn = [k for k, found in enumerate(audits) if "cells" in found]
listed = [k for k, found in enumerate(audits) if "error" in found and k not in drawn]
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
if listed:
    first = [audits[k]["error"][0] for k in listed]
    ax = plots.series(
        {
            f"after {run.tasks[k]}": (np.arange(1, len(error) + 1), error)
            for k, error in zip(listed, first, strict=True)
        },
        "number in the observation",
        "mean squared error",
        f"What was held out in {run.tasks[0]}",
        log=True,
    )
    plots.save(ax, figures / "model_error_by_number.png")

# %% [markdown]
# ## What does it dream of?
#
# Methods with a generator rehearse on state-action pairs that it invents. Dreams should cover
# what the agent met (blue) and stay out of what it never saw (purple). Coverage that shrinks
# from task to task is the generator's own forgetting. Only a grid can be listed state by state, so
# only there can dreams be counted.

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
elif config.method.rehearse == "dreams":
    print(f"Method '{run.method}' rehearses dreams, but they cannot be counted in this world.")
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
# not. In a grid, orange cells attract it, purple ones repel it. From the second task on, expect
# orange in rooms learnt before.

# %%
reviewers = [k for k in drawn if "intrinsic" in audits[k]]
for k in reviewers:
    ax = maps.reward_map(cells, audits[k]["intrinsic"], f"Review reward, end of {run.tasks[k]}")
    plots.save(ax, figures / f"review_reward_{k + 1}.png")
if not reviewers and config.method.review and not drawn and (many > 1 or load_mode):
    print(f"Method '{run.method}' has a reviewer, but this world has no map of its rewards.")
elif not reviewers:
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
# ## What it looks like
#
# One evaluation episode of each task, filmed when the task ended, and the same again with what
# the world model imagined (blue) when it was given the actions but not the outcomes: where it knows
# the task, the blue body hides behind the real one. In a grid, the last figure
# follows four episodes of every task from start (S) to goal (G), played after the last task with
# the final world model.

# %%
films = sorted((folder / "videos").glob("*[0-9].mp4"))
newest = {path.stem.rpartition("-")[0]: path for path in films}  # number-task-steps, by task
if films:
    from lib.video import embed

    for path in newest.values():
        imagined = path.with_stem(f"{path.stem}-imagined")
        for film in (path, imagined):
            if film.exists():
                display(Markdown(f"`{film.name}`"), embed(film))
    if len(films) > len(newest):
        print(f"{len(films) - len(newest)} earlier ones lie in {folder / 'videos'}.")
else:
    print("No videos here: parameter video was empty, or this machine cannot draw the world.")

# %%
last = audits[-1]
if drawn and any(key.startswith("eval_obs") for key in last):
    figure, axes = plt.subplots(
        1, many, figsize=(3.2 * many, 3.4), layout="constrained", squeeze=False
    )
    for j, (ax, task) in enumerate(zip(axes[0], stream, strict=True)):
        paths = maps.positions(last[f"eval_obs_{j}"][:4], env.size)
        marks = {"S": task.start, "G": task.goal}
        maps.trajectories(cells, paths, title=task.name, marks=marks, legend=False, ax=ax)
    plots.save(axes[0, 0], figures / "trajectories.png")

# %% [markdown]
# ## What we saw

# %%
share, left = run.final_return / run.optimum, measure.left_of(met)
rows = [
    [
        task,
        f"{run.final_return[j]:.1f} of {run.optimum[j]:.1f}",
        f"{share[j]:.0%}",
        f"{performance[-1, j]:.0%}",
        measure.value(met[j, j]),
        measure.value(met[-1, j]),
        measure.remains(left[-1, j]),
    ]
    for j, task in enumerate(run.tasks)
]
header = ["task", "return at its end", yardstick.share, "after the last task"]
header += [f"{measure.name} at its end", "after the last task", measure.left]
display(Markdown(results.markdown_table(header, rows).replace("nan%", "–").replace("nan", "–")))

if np.isfinite(share).any():
    weakest = np.nanargmin(share)
    print(
        f"Weakest task: {run.tasks[weakest]}, {share[weakest]:.0%} of the {yardstick.name} "
        "at its end."
    )
if many > 1 and np.isfinite(left[-1, 0]):
    print(measure.sentence(run.tasks[0], left[-1, 0], many))
print("One seed shows no spread: repeat with other seeds before comparing methods.")

# %% [markdown]
# **Where it fails.** One seed can be lucky. In a grid the audit counts all transitions alike, also
# those that no good behaviour needs, and accuracy on a shrunk grid says nothing about larger
# worlds. For a body the audit knows only where the agent's own evaluation went, so the model of a
# task that was never learnt can look good on it.
#
# **What to try.** Another method on the same stream (`-p method=tdmpc`), more seeds
# (`-p seed=1`), then `python -m lib compare` to see them side by side in notebook 21.
