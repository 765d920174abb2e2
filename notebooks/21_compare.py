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
# # 21 · Compare runs
#
# **Question.** Which method learns best, and which forgets least, and by more than chance?
#
# This notebook reads finished runs and draws them side by side; it trains nothing and takes
# seconds. From the command line:
#
#     python -m lib compare outputs/drago-grid-quick-s0 outputs/tdmpc-grid-quick-s0
#
# Runs that differ only in their seed form a group. Chapter assumed: 20.

# %% tags=["parameters"]
runs: list = []  # run folders; empty for every finished run in outputs
out_dir: str = "outputs/compare"  # figures and tables are saved here

# %%
import json
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display

from lib.analysis import (
    component_retention,
    continual,
    first_task,
    measures,
    published,
    results,
    shared_transitions,
    whole_runs,
)
from lib.core import metrics
from lib.core.errors import UserError
from lib.core.files import atomic_write
from lib.core.plain import escape
from lib.plotting import charts, intervals, maps

if Path.cwd().name == "notebooks":  # where JupyterLab starts; paths count from the root
    os.chdir("..")

folder = Path(out_dir)
if runs:
    found, left_out = [results.load_run(path) for path in runs], []
else:
    found, left_out = results.complete_runs("outputs")
for line in left_out:
    print("left out:", line)
if not found:
    print("There is no finished run yet. Start one with: python -m lib run NAME")

# %% [markdown]
# ## What there is
#
# Only runs of one preset and one stream of tasks can be compared, so each such *world* gets its
# own figures. Intervals are 95 % stratified bootstrap over seeds, points are interquartile means,
# of the logarithm where an axis is logarithmic. They need three seeds; with fewer the table says
# so and curves are drawn one by one. A *decision* is an action chosen; where the action is held
# for several environment steps, there are fewer decisions than steps.


# %%
def world(group):
    """What must agree before numbers can be compared."""
    one = group.first
    return one.preset, one.tasks, one.background, tuple(np.nan_to_num(one.optimum))


groups = results.group_runs(found)
worlds = {}
for group in groups:
    worlds.setdefault(world(group), []).append(group)
names = [
    f"{preset}, {' → '.join(tasks)}" + (f", before {ground}" if ground != "plain" else "")
    for preset, tasks, ground, _ in worlds
]
slugs = [f"world-{i + 1}" if len(worlds) > 1 else "" for i in range(len(worlds))]


def each_world():
    """Title, folder for figures and groups of every world."""
    return zip(names, [folder / slug for slug in slugs], worlds.values(), strict=True)


for title, _, members in each_world():
    rows = [
        [
            group.label,
            len(group.runs),
            ", ".join(str(run.seed) for run in group.runs),
            f"{group.env_steps:,}",
            f"{group.decisions:,}",
            ", ".join(run.name for run in group.repeated) or "–",
        ]
        for group in members
    ]
    header = ["method", "seeds", "which", "environment steps", "decisions"]
    header += ["left out, seed already there"]
    display(Markdown(f"**{escape(title)}**\n\n" + results.markdown_table(header, rows)))

# %% [markdown]
# ## Learning curves
#
# Return while a task is being learnt, against the return that counts as 100 %: the exact optimum
# in a grid; for a simulated body, where nobody knows it, the most that an episode can pay. Methods
# with a reviewer spend half of these environment steps on reviewing, which the axis counts.


# %%
def panels(task_names, **kwargs):
    """A figure with one axes per task, two beside each other, and room for a legend."""
    columns = min(2, len(task_names))
    height = -(-len(task_names) // columns)
    size = (5.0 * columns + 2.2, 3.1 * height)
    figure, axes = plt.subplots(
        height, columns, figsize=size, layout="constrained", squeeze=False, **kwargs
    )
    for ax in axes.flat[len(task_names) :]:
        ax.axis("off")
    return figure, axes


def legend_beside(figure, ax, title):
    """The legend of one axes for the whole figure, and its title."""
    charts.legend_apart(ax, "figure")
    figure.suptitle(charts.literal(title), fontsize=11)


for title, figures, members in each_world():
    first = members[0].first
    figure, axes = panels(first.tasks)
    for ax, task, best in zip(axes.flat, first.tasks, first.optimum, strict=False):
        curves = {group.label: group.curve(task) for group in members}
        line = {"optimum_name": first.yardstick.name}
        charts.learning_curves(curves, best, title=task, legend="", ax=ax, **line)
    legend_beside(figure, axes[0, 0], title)
    charts.save(axes[0, 0], figures / "learning_curves.png")

# %%
for title, figures, members in each_world():
    first = members[0].first
    finals = {group.label: group.stack("final_return") for group in members}
    heading, line = "Return when the task's training ended", first.yardstick.name
    ax = charts.return_bars(first.tasks, finals, first.optimum, heading, optimum_name=line)
    charts.save(ax, figures / "final_returns.png")
    rows = [
        [name, *(results.table_cell(row) for row in (values / first.optimum).T)]
        for name, values in finals.items()
    ]
    header = [f"{first.yardstick.share} at the task's end", *first.tasks]
    display(Markdown(f"**{escape(title)}**\n\n" + results.markdown_table(header, rows)))

# %% [markdown]
# ## Whole runs
#
# The returns of all evaluations of a task, and of the last tenth of them. The first two columns are
# how the authors of transfer from several sources tell it (Sasso, Sabatelli and Wiering, TMLR
# 2023): mean and standard deviation over runs and evaluations, which is no error of the mean. Then
# means of single runs, with an interval over runs; the area under the curve (the mean return over
# environment steps), and the last evaluation. *Begin with* says what runs took of others, and *of*
# of which. Lines of others are read at our environment steps, ~ between two of their milestones.

# %%
for title, figures, members in each_world():
    first, tables = members[0].first, []
    figure, axes = plt.subplots(
        len(first.tasks),
        2,
        figsize=(10.4, (1.0 + 0.4 * len(members)) * len(first.tasks)),
        layout="constrained",
        squeeze=False,
    )
    for row, task in zip(axes, first.tasks, strict=True):
        theirs = published.curves(task, first.background)
        header, lines = whole_runs.table(members, task, theirs)
        if lines:
            tables.append(f"*{escape(task)}*\n\n" + results.markdown_table(header, lines))
            tables.append(results.markdown_table(*whole_runs.by_run(members, task)))
        known = {group.label: whole_runs.of_group(group, task) for group in members}
        known = {label: runs for label, runs in known.items() if runs}
        overall = {label: runs.overall.of_runs for label, runs in known.items()}
        last = {label: runs.last.of_runs for label, runs in known.items()}
        look = {"xlabel": "mean return of a run", "title": f"{task}, all evaluations"}
        intervals.interval_rows(overall, ax=row[0], **look)
        look |= {"title": "the last tenth", "names": False}
        intervals.interval_rows(last, ax=row[1], **look)
    figure.suptitle(charts.literal(title), fontsize=11)
    charts.save(axes[0, 0], figures / "whole_runs.png")
    (figures / "whole_runs.md").write_text("\n\n".join(tables) + "\n")
    display(Markdown("\n\n".join([f"**{escape(title)}**", *tables])))

# %% [markdown]
# ## The first task, all the time
#
# Where runs look at all tasks at every evaluation (`budget.eval_tasks`): the return on the first
# one along the whole run. Dotted lines are task switches; what falls behind the first is forgotten.

# %%
for title, figures, members in each_world():
    watched = [group for group in members if all(run.summary.get("monitor") for run in group.runs)]
    if not watched:
        print(f"{title}: only the task being learnt was looked at on the way.")
        continue
    task = watched[0].first.tasks[0]
    curves = {}
    for group in watched:
        looked = [run.summary["monitor"][task] for run in group.runs]
        curves[group.label] = (
            np.array(looked[0]["env_steps"], float),
            np.array([one["return"] for one in looked], float),
        )
    first = watched[0].first
    line = {"optimum_name": first.yardstick.name}
    ax = charts.learning_curves(curves, first.optimum[0], title=f"{task}, {title}", **line)
    ends = np.cumsum([first.curves[name][0][-1] for name in first.tasks])
    for end in ends[:-1]:
        ax.axvline(end, color="grey", linestyle=":", linewidth=1)
    ax.set_xlabel("environment steps of the whole run")
    charts.save(ax, figures / "first_task.png")
    rows = [
        [label, *(results.table_cell(values[:, -3:].mean(1)) for values in [returns])]
        for label, (_, returns) in curves.items()
    ]
    header = [f"return on {task}", "mean of the last three evaluations"]
    display(Markdown(results.markdown_table(header, rows)))

# %% [markdown]
# ## Beside published curves
#
# Others have learnt some of these tasks, with the same rewards, and published their curves; grey
# lines are theirs, with the standard deviation over their runs. Compare at equal environment steps,
# never at the ends: theirs go on for millions, and TD-MPC collapses late on some tasks. The axis is
# logarithmic, so that a short curve of ours stays readable. Theirs learn each task from nothing;
# ours carry a world model from one task to the next. Returns before generated clips are not
# comparable with those before films of drives, which are drawn beside them.

# %%
for title, figures, members in each_world():
    ground = members[0].first.background
    theirs = {task: published.curves(task, ground) for task in members[0].first.tasks}
    theirs = {task: curves for task, curves in theirs.items() if curves}
    if not theirs:
        print(f"{title}: nothing published about these tasks.")
        continue
    where = published.sources(sum(theirs.values(), ()))
    figure, axes = panels(theirs, sharey=True)
    for ax, (task, curves) in zip(axes.flat, theirs.items(), strict=False):
        ours = {group.label: group.curve(task) for group in members}
        grey = {f"{c.method}, published": (c.env_steps, c.mean, c.std) for c in curves}
        charts.beside_published(ours, grey, title=task, ax=ax)
    legend_beside(figure, axes[0, 0], title)
    behind = "" if ground == published.PLAIN else f"; theirs before films, ours before {ground}"
    figure.supxlabel(f"grey: mean and standard deviation over runs, {where}{behind}", fontsize=8)
    charts.save(axes[0, 0], figures / "published.png")

    rows = []
    for task, curves in theirs.items():
        for group in members:
            steps, returns = group.curve(task)
            if len(steps):
                mine = [f"{steps[-1]:,.0f}", results.table_cell(returns[:, -1], ".0f")]
                rows.append([task, group.label, *mine, *(c.cell(steps[-1]) for c in curves)])
    header = ["task", "method", "environment steps", "return of ours there"]
    header += [curve.method for curve in next(iter(theirs.values()))]
    table = results.markdown_table(header, rows)
    display(
        Markdown(
            f"**{escape(title)}**\n\n{table}\n\nPublished: mean ± standard deviation over 3 to 5 "
            f"runs, from {where}{escape(behind)}. A value with ~ lies on a straight line between "
            "two milestones of `outputs/published/milestones.csv`; learners climb faster at first."
        )
    )

# %% [markdown]
# ## Retention of the first task
#
# What the world model predicts of the first task's transitions, one step ahead, after each further
# task. In a grid these are all that the agent met, and predictions are right or wrong: *kept*
# divides the accuracy by that at the end of the first task. For a body they are held out from
# evaluation episodes, and predictions have errors: *times as large* divides the error by that at
# the end of the first task. An *unexplained share* of 1 is no better than always predicting the
# mean change. Where two intervals do not overlap, the difference is unlikely to be chance.

# %%
for title, figures, members in each_world():
    stream, measure = members[0].first.tasks, members[0].first.measures[0]
    shown = [group for group in members if np.isfinite(group.stack("met")[:, :, 0]).any()]
    if not shown:
        print(f"{title}: no audit of the transitions met.")
        continue
    ax = charts.retention_curves(
        {group.label: group.stack("met")[:, :, 0] for group in shown},
        f"World model on what was {measure.of} {stream[0]}",
        ylabel=measure.axis,
        log=measure.log,
    )
    charts.save(ax, figures / "retention.png")
    tables = []
    for measure in members[0].first.measures:
        rows = []
        for group in shown:
            met = group.stack("met", measure.quantity)
            values = (met[:, 0, 0], met[:, -1, 0], measure.left_of(met)[:, -1, 0])
            rows.append([group.label, *(measure.cell(scores) for scores in values)])
        header = [measure.axis, f"after {stream[0]}", f"after {stream[-1]}", measure.left]
        tables.append(results.markdown_table(header, rows))
    display(Markdown("\n\n".join([f"**{escape(title)}**", *tables])))

# %% [markdown]
# What a run holds out comes from its own agent, so a timid agent asks easier questions. Where
# transitions were held out, here every world model answers for those of *all* the runs above.

# %%
answers = {}
for title, figures, members in each_world():
    asked = shared_transitions.errors_by_group(members)
    if not asked:
        continue
    answers |= asked
    stream, many = members[0].first.tasks, sum(len(group.runs) for group in members)
    ax = charts.retention_curves(
        {label: errors[:, :, 0] for label, errors in asked.items()},
        f"World models on what {many} runs held out in {stream[0]}",
        ylabel=measures.ERROR.axis,
        log=True,
    )
    charts.save(ax, figures / "retention_shared.png")
    rows = [
        [label, *(measures.ERROR.cell(errors[:, k, 0]) for k in range(len(stream)))]
        for label, errors in asked.items()
    ]
    header = [measures.ERROR.axis, *(f"after {task}" for task in stream)]
    display(Markdown(f"**{escape(title)}**\n\n" + results.markdown_table(header, rows)))

# %% [markdown]
# For every task after the last one, on what each run met or held out itself; and where the world
# has rooms, over all transitions of each room, met or not.

# %%
for title, _, members in each_world():
    first, tables = members[0].first, []
    for measure in first.measures:
        rows = []
        for group in members:
            ends = group.stack("met", measure.quantity)[:, -1]  # (seeds, tasks)
            rows.append([group.label, *(measure.cell(scores) for scores in ends.T)])
        header = [f"{measure.axis} at the end, {measure.of}", *first.tasks]
        tables.append(results.markdown_table(header, rows))
    if rooms := first.rooms():
        measure, rows = first.measures[0], []
        for group in members:
            if group.first.rooms() == rooms:
                ends = group.stack("by_room")[:, -1]  # (seeds, rooms)
                rows.append([group.label, *(measure.cell(scores) for scores in ends.T)])
        header = [f"{measure.axis} at the end, all transitions of", *rooms]
        tables.append(results.markdown_table(header, rows))
    display(Markdown("\n\n".join([f"**{escape(title)}**", *tables])))

# %% [markdown]
# What planners make of their world models: states or windows whose most promising plan is a
# *phantom*, promised clearly more than it pays, at the end of each task (see notebook 20).

# %%
for title, _, members in each_world():
    shown = [group for group in members if "phantom_share" in group.first.plan_quantities]
    rows = []
    for group in shown:
        shares = group.stack("own_plans", "phantom_share")  # (seeds, tasks)
        rows.append([group.label, *(results.table_cell(share, ".1%") for share in shares.T)])
    if rows:
        header = ["share of phantom plans at the end of", *shown[0].first.tasks]
        display(Markdown(f"**{escape(title)}**\n\n" + results.markdown_table(header, rows)))

# %% [markdown]
# ## What each part keeps
#
# A fallen return does not say which part of the agent failed. Here are three, each averaged over
# all tasks learnt before: the *world model* on their transitions (as above, relative to each task's
# own end), the *generator*, which is right where it dreams of what was met, and the *policy*, the
# return when an old task is played again with its own heads and the model of today. A part that a
# method does not have, or that nobody can check in a world, has a dash.

# %%
for title, figures, members in each_world():
    parts = component_retention.of(members[0].first)
    if len(members[0].first.tasks) < 2:
        print(f"{title}: a single task, so there is nothing to keep.")
        continue
    kept = {part: {group.label: part.old_tasks(group) for group in members} for part in parts}
    kept = {
        part: {label: values for label, values in found.items() if np.isfinite(values).all()}
        for part, found in kept.items()
    }
    drawn = {part: found for part, found in kept.items() if found}
    figure, axes = plt.subplots(
        1, len(drawn), figsize=(4.4 * len(drawn), 3.5), layout="constrained", squeeze=False
    )
    for ax, (part, found) in zip(axes[0], drawn.items(), strict=True):
        look = {"log": part.log, "legend": "below"}
        charts.retention_curves(found, part.name, part.axis, first=2, ax=ax, **look)
    figure.suptitle(charts.literal(f"Of the tasks before, {title}"), fontsize=11)
    charts.save(axes[0, 0], figures / "components.png")
    rows = []
    for group in members:
        ends = [kept[part].get(group.label, np.full((1, 1), np.nan))[:, -1] for part in parts]
        rows.append([group.label, *(part.cell(end) for part, end in zip(parts, ends, strict=True))])
    header = ["of the tasks before, at the end", *(f"{part.name}: {part.axis}" for part in parts)]
    display(Markdown(f"**{escape(title)}**\n\n" + results.markdown_table(header, rows)))

# %% [markdown]
# ## Forgetting and transfer of returns
#
# Of returns, as shares of what counts as 100 %, and, where a world knows what success is, of the
# share of episodes that are at the goal at their last step and at any (Continual World counts the
# latter, L2M the former). *Forgetting* is how far a number fell between a task's own end and the
# end of the run; the *interquartile mean* over tasks leaves out the best and the worst quarter.
# *Forward transfer* compares the area under the learning curve with that of runs that learn each
# task alone, if any: 0 is no faster than these. Tasks in which agents only got ready are no part of
# the stream; they stand at the end of a row. Definitions are in `lib/core/metrics.py`.

# %%
for title, figures, members in each_world():
    told = [results.markdown_table(*table) for table in continual.tables(members).values()]
    figures.mkdir(parents=True, exist_ok=True)
    (figures / "transfer.md").write_text("\n\n".join(told) + "\n")
    display(Markdown("\n\n".join([f"**{escape(title)}**", *told])))

# %%
for _, figures, members in each_world():
    size = len(members[0].first.tasks)
    columns = min(3, len(members))
    height = -(-len(members) // columns)
    figure, axes = plt.subplots(
        height,
        columns,
        figsize=((1.2 + 0.8 * size) * columns, (1.0 + 0.6 * size) * height),
        layout="constrained",
        squeeze=False,
    )
    for ax in axes.flat[len(members) :]:
        ax.axis("off")
    for ax, group in zip(axes.flat, members, strict=False):
        mean = group.stack("performance").mean(axis=0)
        heading = f"{group.label} ({len(group.runs)} seed{'s' * (len(group.runs) > 1)})"
        charts.return_matrix(mean, group.first.tasks, heading, colorbar=False, ax=ax)
    share = members[0].first.yardstick.share
    figure.suptitle(f"Return matrices, {share}, mean over seeds", fontsize=11)
    charts.save(axes[0, 0], figures / "return_matrices.png")

# %% [markdown]
# ## For which task are episodes taken?
#
# Where agents infer which task they act: of held-out episodes of a task (row), after the last one,
# the share taken for each task (column) at their end. Off the diagonal another module acts.

# %%
for title, figures, members in each_world():
    taken = {
        group.label: [run.audit_arrays(len(run.tasks) - 1).get("inferred_as") for run in group.runs]
        for group in members
    }
    taken = {
        label: np.mean(found, 0)
        for label, found in taken.items()
        if all(one is not None for one in found)
    }
    if not taken:
        print(f"{title}: no agent infers its task.")
        continue
    stream = members[0].first.tasks[members[0].first.prepares :]
    size = ((1.6 + 0.8 * len(stream)) * len(taken), 1.4 + 0.6 * len(stream))
    figure, axes = plt.subplots(1, len(taken), figsize=size, layout="constrained", squeeze=False)
    look = {"colorbar": False, "xlabel": "taken for", "ylabel": "episodes of"}
    for ax, (label, found) in zip(axes[0], taken.items(), strict=True):
        charts.return_matrix(found, stream, label, ax=ax, **look)
    figure.suptitle("Share of episodes, mean over seeds", fontsize=11)
    charts.save(axes[0, 0], figures / "inferred_tasks.png")

# %% [markdown]
# ## Retention on the map
#
# Where the world has a map: right-cell accuracy per cell after the last task, first seed of each
# group.

# %%
for _, figures, members in each_world():
    shown = []
    for group in members:
        arrays = group.first.audit_arrays(len(group.first.tasks) - 1)
        if "right" in arrays:
            shown.append((group.label, arrays["cells"], arrays["right"]))
    for start in range(0, len(shown), 4):
        part = shown[start : start + 4]
        ax = maps.boundary_maps(
            part[0][1],
            [right for _, _, right in part],
            [label for label, _, _ in part],
            "right-cell accuracy",
            low=0,
            high=1,
        )[0]
        charts.save(ax, figures / f"accuracy_maps_{start // 4 + 1}.png")

# %% [markdown]
# ## What the final models imagine of the first task
#
# The agent that had just learnt the first task acts. From one moment on, the final world model of
# each group's first run is told the actions but not what came of them; the blue ghost is where it
# believes the body to be. It hides behind the real one where the model still knows the task. Times
# are environment steps of the episode.

# %%
for title, figures, members in each_world():
    firsts = [group.first for group in members]
    if len(members[0].first.tasks) < 2 or not all(map(first_task.can_be_drawn, firsts)):
        continue
    try:
        strips, times = first_task.pictures(firsts)
    except UserError as error:
        print(f"{title}: no pictures, {error}")
        continue
    high = len(members)
    figure, axes = plt.subplots(
        high, 1, figsize=(10.0, 2.1 * high), layout="constrained", squeeze=False
    )
    for ax, group, strip in zip(axes[:, 0], members, strips, strict=True):
        charts.filmstrip(strip, times, len(times), group.label, ax=ax)
    charts.save(axes[0, 0], figures / "imagined.png")

# %% [markdown]
# ## The same as data
#
# Estimates, and what every seed measured, with hardware, commit and command.
#
# To overlay any curves of any runs, also of some still going on, end a cell with
# `viewer.browse("outputs")` after `from lib import viewer`.

# %%
folder.mkdir(parents=True, exist_ok=True)
atomic_write(
    folder / "comparison.json", json.dumps(results.comparison(groups, answers), indent=1) + "\n"
)
print(f"{len(found)} runs written to", folder / "comparison.json")

# %% [markdown]
# ## What we saw

# %%
for title, _, members in each_world():
    measure = members[0].first.measures[0]
    ends = {group.label: group.stack("met")[:, -1, 0] for group in members}
    ends = {name: values for name, values in ends.items() if np.isfinite(values).all()}
    if len(ends) < 2:
        print(f"{title}: one method, so there is nothing to compare it with.")
        continue
    estimates = {name: measure.estimate(values) for name, values in ends.items()}
    ranked = measure.ranked(estimates)
    best, second = estimates[ranked[0]], estimates[ranked[1]]
    print(f"{title}: after the last task, {ranked[0]} predicts best what was {measure.of} the")
    print(f"  first ({measure.name} {best.text(measure.form)}), ahead of {ranked[1]}")
    print(f"  ({second.text(measure.form)}).")
    if best.has_interval and second.has_interval:
        apart = best.low > second.high or best.high < second.low
        print(f"  The intervals {'do not overlap' if apart else 'overlap'}.")
    else:
        print(f"  At least {metrics.FEWEST_SEEDS} seeds each are needed to tell this from chance.")
