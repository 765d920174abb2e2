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
# # 07 · The reviewer
#
# **Question.** Who leads an agent back to what it once knew?
#
# Dreams of old experience (chapter 00) keep a world model from forgetting, as far as the dreams
# reach. DRAGO sends somebody as well: a second agent, the *reviewer*, that walks in the world of
# today and looks for places that the model of yesterday knew. About five minutes on one quiet CPU
# core, half an hour to read. Chapter 00 is assumed.
#
# You will see
#
# - the reviewer's reward: what two models and a threshold make of every cell,
# - where it really walks, beside the learner,
# - what keeps it from standing in one place,
# - what it is worth: the same agents with and without it, over a few seeds.

# %% tags=["parameters"]
seed: int = 0  # the first seed; its run is the one that is looked into
seeds: int = 3  # how many runs of every method, 1 to 8
env_steps_per_task: int = 1600  # environment steps in each task, a multiple of 320
out_dir: str = ""  # where the runs are kept, empty for a temporary folder

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown
from matplotlib.colors import LogNorm, Normalize

from lib import viewer
from lib.algos.tdmpc import counts, plain
from lib.algos.tdmpc import value as imagined
from lib.algos.tdmpc.presets import ABOUT
from lib.analysis import results, reviewer_reward
from lib.core import losses
from lib.envs import worlds
from lib.experiments import run_config
from lib.plotting import charts, maps
from lib.runner.training import train_seeds
from lib.workbook import exercises
from lib.workbook.teach import check, show, solution

torch.set_num_threads(1)  # small tensors lose time on a second thread

SMALLER = {
    "env.size": 9,  # cells a side, walls included
    "env.episode_length": 20,
    "budget.parallel_envs": 8,
    "budget.eval_every": 800,
    "model.width": 64,
    "planner.horizon": [5],
    "planner.samples": 48,
    "planner.elites": 10,
    "planner.iterations": 2,
    "planner.horizon_ramp": 500,
    "learning.batch": 64,
    "learning.ema_every": 2,
    "learning.seed_steps": 320,
    "learning.average": 1.0,  # so few updates are better not averaged
    "learning.updates_per_step": 1.0,  # as published
    "planner.likeliest": True,  # as published
}
BESIDE = {"name": "beside", "start": [5, 3], "goal": [7, 1]}  # in room 2, a step from its door
METHODS = ("tdmpc", "drago-no-rehearsal", "drago-no-review", "drago")
configs = {
    method: run_config.resolve_seeds(
        {
            "method": method,
            "preset": "grid-quick",
            "seeds": list(range(seed, seed + seeds)),
            "device": "cpu",
            "tasks": ["room-1", BESIDE],
            "env_steps_per_task": env_steps_per_task,
            "overrides": SMALLER,
        }
    )
    for method in METHODS
}
config = configs["drago"][0]
domain = worlds.build(config.env, config.tasks)
table, cells = domain.table, domain.table.cells.numpy()
names = [task.name for task in domain.tasks]
marks = {"S": domain.tasks[1].start, "G": domain.tasks[1].goal}
card = {
    "agents": "; ".join(f"{method}: {ABOUT[method]}" for method in METHODS),
    "tasks": " → ".join(names),
    "environment steps": f"{config.budget.env_steps_per_task:,} in each task",
    "preset, seeds, device": f"{config.preset}, shrunk; {seed} to {seed + seeds - 1}; cpu",
}
Markdown(results.markdown_table(["run", "the reviewer"], card.items(), numbers=False))

# %% [markdown]
# ## The world, and a way back
#
# Two tasks in the world of chapter 00: room 1, then a task in room 2. The second one begins beside
# the door to room 1 and pays for walking the other way. That is on purpose: a reviewer starts
# where the task starts, and with episodes of 20 steps it could not go far. Whoever works for the
# task's reward has no reason to pass that door.

# %%
figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.3), layout="constrained")
for index, (ax, task) in enumerate(zip(axes, domain.tasks, strict=True)):
    title = f"{task.name}: best return {domain.optimum(index):.1f}"
    where = {"S": task.start, "G": task.goal}
    maps.trajectories(cells, [], marks=where, title=title, legend=False, ax=ax)

# %% [markdown]
# ## The mechanism: paid for what was known
#
# ```
#                      frozen model  ── error e_old ──▶  small: "I knew this"      gain
#    s, a, s' really ─┤
#                      current model ── error e_now ──▶  small: "I still know it"  cost
# ```
#
# When a task begins, the world model is copied and the copy frozen. From then on every transition
# that the reviewer makes is shown to both, and it is paid
#
# $$r = \sigma\big(4\,(-\log e_\text{old} - \tau)\big)
#     - \tfrac12\, \sigma\big(-\log e_\text{now} - \tau\big) ,$$
#
# where $e$ is the squared error of one step and $\sigma$ the logistic function. The reward of the
# task plays no part. The threshold $\tau$ says how small an error counts as knowing. (DRAGO, method
# figure; threshold and slope 4 are in its code only.)
#
# Three cases: never known, about 0; known then and forgotten, about 1; known then and now, 1/2.
# What only the current model knows costs up to 1/2.

# %%
show(losses.review_parts, losses.review_reward)

# %% [markdown]
# All of it in one picture: both scores, $-\log e$, in steps from the threshold.
#
# **What we expect.** A steep edge at 0 from left to right, since the slope of the gain is 4, and a
# gentle fall upwards. Just at the threshold of both, 1/2 − 1/4.

# %%
tau, steps = 8.0, torch.linspace(-4, 4, 161)
now, old = torch.meshgrid(steps, steps, indexing="ij")
reward = losses.review_reward(torch.exp(-old - tau), torch.exp(-now - tau), tau)
figure, ax = plt.subplots(figsize=(4.6, 3.6), layout="constrained")
extent = (float(steps[0]), float(steps[-1])) * 2
image = ax.imshow(reward, "PuOr_r", Normalize(-1, 1), origin="lower", extent=extent)
lines = ax.contour(old, now, reward, (-0.25, 0.0, 0.25, 0.5, 0.75), colors="black", linewidths=0.7)
ax.clabel(lines, fontsize=8)
ax.set_xlabel("old model's score − τ [nats]", fontsize=10)
ax.set_ylabel("current model's score − τ [nats]", fontsize=10)
bar = figure.colorbar(image, ax=ax)
bar.set_label("review reward", fontsize=9)
print(f"At the threshold of both: {float(reward[80, 80]):.2f}")

# %% [markdown]
# ## Exercise 1: the reward
#
# Write it. Scores are minus the logarithm of errors, which count as at least $10^{-12}$
# (`losses.prediction_score` does that).


# %%
def my_review_reward(old_error, current_error, threshold, *, sharpness=4.0, cost=0.5):
    """Errors of any shape to rewards of that shape."""
    return ...


check(my_review_reward, losses.review_reward)
solution(losses.review_parts, losses.review_reward)

# %% [markdown]
# ## Two walkers, one model
#
# From the second task on learner and reviewer take turns, as many episodes each; both count as
# environment steps. Each has its own reward, value and policy networks and its own replay. The
# world model is one for both. In every update it is trained on windows of the reviewer *and* as
# many of the learner, the latter relabelled with the review reward. That is how the current model
# gets to see old rooms again: real ones, not dreamt.
#
# A whole update, written to be read: `learn` is chapter 04's, for the learner and then for the
# reviewer, which alone moves the world model. Whatever protects it, such as chapter 06's rehearsal,
# pulls at the end.

# %%
show(plain.relabelled, plain.update)

# %% [markdown]
# Now four methods, each with the same seeds: **tdmpc** (nothing protects the model),
# **drago-no-rehearsal** (the reviewer alone), **drago-no-review** (dreams alone) and **drago**
# (both). The seeds of a method are trained together. Until the second task begins, a method with
# a reviewer does not differ from the same one without.

# %%
kept = tempfile.TemporaryDirectory() if not out_dir else None
folder = Path(out_dir or kept.name)
runs = {}
for method, settings in configs.items():
    folders = [folder / f"{method}-s{one.seed}" for one in settings]
    train_seeds(settings, folders, folder / method, tensorboard=False, progress=False)
    runs[method] = [results.load_run(path) for path in folders]
reviewed = runs["drago"][0].folder

# %% [markdown]
# ## The reward, cell by cell
#
# The world is a table, so both models can be asked about every transition. Four moments: the task
# begins, when the current model still *is* the old one; its end; the end of the run that had
# dreams but no reviewer (its old model is the same one); and the end of the run that had neither,
# beside its own old model.
#
# **What we expect.** Room 1 pays, room 2 does not: it was never known, and in the end costs
# something. In room 1 the cost tells what is left: where it falls, the map gets brighter than it
# was in the beginning. That should be so in the last map more than in the others.

# %%
old, rule = reviewer_reward.model_of(reviewed, 1)
now, _ = reviewer_reward.model_of(reviewed, 2)
moments = [
    reviewer_reward.compare(f"{names[1]} begins", table, old, old, rule),
    reviewer_reward.compare("its end", table, old, now, rule),
]
for method, said in {"drago-no-review": "dreams alone", "tdmpc": "nothing"}.items():
    (old, rule), (now, _) = (
        reviewer_reward.model_of(runs[method][0].folder, task) for task in (1, 2)
    )
    name = f"the end with {said}"
    moments.append(reviewer_reward.compare(name, table, old, now, rule))
figure, axes = plt.subplots(1, 4, figsize=(11, 2.9), layout="constrained")
look = {"norm": Normalize(-1, 1), "cmap": "PuOr_r", "colorbar": False}
for ax, moment in zip(axes, moments, strict=True):
    maps.grid_map(cells, moment.reward(), "", moment.name, ax=ax, **look)
bar = figure.colorbar(axes[0].images[-1], ax=list(axes), fraction=0.02)
bar.set_label("review reward", fontsize=9)
room = table.room.numpy()
rows = []
for moment in moments:
    parts = (*moment.parts(), moment.reward())
    means = [part[room == number].mean() for number in (1, 2) for part in parts]
    rows.append([moment.name, *(f"{mean:.2f}" for mean in means)])
header = [f"{what}, room {number}" for number in (1, 2) for what in ("gain", "cost", "reward")]
Markdown(results.markdown_table(["mean per transition", *header], rows))

# %% [markdown]
# ## The threshold
#
# $\tau$ decides what counts as known, and errors of world models span many powers of ten. So it is
# not set by hand: during a task the mean score $m$ of the training windows is followed,
#
# $$\tau' \leftarrow 0.9\, \tau' + 0.1\, m ,$$
#
# and the next task takes $\tau = \tau'$ and keeps it. Mind that $m$ is the score of whole windows,
# on which errors add up, while the reward looks at single steps.
#
# Turn the dial yourself: the threshold on the first slider, the moment on the second. The upper
# row is the reward with its terms, the lower one says who was where, and which of the cells that
# pay the reviewer has seen. (On a page without widgets some positions stand for all.)
#
# **What we expect.** A low threshold pays for everything that was ever half known, a high one for
# nothing. In between lie the cells that the first task was about.

# %%
viewer.review(reviewed, marks=marks)

# %% [markdown]
# ## Where it walks
#
# Every episode of the second task, in three thirds, learner above and reviewer below. In the first
# both still act at random for some episodes.
#
# **What we expect.** The learner's steps gather in room 2. Once the reviewer has learnt what pays,
# it goes through the door. What would prove us wrong: a reviewer that in the last third spends no
# more of its steps in room 1 than the learner.

# %%
_, episodes = reviewer_reward.episodes_of(reviewed)
figure, axes = plt.subplots(2, 3, figsize=(9.2, 5.6), layout="constrained")
inside = {}
for row, (role, seen) in zip(axes, episodes.items(), strict=True):
    thirds = [part for part in torch.tensor_split(seen, 3)]
    inside[role] = [float((table.room[table.nearest(p)] == 1).float().mean()) for p in thirds]
    for ax, part, when, share in zip(
        row, thirds, ("first", "second", "last"), inside[role], strict=True
    ):
        times = reviewer_reward.visits_of(table, part)
        shown = np.where(times > 0, times / times.sum(), np.nan)
        title = f"{role}, {when} third: {share:.0%} in room 1"
        look = {"norm": LogNorm(1e-3, 1), "marks": marks, "colorbar": ax is row[-1]}
        maps.grid_map(cells, shown, "share of its steps", title, ax=ax, **look)
        ax.set_title(title, fontsize=9)

# %% [markdown]
# What it was paid on the way, per episode of 20 steps, with the two parts. The gain grows as it
# finds the old room. The cost grows with it, wherever the current model still knows, or knows
# again, what the old one knew: a reviewer cannot do better than to visit what is forgotten.

# %%
parts = {"return": "reward", "known_part": "gain", "cost_part": "cost"}
drawn = {
    what: runs["drago"][0].series(f"train/reviewer/{name}", gaps=True)
    for name, what in parts.items()
}
ax = charts.series(drawn, "environment steps of the whole run", "review reward per episode")

# %% [markdown]
# ## Not twice the same
#
# Where old and new model both know a place it still pays 1/2 a step, for ever. What drives a
# reviewer on is a *count bonus*: while it plans (and only then; neither stored rewards nor value
# targets know of it) a predicted reward that is positive is multiplied by
#
# $$b(N) = (N + 0.99999)^{-1/2} - \tfrac{1}{99999} \approx \frac{1}{\sqrt{N + 1}} ,$$
#
# where $N$ counts how often the reviewer was in that cell with that heading during this task. What
# costs is left as it is. (DRAGO's code; we found no counts in the parts of the paper that we could
# read.) Where states are no table a small network counts them, see `lib/algos/tdmpc/counts.py`.
#
# ## Exercise 2: the planner's reward
#
# Write what the planner counts. `visits` holds $N$ for the state that each reward is earned in.


# %%
def my_planned_reward(reward, visits):
    """Two tensors of one shape to a third: predicted rewards with the bonus."""
    return ...


check(my_planned_reward, exercises.planned_reward)
solution(counts.visit_bonus, imagined.rated, exercises.planned_reward)

# %% [markdown]
# How much of a positive reward is left, by the end of the task, if one looks at all headings of a
# cell. **What we expect.** Least where the reviewer was most: in the old room and on the way there.

# %%
rule = counts.GridCounts(table.size, "cpu")
rule.visit(episodes["reviewer"].flatten(0, 1))
left = rule.rate(rule.live(), table.obs)[:, None]  # (S, 1)
ax = maps.grid_map(cells, left, "factor of positive rewards", "b(N)", Normalize(0, 1), marks=marks)

# %% [markdown]
# ## With and without
#
# What is it worth? Four methods, a dot for each seed. The first two panels ask about room 1 after
# the second task: the world model on the transitions that the agent met there, and the return when
# it plans there again with the networks that it had saved. The third is the new task.
#
# **What we expect.** The reviewer alone keeps more of room 1 than nothing does, and adds little to
# dreams, which reach all of so small a room. It costs: half of the steps of the second task are the
# reviewer's, so the learner has half as many episodes and updates to learn from. What would prove
# us wrong: a model that knows less of room 1 with the reviewer than with nothing at all, in any
# seed.

# %%
asked = {
    "what its model knows of room 1\n(right cells)": lambda run: run.met("accuracy")[1, 0],
    "return in room 1, again\n(of the optimum)": lambda run: run.performance()[1, 0],
    f"return in {names[1]}\n(of the optimum)": lambda run: run.performance()[1, 1],
}
figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.2), layout="constrained", sharey=True)
for ax, (what, number) in zip(axes, asked.items(), strict=True):
    for position, method in enumerate(METHODS):
        values = [number(run) for run in runs[method]]
        at = position + np.linspace(-0.12, 0.12, len(values)) * (len(values) > 1)
        ax.plot(at, values, "o", color=charts.CYCLE[position], markeredgecolor="black")
        ax.plot([position - 0.25, position + 0.25], [np.mean(values)] * 2, "k-", linewidth=1.5)
    words = [method.replace("-no", "\nno") for method in METHODS]
    ax.set_xticks(range(len(METHODS)), words, fontsize=7)
    ax.set_xlim(-0.5, len(METHODS) - 0.5)
    ax.set_ylim(-0.02, 1.05)
    ax.set_title(what, fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)

# %%
rows = []
for method in METHODS:
    for run in runs[method]:
        knows, returns = run.met("accuracy"), run.performance()
        score = run.met("neg_log_mse")
        rows.append(
            [
                f"{method}, seed {run.seed}",
                f"{knows[0, 0]:.2f} → {knows[1, 0]:.2f}",
                f"{score[0, 0]:.1f} → {score[1, 0]:.1f}",
                f"{returns[0, 0]:.0%} → {returns[1, 0]:.0%}",
                f"{returns[1, 1]:.0%}",
            ]
        )
header = ["run", "right cells in room 1", "score there", "return there", f"return in {names[1]}"]
Markdown(results.markdown_table(header, rows))

# %% [markdown]
# ## What we saw

# %%
last = {role: share[-1] for role, share in inside.items()}
verdict = "as" if last["reviewer"] > last["learner"] else "against what was"
print(
    f"In the last third the reviewer spends {last['reviewer']:.0%} of its steps in room 1, the "
    f"learner {last['learner']:.0%}, {verdict} predicted."
)
for without, reviewing in (("tdmpc", "drago-no-rehearsal"), ("drago-no-review", "drago")):
    pairs = zip(runs[without], runs[reviewing], strict=True)
    gains = [b.met("accuracy")[1, 0] - a.met("accuracy")[1, 0] for a, b in pairs]
    each = ", ".join(f"{gain:+.2f}" for gain in gains)
    print(f"{reviewing} instead of {without} changes what is known of room 1, by seed: {each}.")

# %% [markdown]
# **What we saw.** The reviewer does what it is paid for: in the second third of its episodes it
# goes through the door, and in the last it spends three quarters of its steps in the old room,
# where the learner no longer sets foot. Nobody told it where that room is; two models and a
# threshold were enough. The maps say that there is little left to do once dreams are at work: the
# cost of room 1 stays where it was, and is lower only in the run with nothing.
#
# Whether walking back helps is another question, which three seeds answer in part. Alone, against
# nothing, the reviewer leaves the world model with a better score in room 1 for every seed, but
# with more right cells for two of three only: with seed 0 the unprotected model stayed as good by
# that measure, against what we predicted. (It lost the task all the same, from 98 % to 8 %: a
# plan fails at one wrong step.) Beside dreams it adds nothing that we can see: no seed has more
# right cells with it than without, to two digits. And the new task pays for it, with one seed
# more than a quarter of its return.
#
# **Where it fails.** We made its way short. From the start of chapter 00's second room the door
# is five cells away, and in a run from there (seed 0) the reviewer spent 3 % of its steps in room
# 1: what it does not come across by chance it cannot learn to look for. It can only lead to what
# the old model was *right* about, it takes half of the steps, and in a room of nine cells dreams
# reach everything anyway. DRAGO's case for it are larger worlds and more tasks, where dreams of
# dreams fade; nothing here speaks for that or against it. And its reward adds up the errors of an
# observation's numbers: in a picture most of them would be about what does not matter
# ([chapter 08](08_beyond_pixels.ipynb)).
#
# **What to try.** `SMALLER` with `"reviewer.count_bonus": "none"`: does it stand still?
# `"reviewer.shape": "paper"` takes threshold and slope away. Start the second task at (7, 1) and
# let episodes last 40 steps. And four rooms, where the question is open, with more seeds:
#
#     python -m lib run drago-grid-quick -p seeds=0,1,2
#     python -m lib run drago-no-review-grid-quick -p seeds=0,1,2
#     python -m lib compare
#
# A finished run with a reviewer opens in the same view: `viewer.review("outputs/NAME")`.
