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
# This notebook trains one agent, or the same one with several seeds at once, and then draws what
# happened. It is usually executed from the command line, which leaves a copy with its figures in
# the run's folder:
#
#     python -m lib run drago-grid-quick -p seed=3
#     python -m lib run drago-grid-quick -p seeds=0,1,2
#
# A quick run takes minutes on one CPU core, a full one hours on a GPU; each file in `params/`
# says. Chapter assumed: 00.

# %% tags=["parameters"]
name: str = ""  # name of the run, empty for method and preset joined by a dash
preset: str = "grid-quick"  # sizes and budgets; `python -m lib list` shows all
method: str = "drago"  # what is learnt with; `python -m lib list` shows all
seed: int = 0  # seeds networks, environment, actions and batches
seeds: list = []  # several of them, trained together, instead of seed
device: str = "auto"  # "auto" takes a GPU where there is one, otherwise "cpu", "cuda:1" and so on
tasks: list = []  # names, or in a grid mappings with name, start, goal; empty for the preset's
start_at: str = ""  # name of the task of the sequence to begin with; empty for the first
env_steps_per_task: int = 0  # environment steps, learner and reviewer together; 0 for the preset's
load_mode: str = ""  # "" starts fresh, "world-model", "agent" or "parts" starts from another run
load_from: str = ""  # that run's folder or checkpoint; {seed} in it stands for the seed
pre_rollout: str = ""  # folder or checkpoint of the agent that acts first in jump2run and its like
overrides: dict = {}  # any other setting by its dotted name, for example planner.samples
video: str = "final"  # films of evaluation: "" none, "final" one a task, "every" one each time
render: str = ""  # "human" shows evaluation episodes in a window, where there is a screen; "" none
wandb: str = ""  # "" off, "offline" or "online"
out_dir: str = ""  # run folder, empty for outputs/NAME-sSEED; see below for several seeds

# %% [markdown]
# ## The run card
#
# A misspelt parameter or a value that does not fit stops here with one line, before anything is
# trained.
#
# *Several seeds* are runs that differ in nothing else, each in a folder of its own that looks as if
# it had been trained alone. Figures about all of them go to `out_dir`, or else to
# outputs/NAME-seeds-0-1-2; the runs go beside it, to folders that end in -s0, -s1, -s2 instead.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display

from lib.algos import registry
from lib.analysis import continual, moved, probes, results
from lib.core import metrics
from lib.core.plain import escape
from lib.engine import machine
from lib.envs import worlds
from lib.experiments import run_config, runs
from lib.plotting import charts, maps, network
from lib.runner import warm_start
from lib.runner.provenance import versions
from lib.runner.record import describe

if Path.cwd().name == "notebooks":  # where JupyterLab starts; paths count from the root
    os.chdir("..")

given = {key: globals()[key] for key in run_config.PARAMETERS}
spec = runs.prepare(given, Path("outputs"))
config, folder = spec.configs[0], spec.out
figures = folder / "figures"
env = config.env
stream = worlds.resolve(env, config.tasks)  # in a grid also where each task starts and ends
where = worlds.described(env)

card = {
    "method": f"{config.method_name}: {registry.about(config)}",
    "preset": config.preset,
    "seeds" if spec.together else "seed": ", ".join(str(one.seed) for one in spec.configs),
    "device": machine.choose_device(config.device),
    "tasks": " → ".join(task.name for task in stream),
    "world": f"{where}, {env.episode_length:,} environment steps an episode",
    "environment steps": f"{config.budget.env_steps_per_task:,} per task",
    "decisions": f"{config.decisions_per_task:,} per task, action repeat {env.action_repeat}",
    "starts from": f"{load_mode} of {load_from}" if load_mode else "nothing",
    "acts first": pre_rollout or "nobody else",
    "overrides": ", ".join(f"{key} {value}" for key, value in overrides.items()) or "none",
    "folder": folder,
}
if spec.together:
    card["runs"] = ", ".join(path.name for path in spec.folders)
card["versions"] = ", ".join(f"{package} {number}" for package, number in versions().items())
Markdown(results.markdown_table(["run", config.name], card.items(), numbers=False))

# %% [markdown]
# ## Train
#
# The next cell is the only one that computes for long. It writes metrics and checkpoints as it
# goes. Stop it and run it again: it continues where it stood, all seeds at the same step. Runs that
# are finished already are not trained again, so the figures below can be redrawn at will.

# %%
summary_paths = runs.train(spec)

# %% [markdown]
# ## What came from other runs?
#
# A run may begin with parts of other runs: `load_mode parts` takes parameters by rules on their
# names (settings `transfer`), and settings such as `meta.autoencoder` take parts that then stay as
# they are. What became of every tensor: *copied*, copied and *fixed*, left *random*, a *fraction*
# of the other run's added to random numbers, or some *columns* copied. In the drawing every bar is
# a layer, from a part's input to its output. Of several seeds, the first.

# %%
taken = moved.of_run(spec.folders[0])
if taken:
    heading = f"What {config.name} began with"
    ax = network.network(moved.layers(taken), heading, moved.omega_of(taken))
    charts.save(ax, figures / "parts.png")
    header = ["tensor", "what became of it", "shape here", "in the other run"]
    display(Markdown(results.markdown_table(header, moved.rows(taken), numbers=False)))
elif load_mode:
    print(f"It began with the {load_mode} of another run as it was.")
else:
    print("Nothing: it began with random numbers alone.")

# %% [markdown]
# ## Does it learn each task?
#
# Everything from here on only reads the files in the folder. The dashed line counts as 100 %; its
# legend says what it is. In a grid that is the *exact optimum*, the best mean return that any
# behaviour can reach, by dynamic programming. For a simulated body nobody knows it, so the line is
# the *most an episode can pay*, which the best behaviour may well stay below. Expect each curve to
# climb towards its line. A curve that stays flat means that the task was not learnt, and what
# follows then says little about remembering it.
#
# With three seeds or more a line is the interquartile mean, and its band the 95 % stratified
# bootstrap interval over seeds; two are drawn one by one. What can only be drawn of one run is
# drawn of the first seed, and says so.

# %%
every = [results.load_run(path) for path in spec.folders]
learnt = warm_start.checkpoint_of(str(spec.folders[0]))
can = warm_start.trained_agent(learnt, torch.device("cpu")).capabilities()
run, group = every[0], results.Group(every[0].method, tuple(every))
yardstick, many = run.yardstick, len(run.tasks)
of_all = f", mean of {len(every)} seeds" if spec.together else ""
of_first = f", seed {run.seed}" if spec.together else ""
if dropped := sum(one.summary.get("dropped_episodes", 0) for one in every):
    print(f"Episodes in which the simulation broke, played again or left out: {dropped}.")
figure, axes = plt.subplots(
    1, many, figsize=(3.3 * many + 1.6, 3.2), layout="constrained", squeeze=False
)
for ax, task, best in zip(axes[0], run.tasks, run.optimum, strict=True):
    mine = {run.method: group.curve(task)}
    look = {"legend": "", "optimum_name": yardstick.name}
    title = task if run.background == "plain" else f"{task}\nbefore {run.background}"
    charts.learning_curves(mine, best, title=title, ax=ax, **look)
charts.legend_apart(axes[0, 0], "figure")
charts.save(axes[0, 0], figures / "learning_curves.png")

# %%
finals = group.stack("final_return")  # (seeds, tasks)
ax = charts.return_bars(
    run.tasks,
    {run.method: finals},
    run.optimum,
    "At the task's end",
    optimum_name=yardstick.name,
)
charts.save(ax, figures / "final_returns.png")
if spec.together:
    rows = [[f"seed {one.seed}", *(f"{value:.1f}" for value in one.final_return)] for one in every]
    rows.append(["all", *(results.table_cell(values, ".1f") for values in finals.T)])
    header = ["return at the task's end", *run.tasks]
    display(Markdown(results.markdown_table(header, rows).replace("nan", "–")))

# %% [markdown]
# ## What is left of earlier tasks?
#
# After each task, every task learnt so far is played again: planning uses the world model as it
# is *now*, with the reward and value networks saved at the end of that task. A row is a moment,
# a column a task. Reading down a column shows forgetting.
#
# Tables say the same in numbers, of returns and, where a world knows what success is, of the share
# of episodes that were at the goal at their last step and at any. Tasks that only got the agent
# ready (pre-training) are no part of the stream: what is left of them stands at the end of a row.

# %%
performances = group.stack("performance")  # (seeds, tasks, tasks)
performance = performances.mean(0)
heading = f"Return matrix, {run.method}{of_all}"
ax = charts.return_matrix(performance, run.tasks, heading, label=yardstick.share)
charts.save(ax, figures / "return_matrix.png")
told = [results.markdown_table(*table) for table in continual.tables([group]).values()]
Markdown("\n\n".join(told))

# %% [markdown]
# ## For which task is it taken?
#
# An agent that nobody tells which task it acts infers it from what it sees. A row is the task of
# held-out episodes, a column what they are taken for at their end, after the last task; off the
# diagonal another task's module acts. Of several seeds, the mean.

# %%
taken = [one.audit_arrays(many - 1).get("inferred_as") for one in every]
if all(found is not None for found in taken):
    heading = f"What episodes are taken for, {run.method}{of_all}"
    look = {"label": "share of episodes", "xlabel": "taken for", "ylabel": "episodes of"}
    ax = charts.return_matrix(np.mean(taken, 0), run.tasks[run.prepares :], heading, **look)
    charts.save(ax, figures / "inferred_tasks.png")
else:
    print(f"Method '{run.method}' infers no task: it is told, or acts all alike.")

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
measure, met = run.measures[0], group.stack("met")  # (seeds, tasks, tasks)
if np.isfinite(met).any():
    ax = charts.retention_curves(
        {f"{measure.of} {task}": met[:, :, j] for j, task in enumerate(run.tasks)},
        title=f"One-step prediction, {run.method}",
        ylabel=measure.axis,
        log=measure.log,
    )
    charts.save(ax, figures / "retention_met.png")
else:
    print("This world has no audit of the transitions met.")

# %% [markdown]
# The other things that this audit measures, if there are any. The *unexplained share* sets every
# error against the variance of the change that was to be predicted: 0 is perfect, 1 no better than
# always predicting the mean change, and more is worse than that. The *prediction score* is the
# mean of −log of the error, so that a few transitions with huge errors, such as a foot hitting the
# ground, do not decide it.


# %%
def cell(kind, scores):
    """One number of every seed as a cell of a table."""
    return kind.cell(scores) if spec.together else kind.value(scores[0])


for other in run.measures[1:]:
    values = group.stack("met", other.quantity)
    rows = [
        [task, *(cell(other, values[:, k, j]) for j in range(many))]
        for k, task in enumerate(run.tasks)
    ]
    header = [f"{other.axis} after", *(f"{other.of} {task}" for task in run.tasks)]
    display(Markdown(results.markdown_table(header, rows)))

# %% [markdown]
# ## Are whole plans right?
#
# A planner that tries action sequences feeds predictions back, and a small error that is harmless
# in one step may add up. A *phantom plan* is a sequence that is promised clearly more than it pays:
# the planner follows it and earns nothing, though every single step may be predicted well. In a
# grid the most promising of all sequences is examined from every state that the task is acted in;
# elsewhere the sequences of evaluation episodes are. The *regret* is what the best sequence would
# pay beyond the most promising one. The last columns say how predictions hold so many steps ahead.

# %%
quantities = run.plan_quantities
own, last = ([group.stack(way, name) for name in quantities] for way in ("own_plans", "plans"))
late = [found[:, -1] for found in last]  # (seeds, tasks), after the last task
for when, values in (("task's own end", own), ("end of the run", late)) if quantities else ():
    rows = []
    for k, task in enumerate(run.tasks):
        each = [found[:, k] for found in values]  # (seeds,)
        as_text = results.table_cell if spec.together else lambda one, form: f"{one[0]:{form}}"
        rows.append([task, *(as_text(one, ".2f") for one in each)])
    header = [f"plans at the {when}", *(name.replace("_", " ") for name in quantities)]
    display(Markdown(results.markdown_table(header, rows).replace("nan", "–")))
if not quantities:
    print(f"Method '{run.method}' does not search, so it has no plans to be examined.")

# %% [markdown]
# Where the world has rooms, over *all* transitions of each of them, whether the agent ever took
# them or not. Rooms that no task has visited yet stand near zero.

# %%
rooms, accuracy = run.rooms(), group.stack("by_room")  # (seeds, tasks, rooms)
if rooms:
    header = [f"{measure.axis} after", *rooms]
    rows = [
        [run.tasks[k], *(cell(measure, scores) for scores in accuracy[:, k].T)]
        for k in range(accuracy.shape[1])
    ]
    display(Markdown(results.markdown_table(header, rows)))

# %% [markdown]
# Where the error sits. In a grid, on the map: squared error of the predicted observation, averaged
# over headings and actions, on one logarithmic scale. Dark is known, bright is not. For a body, by
# number of the observation, positions first and velocities after them. Of several seeds, the first.

# %%
audits = [run.audit_arrays(k) for k in range(len(run.tasks))]
drawn = [k for k, found in enumerate(audits) if "cells" in found]
listed = [k for k, found in enumerate(audits) if "error" in found and k not in drawn]
titles = [f"after {run.tasks[k]}{of_first}" for k in drawn]
if drawn:
    cells = audits[drawn[0]]["cells"]
    ax = maps.boundary_maps(
        cells, [audits[k]["error"] for k in drawn], titles, "squared error", log=True
    )[0]
    charts.save(ax, figures / "model_error.png")
    ax = maps.boundary_maps(
        cells, [audits[k]["right"] for k in drawn], titles, "right-cell accuracy", low=0, high=1
    )[0]
    charts.save(ax, figures / "model_accuracy.png")
    for k in [k for k in drawn if f"plans_excess_{k}" in audits[k]]:
        own = audits[k]["met"][k].any(-1)
        excess = np.where(own, audits[k][f"plans_excess_{k}"], np.nan)
        heading = f"Plans {titles[drawn.index(k)]}, phantoms framed"
        ax = maps.plans_map(cells, excess, audits[k][f"plans_phantom_{k}"], heading)
        charts.save(ax, figures / f"plans_{k + 1}.png")
if listed:
    first = [audits[k]["error"][0] for k in listed]
    ax = charts.series(
        {
            f"after {run.tasks[k]}": (np.arange(1, len(error) + 1), error)
            for k, error in zip(listed, first, strict=True)
        },
        "number in the observation",
        "mean squared error",
        f"What was held out in {run.tasks[0]}{of_first}",
        log=True,
    )
    charts.save(ax, figures / "model_error_by_number.png")

# %% [markdown]
# ## Can one tell where its imagination is wrong?
#
# A Dreamer learns its behaviour from imagined rollouts, right or wrong. Its trust signal is the
# *disagreement* of a small ensemble: heads that are fitted to predict the next state from a state
# and an action on replayed episodes, after the model itself has been trained. The model then
# imagines from records of held-out episodes on, told the actions alone, and every
# imagined state has a disagreement and a true error: that of the decoder, or the KL of what is
# seen from what was imagined where nothing is decoded. If the signal is good, the line rises from
# the fifth of states with the least disagreement to the fifth with the most. Both also grow with
# the steps imagined, so the table gives the rank correlation a second time, among states equally
# many steps ahead: near 0 means that the signal only counts steps. After the last task; of several
# seeds, the figure shows the first and the table means.

# %%
by_fifth = audits[-1].get("trust_error")  # (tasks, fifths)
if by_fifth is not None and np.isfinite(by_fifth).any():
    fifths = np.arange(1, by_fifth.shape[1] + 1)
    ax = charts.series(
        {
            f"held out in {task}": (fifths, row)
            for task, row in zip(run.tasks, by_fifth, strict=True)
        },
        "fifth of disagreement, the least first",
        "mean open-loop error",
        f"Trust in what is imagined, after {run.tasks[-1]}{of_first}",
    )
    ax.set_xticks(fifths)
    charts.save(ax, figures / "trust_calibration.png")
    told = {
        "trust_rank": "rank correlation",
        "trust_rank_by_step": "equally far ahead",
        "error_trusted": "error, least disagreement",
        "error_distrusted": "most disagreement",
        "disagreement": "mean disagreement",
    }
    found = [group.stack("met", name)[:, -1].mean(0) for name in told]  # (tasks,) each
    rows = [[task, *(f"{one[j]:.3g}" for one in found)] for j, task in enumerate(run.tasks)]
    table = results.markdown_table(["held out in", *told.values()], rows)
    display(Markdown(table.replace("nan", "–")))
else:
    print(f"Method '{run.method}' has no such ensemble, or no episode was long enough.")

# %% [markdown]
# ## What does it dream of?
#
# Methods with a generator rehearse on state-action pairs that it invents. Dreams should cover
# what the agent met (blue) and stay out of what it never saw (purple). Coverage that shrinks
# from task to task is the generator's own forgetting. Only a grid can be listed state by state, so
# only there can dreams be counted. Of several seeds, the first.

# %%
dreamers = [k for k in drawn if "dream_count" in audits[k]]
if dreamers:
    last = audits[dreamers[-1]]
    ax = maps.coverage_map(cells, last["met"].any(0), last["dream_count"], f"Dreams {titles[-1]}")
    charts.save(ax, figures / "dream_coverage.png")
    rows = [
        [run.tasks[k]]
        + [f"{run.audit[k].get(key, np.nan):.2f}" for key in ("dream/valid", "dream/met")]
        + [f"{run.audit[k].get(f'dream/met-{task}/coverage', np.nan):.2f}" for task in run.tasks]
        for k in dreamers
    ]
    header = [f"after{of_first}", "on free cells", "met before"]
    header += [f"coverage of {task}" for task in run.tasks]
    display(Markdown(results.markdown_table(header, rows).replace("nan", "–")))
elif can.generate:
    print(f"Method '{run.method}' rehearses dreams, but they cannot be counted in this world.")
else:
    print(f"Method '{run.method}' has no generator, so there are no dreams to show.")

# %%
if dreamers:
    named = [room for room in rooms if f"dream/{room}/share" in run.audit[dreamers[-1]]]
    shares = {
        f"after {run.tasks[k]}": [run.audit[k][f"dream/{room}/share"] for room in named]
        for k in dreamers
    }
    ax = charts.share_bars(named, shares, "share of all dreams", f"Where the dreams lie{of_first}")
    charts.save(ax, figures / "dream_rooms.png")

# %% [markdown]
# ## Where does the reviewer want to go?
#
# A reviewer is paid for transitions that the old model predicts well and the current one does
# not. In a grid, orange cells attract it, purple ones repel it. From the second task on, expect
# orange in rooms learnt before. Of several seeds, the first.

# %%
reviewers = [k for k in drawn if "intrinsic" in audits[k]]
for k in reviewers:
    heading = f"Review reward, end of {run.tasks[k]}{of_first}"
    ax = maps.reward_map(cells, audits[k]["intrinsic"], heading)
    charts.save(ax, figures / f"review_reward_{k + 1}.png")
reviews = can.review_rule is not None and can.review_rule.used
if not reviewers and reviews and not drawn and (many > 1 or load_mode):
    print(f"Method '{run.method}' has a reviewer, but this world has no map of its rewards.")
elif not reviewers:
    print(f"There was no reviewer: method '{run.method}' has none, or there was only one task.")

# %% [markdown]
# ## How did training go?
#
# What is told of the world model while it trains: a *prediction score* is −log of the squared error
# over a whole planning window, so higher is better; of a *loss*, lower is. Dotted lines are task
# switches. A sudden jump late in a task would be an unstable update.

# %%
told = ("train/learner/score", "train/model/total")
quantity = next((name for name in told if len(run.series(name)[0])), told[0])
scores = {f"seed {one.seed}": one.series(quantity, gaps=True) for one in every}
ends = np.cumsum([run.curves[task][0][-1] for task in run.tasks])
if all(len(score) for _, score in scores.values()):
    ax = charts.series(
        scores,
        "environment steps of the whole run",
        describe(quantity).label,
        "World model on the batches that it learns from",
        boundaries=ends[:-1],
    )
    charts.save(ax, figures / "prediction_score.png")

# %% [markdown]
# ## Every task, all the time
#
# Where all tasks are looked at at every evaluation (`budget.eval_tasks`), their returns along the
# whole run: a task is being learnt between its own two dotted lines. Rising before its time is
# transfer, falling after it is forgetting. Of several seeds, the mean.

# %%
watched = [one.summary.get("monitor") or {} for one in every]
if all(watched):
    curves = {
        task: (
            watched[0][task]["env_steps"],
            np.mean([one[task]["return"] for one in watched], axis=0),
        )
        for task in run.tasks
        if task in watched[0]
    }
    heading = f"Evaluation of every task{of_all}"
    label = "mean return of an episode"
    ax = charts.series(
        curves, "environment steps of the whole run", label, heading, boundaries=ends[:-1]
    )
    charts.save(ax, figures / "every_task.png")
else:
    print("Only the task being learnt was looked at on the way.")

# %% [markdown]
# ## Which part forgot?
#
# A return that falls does not say what was lost. So every part of the agent is asked, at every
# evaluation, about episodes that were held out of earlier tasks: does the *world model* still
# predict what is seen, the *reward* what was paid, does the *critic* still expect what the episode
# went on to earn, and would the *actor* do what was done when the task had been learnt? Of several
# seeds, the mean.

# %%
parts = probes.along(every)
if parts:
    size = (3.6 * len(parts), 3.6)
    _, axes = plt.subplots(1, len(parts), figsize=size, layout="constrained", squeeze=False)
    steps = "environment steps of the whole run"
    for ax, (part, (label, curves)) in zip(axes[0], parts.items(), strict=True):
        charts.series(curves, steps, label, part, boundaries=ends[:-1], legend="", ax=ax)
        ax.yaxis.label.set_fontsize(8)
    charts.legend_apart(axes[0, 0], "figure")
    charts.save(axes[0, 0], figures / "which_part_forgot.png")
else:
    print("No part was probed: there was one task, or agents of this family are not.")

# %% [markdown]
# ## What is kept of the past?
#
# Where a replay outlives its task, the share of every task in it. First in, first out keeps the
# newest; a reservoir keeps every episode with the same chance. Of several seeds, the first.

# %%
held = {task: run.series(f"train/replay/share-{j + 1}") for j, task in enumerate(run.tasks)}
if all(len(steps) for steps, _ in held.values()):
    steps = held[run.tasks[0]][0]
    shares = {task: share for task, (_, share) in held.items()}
    ax = charts.composition(steps, shares, f"What the replay holds{of_first}", ends[:-1])
    charts.save(ax, figures / "composition.png")
else:
    print("Each task had a replay of its own.")

# %% [markdown]
# ## What it looks like
#
# One evaluation episode of each task, filmed when the task ended, and the same again with what
# the world model imagined (blue) when it was given the actions but not the outcomes: where it knows
# the task, the blue body hides behind the real one. In a grid, the last figure
# follows four episodes of every task from start (S) to goal (G), played after the last task with
# the final world model. Of several seeds, the first; films of the others lie in their folders.

# %%
films = sorted((run.folder / "videos").glob("*[0-9].mp4"))
newest = {path.stem.rpartition("-")[0]: path for path in films}  # number-task-steps, by task
if films:
    from lib.plotting.video import embed

    for path in newest.values():
        imagined = path.with_stem(f"{path.stem}-imagined")
        for film in (path, imagined):
            if film.exists():
                display(Markdown(f"`{escape(film.name)}`"), embed(film))
    if len(films) > len(newest):
        print(f"{len(films) - len(newest)} earlier ones lie in {run.folder / 'videos'}.")
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
    charts.save(axes[0, 0], figures / "trajectories.png")

# %% [markdown]
# ## Touch it
#
# Lines for a notebook of your own; each shows a picture with sliders.

# %%
first = spec.folders[0]
lines = [
    f"viewer.rollout({str(first)!r})  # an episode: what happens beside what the model believes"
]
if can.search:
    lines += [f"viewer.plans({str(first)!r})  # what the planner tries and keeps, at every step"]
if run.audit:
    lines += [f"viewer.retention({str(first)!r})  # what the world model knows after every task"]
if reviews and env.domain == "grid" and len(stream) > 1:
    lines += [f"viewer.review({str(first)!r})  # where the reviewer is drawn to"]
lines += [
    f"viewer.browse({str(first.parent)!r})  # curves of all runs there, also while they go on"
]
print("from lib import viewer", *lines, sep="\n")

# %% [markdown]
# ## What we saw
#
# Of several seeds, means; of the world model's measures, interquartile means.


# %%
def middle(scores):
    """What the seeds come to together; NaN where one is unknown."""
    return measure.estimate(scores).point if np.isfinite(scores).all() else np.nan


final, left = finals.mean(0), measure.left_of(met)
share = final / run.optimum
rows = [
    [
        task,
        f"{final[j]:.1f} of {run.optimum[j]:.1f}",
        f"{share[j]:.0%}",
        f"{performance[-1, j]:.0%}",
        measure.value(middle(met[:, j, j])),
        measure.value(middle(met[:, -1, j])),
        measure.remains(middle(left[:, -1, j])),
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
if many > 1 and np.isfinite(left[:, -1, 0]).all():
    print(measure.sentence(run.tasks[0], middle(left[:, -1, 0]), many))
if not spec.together:
    print("One seed shows no spread: repeat with other seeds before comparing methods.")
elif len(every) < metrics.FEWEST_SEEDS:
    print(f"Intervals over seeds need {metrics.FEWEST_SEEDS} of them.")

# %% [markdown]
# **Where it fails.** One seed can be lucky. In a grid the audit counts all transitions alike, also
# those that no good behaviour needs, and accuracy on a shrunk grid says nothing about larger
# worlds. For a body the audit knows only where the agent's own evaluation went, so the model of a
# task that was never learnt can look good on it.
#
# **What to try.** Another method on the same stream (`-p method=tdmpc`), more seeds
# (`-p seeds=0,1,2`), then `python -m lib compare` to see them side by side in notebook 21.
