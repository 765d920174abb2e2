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
# # 05 · Replay and forgetting
#
# **Question.** What does an agent still know of its first task, and does that depend on what its
# replay keeps?
#
# Executing takes about two minutes of one CPU core, reading twenty. Chapter 02 is assumed,
# where a world model learns one task; here it gets a second one.
#
# You will see
#
# - three rules for what a full replay throws away, first without any learning at all,
# - that a rule may carry the name *reservoir* and be none,
# - a world model that forgets its first task, and the same one with another rule,
# - what whole agents make of it.
#
# Letters of this chapter: $N$ episodes that are stored, $n$ that fit, $t$ that have arrived, $K$
# tasks, $U$ a random number that is uniform in [0, 1).

# %% tags=["parameters"]
seed: int = 0  # seeds episodes, networks and batches
env_steps_per_task: int = 4000  # random steps in the first task, and room in the replay
updates_per_task: int = 480  # of the world model in the first task
published: str = "outputs/published/minigrid3-quick/comparison.json"  # of whole agents

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display

from lib.algos import registry
from lib.algos.dreamer import audit
from lib.algos.dreamer.learn_model import RandomPlayer, learn_model
from lib.algos.dreamer.presets import ABOUT
from lib.analysis import results
from lib.core import metrics
from lib.core.seeding import Streams, generator
from lib.envs.gym import minigrid
from lib.experiments import run_config
from lib.plotting import charts
from lib.replay.buffer import Episodes
from lib.replay.retention import Fifo, RandomEvict, Reservoir
from lib.replay.sampling import Sampler
from lib.replay.store import EpisodeStore
from lib.runner.evaluate import play
from lib.workbook import exercises
from lib.workbook.teach import check, show, solution

torch.set_num_threads(1)  # small tensors lose time on a second thread

SMALLER = {
    "latent.deter": 64,
    "latent.hidden": 64,
    "update.model_lr": 2e-3,
    # What the preset changes for the sake of a policy is of no use here, where nobody has one.
    "latent.norm": "none",
    "objective.reward_scale": 1.0,
    "explore.bonus": "none",
}
METHODS = {"fifo": "dreamer", "reservoir": "continual-dreamer"}  # retention -> method


def configured(method):
    """The quick preset, with room for one task and networks of half the width."""
    return run_config.resolve(
        {
            "method": method,
            "preset": "minigrid3-quick",
            "seed": seed,
            "device": "cpu",
            "tasks": ["doorkey-5x5", "lavagap-s5"],
            "overrides": SMALLER | {"replay.capacity": env_steps_per_task},
        }
    )


configs = {retention: configured(method) for retention, method in METHODS.items()}
config = configs["fifo"]
card = {
    "world models": "; ".join(f"{method}: {ABOUT[method]}" for method in METHODS.values()),
    "tasks": " → ".join(config.tasks),
    "first task": f"{env_steps_per_task:,} environment steps, {updates_per_task:,} updates",
    "the replay holds": f"{config.replay.capacity:,} environment steps",
    "preset, seed, device": f"{config.preset}, shrunk; {config.seed}; {config.device}",
}
Markdown(results.markdown_table(["run", "replay and forgetting"], card.items(), numbers=False))

# %% [markdown]
# ## The mechanism: who has to leave
#
# ```
#    episodes of task 1      task 2      task 3        now
#    ─────────────────────────────────────────────────▶
#                                        [ fifo keeps ]
#    [ · ·    ·      reservoir keeps   ·  ·     ·    · ]      n of t, each alike
#         ·         ·    ·  · · · ·  random-evict ······      the newest always enters
# ```
#
# A replay has room for so many steps and stores whole episodes. When a new one does not fit,
# others leave. Nobody tells the replay which task an episode is from; we note it for the figures.
#
# - **fifo**: the oldest leaves. What is left is the last $n$ episodes, hence the last task.
# - **reservoir** (Vitter, 1985): a sample of everything that ever came, each episode kept with the
#   same chance.
# - **random-evict**: the new one enters, a random one leaves. It sounds like the same thing, and
#   under the name of reservoir sampling it is what the public code of Continual-Dreamer does.
# - **coverage**: those stay that differ most from the others, see below.
#
# ## The equation
#
# The textbook's reservoir lets arrival $t$ in with chance $\min(n/t, 1)$ and then throws out any
# of the old ones. There is a shorter way to say it: every episode draws a key $U$ once, when it
# arrives, and **the smallest keys leave**. Among $t$ keys that are drawn alike, the newest is one
# of the $n$ largest with chance $n/t$: the same rule, and it goes on working where episodes
# differ in length. After $K$ tasks of equal length each makes up $1/K$ of the replay.
#
# Under random-evict an episode survives the next arrival with chance $1 - 1/n$, and $m$ arrivals
# with about $e^{-m/n}$. If the replay holds one task, every further task leaves $1/e$ of
# what was there, and after $K$ tasks
#
# $$\text{share}_k = (1 - e^{-1})\, e^{-(K-k)} \quad (k > 1), \qquad
# \text{share}_1 = e^{-(K-1)} .$$
#
# For four tasks that is 5, 9, 23 and 63 %.

# %%
show(Fifo.key, Reservoir.leaving, RandomEvict.leaving)

# %% [markdown]
# ## Counting, with no learning at all
#
# Episodes of four tasks go through the very store that our agents use; it has room for one task.
# **What we expect.** Fifo holds the fourth task alone; the reservoir 25 % of each; random-evict
# follows the formula. What would prove us wrong: a share, averaged over ten repetitions, that is
# off by more than three points.

# %%
TASKS, ROOM, PARTS, REPEATS = 4, 4_000, 10, 10  # ROOM: env steps of a task, and of the replay


def counting(episodes, steps):
    """Episodes in which nothing happens."""
    nothing = torch.zeros(episodes, steps)
    obs = torch.zeros(episodes, steps + 1, 1, dtype=torch.uint8)
    return Episodes(obs, nothing.unsqueeze(-1), nothing)


def shares(retention, lengths, repeat):
    """(tasks * PARTS, tasks) what a store holds along the run; lengths are episodes' steps."""
    store = EpisodeStore(
        ROOM, (1,), torch.uint8, 1, max(lengths),
        retention=retention, sampling="uniform", recent_share=0.5,
        min_length=1, slack=1, row_start="zero",
    )  # fmt: skip
    draws, found = generator(repeat, retention), []
    for task, steps in enumerate(lengths):
        for _ in range(PARTS):
            store.add(counting(ROOM // steps // PARTS, steps), task, draws)
            found.append(store.composition(len(lengths)))
    return np.array(found)


def averaged(lengths):
    """The same for each rule, mean over repetitions."""
    return {
        rule: np.mean([shares(rule, lengths, repeat) for repeat in range(REPEATS)], axis=0)
        for rule in ("fifo", "reservoir", "random-evict")
    }


def draw_compositions(found):
    """One stacked figure for each rule."""
    _, axes = plt.subplots(1, 3, figsize=(9.6, 3.2), layout="constrained", sharey=True)
    steps, ends = np.arange(1, TASKS * PARTS + 1) * ROOM // PARTS, ROOM * np.arange(1, TASKS)
    for ax, (rule, held) in zip(axes, found.items(), strict=True):
        bands = {f"task {k + 1}": share for k, share in enumerate(held.T)}
        charts.composition(steps, bands, rule, ends, ax=ax)
        ax.set_xlabel("environment steps", fontsize=10)
        if ax is not axes[-1]:
            ax.get_legend().remove()
        if ax is not axes[0]:
            ax.set_ylabel("")


equal = averaged([20] * TASKS)
draw_compositions(equal)

# %%
decay = np.exp(-np.arange(TASKS - 1, -1, -1.0))
formula = {
    "fifo": np.eye(TASKS)[-1],
    "reservoir": np.full(TASKS, 1 / TASKS),
    "random-evict": decay * np.where(np.arange(TASKS) > 0, 1 - np.exp(-1), 1),
}
rows = []
for rule, wanted in formula.items():
    pairs = zip(equal[rule][-1], wanted, strict=True)
    rows.append([rule, *(f"{found:.1%} ({told:.1%})" for found, told in pairs)])
header = ["at the end: counted (formula)", *(f"task {k + 1}" for k in range(TASKS))]
display(Markdown(results.markdown_table(header, rows)))
off = max(np.abs(equal[rule][-1] - wanted).max() for rule, wanted in formula.items())
print(f"Largest difference {off:.1%}, {'as' if off < 0.03 else 'against what was'} predicted.")

# %% [markdown]
# ## Episodes that differ in length
#
# Agents get better, and then episodes end sooner; other tasks end them early by lava. Here every
# task has the same number of *steps* again, in episodes of 20, 100, 50 and 10. A reservoir keeps
# every *episode* with the same chance, whatever its length, so each task should keep its 25 % of
# the steps. (Short episodes could slip into gaps that long ones leave behind. So nothing enters
# below a key that had to leave: that is what `floor` is for in the code above.)

# %%
unequal = averaged([20, 100, 50, 10])
draw_compositions(unequal)
ends = ", ".join(f"{share:.1%}" for share in unequal["reservoir"][-1])
print(f"The reservoir's shares of steps at the end: {ends}.")

# %% [markdown]
# ## Exercise 1: who leaves a reservoir
#
# Keys are drawn, sizes differ. Write who leaves so that the rest fits: positions in the order of
# leaving. Leave it as it is to go on.


# %%
def my_leaving(key, size, capacity):
    """Lists of N keys and N sizes, and what sizes may sum to, to a list of positions."""
    return ...


check(my_leaving, exercises.leaving)
solution(exercises.leaving)

# %% [markdown]
# ## What is drawn is another question
#
# *Retention* decides what is stored, *sampling* what of it is learnt from. The usual draw is
# uniform. **50:50** takes, with chance one half, the episode at position
# $\lfloor N\sqrt{U}\rfloor$, oldest first, and one at random otherwise. The square root moves
# draws towards 1, so that the chance of a position grows linearly with it. With a reservoir this
# gives back some of the attention to the present that the reservoir takes away.

# %%
show(Sampler.choose)

# %% [markdown]
# ## Exercise 2: half and half
#
# Write the position that one draw leads to.


# %%
def my_recent_position(coin, u, stored, share):
    """Two draws from [0, 1), N and the share of draws that favour new episodes, to a position."""
    return ...


check(my_recent_position, exercises.recent_position)
solution(exercises.recent_position)

# %% [markdown]
# ## A world model that gets a second task
#
# Now with learning. Task A is a room with a locked door (doorkey-5x5), task B one with lava
# (lavagap-s5); what we look at is the world model alone, on episodes of random actions, so that no
# policy can be to blame. The replay has room for task A; task B lasts twice as long.
#
# 1. A world model learns task A.
# 2. Two copies of it go on, one with fifo, one with a reservoir. Episodes of task B arrive in
#    portions; after each one the copies train alike.
# 3. On the way both are asked about episodes of A and B that they never learnt from: what will you
#    see next? The error is the share of the 49 cells in view that are predicted wrongly.
#
# **What we expect.** Both start with the same small error on A. Under fifo it climbs back as
# episodes of A leave, most of it after the last one is gone; under the reservoir, which ends with
# about a third of A, it does not. The price: the reservoir's copy learns B from fewer examples, so
# its error on B falls later. What would prove us wrong: an error on A that ends no higher under
# fifo than 1.5 times that under the reservoir.

# %%
ABREAST, PORTIONS, SETS = 8, 12, 3  # episodes at once; of task B; sets of 4 episodes held out
LONGER = 2  # times as long as task A, task B lasts
first, domain = registry.build(config, Streams(seed), torch.device("cpu"))
player = RandomPlayer(domain.actions)


def played(task, steps, name):
    """Batches of random episodes of a task until there are so many steps."""
    draws, env, found = generator(seed, f"{name}-{task}"), domain.make(task), []
    while sum(int(part.length.sum()) for part in found) < steps:
        found.append(play(player, env, ABREAST, draws, explore=True, act_generator=draws))
    return found


lengths = env_steps_per_task, LONGER * env_steps_per_task
experience = [played(task, steps, "train") for task, steps in enumerate(lengths)]
asked = [domain.new_held_out() for _ in range(SETS)]
for number, held_out in enumerate(asked):
    for task in range(2):
        (part,) = played(task, 1, f"held-out-{number}")
        domain.hold_out(held_out, task, part.obs, part.action, part.reward, part.length)


def errors(agent):
    """Share of wrong cells in held-out episodes of A and of B."""
    model, draws, names = agent.module("model"), generator(seed, "asked"), config.tasks
    found = [audit.audit(model, held_out, names, draws)[0] for held_out in asked]
    return [np.mean([one[f"audit/met-{name}/cells"] for one in found]) for name in names]


first.begin_task(0)
for part in experience[0]:
    first.store("learner", part)
before = errors(first)
learn_model(first, updates_per_task)
print(f"Wrong cells in A: {before[0]:.1%} untrained, {errors(first)[0]:.1%} trained.")

# %%
learnt = first.state_dict(with_replay=False)["world_model"]
agents, curves, held = {}, {}, {}
for retention, settings in configs.items():
    agent, _ = registry.build(settings, Streams(seed), torch.device("cpu"))
    agent.load_world_model(learnt)
    agent.begin_task(0)
    for part in experience[0]:
        agent.store("learner", part)
    agent.begin_task(1)
    found, composition = [errors(agent)], [agent.replay.composition(2)]
    for portion in np.array_split(np.arange(len(experience[1])), PORTIONS):
        for index in portion:
            agent.store("learner", experience[1][index])
        learn_model(agent, max(1, LONGER * updates_per_task // PORTIONS))
        found.append(errors(agent))
        composition.append(agent.replay.composition(2))
    agents[retention], curves[retention] = agent, np.array(found)
    held[retention] = np.array(composition)

done = np.linspace(0, lengths[1], PORTIONS + 1)
_, axes = plt.subplots(1, 3, figsize=(10.4, 3.3), layout="constrained")
shown = [
    ("share of A in the replay", {name: share[:, 0] for name, share in held.items()}),
    ("wrong cells in A", {name: found[:, 0] for name, found in curves.items()}),
    ("wrong cells in B", {name: found[:, 1] for name, found in curves.items()}),
]
for ax, (what, lines) in zip(axes, shown, strict=True):
    drawn = {name: (done, line) for name, line in lines.items()}
    charts.series(drawn, "environment steps in task B", what, legend="", ax=ax)
    ax.set_ylim(bottom=0)
charts.legend_apart(axes[-1])

# %%
rows = [
    [
        name,
        f"{held[name][-1, 0]:.0%}",
        f"{found[0, 0]:.1%} → {found[-1, 0]:.1%}",
        f"{found[0, 1]:.1%} → {found[-1, 1]:.1%}",
    ]
    for name, found in curves.items()
]
header = ["rule", "share of A held at the end", "wrong cells in A", "wrong cells in B"]
display(Markdown(results.markdown_table(header, rows)))
ratio = curves["fifo"][-1, 0] / curves["reservoir"][-1, 0]
print(
    f"After task B the error on A is {ratio:.1f} times as large under fifo as under the "
    f"reservoir, {'as' if ratio > 1.5 else 'against what was'} predicted."
)

# %% [markdown]
# ## A walk in A, predicted
#
# One held-out episode of task A. The top row is what the agent saw: it stands at the lower edge of
# its view and looks up, walls are grey, the key and the door are drawn in one colour, black is out
# of sight; lava would be orange, and a goal green.
# Below is what each model expected one record earlier: the one at the end of task A, and its
# two copies at the end of task B. What comes into view for the first time nobody can predict.
#
# If the explanation holds, the fifo copy no longer expects keys and doors where they have just been
# seen, or puts something of the lava room in their place, and the other one does better.

# %%
SHOWN, KINDS = 8, (4, 5)  # records; Minigrid's numbers for doors and keys
walks = {name: torch.cat([one[name][0] for one in asked]) for name in ("obs", "action")}  # of A
in_view = torch.isin(walks["obs"][..., 0], torch.tensor(KINDS)).flatten(2).any(-1)  # (K, T+1)
window = slice(audit.CONTEXT, audit.CONTEXT + SHOWN)
chosen = int(in_view[:, window].sum(1).argmax())
obs, taken = (walks[name][chosen, : window.stop].unsqueeze(1) for name in ("obs", "action"))
seen = obs[window, 0]  # (SHOWN, 7, 7, 3)


def predicted(agent):
    """What a model expects of the same records before it sees them."""
    model = agent.module("model")
    state, _, prior = audit.observe(model, obs, taken[:-1], generator(seed, "foretold"))
    return model.objective.predict(audit.one_step(model, state, prior))[window, 0]


views = {"what was seen": seen, "after A": predicted(first)}
views |= {f"after B, {name}": predicted(agent) for name, agent in agents.items()}
draw = minigrid.drawer(domain.obs_space.shape[:2])
_, axes = plt.subplots(len(views), 1, figsize=(8.4, 4.2), layout="constrained")
times = np.arange(window.start, window.stop)
for ax, (name, symbols) in zip(axes, views.items(), strict=True):
    charts.filmstrip(draw(symbols).numpy(), times, SHOWN, ax=ax)
    wrong = float((symbols != seen).any(-1).float().mean())
    words = name if symbols is seen else f"{name}\n{wrong:.1%} wrong"
    ax.set_ylabel(words, fontsize=9, rotation=0, ha="right", va="center")
    if ax is not axes[-1]:
        ax.set_xticks([])
        ax.set_xlabel("")
xlabel = axes[-1].set_xlabel("record of the episode", fontsize=10)

# %% [markdown]
# ## Whole agents
#
# So far no policy. Whole agents collect their own episodes, learn three tasks one after the other,
# and are evaluated on all three all the time. That takes far longer than this page, which therefore
# reads the numbers of runs that were made before, as `python -m lib compare` writes them. The tasks
# last equally long, and the replay holds as much as one of them: while the third is learnt, fifo
# has nothing left of the first.
#
# Read a *return matrix* column by column: after each task (rows) the agent plays every task that
# it has met (columns). 1 is the most that an episode can pay, which nobody reaches, since
# reaching the goal pays less the longer it takes. Where a column gets darker downwards, something
# was forgotten. Look at the diagonal first: only what was learnt can be.

# %%
TO_RUN = """python -m lib run dreamer-minigrid3-quick-seeds
python -m lib run continual-dreamer-minigrid3-quick-seeds
python -m lib compare outputs/*dreamer-minigrid3-quick-s*"""


def return_matrix(run):
    """(tasks, tasks) of one run, NaN where a task was not met yet."""
    rows = run["return_matrix"]
    found = np.full((len(rows), len(rows)), np.nan)
    for k, row in enumerate(rows):
        found[k, : k + 1] = row[: k + 1]
    return found


told, matrices = {}, {}
if Path(published).is_file():
    told = json.loads(Path(published).read_text())
    for label, group in told.items():
        optimum = [group["optimum"][task] for task in group["tasks"]]
        found = np.stack([return_matrix(run) for run in group["runs"]])
        matrices[label] = metrics.normalise(found, optimum)  # (seeds, tasks, tasks)
    columns = min(3, len(told))
    height = -(-len(told) // columns)
    size = (3.6 * columns, 3.0 * height)
    _, axes = plt.subplots(height, columns, figsize=size, layout="constrained")
    for ax in np.ravel(axes)[len(told) :]:
        ax.axis("off")
    for ax, (label, found) in zip(np.ravel(axes), matrices.items(), strict=False):
        title = f"{label} ({len(found)} seeds)"
        charts.return_matrix(found.mean(0), told[label]["tasks"], title, colorbar=False, ax=ax)
else:
    print(f"There is no '{Path(published).name}' yet. To make it, in an hour or two:\n{TO_RUN}")
    print("and build this page again with the parameter `published` naming it.")

# %% [markdown]
# The first task's return along the run, with intervals over seeds: at the end of each task, and
# where the runs tell it, at every evaluation (dotted: another task begins). Two things can hide in
# one falling line: the *world model* no longer knows the task, or the *actor*, one network for all
# tasks, has been trained on other imagined rollouts since. The table tells them apart: where the
# return is gone and hardly a cell is predicted wrongly, it was the actor that forgot.

# %%
if told:
    _, axes = plt.subplots(1, 2, figsize=(10.0, 3.6), layout="constrained")
    name = next(iter(told.values()))["tasks"][0]
    label = "share of the most an episode can pay"
    columns = {method: found[:, :, 0] for method, found in matrices.items()}
    charts.retention_curves(columns, f"Return in {name}", label, legend="", ax=axes[0])
    along = {}
    for method, group in told.items():
        watched = [(run.get("monitor") or {}).get(name) for run in group["runs"]]
        if all(watched):
            height = np.array([seen["return"] for seen in watched]) / group["optimum"][name]
            along[method] = watched[0]["env_steps"], height
    if along:
        title = f"Return in {name} at every evaluation"
        charts.learning_curves(along, title=title, legend="", ax=axes[1])
        axes[1].set_xlabel("environment steps of the whole run", fontsize=10)
        axes[1].set_ylabel("")
        lasted = [curve["task_env_steps"][-1] for curve in group["runs"][0]["curves"].values()]
        for boundary in np.cumsum(lasted)[:-1]:
            axes[1].axvline(boundary, color=charts.GREY, linestyle=":", linewidth=1)
    else:
        axes[1].axis("off")
    charts.legend_apart(axes[0], "figure")
    rows = []
    for method, group in told.items():
        found = matrices[method]
        audits = [run["audit"] for run in group["runs"]]
        asks = f"audit/met-{name}/cells"
        wrong = np.array([[row.get(asks) for row in rows_of] for rows_of in audits], float)
        scores = [found[:, 0, 0], found[:, -1, 0]]
        scores += [
            np.array([measure(matrix) for matrix in found])
            for measure in (metrics.average_performance, metrics.forgetting)
        ]
        cells = [results.table_cell(wrong[:, after], ".1%") for after in (0, -1)]
        row = [results.table_cell(values) for values in scores]
        rows.append([method, *row[:2], *cells, *row[2:]])
    header = [f"return in {name} after it", "at the end", "wrong cells in it then", "at the end"]
    header = ["method", *header, "average performance", "forgetting"]
    display(Markdown(results.markdown_table(header, rows)))
else:
    print(f"Nothing to draw without that file:\n{TO_RUN}")

# %% [markdown]
# ## What we saw

# %%
for retention, found in curves.items():
    print(
        f"{retention}: holds {held[retention][-1, 0]:.0%} of task A after task B; wrong cells in A "
        f"{found[0, 0]:.1%} → {found[-1, 0]:.1%}."
    )
if told:
    for method, found in matrices.items():
        lost = found[:, 0, 0] - found[:, -1, 0]
        each = ", ".join(f"{value:.2f}" for value in lost)
        print(
            f"{method}: of its return in {name}, {metrics.interval(lost).text()} was lost by the "
            f"end; seed by seed: {each}."
        )

# %% [markdown]
# **What we saw.** A replay's rule can be checked by counting, before anything is learnt, and a
# name in a paper is not yet the rule in its code. A world model knows what its replay holds: it
# loses a task soon after the last episode of it has left, and then sees the new task wherever it
# looks. Keeping some of the old task costs little on the new one, and lets the model go on learning
# the old one. Whole agents end as their replays do: under fifo the model has forgotten the first
# task and the policy with it, under the reservoir both are there, and the last task is learnt as
# well by either. But look along the curve, not at its end alone, and at every seed, as an interval
# over three is no more than their range: policies are unsteady after a change of task, and one seed
# of the reservoir's earned nothing in DoorKey for most of the third.
#
# **Where it fails.** A reservoir dilutes: after a hundred tasks each has a hundredth of the
# replay, and what is rare but important is kept no better than anything else. One seed, random
# episodes and rooms of five by five prove little about larger worlds; with seeds 0, 1 and 2 the
# error on A ended 8.4, 7.9 and 3.1 times as large under fifo. A model that remembers does
# not make a policy that does: the actor is trained only where imagination starts, and a task may
# be lost for it while the model still knows every cell.
#
# **What to try.** Another `seed`. The tasks exchanged. In whole agents, one change each:
# `continual-dreamer-recent` (50:50), `dreamer-coverage`, `dreamer-random-evict`, and exploration
# that is paid for surprise, `continual-dreamer-p2e`. Agents that *are* told where a task ends:
# `continual-dreamer-cloning` repeats what its stored episodes once did well, and so keeps the first
# task at every evaluation; `-p boundary.reset_optimizers=true` gives a Dreamer that hint, and
# `scratch` starts afresh with every task. For example:
#
#     python -m lib run continual-dreamer-recent-minigrid3-quick -p seed=1
#     python -m lib compare
