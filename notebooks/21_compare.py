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

from lib import maps, metrics, plots, results
from lib.runner.files import atomic_write

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
    print("There is no finished run yet. Start one with: python -m lib run params/NAME.yaml")

# %% [markdown]
# ## What there is
#
# Only runs of one preset and one stream of tasks can be compared, so each such *world* gets its
# own figures. Intervals are 95 % stratified bootstrap over seeds, points are interquartile means.
# They need three seeds; with fewer the table says so and curves are drawn one by one.


# %%
def world(group):
    """What must agree before numbers can be compared."""
    return group.first.preset, group.first.tasks, tuple(np.nan_to_num(group.first.optimum))


groups = results.group_runs(found)
worlds = {}
for group in groups:
    worlds.setdefault(world(group), []).append(group)
names = [f"{preset}, {' → '.join(tasks)}" for preset, tasks, _ in worlds]
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
            ", ".join(run.name for run in group.repeated) or "–",
        ]
        for group in members
    ]
    header = ["method", "seeds", "which", "left out, seed already there"]
    display(Markdown(f"**{title}**\n\n" + results.markdown_table(header, rows)))

# %% [markdown]
# ## Learning curves
#
# Return while a task is being learnt, against the exact optimum. Methods with a reviewer spend
# half of these environment steps on reviewing, which the axis counts.

# %%
for title, figures, members in each_world():
    task_names, optimum = members[0].first.tasks, members[0].first.optimum
    columns = min(2, len(task_names))
    height = -(-len(task_names) // columns)
    figure, axes = plt.subplots(
        height,
        columns,
        figsize=(5.0 * columns + 2.2, 3.1 * height),
        layout="constrained",
        squeeze=False,
    )
    for ax in axes.flat[len(task_names) :]:
        ax.axis("off")
    for ax, task, best in zip(axes.flat, task_names, optimum, strict=False):
        curves = {group.label: group.curve(task) for group in members}
        plots.learning_curves(curves, best, title=task, legend=False, ax=ax)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=11)
    plots.save(axes[0, 0], figures / "learning_curves.png")

# %%
for title, figures, members in each_world():
    task_names, optimum = members[0].first.tasks, members[0].first.optimum
    finals = {group.label: group.stack("final_return") for group in members}
    ax = plots.return_bars(task_names, finals, optimum, "Return when the task's training ended")
    plots.save(ax, figures / "final_returns.png")
    rows = [
        [label, *(results.table_cell(values[:, j] / optimum[j]) for j in range(len(task_names)))]
        for label, values in finals.items()
    ]
    header = ["share of the optimum at the task's end", *task_names]
    display(Markdown(f"**{title}**\n\n" + results.markdown_table(header, rows)))

# %% [markdown]
# ## Retention of the first task
#
# Right-cell accuracy of the world model on the transitions that the agent met in the first task,
# after each further task. *Kept* divides by the accuracy at the end of the first task. Where two
# intervals do not overlap, the difference is unlikely to be chance.

# %%
for title, figures, members in each_world():
    stream = members[0].first.tasks
    curves = {group.label: group.stack("met")[:, :, 0] for group in members}
    curves = {label: values for label, values in curves.items() if np.isfinite(values).any()}
    if not curves:
        print(f"{title}: no audit of the transitions met.")
        continue
    heading = f"World model on what it met in {stream[0]}"
    plots.save(plots.retention_curves(curves, heading), figures / "retention.png")
    rows = [
        [
            label,
            results.table_cell(values[:, 0]),
            results.table_cell(values[:, -1]),
            results.table_cell(values[:, -1] / values[:, 0]),
        ]
        for label, values in curves.items()
    ]
    header = ["accuracy on transitions met", f"after {stream[0]}", f"after {stream[-1]}", "kept"]
    display(Markdown(f"**{title}**\n\n" + results.markdown_table(header, rows)))

# %% [markdown]
# The same for every task, and over all transitions of each room, met or not, after the last task.

# %%
for title, _, members in each_world():
    stream = members[0].first.tasks
    rows = [
        [g.label, *(results.table_cell(g.stack("met")[:, -1, j]) for j in range(len(stream)))]
        for g in members
    ]
    header = ["accuracy at the end, transitions met in", *stream]
    display(Markdown(f"**{title}**\n\n" + results.markdown_table(header, rows)))
    rooms = members[0].first.rooms()
    rows = [
        [g.label, *(results.table_cell(g.stack("by_room")[:, -1, r]) for r in range(len(rooms)))]
        for g in members
        if g.first.rooms() == rooms and rooms
    ]
    header = ["accuracy at the end, all transitions of", *rooms]
    display(Markdown(results.markdown_table(header, rows)))

# %% [markdown]
# ## Forgetting and transfer of returns
#
# Shares of the optimum, definitions in `lib/metrics.py`. *Forgetting* is how far returns fell
# between a task's own end and the end of the run. *Forward transfer* compares the area under the
# learning curve with that of `scratch` runs and needs some of the same preset: 0 is no faster
# than starting from nothing.

# %%
for title, figures, members in each_world():
    rows = []
    for group in members:
        matrices = group.stack("performance")
        transfer = results.forward_transfer(group, members)
        row = [group.label]
        for measure in (
            metrics.average_performance,
            metrics.forgetting,
            metrics.backward_transfer,
        ):
            row.append(results.table_cell(np.array([measure(matrix) for matrix in matrices])))
        row.append("–" if transfer is None else results.table_cell(transfer.mean(axis=1)))
        rows.append(row)
    header = ["method", "average performance", "forgetting", "backward transfer"]
    table = results.markdown_table([*header, "forward transfer"], rows)
    figures.mkdir(parents=True, exist_ok=True)
    (figures / "transfer.md").write_text(table + "\n")
    display(Markdown(f"**{title}**\n\n{table}"))

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
        plots.return_matrix(mean, group.first.tasks, heading, colorbar=False, ax=ax)
    figure.suptitle("Return matrices, shares of the optimum, mean over seeds", fontsize=11)
    plots.save(axes[0, 0], figures / "return_matrices.png")

# %% [markdown]
# ## Retention on the map
#
# Right-cell accuracy per cell after the last task, first seed of each group.

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
        plots.save(ax, figures / f"accuracy_maps_{start // 4 + 1}.png")

# %% [markdown]
# ## The same as data
#
# Estimates, and what every seed measured, with hardware, commit and command.

# %%
folder.mkdir(parents=True, exist_ok=True)
atomic_write(folder / "comparison.json", json.dumps(results.comparison(groups), indent=1) + "\n")
print(f"{len(found)} runs written to", folder / "comparison.json")

# %% [markdown]
# ## What we saw

# %%
for title, _, members in each_world():
    ends = {g.label: g.stack("met")[:, -1, 0] for g in members}
    ends = {label: values for label, values in ends.items() if np.isfinite(values).all()}
    if len(ends) < 2:
        print(f"{title}: one method, so there is nothing to compare it with.")
        continue
    estimates = {label: metrics.interval(values) for label, values in ends.items()}
    ranked = sorted(estimates, key=lambda label: estimates[label].point, reverse=True)
    best, second = estimates[ranked[0]], estimates[ranked[1]]
    print(f"{title}: after the last task, {ranked[0]} knows most of what it met in the first")
    print(f"  ({best.text()}), ahead of {ranked[1]} ({second.text()}).")
    if best.has_interval and second.has_interval:
        apart = "do not overlap" if best.low > second.high else "overlap"
        print(f"  The intervals {apart}.")
    else:
        print(f"  At least {metrics.FEWEST_SEEDS} seeds each are needed to tell this from chance.")
