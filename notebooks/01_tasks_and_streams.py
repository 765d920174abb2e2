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
# # 01 · Tasks and streams
#
# **Question.** What is a task, and how do we say what an agent gained and lost that learnt several,
# one after the other?
#
# Half a minute on one CPU core, half an hour to read. Chapter 00 is helpful, not needed. Nothing
# is trained here: every policy is computed exactly or made by hand, so that all numbers can be
# checked.
#
# You will see
#
# - worlds and tasks as *data*: one world, many rewards,
# - the *best possible* return, by dynamic programming, and how far chance gets,
# - many copies of a world stepped at once,
# - a stream of tasks, its *return matrix*, and the four numbers that are read off it.

# %% tags=["parameters"]
seed: int = 0  # seeds headings, random actions and gaits
size: int = 13  # cells a side of the grid, walls included, odd and at least 9
episode_length: int = 40  # steps of an episode on the grid
copies: int = 256  # worlds that are stepped at once

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown
from matplotlib.colors import Normalize

from lib import viewer
from lib.analysis import results
from lib.core import metrics
from lib.core.config import EnvConfig
from lib.core.distributions import one_hot
from lib.core.errors import UserError
from lib.core.seeding import generator
from lib.envs import worlds
from lib.envs.grid import env as grid_env
from lib.envs.grid import optimum
from lib.envs.grid.rooms import CONTINUAL
from lib.plotting import charts, maps
from lib.workbook.teach import check, show, solution

torch.set_num_threads(1)  # small tensors lose time on a second thread

env = EnvConfig(domain="grid", size=size, episode_length=episode_length)
domain = worlds.build(env, [*CONTINUAL, "room-1to2"])
table, cells = domain.table, domain.table.cells.numpy()
random = generator(seed, "act")  # of random numbers, for this chapter alone
card = {
    "world": f"four rooms of {size} × {size} cells, {table.states:,} states, 3 actions",
    "tasks": ", ".join(task.name for task in domain.tasks),
    "episodes": f"{episode_length} steps, {copies} at once",
    "seed, device": f"{seed}; cpu",
}
Markdown(results.markdown_table(["run", "tasks and streams"], card.items(), numbers=False))

# %% [markdown]
# ## A task is a start and a reward
#
# A *world* says what happens: from a state $s$ and an action $a$ to the next state $s'$. A *task*
# says where episodes begin and what pays, $r(s, a)$. The tasks of this workbook share their world:
# only the reward and the start differ. That is what makes forgetting avoidable at all. A model
# of the world that was right for one task is right for all of them.
#
# Tasks are data. A name is looked up in a table; a place of your own is a mapping such as
# `{name: corner, start: [1, 1], goal: [5, 3]}`, here or in a params file. `room-1to2` begins in one
# room and ends in another: it is a *transfer* task for agents that know both rooms.

# %%
rows = [[task.name, str(task.start), str(task.goal)] for task in domain.tasks]
figure, axes = plt.subplots(1, len(rows), figsize=(11, 2.6), layout="constrained")
for ax, task in zip(axes, domain.tasks, strict=True):
    marks = {"S": task.start, "G": task.goal}
    maps.trajectories(cells, [], marks=marks, title=task.name, legend=False, ax=ax)
Markdown(results.markdown_table(["task", "start (x, y)", "goal (x, y)"], rows, numbers=False))

# %% [markdown]
# ## What changes, and what does not
#
# Reward is paid for coming closer to the goal within its room, and most of all for standing on it.
# Two tasks can be compared transition by transition, for the world is a small table.
#
# **What we expect.** All tasks agree on where every action leads: it is the same table. Of two
# tasks in different rooms each pays in its own room alone, and there only for coming closer, so
# they disagree about a small share of all transitions. But these are all that matter: a reward
# network of one task is useless for the next, a world model is not.

# %%
show(grid_env.task_reward)
pays = [table.reward(task).numpy() for task in domain.tasks]  # (S, A) each
differs = np.array([[(a != b).mean() for b in pays] for a in pays])
names = [task.name for task in domain.tasks]
figure, axes = plt.subplots(1, 3, figsize=(10, 3.1), layout="constrained")
for ax, index in zip(axes, (0, 1), strict=False):
    marks = {"G": domain.tasks[index].goal}
    label = "mean reward (the goal: more)"
    maps.grid_map(cells, pays[index], label, names[index], Normalize(0, 0.3), marks=marks, ax=ax)
image = axes[2].imshow(differs, cmap="cividis", vmin=0)
axes[2].set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8)
axes[2].set_yticks(range(len(names)), names, fontsize=8)
axes[2].set_title("share of transitions that pay otherwise", fontsize=10)
bar = figure.colorbar(image, ax=axes[2], fraction=0.046)
print(
    f"Of {table.next_state.numel():,} transitions, {differs[:4, :4].max():.0%} at most pay "
    "otherwise in another of the four rooms; all of them lead to the same place."
)

# %% [markdown]
# ## The best that can be earned
#
# In a table the best return of an episode needs no search. With no step left nothing can be earned;
# with $k + 1$ steps left the best action is the one whose pay and whose rest are best together:
#
# $$V_0(s) = 0, \qquad V_{k+1}(s) = \max_a \big[ r(s, a) + V_k(s'(s, a)) \big] .$$
#
# (Bellman's equation with a finite horizon and no discount.) This number is the 100 % in every
# figure of the grid in this workbook.
#
# ## Exercise 1: dynamic programming
#
# Write it. `next_state` and `reward` are tables (S, A); `value[next_state]` is (S, A) as well.


# %%
def my_values(next_state, reward, steps):
    """(S, A) and (S, A) to (S,): the best return of an episode of `steps` steps, as float64."""
    return ...


check(my_values, optimum.finite_horizon_values)
solution(optimum.finite_horizon_values)

# %% [markdown]
# ## Three ways to act
#
# - **chance** draws its actions as agents do before they have learnt anything,
# - **by hand** turns towards the goal and goes forward, and knows nothing of walls,
# - **the best** looks its action up in the table above.
#
# All copies of the world take a step together: one indexing operation for all of them.
#
# **What we expect.** The mean return of the best policy over many episodes agrees with $V$. Chance
# earns next to nothing. The hand-made rule earns nearly as much as the best where the way is free,
# and stands before a block or a wall for ever where it is not. What would prove the table wrong: a
# policy that earns more than $V$ on average.


# %%
def chance(state, step, task):
    return domain.actions.random(len(state), random)


def by_hand(state, step, task):
    """Turns right until it faces the longer way to the goal, then goes forward."""
    away = torch.tensor(domain.tasks[task].goal) - table.cells[state // 4]  # (n, 2)
    along_x = away[:, 0].abs() >= away[:, 1].abs()
    wanted = torch.where(along_x, 1 - away[:, 0].sign(), 2 - away[:, 1].sign())  # right 0, down 1
    return one_hot(torch.where(state % 4 == wanted, 2, 1), 3)


policies = [
    optimum.best_actions(table.next_state, table.reward(t), episode_length) for t in domain.tasks
]


def the_best(state, step, task):
    return one_hot(policies[task][step, state], 3)


def play(policy, task, n=copies):
    """Returns (n,) and the states passed through (T + 1, n)."""
    world = domain.make(task)
    world.reset(n, random)
    states, earned = [world.state], torch.zeros(n)
    for step in range(episode_length):
        _, reward = world.step(policy(world.state, step, task))
        states.append(world.state)
        earned += reward
    return earned, torch.stack(states)


POLICIES = {"chance": chance, "by hand": by_hand, "the best": the_best}
rows = []
for task, name in enumerate(names):
    means = [float(play(policy, task)[0].mean()) for policy in POLICIES.values()]
    rows.append([name, *(f"{mean:.2f}" for mean in means), f"{domain.optimum(task):.2f}"])
Markdown(results.markdown_table(["mean return in", *POLICIES, "V, exactly"], rows))

# %% [markdown]
# One episode of each, side by side. Press play, or move the slider with the arrow keys. (On a page
# without widgets some pictures stand for the film.)

# %%
scene = domain.scene(0)
films = {}
for name, policy in POLICIES.items():
    _, states = play(policy, 0, n=1)
    films[name] = np.stack([scene.frame(table.obs[s].numpy()) for s in states[:, 0]])[:, ::2, ::2]
viewer.scrub(films, title="Room 1, from the start to the goal", stills=6)

# %% [markdown]
# ## Bodies: one experience, many rewards
#
# The cheetah and the walker are bodies of dm_control, stepped by MuJoCo, many at once. The cheetah
# is asked by six numbers, one torque a joint, and answers with 17: angles, heights and speeds.
# Their tasks differ in the reward alone too, and a reward is a function of the motion. So one
# movement can be rated under every task at once.
#
# Nobody learns here either: every copy gets a gait of its own, a sine wave for each joint with
# random frequency, phases and sizes. The best of them is what blind search finds.
#
# **What we expect.** Tasks that contradict each other (run, run backwards) are never both paid for.
# The best runner by chance is poor: a whole episode could pay 250.

# %%
BODY_TASKS = ["run", "run-backwards", "jump", "lie-down"]
body = worlds.build(EnvConfig(domain="cheetah", episode_length=250), BODY_TASKS)
cheetahs = body.make(0)
cheetahs.reset(copies, random)
frequency = 1 + 3 * torch.rand(copies, 1, generator=random)  # Hz
phase, strength = (torch.rand(copies, body.actions.size, generator=random) for _ in range(2))
poses, paid = [cheetahs.pose()], []
for step in range(body.episode_length):
    seconds = step * body.body.env_step_seconds
    cheetahs.step(strength * torch.sin(2 * torch.pi * (frequency * seconds + phase)))
    motion = body.body.planar.motion(*cheetahs.state())
    paid.append(np.stack([task.reward(motion) for task in body.tasks], 1))  # (n, tasks)
    poses.append(cheetahs.pose())
returns = np.sum(paid, 0)  # (n, tasks)
best = returns.argmax(0)
rows = [
    [f"best gait for {name}", *(f"{value:.0f}" for value in returns[gait])]
    for name, gait in zip(BODY_TASKS, best, strict=True)
]
Markdown(results.markdown_table(["return in 250 steps", *BODY_TASKS], rows))

# %%
try:
    drawn = body.scene(0)
    film = np.stack([drawn.frame(pose[best[0]]) for pose in poses[::10]])
    charts.filmstrip(film, np.arange(len(film)) * 10, title="the best runner among them")
except UserError as error:  # no OpenGL on this machine: everything else works without
    print(f"No pictures of the body: {error}")

# %% [markdown]
# A third kind of world comes from Minigrid (and MiniHack): keys, doors, lava, seen in part and
# ending early. Chapters 02, 03 and 05 live there. And `lib.experiments.custom_env` takes any
# gymnasium environment.
#
# ## A stream, and its return matrix
#
# A *stream* is a list of tasks and the steps that each of them lasts. After each task we ask the
# agent to play all tasks so far, and note the mean return as a share of the best. Row $k$, column
# $j$ of the *return matrix* $R$ is the share earned in task $j$ after learning task $k$.
#
# Two agents without a learning algorithm, to see what the extremes look like:
#
# - **amnesia** plays the best policy of the newest task everywhere,
# - **a drawer for each** keeps the best policy of every task and takes out the right one.
#
# **What we expect.** Both have ones on the diagonal. Below it the second keeps its ones; the first
# earns next to nothing, since it walks to the wrong room.


# %%
def share(plan, task):
    """What the policy for one task earns in another, as a share of the best there."""
    earned, _ = play(lambda state, step, _: the_best(state, step, plan), task)
    return float(earned.mean()) / domain.optimum(task)


STREAM = range(4)
matrices = {
    "amnesia": [[share(k, j) if j <= k else np.nan for j in STREAM] for k in STREAM],
    "a drawer for each": [[share(j, j) if j <= k else np.nan for j in STREAM] for k in STREAM],
}
figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.4), layout="constrained")
for ax, (name, matrix) in zip(axes, matrices.items(), strict=True):
    charts.return_matrix(np.clip(matrix, 0, 1), CONTINUAL, name, colorbar=False, ax=ax)

# %% [markdown]
# ## Numbers read off the matrix
#
# With $N$ tasks, counted from 1:
#
# $$\text{average} = \frac1N \sum_j R_{N,j}, \qquad
# \text{forgetting} = \frac1N \sum_j (R_{j,j} - R_{N,j}), \qquad
# \text{BWT} = \frac{1}{N-1} \sum_{j<N} (R_{N,j} - R_{j,j}) .$$
#
# (Continual World, section 4.3, and GEM, section 2.) Forgetting counts the last task, which cannot
# have been forgotten yet, and backward transfer leaves it out: they differ by sign and by a factor
# $N / (N - 1)$. Read a paper's definition before comparing its number.
#
# By hand, for two tasks: let $R = \begin{pmatrix} 0.9 & \\ 0.5 & 0.8 \end{pmatrix}$. The average is
# $(0.5 + 0.8) / 2 = 0.65$, forgetting $(0.4 + 0) / 2 = 0.2$, backward transfer $-0.4$.

# %%
show(metrics.forgetting, metrics.backward_transfer)
by_hand_matrix = [[0.9, np.nan], [0.5, 0.8]]
rows = [
    [
        name,
        f"{metrics.average_performance(matrix):.2f}",
        f"{metrics.forgetting(matrix):.2f}",
        f"{round(metrics.backward_transfer(matrix), 2) + 0.0:.2f}",  # no minus before a zero
    ]
    for name, matrix in {"by hand, above": by_hand_matrix, **matrices}.items()
]
Markdown(results.markdown_table(["agent", "average", "forgetting", "BWT"], rows))

# %% [markdown]
# ## Exercise 2: forgetting
#
# Write it, for a matrix (N, N) that holds NaN above the diagonal.


# %%
def my_forgetting(matrix):
    """(N, N) to a number: the mean fall from each task's own end to the end of the run."""
    return ...


check(my_forgetting, metrics.forgetting)
solution(metrics.forgetting)

# %% [markdown]
# ## What came before: forward transfer
#
# Does knowing task 1 help in learning task 2? Compare the *areas* under two learning curves, the
# continual run's and that of a learner that starts from nothing:
#
# $$\text{FT}_j = \frac{A_j - A^\text{ref}_j}{1 - A^\text{ref}_j} .$$
#
# (Continual World, section 4.3: the share of the room above the reference that was gained.)
# Continual-Dreamer's published script divides by $1 - A_j$ instead. The two curves below are
# made up.
#
# **What we expect.** With areas of 0.75 and 0.5 the first definition gives 0.5 and the second 1.0.
# As the run nears perfection the second grows without bound.

# %%
steps = np.array([0.0, 1.0, 2.0, 4.0])  # thousands of environment steps
curves = {"continual run": [0.4, 0.6, 0.8, 1.0], "from nothing": [0.0, 0.25, 0.5, 1.0]}
areas = {name: metrics.area_under_curve(steps, curve) for name, curve in curves.items()}
run, reference = areas.values()
figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.2), layout="constrained")
for (name, curve), color in zip(curves.items(), (charts.BLUE, charts.ORANGE), strict=True):
    axes[0].plot(steps, curve, "o-", color=color, label=f"{name}, area {areas[name]:.2f}")
    axes[0].fill_between(steps, curve, color=color, alpha=0.15)
axes[0].set_xlabel("environment steps of the task [thousands]")
axes[0].set_ylabel("share of the best return")
charts.legend_apart(axes[0], "below")
better = np.linspace(0.0, 0.98, 50)
for divide_by, label, dash in (("reference", "by 1 − reference", "-"), ("run", "by 1 − run", "--")):
    found = metrics.forward_transfer(better, np.full(50, reference), divide_by)
    axes[1].plot(better, found, dash, color=charts.BLACK, label=f"divided {label}")
axes[1].axvline(run, color="0.7", linewidth=1)
axes[1].set_ylim(-1.5, 6)
axes[1].set_xlabel("area of the continual run")
axes[1].set_ylabel("forward transfer")
charts.legend_apart(axes[1], "below")
both = [metrics.forward_transfer([run], [reference], by)[0] for by in ("reference", "run")]
print(
    f"Areas {run:.3f} and {reference:.3f}: forward transfer {both[0]:.2f} by Continual World's "
    f"definition, {both[1]:.2f} by that of Continual-Dreamer's script."
)

# %% [markdown]
# ## Exercise 3: the area under a curve
#
# Evaluations come at uneven steps. The area is the mean height of straight lines between them, over
# $[0, \text{end}]$; before the first and after the last evaluation the curve stays level.


# %%
def my_area(steps, performance, end=None):
    """(evaluations,) each, to a number; `end` is the last step when not given."""
    return ...


check(my_area, metrics.area_under_curve)
solution(metrics.area_under_curve)

# %% [markdown]
# ## How sure are we?
#
# A seed is one draw. Chapter 00 says what five seeds of its two agents lost in the first room. The
# interquartile mean leaves the best and the worst quarter out; resampling the seeds gives an
# interval (rliable, Agarwal et al. 2021). Below three seeds this workbook gives none.
#
# **What we expect.** Two seeds: no interval. Three: as wide as the seeds lie apart, so that it
# hardly tells more than the seeds themselves. Five: still wide.

# %%
LOST = {
    "tdmpc": [0.20, 0.38, 0.74, 0.23, 0.62],
    "drago-no-review": [0.09, 0.01, 0.23, -0.03, -0.04],
}
rows = [
    [name, *(metrics.interval(seeds[:count]).text() for count in (2, 3, 5))]
    for name, seeds in LOST.items()
]
Markdown(results.markdown_table(["lost in room 1", "2 seeds", "3 seeds", "5 seeds"], rows))

# %% [markdown]
# ## What we saw
#
# **What we saw.** Room by room the tasks share every transition and disagree about the pay of one
# in twelve. That is enough for the best policy of one room to earn a few hundredths of what another
# room offers. The hand-made rule solves half of one task and a third less of another, and stops at
# the first block elsewhere: planning is worth something even in a world of 101 cells. Blind search
# over 256 gaits finds a cheetah that earns a seventh of what running pays.
#
# **Where it fails.** The matrix asks for tasks with an end. Where tasks come and go unannounced, as
# in chapter 05 and in most of life, somebody has to decide when to look. A share of the best needs
# a best: for bodies there is only a ceiling that nobody reaches. And all of these numbers are
# means: an agent that forgot one task of four entirely scores as one that forgot a quarter of each.
#
# **What to try.** A task of your own in the list, such as
# `{"name": "corner", "start": [1, 1], "goal": [5, 3]}`. `size` 27, the paper's. More `copies`: does
# the best gait get better, and how fast? A hand-made rule that goes round blocks.
