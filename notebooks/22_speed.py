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
# # 22 · Speed
#
# **Question.** The same losses, plans and parameters can be computed slowly or fast. How much is
# there between the two, where does it come from, and what is left?
#
# This notebook draws what the benchmark measured; it measures nothing and takes seconds:
#
#     make bench
#
# Without a file of its own it draws the published ones. Chapter assumed: 20.

# %% tags=["parameters"]
file: str = ""  # a bench file; empty for the latest of this machine, else those published
out_dir: str = "outputs/bench"  # figures are saved here, in a folder per file

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
from IPython.display import Markdown, display

from lib.analysis import bench, results
from lib.analysis.bench import number
from lib.core.errors import UserError
from lib.core.plain import escape
from lib.plotting import charts, speed

if Path.cwd().name == "notebooks":  # where JupyterLab starts; paths count from the root
    os.chdir("..")

try:
    found = bench.find(file)
except UserError as error:
    found = []
    print(error)

# %% [markdown]
# ## What was measured
#
# Two forms of the same agent, with the same settings, on the same data, taking turns:
#
# - *plain*: one state planned after another, one seed after another, every time step by itself, one
#   small operation after the other. It is written to be read and to be right; the tests hold the
#   fast form to it (`tests/oracle/`).
# - *fast*: what a run uses (`lib/engine/seed_batch.py` and the `computation.py` of each family).
#   Where a size ends in *-lower*, its searches run in half precision and its products in TF32;
#   where it ends in *-tf32* or *-bf16*, so do its products alone; everything else is float32 on
#   both sides.
#
# A ratio above 1 is in favour of the fast form, whether the unit is a rate or a time. Where
# environments are stepped, plain is Minigrid or dm_control itself.

# %%
for one in found:
    display(Markdown(results.markdown_table(["", one.machine], one.card(), numbers=False)))

# %% [markdown]
# ## What makes the fast form fast
#
# The networks are small. A width of 512 is little for a GPU, and a width of 96 little for one core:
# the arithmetic is soon done, and much of the plain form's time goes into starting it and into
# passing over memory between two products. Every step below does more per start, or starts less.
#
# - **Heads in one batch over time.** Only the dynamics need the step before. Reward, critics and
#   policy read detached latents, so all H steps of a window, or of a candidate plan, are one batch
#   after the unroll: `trajectory_value` in [value.py](../lib/algos/tdmpc/value.py), `td_loss`
#   in [update.py](../lib/algos/tdmpc/update.py).
# - **Beginnings imagined once.** With three actions there are only 81 ways to begin a sequence by
#   four of them, and hundreds of candidates in every iteration. What follows from each beginning is
#   computed once and looked up: `prefixes` in [value.py](../lib/algos/tdmpc/value.py).
# - **All searches as one.** E environments and S seeds ask for S × E plans at once. A search knows
#   nothing of seeds; its rows are states: [acting.py](../lib/algos/tdmpc/acting.py).
# - **CUDA graphs.** Tensors stay where they are and random numbers are drawn into place beforehand,
#   so a whole plan, or a whole update with its sampling, optimisers and priorities, is recorded
#   once and then launched as a whole. The host reads nothing back:
#   [cuda_graphs.py](../lib/engine/cuda_graphs.py).
# - **The seeds axis.** Runs that differ in their seed alone are stacked: one batched product for
#   all of them, clipped and stepped seed by seed. The losses stay written for one seed:
#   [seeds.py](../lib/engine/seeds.py).
# - **Compiled functions.** A CPU has no launches to save, but reads and writes memory once per
#   operation. PyTorch's compiler joins those passes. It takes a while, so it is asked only where a
#   run is long enough to win that back: [compiling.py](../lib/engine/compiling.py).
# - **Memory that is kept.** The C library gives large blocks back to the system and asks for them
#   anew, and the kernel clears every page of them each time. Told to keep what it has, it saves a
#   sixth of a small network's update: `keep_memory` in [machine.py](../lib/engine/machine.py). Here
#   that serves both forms, as they share a process.
# - **Threads.** A compiled update of a small network can use a second core, the plain form's small
#   operations gain little by it. But threads wait for each other, and a busy neighbour makes two of
#   them far slower than one, so a run leaves half of the cores alone unless `engine.threads` says
#   otherwise: `threads` in [machine.py](../lib/engine/machine.py).

# %% [markdown]
# ## How many times as fast
#
# Expect much from a GPU that waits for launches, and less from a core that is busy already: there
# the plain form's products alone reach a good share of the peak, which no reordering can beat. A
# bar that points left is a loss.

# %%
for one in found:
    rows = [row for row in one.rows if row.ratio and row.group not in ("growth", "hours")]
    ax = speed.ratio_bars([row.name for row in rows], [row.ratio for row in rows], one.machine)
    ax.set_xlabel("times as good as the plain form")
    charts.save(ax, Path(out_dir) / one.path.stem / "ratios.png")
    for group in ("planning", "updates", "stacked seeds", "end to end", "dreamers"):
        if not one.group(group):
            print(one.without(group))

# %% [markdown]
# ## How near to the machine's limit
#
# Floating-point operations of the plain form's matrix products, done per second, over the largest
# rate that products of big square float32 matrices reached in the same run, on all threads. A fast
# form that saves some of them, such as a beginning imagined once, gets the credit for work that it
# did not do, and lower precision has a higher peak of its own, so a share can exceed 1. Near 1
# there is little left to gain by doing the same work better.

# %%
for one in found:
    rows = [row for row in one.rows if row.share_of_peak and row.ratio]
    if not rows:
        print(f"{one.path.name} has no shares of the peak; {bench.AGAIN}")
        continue
    shares = {
        "plain": [row.share_of_peak / row.ratio for row in rows],
        "fast": [row.share_of_peak for row in rows],
    }
    names = [row.name for row in rows]
    ax = speed.pair_bars(names, shares, one.machine, "share of the float32 peak")
    charts.save(ax, Path(out_dir) / one.path.stem / "share_of_peak.png")

# %% [markdown]
# ## How cost grows
#
# One call of each form as one setting grows: states planned at once (E), seeds (S), horizon and
# width. Slope 1 means twice the work in twice the time. A flat stretch is room that the machine had
# left: more states or seeds cost nothing there. The plain form takes them one by one, so its lines
# have slope 1 in E and S whatever the machine.

# %%
for one in found:
    curves = bench.growths(one.group("growth"))
    if not curves:
        print(one.without("growth"))
        continue
    letters = list(dict.fromkeys(curve.letter for curve in curves))
    whats = list(dict.fromkeys(curve.what for curve in curves))
    size = (3.3 * len(letters), 2.9 * len(whats) + 0.3)
    figure, axes = plt.subplots(
        len(whats), len(letters), figsize=size, layout="constrained", squeeze=False
    )
    for row, what in zip(axes, whats, strict=True):
        for ax, letter in zip(row, letters, strict=True):
            lines = [curve for curve in curves if (curve.what, curve.letter) == (what, letter)]
            if not lines:
                ax.axis("off")
                continue
            forms = {"plain": (lines[0].x, lines[0].reference), "fast": (lines[0].x, lines[0].fast)}
            speed.growth_curves(forms, letter, f"one {what} [ms]", legend="", ax=ax)
    charts.legend_apart(axes[0, 0], "figure")
    figure.suptitle(charts.literal(f"{curves[0].size}, {one.machine}"), fontsize=11)
    charts.save(axes[0, 0], Path(out_dir) / one.path.stem / "growth.png")

# %% [markdown]
# ## How long until it runs
#
# Recording and compiling happen in the first calls. Seconds from the start of a process, its
# imports included, until the last slow call has ended; in the reviewed task from the task boundary.
# *Nothing cached* compiles everything for the first time; later runs on a machine find it on disk.

# %%
for one in found:
    rows = one.group("ready")
    if not rows:
        print(one.without("ready"))
        continue
    forms = {
        "plain": [number(row.reference) for row in rows],
        "fast": [number(row.fast) for row in rows],
    }
    asked = {aim.row: aim.limit for aim, _ in one.aims()}
    aims = {i: asked[row.name] for i, row in enumerate(rows) if row.name in asked}
    ax = speed.pair_bars([row.name for row in rows], forms, one.machine, "seconds", aims)
    charts.save(ax, Path(out_dir) / one.path.stem / "ready.png")
    if cost := bench.payback(one):
        print(f"With nothing cached the start costs {cost[0]:.1f} s more than the plain form's;")
        print(f"{cost[1]:,.0f} updates of the first task win that back.")
    for row in one.group("memory"):
        print(f"{row.name}: {row.reference:,.0f} MiB plain, {row.fast:,.0f} MiB fast.")

# %% [markdown]
# ## How long a whole run takes
#
# Hours of one seed through all tasks of a preset: every plan, update, evaluation and env step that
# a run makes, counted as the runner counts them, at the rates above (`hours` in
# `tests/benchmarks/whole.py`). Saves, audits and films come on top. Nobody waited for the plain
# form of the full presets. A black tick is what was asked of the fast form.

# %%
for one in found:
    rows = one.group("hours")
    if not rows:
        print(one.without("hours"))
        continue
    forms = {
        "plain": [number(row.reference) for row in rows],
        "fast": [number(row.fast) for row in rows],
    }
    asked = {aim.row: aim.limit for aim, _ in one.aims()}
    aims = {i: asked[row.name] for i, row in enumerate(rows) if row.name in asked}
    ax = speed.pair_bars([row.name for row in rows], forms, one.machine, "hours", aims)
    charts.save(ax, Path(out_dir) / one.path.stem / "hours.png")

# %% [markdown]
# ## Everything as numbers

# %%
for one in found:
    header = ["row", "unit", "plain", "fast", "ratio", "share of peak"]
    table = results.markdown_table(header, [row.cells() for row in one.rows])
    display(Markdown(f"**{escape(one.machine)}**\n\n{table}"))

# %% [markdown]
# ## What we saw

# %%
for one in found:
    asked = one.aims()
    lines = [
        [aim.words, aim.asked(), bench.cell(value), "yes" if aim.met(value) else "no"]
        for aim, value in asked
    ]
    if lines:
        table = results.markdown_table(["", "asked for", "measured", "reached"], lines)
        display(Markdown(f"**{escape(one.machine)}**\n\n{table}"))
    else:
        print(f"{one.path.name}: no row that anything is asked of on this kind of device.")

# %% [markdown]
# **Where it fails.** Rates come from a busy or an idle machine; both forms take turns, so ratios
# suffer less than rates. Projected hours trust that a run is the sum of its parts. More parallel
# episodes are faster and learn from staler data, which no number here shows.
#
# **What to try.** `make bench ARGS='--full'` on a CPU, `--threads 2`, or `--only growth` after
# changing the width in `lib/algos/tdmpc/presets.py`. The command's `--help` names the parts.
