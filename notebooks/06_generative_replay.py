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
# # 06 · Generative replay
#
# **Question.** Can an agent remember a task without keeping any of its data?
#
# Two minutes on one CPU core, half an hour to read. Chapters 00 and 01 are assumed.
#
# You will see
#
# - a generator of experience, and what it *dreams* beside what really happened,
# - a world model that forgets, and one that *rehearses* on dreams,
# - what is lost from one generation of dreams to the next.
#
# Nobody plans here. Agents that walk at random meet the transitions of a room, and everything else
# is learnt from these alone. So whatever is forgotten is forgotten by the world model, and
# nothing can be blamed on a policy.

# %% tags=["parameters"]
seed: int = 0  # seeds walks, networks and batches
steps: int = 2000  # updates in each room
episodes: int = 150  # random walks in each room, 40 steps each

# %%
import copy

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown

from lib import viewer
from lib.algos.tdmpc.model import Dynamics
from lib.algos.tdmpc.protections import rehearsal
from lib.analysis import results
from lib.analysis.measures import ACCURACY
from lib.core import losses, metrics
from lib.core.config import EnvConfig
from lib.core.seeding import generator
from lib.envs import worlds
from lib.envs.grid import audit
from lib.envs.grid.rooms import CONTINUAL, ROOMS
from lib.plotting import charts, maps
from lib.replay.generative import Vae
from lib.workbook.teach import check, show, solution

torch.set_num_threads(1)  # small tensors lose time on a second thread

SIZE, LENGTH, BATCH, WIDTH, CODE = 13, 40, 256, 128, 16
domain = worlds.build(EnvConfig(domain="grid", size=SIZE, episode_length=LENGTH), list(CONTINUAL))
table, cells = domain.table, domain.table.cells.numpy()
L, A = domain.obs_dim, domain.actions.size
draws, init = generator(seed, "update"), generator(seed, "init")
card = {
    "world": f"four rooms, {table.next_state.numel():,} transitions",
    "experience": f"{episodes} random walks of {LENGTH} steps in each room",
    "networks": f"world model {L} + {A} → {WIDTH} → {WIDTH} → {L}; generator with a code of {CODE}",
    "updates, seed, device": f"{steps:,} in each room; {seed}; cpu",
}
Markdown(results.markdown_table(["run", "generative replay"], card.items(), numbers=False))

# %% [markdown]
# ## What is met
#
# Walkers start at a room's start and press buttons at random. Where one leaves the room, its
# experience is thrown away, so that no room tells anything of another. *Met* is what is left; the
# world model is asked about these transitions, for nobody can know what was never seen.


# %%
def walks(task):
    """(N, L), (N, A), (N, L) transitions of random walks, those within the room."""
    world = domain.make(task)
    obs, rows = world.reset(episodes, draws), []
    for _ in range(LENGTH):
        action = domain.actions.random(episodes, draws)
        after, _ = world.step(action)
        rows.append((obs, action, after))
        obs = after
    obs, action, after = (torch.cat(part) for part in zip(*rows, strict=True))
    inside = table.room[table.nearest(obs)] == ROOMS.index(CONTINUAL[task])
    return obs[inside], action[inside], after[inside]


rooms = [walks(task) for task in range(len(CONTINUAL))]
met = np.stack(
    [audit.dream_counts(table, torch.cat(room[:2], 1)).numpy() > 0 for room in rooms]
)  # (K, S, A)
figure, axes = plt.subplots(1, 4, figsize=(11, 3.2), layout="constrained")
for ax, name, seen in zip(axes, CONTINUAL, met, strict=True):
    marks = {"S": domain.tasks[CONTINUAL.index(name)].start}
    maps.grid_map(
        cells, seen, "", f"{name}: {seen.mean():.0%} of all transitions", marks=marks,
        colorbar=False, ax=ax,
    )  # fmt: skip

# %% [markdown]
# ## A generator of pairs
#
# A variational autoencoder squeezes a pair of state and action $x = (s, a)$ through a small code
# $c$, a normal variable whose mean and variance the encoder says, and unfolds it again. It is
# trained to redraw $x$ while its codes stay close to a standard normal:
#
# $$\lVert x - \hat x \rVert^2 + \beta \, \mathrm{KL} , \qquad
# \mathrm{KL} = \tfrac12 \sum_d \big( \mu_d^2 + \sigma_d^2 - 1 - \log \sigma_d^2 \big) .$$
#
# Then a code drawn from the standard normal unfolds to a pair that looks like one that was met: a
# *dream*. (Kingma and Welling, 2014. DRAGO averages both terms over their entries, section 4.1.) It
# dreams only where the agent stood and what it pressed. What came of it, the world model says.

# %%
show(Vae.forward, losses.vae_loss)

# %% [markdown]
# ## Exercise 1: the generator's loss
#
# Write it. Both terms are means over all entries.


# %%
def my_vae_loss(x, reconstruction, mean, log_var, beta):
    """(B, D) twice, (B, code) twice, a weight: the loss and {"reconstruction": …, "kl": …}."""
    return ...


check(my_vae_loss, losses.vae_loss)
solution(losses.vae_loss)

# %% [markdown]
# ## What it dreams
#
# **What we expect.** Dreams of the generator trained on room 1 lie where the walkers were, denser
# near the start, where these were most. Codes are continuous and the world is not, so that some
# dreams fall between cells or into a wall; buttons come out as soft mixtures of which the largest
# counts. What would prove it useless: dreams spread over all four rooms, or a single cell dreamt
# of again and again.

# %%
BETA = 0.02  # weight of the KL; DRAGO's is 1, see what to try


def batch_of(rows):
    index = torch.randint(len(rows[0]), (BATCH,), generator=draws)
    return tuple(part[index] for part in rows)


def dream(vae, n):
    return vae.sample(n, draws)


def train_generator(vae, rows, before=None, updates=steps):
    """One generator on a room's pairs and, of earlier rooms, on its predecessor's dreams."""
    adam = torch.optim.Adam(vae.parameters(), 1e-3)
    for _ in range(updates):
        pairs = torch.cat(batch_of(rows)[:2], 1)
        if before is not None:
            pairs = torch.cat((pairs, dream(before, BATCH)))
        noise = torch.randn(len(pairs), CODE, generator=draws)
        loss, _ = rehearsal.vae_loss(vae, pairs, noise, beta=BETA)
        adam.zero_grad()
        loss.backward()
        adam.step()
    return vae


first = train_generator(Vae(L + A, WIDTH, CODE, init), rooms[0])
count = audit.dream_counts(table, dream(first, audit.DREAMS)).numpy()
figure, axes = plt.subplots(1, 3, figsize=(11, 3.7), layout="constrained")
real = audit.dream_counts(table, torch.cat(rooms[0][:2], 1)).numpy()
for ax, rows, name in ((axes[0], real, "met"), (axes[1], count, "dreamt")):
    share = maps.per_cell(rows) / maps.per_cell(rows).sum()
    maps.grid_map(cells, share, "share of pairs in a cell", name, ax=ax)
maps.coverage_map(cells, met[0], count, "both", ax=axes[2])
print(
    f"{count.sum() / audit.DREAMS:.0%} of all dreams lie on a free cell, "
    f"{count[met[0]].sum() / audit.DREAMS:.0%} are a pair that was met; "
    f"{(count[met[0]] > 0).mean():.0%} of what was met is dreamt of."
)

# %% [markdown]
# ## Rehearsal
#
# In room 2 the world model $f$ learns the new transitions. Three agents differ in one thing:
#
# - **nothing**: that is all,
# - **dreams**: after each update, one more on dreams $(\hat s, \hat a)$ of the frozen generator of
#   room 1, answered by the frozen world model of room 1, $\lVert f(\hat s, \hat a) -
#   f_\text{old}(\hat s, \hat a) \rVert^2$ (DRAGO, section 4.1),
# - **stored**: the same with real pairs of room 1, which they were allowed to keep: the best that
#   dreams could be.

# %%
show(rehearsal.rehearsal_loss)

# %% [markdown]
# ## Exercise 2: one rehearsal
#
# Write the loss for answers in the raw form, before the network's output is bounded
# (`match="raw"`), and for bounded ones.


# %%
def my_rehearsal_loss(dynamics, obs, action, target, match):
    """Mean squared difference from `target`; dynamics.raw(obs, action), dynamics.bound(raw)."""
    return ...


check(my_rehearsal_loss, rehearsal.rehearsal_loss)
solution(rehearsal.rehearsal_loss)

# %% [markdown]
# ## Does it help?
#
# **What we expect.** All three learn room 2. Without rehearsal the accuracy on room 1 falls within
# a few hundred updates and goes on falling: nothing holds the weights. With dreams most of it
# stays, though not what was never dreamt of; stored pairs keep nearly all. What would prove us
# wrong: dreams that do no better than nothing.


# %%
def known(dynamics):
    """(K,) accuracy of the world model on what was met in each room."""
    right = audit.prediction_errors(table, dynamics)[1].numpy()
    return [right[seen].mean() for seen in met]


def learn(dynamics, rows, rehearse=None, updates=steps, look=100):
    """Trains a world model; `rehearse()` gives pairs and answers. Returns accuracies on the way."""
    adam = torch.optim.Adam(dynamics.parameters(), 1e-3)

    def descend(loss):
        adam.zero_grad()
        loss.backward()
        adam.step()

    seen = []
    for step in range(updates):
        if step % look == 0:
            seen.append(known(dynamics))
        obs, action, after = batch_of(rows)
        descend((dynamics(obs, action) - after).square().mean())
        if rehearse:
            descend(rehearsal.rehearsal_loss(dynamics, *rehearse(), "raw"))
    return np.array([*seen, known(dynamics)])


def dreams_of(vae, old):
    """Dreams and what the old world model answers, in its raw form."""

    def rehearse():
        obs, action = dream(vae, BATCH).split([L, A], 1)
        with torch.no_grad():
            return obs, action, old.raw(obs, action)

    return rehearse


def kept_of(rows, old):
    """Stored pairs, and what the old world model answers."""

    def rehearse():
        obs, action, _ = batch_of(rows)
        with torch.no_grad():
            return obs, action, old.raw(obs, action)

    return rehearse


def newborn():
    return Dynamics(L, A, WIDTH, init, crelu=True, bounded=True)


model = newborn()
before = learn(model, rooms[0])
old = copy.deepcopy(model).requires_grad_(False)
WAYS = {"nothing": None, "dreams": dreams_of(first, old), "stored": kept_of(rooms[0], old)}
paths = {name: learn(copy.deepcopy(model), rooms[1], way) for name, way in WAYS.items()}
figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.3), layout="constrained", sharey=True)
at = np.arange(0, 2 * steps + 1, 100)
for position, (name, path) in enumerate(paths.items()):
    for ax, room in zip(axes, (0, 1), strict=True):
        whole = np.concatenate([before[:-1, room], path[:, room]])
        ax.plot(at, whole, label=f"rehearses {name}", **charts.style(name, position))
for ax, name in zip(axes, CONTINUAL, strict=False):
    ax.axvline(steps, color="0.6", linestyle=":", linewidth=1)
    ax.set_title(f"on what was met in {name}", fontsize=11)
    ax.set_xlabel("updates; room 2 begins at the dotted line")
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("right-cell accuracy")
charts.legend_apart(axes[0], "figure")
rows = [[name, f"{path[0, 0]:.2f}", f"{path[-1, 0]:.2f}", f"{path[-1, 1]:.2f}"]
        for name, path in paths.items()]  # fmt: skip
header = ["rehearses", "room 1, when it ended", "room 1, after room 2", "room 2"]
Markdown(results.markdown_table(header, rows))

# %% [markdown]
# ## Four rooms, four generations
#
# Each new generator learns from its room's pairs and from its predecessor's dreams, in equal parts
# (DRAGO, section 4.1). By room 4 what is rehearsed of room 1 is a dream of a dream of a dream.
#
# **What we expect.** The share of room 1 that is still dreamt of falls from generation to
# generation, since what one generation does not dream the next cannot learn, and since each older
# room gets a smaller part of the dreams. The world model's accuracy on room 1 falls with it, more
# slowly. Without rehearsal it falls at once, to what the rooms have in common.

# %%
vae, dreaming, forgetting = first, copy.deepcopy(model), copy.deepcopy(model)
rights, errors, counts, seen = [], [], [], {"dreams": [before[-1]], "nothing": [before[-1]]}


def note(dynamics, vae):
    error, right = audit.prediction_errors(table, dynamics)
    rights.append(right.numpy())
    errors.append(error.numpy())
    counts.append(audit.dream_counts(table, dream(vae, audit.DREAMS)).numpy())


note(dreaming, vae)
for room in rooms[1:]:
    old = copy.deepcopy(dreaming).requires_grad_(False)
    seen["dreams"].append(learn(dreaming, room, dreams_of(vae, old))[-1])
    seen["nothing"].append(learn(forgetting, room)[-1])
    vae = train_generator(copy.deepcopy(vae), room, before=vae)
    note(dreaming, vae)
triangle = np.tril(np.ones((4, 4), bool))
accuracy = {name: np.where(triangle, np.stack(path), np.nan) for name, path in seen.items()}
viewer.Retention(
    list(CONTINUAL),
    accuracy["dreams"],
    ACCURACY,
    cells=cells,
    right=np.stack(rights),
    error=np.stack(errors),
    met=met,
    dreamt=np.stack(counts),
    title="A world model that rehearses its dreams",
)

# %%
covered = [[(counts[k][met[j]] > 0).mean() for j in range(4)] for k in range(4)]
covered = np.where(triangle, covered, np.nan)
figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.3), layout="constrained")
for j, name in enumerate(CONTINUAL[:3]):
    axes[0].plot(range(j + 1, 5), covered[j:, j], label=name, **charts.style(name, j))
for position, (name, values) in enumerate(accuracy.items()):
    look = charts.style(name, position)
    axes[1].plot(range(1, 5), values[:, 0], label=f"room 1, rehearses {name}", **look)
for ax, label in zip(axes, ("share of what was met that is dreamt", "accuracy"), strict=True):
    ax.set_ylim(0, 1.03)
    ax.set_xticks(range(1, 5))
    ax.set_xlabel("rooms learnt")
    ax.set_ylabel(label)
    charts.legend_apart(ax, "below")
    ax.spines[["top", "right"]].set_visible(False)
kept = {name: metrics.since_own_end(values)[-1, :3] for name, values in accuracy.items()}
rows = [[name, *(f"{share:.0%}" for share in shares)] for name, shares in kept.items()]
header = ["kept at the end, rehearsing", *CONTINUAL[:3]]
Markdown(results.markdown_table(header, rows))

# %% [markdown]
# The same view opens for any finished run: `viewer.retention("outputs/drago-grid-quick-s0")`.
#
# ## What we saw
#
# **What we saw.** A generator of a few thousand weights stands for a room: nine dreams of ten are a
# pair that was met, and none of what was met is missing. Without rehearsal the world model is wrong
# about room 1 after a hundred updates in room 2; what it still gets right is what the rooms have in
# common, such as turning. With dreams it loses one or two hundredths in three rooms, hardly more
# than with the stored data themselves, and nothing had to be kept.
#
# **Where it fails.** Each generation dreams a little less of the oldest rooms. Four rooms are few;
# the loss adds up, and nothing in the method brings back what is no longer dreamt of. Dreams are
# also densest where walkers were most often, not where errors matter most. And where dreams leave
# the room (pink), the old model's guesses are rehearsed as if they were knowledge. The *reviewer*
# of chapter 07 answers to the first two: it goes and looks.
#
# **What to try.** `BETA` of 1, the published weight: are the dreams still rooms? A `CODE` of 2.
# Only `episodes` of 10: what becomes of rare corners after four generations? A generator that
# begins anew in each room (`Vae(L + A, WIDTH, CODE, init)` in place of the copy).
