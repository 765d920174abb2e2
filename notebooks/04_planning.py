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
# # 04 · Planning
#
# **Question.** An agent can predict what its actions lead to. How does it decide what to do?
#
# A minute and a half on one CPU core, half an hour to read. Chapters 00 and 01 are assumed: what a
# world model is, and what the best return of a grid is.
#
# You will see
#
# - a search over action sequences, iteration by iteration,
# - how close it comes to an optimum that is known exactly, and what it takes to get there,
# - why a short look ahead needs a *value* at its end,
# - the search of a trained agent, in its own imagination.

# %% tags=["parameters"]
seed: int = 0  # seeds starts, searches and the small training run
states: int = 64  # states that are planned for at once
env_steps: int = 1920  # environment steps of the agent at the end, a multiple of 160

# %%
import tempfile
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown

from lib import viewer
from lib.algos.tdmpc import plain
from lib.algos.tdmpc.settings import PlannerConfig
from lib.analysis import results
from lib.core import losses, planning
from lib.core.config import EnvConfig, merge
from lib.core.plans import told_steps
from lib.core.seeding import generator
from lib.envs import toys, worlds
from lib.envs.grid import optimum
from lib.experiments import run_config
from lib.plotting import charts, maps
from lib.runner.training import train
from lib.runner.warm_start import trained_agent
from lib.workbook.teach import check, show, solution

torch.set_num_threads(1)  # small tensors lose time on a second thread
torch.set_grad_enabled(False)  # searching trains nothing

draws = generator(seed, "act")
settings = PlannerConfig(samples=256, elites=32, iterations=6, mixture=0.0)
card = {
    "search": f"{settings.samples} candidates, {settings.elites} elites, "
    f"{settings.iterations} iterations",
    "worlds": "a puck on ice (exact optimum by Riccati); four rooms (by dynamic programming)",
    "seed, device": f"{seed}; cpu",
}
Markdown(results.markdown_table(["run", "planning"], card.items(), numbers=False))

# %% [markdown]
# ## The mechanism: guess, score, keep, repeat
#
# ```
#   draw N sequences   ──▶  imagine and score  ──▶  keep the K best  ──▶  move the guess to them
#   a₀ a₁ … a_{h−1}         each one                (elites)                    │
#        ▲                                                                      │
#        └──────────────────────────────── I times ─────────────────────────────┘
# ```
#
# Then only the first action is taken, and the whole search begins again from where it led: the
# world may have answered otherwise than imagined.
#
# A sequence is scored by what the model expects on the way and by the value of where it ends:
#
# $$\phi = \sum_{t=0}^{h-1} \gamma^t \, r(z_t, a_t) + \gamma^h \, V(z_h) .$$
#
# The $K$ best get weights $w_i = \operatorname{softmax}(\tau \phi_i)$, and the guess, a mean and
# a standard deviation per step and action, moves to them:
#
# $$\mu \leftarrow \beta \mu + (1 - \beta) \sum_i w_i \, a^{(i)}, \qquad
# \sigma^2 \leftarrow \sum_i w_i \, (a^{(i)} - \mu')^2 , \quad
# \mu' = \textstyle\sum_i w_i \, a^{(i)} .$$
#
# (TD-MPC, algorithm 1: the cross-entropy method with the soft weights of MPPI.) For buttons instead
# of forces the guess is a probability per step and button, and moves to the weighted share of the
# elites that pressed it; this is what DRAGO does on the grid.

# %%
show(planning.best_of, planning.gaussian_plan)

# %% [markdown]
# ## Exercise 1: elites and their weights
#
# Write `elite_weights`: for every state the indices of the best candidates, best first, and their
# weights, which sum to one.


# %%
def my_elite_weights(values, elites, temperature):
    """(E, N) scores to indices and weights, both (E, K); K is `elites`, or N where that is less."""
    return ...


check(my_elite_weights, planning.elite_weights)
solution(planning.elite_weights)

# %% [markdown]
# ## A toy whose optimum is known
#
# A puck on ice, pushed by a force in the plane, is to come to rest at the origin: pay is minus the
# squared distance, speed and force. Motion is linear and cost quadratic, so that the best force is
# linear in the state, $u = -K_t x$, and the best return $-x^\top P_0 x$. Both follow from Riccati's
# recursion, without any search.
#
# Our planner is told nothing of this. It may only ask a model what would happen. Here the model is
# the true one, so what is missing to the optimum is the planner's fault alone.

# %%
STEPS = 20
puck = toys.point_mass(STEPS)


def score_in(world, value=None):
    """What sequences earn in a world's own model, with the value of their last state if given."""

    def score(z, actions):  # (E, L), (E, N, h, A) to (E, N)
        place = z.unsqueeze(1).expand(-1, actions.shape[1], -1)  # (E, N, L)
        total = z.new_zeros(actions.shape[:2])
        for action in actions.unbind(2):
            total = total + world.reward(place, action)
            place = world.predict(place, action)
        return total if value is None else total + value(place)

    return score


def plan(score, z, horizon, settings, previous=None, trace=None):
    noise = planning.PlanNoise.draw(len(z), horizon, puck.actions, settings, draws)
    options = {"previous": previous, "explore": False, "std_floor": settings.min_std}
    return planning.gaussian_plan(score, z, noise, settings, trace=trace, **options)


def led_to(world, z, candidates):
    """Where candidates (I, N, h, A) lead from a state (L,): (I, N, h + 1, L)."""
    places = [z.expand(*candidates.shape[:2], -1)]
    for action in torch.as_tensor(candidates).unbind(2):
        places.append(world.predict(places[-1], action))
    return torch.stack(places, 2)


# %% [markdown]
# One puck, one episode, and every search in it. Turn *iteration* to see the candidates close in,
# and *step* to follow the puck.
#
# **What we expect.** The first iteration's forces are mostly at their limit (the guess begins with
# a standard deviation of 2, and forces end at ±1), so that its paths fan out. The elites pull the
# guess together; by the last iteration all candidates nearly agree, and the scores rise from
# iteration to iteration.

# %%
tried = viewer.Recorder()
state, walked, previous = torch.tensor([[-0.2, 0.15, 0.1, 0.1]]), [], None
starts = []
for step in range(STEPS):
    starts.append(state[0])
    thought = plan(score_in(puck), state, min(10, STEPS - step), settings, previous, tried)
    state, previous = puck.predict(state, thought.action), thought.mean
walked = torch.stack([*starts, state[0]])[:, :2]
paths = [
    led_to(puck, start, search.candidates)[..., :2]
    for start, search in zip(starts, tried.searches, strict=True)
]
viewer.planning(
    tried.searches,
    paths,
    walked,
    marks={"0": (0, 0)},
    labels=("x", "y"),
    title="A puck that is to come to rest at 0",
)

# %% [markdown]
# ## What an iteration buys
#
# For many starts at once: how far the elites lie apart, and how far the planned first force is from
# the best one.
#
# **What we expect.** The spread falls by about the same factor each time until it nears the floor
# that `min_std` puts under the search's own noise. The error of the first force falls with it.

# %%
starts = puck.reset(states, draws).clone()
spread, error, ROUNDS = [], [], 20
best_force = puck.best_action(starts, 0)


def note(iteration, candidates, scores, elites):
    kept = planning.take(candidates, elites)  # (E, K, h, A)
    spread.append(kept[:, :, 0].std(1).mean())
    error.append((kept[:, :, 0].mean(1) - best_force).norm(dim=-1).mean())


plan(score_in(puck), starts, 10, replace(settings, iterations=ROUNDS), trace=note)
figure, ax = plt.subplots(figsize=(5.2, 3.2), layout="constrained")
iterations = np.arange(1, ROUNDS + 1)
ax.semilogy(iterations, spread, "o-", color=charts.BLUE, label="spread of the elites")
ax.semilogy(iterations, error, "s--", color=charts.VERMILION, label="error of their mean")
ax.axhline(
    settings.min_std, color=charts.BLACK, linewidth=1, linestyle=":", label="floor (min_std)"
)
ax.set_xlabel("iteration")
ax.set_ylabel("first force [share of the largest]")
charts.legend_apart(ax, "below")
ax.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# ## How far ahead, and then what?
#
# A whole episode from many starts, planned anew at every step. What is lost is measured in shares
# of the best (negative) return: 0 % is optimal, and doing nothing shows the scale. Two planners
# differ in one thing: the second adds the exact value $-x^\top P x$ of the last state that it looks
# at.
#
# **What we expect.** Looking one step ahead is no better than doing nothing: a force moves the puck
# only in the step after. Without a value the loss first falls as the horizon grows. Then it rises
# again: a plan of 20 steps has 40 numbers, and 256 guesses have to find them all. With a value one
# step is enough, for all that comes later is in it, and a short plan is found most easily. What
# would prove us wrong: a value that is of no use at short horizons.


# %%
def lost(horizon, with_value):
    """Share of the best return that planning loses, mean over states."""
    patient = replace(settings, iterations=10)
    state = starts.clone()
    earned, previous = torch.zeros(states), None
    for step in range(STEPS):
        h = min(horizon, STEPS - step)
        to_go = puck.cost_to_go[step + h].float()

        def value(place, to_go=to_go):
            return -((place @ to_go) * place).sum(-1)

        score = score_in(puck, value if with_value else None)
        thought = plan(score, state, h, patient, previous)
        earned += puck.reward(state, thought.action)
        state, previous = puck.predict(state, thought.action), thought.mean
    best = puck.best_return(starts)
    return float(((best - earned) / best.abs()).mean())


idle, still = torch.zeros(states), starts.clone()
for _ in range(STEPS):
    idle += puck.reward(still, torch.zeros(states, 2))
    still = puck.predict(still, torch.zeros(states, 2))
best = puck.best_return(starts)
rows = [["nothing done", f"{((best - idle) / best.abs()).mean():.0%}", "–"]]
for horizon in (1, 2, 3, 5, 10, 20):
    found = [f"{lost(horizon, with_value):.1%}" for with_value in (False, True)]
    rows.append([f"{horizon} steps ahead", *found])
Markdown(results.markdown_table(["lost of the best return", "no value", "exact value"], rows))

# %% [markdown]
# ## Exercise 2: where the value comes from
#
# An agent has no Riccati recursion. It learns a value from one-step targets, with two critics of
# which the more pessimistic counts: $y = r + \gamma \min_j Q_j(z', \pi(z'))$. (TD-MPC, section 2;
# the two critics are TD3's.) No gradient may flow into the target.


# %%
def my_td_target(reward, next_q, discount):
    """(...) rewards and (2, ...) values of what follows to (...) targets, detached."""
    return ...


check(my_td_target, losses.td_target)
solution(losses.td_target)

# %% [markdown]
# ## Buttons: the four rooms
#
# Now three buttons instead of two forces, and the exact table of the grid as a model. A return can
# be compared with the best one, found by dynamic programming.
#
# **What we expect.** In room 1 pay leads step by step to the goal, and a short look ahead finds
# most of it. `room-1to2` pays nothing before the other room is entered: a planner that looks fewer
# steps ahead than the way is long and has no value sees no reason to go, and gets there by accident
# alone. With the value three steps suffice in both.

# %%
LENGTH = 40
grid = worlds.build(
    EnvConfig(domain="grid", size=13, episode_length=LENGTH), ["room-1", "room-1to2"]
)
table = grid.table


def grid_score(task, value, left):
    """Scores in the exact table; the last state is worth what the best policy would earn there."""
    pays = table.reward(grid.tasks[task])

    def score(z, actions):
        here = table.nearest(z).unsqueeze(1).expand(-1, actions.shape[1])
        total = z.new_zeros(actions.shape[:2])
        for press in actions.argmax(-1).unbind(2):
            total = total + pays[here, press]
            here = table.next_state[here, press]
        if not value:
            return total
        rest = optimum.finite_horizon_values(table.next_state, pays, left - actions.shape[2])
        return total + rest[here].float()

    return score


def share_of_best(task, horizon, value, n=16):
    world = grid.make(task)
    obs, earned = world.reset(n, draws), torch.zeros(n)
    for step in range(LENGTH):
        h = min(horizon, LENGTH - step)
        noise = planning.PlanNoise.draw(n, h, world.actions, settings, draws)
        score = grid_score(task, value, LENGTH - step)
        thought = planning.categorical_plan(score, obs, noise, settings)
        obs, reward = world.step(thought.action)
        earned += reward
    return float(earned.mean()) / grid.optimum(task)


rows = []
for horizon in (3, 6, 9, 12):
    found = [f"{share_of_best(task, horizon, v):.0%}" for task in (0, 1) for v in (False, True)]
    rows.append([f"{horizon} steps ahead", *found])
header = ["share of the best return"]
header += [f"{task.name}, {kind}" for task in grid.tasks for kind in ("no value", "exact value")]
Markdown(results.markdown_table(header, rows))

# %% [markdown]
# ## The update: where model, reward and value come from
#
# Table and toy were given. An agent learns a model $T$, a reward $R$, two critics $Q_j$ and a
# policy $\pi$, all from windows of $H$ steps out of its replay: observations $s_0 \dots s_H$,
# actions $a_k$, rewards $r_k$. The model starts from what was seen, $z_0 = s_0$, and goes on from
# what it predicts itself, $z_{k+1} = T(z_k, a_k)$. Every step is asked for three things:
#
# $$\sum_{k=0}^{H-1} \rho^k \Big[
# c_1 \underbrace{\lVert z_{k+1} - s_{k+1} \rVert^2}_{\text{consistency}} \; + \;
# c_2 \underbrace{\big(R(z_k, a_k) - r_k\big)^2}_{\text{reward}} \; + \;
# c_3 \sum_{j=1,2} \underbrace{\big(Q_j(z_k, a_k) - y_k\big)^2}_{\text{value}} \Big] ,$$
#
# $$y_k = r_k + \gamma \min_j Q'_j\big(s_{k+1}, \pi(s_{k+1})\big) .$$
#
# (TD-MPC, eq. 5 and 9.) The smaller of two critics, because a maximum over errors flatters; $Q'$ is
# a copy that follows slowly, because a target that ran along would be chased for ever. Then the
# policy climbs the critics, which are left alone (eq. 10):
#
# $$- \sum_{k=0}^{H} \rho^k \min_j Q_j\big(z_k, \pi(z_k)\big) .$$
#
# What follows is written to be read: one seed, one time step after the other. A run computes the
# same numbers for many seeds at once, in `lib/algos/tdmpc/update.py`, and is tested against this.

# %%
show(plain.model_loss, plain.policy_loss)

# %% [markdown]
# ## In its own imagination
#
# So an agent has neither table nor exact value: it searches in what it learnt. We train one as
# small as chapter 00's in one room, and watch it search at every step of an episode. Its candidates
# are paths in its imagination; what it walked is real.
#
# **What we expect.** Candidates lie along the room and stop at walls where the model knows them.
# And the agent's belief about its return differs from what it gets: the value was learnt as if time
# never ran out, while episodes end after 20 steps. What is really left falls to nothing; the belief
# does not. (`viewer.plans("outputs/NAME-s0")` shows the same of any finished run of yours.)

# %%
SMALLER = {
    "env.size": 9,
    "env.episode_length": 20,
    "budget.parallel_envs": 8,
    "budget.eval_every": 320,
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
config = run_config.resolve(
    {
        "method": "tdmpc",
        "preset": "grid-quick",
        "seed": seed,
        "device": "cpu",
        "tasks": ["room-1"],
        "env_steps_per_task": env_steps,
        "overrides": SMALLER,
    }
)
with tempfile.TemporaryDirectory() as folder, torch.enable_grad():
    run = Path(folder) / "run"
    train(config, run, tensorboard=False, progress=False)
    trained = results.load_run(run)
    held = trained.audit_arrays(0)
    agent = trained_agent(run / "checkpoints" / "task-1.safetensors", torch.device("cpu"))
small = worlds.build(config.env, config.tasks)
print(
    f"Its return in room 1 is {trained.performance()[0, 0]:.0%} of the best; "
    f"it looks {config.planner.horizon[0]} steps ahead."
)

# %%
watched = viewer.watch(agent, small.make(0), draws)
viewer.planning_of(watched, agent, small)

# %%
hoped = [float(search.scores[-1].max()) for search in watched.searches]
gamma = config.learning.discount
earned = watched.reward.tolist()
got = [sum(gamma**k * r for k, r in enumerate(earned[t:])) for t in range(len(earned))]
figure, ax = plt.subplots(figsize=(5.6, 3.0), layout="constrained")
ax.plot(hoped, "o-", color=charts.BLUE, label="score of the best candidate")
ax.plot(got, "s--", color=charts.BLACK, label="really earned from there on, discounted")
ax.set_xlabel("step of the episode")
ax.set_ylabel("return")
charts.legend_apart(ax, "below")
ax.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# ## Plans that are promised more than they pay
#
# A search feeds predictions back, so what counts is not one step but a whole plan. From a state $z$
# a plan $a_{0:h}$ is *promised* $\hat R = \sum_{k<h} \gamma^k \hat r(\hat z_k, a_k)$ along
# imagined states $\hat z_{k+1} = \hat f(\hat z_k, a_k)$, and *pays*
# $R = \sum_{k<h} \gamma^k r(z_k, a_k)$ along true ones. We call it a **phantom plan** where
# $\hat R - R$ is more than a tenth of what the best plan of all states pays: a search that finds it
# follows it, and earns nothing. The grid is small enough to try all $3^h$ sequences from every
# state.
#
# **What we expect.** Nine in ten single steps are predicted to the right cell. Errors of a fraction
# of a cell round away in one step, but in a plan nothing rounds them, so accuracy falls with every
# step ahead; rounding imagined states to those that exist (`planner.snap`) should win some of it
# back. Phantoms are where the agent has hardly been. It would prove us wrong if accuracy stayed
# level, or if rounded plans were no better.


# %%
def examine(agent):
    """Returns metrics of the room's plans, and excess (S,) and phantoms (S,) of all states."""
    can = agent.capabilities()
    found, arrays = small.audit_plans(0, can.search.outcomes, can.look_ahead, gamma, draws)
    return {name.rpartition("/")[2]: value for name, value in found.items()}, arrays


plans = {"as learnt": examine(agent)}
agent.cfg = merge(agent.cfg, {"planner": {"snap": True}})
plans["rounded at every step"] = examine(agent)

# %%
figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.6), layout="constrained")
ahead = told_steps(config.planner.horizon[0])
looks = (("o-", charts.BLUE), ("s--", charts.VERMILION))
for (name, (found, _)), (line, color) in zip(plans.items(), looks, strict=True):
    right = [found[f"right_{k}"] for k in ahead]
    axes[0].plot(ahead, right, line, color=color, label=name)
    print(
        f"{name}: {right[0]:.1%} of cells right one step ahead, {right[-1]:.1%} after {ahead[-1]}; "
        f"{found['phantom_share']:.0%} of the room's states have a phantom plan"
    )
axes[0].set(
    xticks=ahead, xlabel="steps ahead", ylabel="right-cell accuracy, open loop", ylim=(0, 1.02)
)
axes[0].legend(frameon=False)
axes[0].spines[["top", "right"]].set_visible(False)
_, arrays = plans["as learnt"]
met = held["met"].any((0, 2))  # (S,) states that the agent was in
shown = np.where(met, arrays["excess"], np.nan)
title = "Where it was: phantom plans are framed"
maps.plans_map(held["cells"], shown, arrays["phantom"], title, ax=axes[1])

# %% [markdown]
# A phantom is undone as soon as the agent walks into it: the next updates see what it paid. So the
# quick four rooms learn after every two episodes, and evaluations plan with an average of the last
# hundred updates, in which what a single one made attractive has little weight. Rounding alone did
# not steady whole runs: most phantoms are errors of the reward where the agent hardly ever was.

# %% [markdown]
# ## What we saw
#
# **What we saw.** A search that knows nothing but a model comes within 2 % of an exact optimum, if
# it is asked to look one step ahead and told what comes after. Without that it needs a long plan,
# and a long plan is hard to find: ten steps were best, and lost more than ten times as much. On the
# grid it is the same story in other numbers: three steps and a value are worth as much as a search
# over many, and more steps cost a little, as the guesses are spread over more buttons.
#
# **Where it fails.** The action is that of *one* elite, drawn by weight, and the weights depend on
# the scale of the scores: with a temperature of ½ and scores that differ by a tenth, all elites
# weigh the same. That is why the error of the acted force stays where the spread is, and why long
# plans lose so much on the puck. The trained agent believes in less than it gets at first, as its
# value has not caught up after so little training, and in more at the end.
#
# **What to try.** `temperature` of 20 in `settings`: sharper weights, and a search that closes too
# early; which rows of the table gain, and which lose? 1,024 samples for the plans of 20 steps. The
# agent's `planner.horizon` of 2 and of 10.
