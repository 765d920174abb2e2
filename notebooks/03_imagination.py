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
# # 03 · Imagination
#
# **Question.** How can an agent learn to act without acting?
#
# A world model that can be blindfolded (chapter 02) is a place to practise in. Here an actor and a
# critic are trained on imagined steps alone; the world is asked only for what the model learns
# from. Training takes one to two minutes on one CPU core, reading a quarter of an hour. Chapter
# assumed: 02.
#
# You will see
#
# - how far-away rewards come back to a decision: λ-returns, and who is blamed for what,
# - an agent that has learnt a task, beside the best that anybody could do,
# - its daydreams, picture by picture, with what it expects of them,
# - a door for environments of your custom_env.

# %% tags=["parameters"]
seed: int = 0  # seeds networks, environment, actions and batches
env_steps: int = 9000  # environment steps, a multiple of 4
out_dir: str = ""  # where the runs are kept, empty for a temporary folder

# %% [markdown]
# The run card. Of the quick preset a few settings are changed, so that something is learnt within
# minutes: the future counts for less (γ of 0.95), since the goal is near; the policy is paid more
# for staying undecided (η), so that it does not settle for what a young model takes for a reward;
# and the random beginning is a quarter of all steps, which gives the model something to learn from.

# %%
import tempfile
from pathlib import Path

import gymnasium
import matplotlib.pyplot as plt
import numpy as np
import torch
from gymnasium import spaces
from IPython.display import Markdown

from lib import viewer
from lib.algos.dreamer import audit, behaviour, plain
from lib.algos.dreamer.behaviour import Starts
from lib.algos.dreamer.rssm import State
from lib.analysis import results
from lib.core import losses
from lib.core.errors import UserError
from lib.core.noise import draw_noise
from lib.core.seeding import generator
from lib.envs import worlds
from lib.experiments import custom_env, run_config
from lib.plotting import charts
from lib.runner.evaluate import play
from lib.runner.training import train
from lib.workbook.teach import check, show, solution

torch.set_num_threads(1)  # small tensors lose time on a second thread

OVERRIDES = {
    "latent.norm": "none",  # of use where several tasks follow each other
    "objective.reward": "identity",  # published runs predict tanh of it, which is less readable
    "objective.reward_scale": 1.0,
    "behaviour.discount": 0.95,
    "behaviour.entropy": 0.01,
    "behaviour.slow_every": 10,
    "update.actor_lr": 3e-4,
    "update.critic_lr": 1e-3,
    "update.env_steps_per_update": 8,
    "update.prefill": env_steps * 5 // 18,
    "update.pretrain": 50,
    "explore.bonus": "none",  # what the environment pays, nothing else
    "explore.evaluate": "acting",  # evaluate the policy as it acts, chance included
    "budget.parallel_envs": 4,
    "budget.eval_every": max(env_steps // 9, 4),
    "budget.report_every": max(env_steps // 18, 4),
}
config = run_config.resolve(
    {
        "preset": "minigrid3-quick",
        "method": "dreamer",
        "tasks": ["empty-5x5"],
        "env_steps_per_task": env_steps,
        "seed": seed,
        "device": "cpu",
        "overrides": OVERRIDES,
    }
)
gamma, lam, eta = config.behaviour.discount, config.behaviour.lam, config.behaviour.entropy
card = {
    "world": f"{config.tasks[0]}, seen as symbols",
    "environment steps": f"{env_steps:,}, the first {config.update.prefill:,} at random",
    "updates": f"one every {config.update.env_steps_per_update} environment steps",
    "imagination": f"{config.behaviour.starts} rollouts of {config.behaviour.horizon} steps each",
    "γ, λ, η": f"{gamma}, {lam}, {eta}",
    "preset, seed, device": f"{config.preset}, changed; {config.seed}; {config.device}",
}
Markdown(results.markdown_table(["run", "imagination"], card.items(), numbers=False))

# %% [markdown]
# ## The world, and the best that can be done in it
#
# An empty room of three by three cells. The agent starts in one corner, facing along the wall, and
# earns $1 - 0.9 \, t / 100$ when it stands on the green goal after $t$ steps; then the episode is
# over. There is nothing else to earn. Two steps forward, one turn, two steps forward: five actions
# out of seven kinds, so the best possible return is $1 - 0.9 \cdot 5 / 100 = 0.955$.

# %%
BEST = 1 - 0.9 * 5 / 100
ACTIONS = ("left", "right", "forward", "pick up", "drop", "toggle", "done")
FORWARD, RIGHT = ACTIONS.index("forward"), ACTIONS.index("right")
domain = worlds.build(config.env, config.tasks)
scene = domain.scene(0)


def pictures(views):
    """(T, 7, 7, 3) symbols to (T, 64, 64, 3) pictures."""
    return np.stack([scene.frame(view.flatten().numpy())[::4, ::4] for view in views])


def walked(indices):
    """Views (T+1, 7, 7, 3) and rewards (T,) of actions that are really taken."""
    env = domain.make(0)
    views, rewards = [env.reset(1, generator(seed, "walk"))[0]], []
    for index in indices:
        obs, reward = env.step(torch.eye(len(ACTIONS))[index].unsqueeze(0))
        views.append(obs[0])
        rewards.append(float(reward))
    env.close()
    return torch.stack(views), np.array(rewards)


path = [FORWARD, FORWARD, RIGHT, FORWARD, FORWARD]
views, rewards = walked(path)
labels = ["start", *(ACTIONS[i] for i in path)]
axes = charts.film_rows(
    {"view": pictures(views)}, labels, f"The shortest way earns {rewards.sum():.3f}"
)

# %% [markdown]
# ## The mechanism: rollouts from replayed states
#
# ```
#  replayed:  o ─▶ s₀         imagined from here on: no observation, no environment
#                  │
#       actor ──▶ a₁ ─▶ s₁ ─▶ a₂ ─▶ s₂ ─▶ ... ─▶ s_H
#                        │           │             │
#                  r₁, d₁, v₁   r₂, d₂, v₂       v_H        read off by the heads and the critic
# ```
#
# The model is updated on a batch of replayed sequences. Each of their states is a place where the
# agent has been, and imagination starts in some of them (64 here). The actor chooses, the model
# answers with its prior, and so on for $H$ steps. Action $a_{k+1}$ is taken in $s_k$ and leads to
# $s_{k+1}$. One update imagines 640 steps here, while the agent really takes eight.

# %%
show(plain.imagine)

# %% [markdown]
# ## The equation: what is a state worth?
#
# Rewards within the rollout are imagined, what follows is the critic's guess, and the λ-return
# mixes all lengths, backwards from the end (DreamerV2, eq. 4):
#
# $$R_H = V(s_H), \qquad R_k = r_k + d_k \big[(1 - \lambda) \, V(s_{k+1}) + \lambda \, R_{k+1}
# \big] .$$
#
# $r_k$ is what was received *on entering* $s_k$, and $d_k$ is γ times the chance that the episode
# goes on from there, as predicted by the discount head. With λ = 0 a state is judged by the critic
# one step on, with λ = 1 by the whole rollout. $V$ is a *slow* copy of the critic, taken every 10
# updates here: a target that ran along with what it trains would be chased for ever.

# %%
show(losses.lambda_return)

# %% [markdown]
# ## Exercise 1: λ-returns
#
# Write it. `reward`, `discount` and `value` are $(H, N)$; `value[k]` is $V(s_{k+1})$, so the last
# row is $V(s_H)$. Leave it as it is to go on.


# %%
def my_lambda_return(reward, discount, value, lam):
    """Three times (H, N) to the returns R_0 .. R_{H-1}, (H, N)."""
    return ...


check(my_lambda_return, losses.lambda_return)
solution(losses.lambda_return)

# %% [markdown]
# ## Who is to blame
#
# The critic learns to predict the returns. The actor makes actions likelier that led to more than
# was expected; actions are discrete, so no gradient comes through the model, and the score-function
# estimator does it (REINFORCE):
#
# $$\mathcal L_\text{critic} = \tfrac12 \, w_k \, \big(v(s_k) - \mathrm{sg}(R_k)\big)^2, \qquad
# \mathcal L_\text{actor} = - w_k \Big[ \ln \pi(a_{k+1} \mid s_k) \; \mathrm{sg}\big(R_{k+1} -
# V(s_k)\big) + \eta \, \mathrm{H}\big(\pi(\cdot \mid s_k)\big) \Big] .$$
#
# The weight $w_k = d_0 \cdots d_{k-1}$ says how likely step $k$ is ever reached: whatever is dreamt
# beyond the end of an episode counts for nothing. The *baseline* $V(s_k)$ does not depend on the
# action, so it changes no expectation; without it every action that pays at all would be praised.
#
# Both losses as they read, one imagined step after the other; a run computes the same numbers for
# all steps and seeds at once, from the small functions below them, and is tested against this.

# %%
show(plain.behaviour_loss)
show(losses.rollout_weights, losses.reinforce_objective, losses.actor_loss)

# %% [markdown]
# ## Exercise 2: praise and blame
#
# Write the part in brackets without the entropy. `returns` and `baseline` have a row for each of
# the states $0 \ldots H-1$, `log_prob` one for each action that leads from one of these to another.


# %%
def my_reinforce_objective(log_prob, returns, baseline):
    """(H-1, N), (H, N) and (H, N) to (H-1, N)."""
    return ...


check(my_reinforce_objective, losses.reinforce_objective)
solution(losses.reinforce_objective)

# %% [markdown]
# ## Train, after a prediction
#
# **What we expect.** For the first 2,500 steps nothing is learnt, buttons are pressed at random.
# Then the model comes first and the behaviour follows: reconstruction falls, some hundred updates
# later the returns rise, and at the end nearly every episode reaches the goal in close to five
# steps. What the agent *imagines* to earn must not lie above 0.955, since nobody can earn more.
#
# What would prove us wrong: returns that stay at those of random play (about 0.1), or imagined
# returns above the best, which is an agent that has found a fault of its model and believes in it.

# %%
kept = tempfile.TemporaryDirectory() if not out_dir else None
folder = Path(out_dir or kept.name)
train(config, folder / f"dreamer-s{seed}", tensorboard=False, progress=False)
run = results.load_run(folder / f"dreamer-s{seed}")

# %%
figure, axes = plt.subplots(1, 3, figsize=(11.0, 3.2), layout="constrained")
curves = {"evaluation": run.curves["empty-5x5"]}
best = {"optimum_name": "best possible", "legend": "below"}
charts.learning_curves(curves, BEST, "Return", ax=axes[0], **best)
reconstruction = run.series("train/model/reconstruction")
charts.series(
    {"model": reconstruction}, "environment steps", "nats", "Reconstruction", True, ax=axes[1]
)
imagined = {
    "imagined return": run.series("train/behaviour/return"),
    "policy's entropy (nats)": run.series("train/behaviour/entropy"),
}
charts.series(imagined, "environment steps", "", "In imagination", legend="below", ax=axes[2])
axes[2].axhline(BEST, color=charts.BLACK, linestyle="--", linewidth=1)
axes[2].set_ylim(bottom=0)
evaluated = run.curves["empty-5x5"][1]
print(
    f"Mean return of ten episodes: {evaluated[0]:.2f} at first, {evaluated[-1]:.3f} at the end; "
    f"the best possible is {BEST:.3f}."
)

# %% [markdown]
# ## A daydream
#
# The trained agent sees the first view of an episode, closes its eyes and imagines the next steps;
# the same actions are then really taken. Below are what its heads and its critic say of every
# imagined state. Step through it: *play*, *back* and *forward* are buttons, the arrow keys move the
# slider once it has the focus. (On a page without a kernel you see a still.)
#
# **What we expect.** The walk to the goal in both rows. The reward is predicted on entering the
# goal and nowhere else, value grows on the way there, and the discount drops to zero there. Views
# after that moment are make-believe: the real episode is over, and $w_k = 0$ keeps them out of the
# losses.

# %%
agent = custom_env.agent_of(config, folder / f"dreamer-s{seed}", domain, torch.device("cpu"))
model, actor, critic = (agent.module(name) for name in ("model", "actor", "critic"))
draws = generator(seed, "chapter")
HORIZON = 10


def daydream(count):
    """Rollouts of the policy from the first view: features (H+1, N, F), actions (H, N)."""
    views, _ = walked([FORWARD])  # of which the first one is looked at
    obs = views.unsqueeze(1).repeat(1, count, 1, 1, 1)  # (2, N, 7, 7, 3)
    onward = torch.eye(len(ACTIONS))[FORWARD].expand(1, count, -1)
    state, _, _ = audit.observe(model, obs, onward, draws)
    starts = Starts(State(*(part[0] for part in state)), torch.zeros(count, dtype=torch.bool))
    noise = draw_noise(behaviour.imagine_noise(model.rssm, actor, HORIZON, count), draws)
    rollout = behaviour.imagine(model.rssm, [actor], starts, noise)
    return rollout.features, rollout.action.argmax(-1)


with torch.no_grad():
    features, taken = daydream(50)
    said = {
        "reward": model.reward(features),
        "value": critic(features),
        "discount": model.discounts(features),
    }
arrives = (said["reward"] > 0.5).any(0)  # (N,)
when = (said["reward"] > 0.5).float().argmax(0)  # (N,) the first such step, 0 if there is none
best = int(torch.where(arrives, when, HORIZON + 1).argmin())
really, earned = walked(taken[:, best].tolist())
labels = ["start", *(ACTIONS[i] for i in taken[:, best].tolist())]
viewer.scrub(
    {
        "imagined": pictures(model.objective.predict(features[:, best])),
        "really": pictures(really),
    },
    {
        "reward": said["reward"][:, best],
        "value": said["value"][:, best],
        "discount": said["discount"][:, best],
    },
    labels,
    title="A daydream of the trained agent",
    xlabel="imagined step",
)

# %% [markdown]
# ## Is it true what it dreams?
#
# One daydream was chosen for being short. Over all 50: how often does the imagined goal stand where
# the real one does, and when is it reached? And over real episodes: does the critic's value agree
# with what was earned from there on, discounted by γ?
#
# **What we expect.** The critic's curve follows $0.955 \, \gamma^k$ for $k$ steps before the goal,
# where the rewards of slower episodes are a little smaller.

# %%
pairs = [(i, int(when[i])) for i in range(len(when)) if arrives[i]]
true = sum(walked(taken[:k, i].tolist())[1][-1] > 0 for i, k in pairs)
print(
    f"{len(pairs)} of {len(when)} daydreams reach the goal within {HORIZON} steps, in "
    f"{when[arrives].float().mean():.1f} steps on average; the same actions really reach it at "
    f"that very step in {true} of these."
)

played = play(agent, domain.make(0), 30, draws, explore=False, act_generator=draws)
obs, action = played.obs.transpose(0, 1), played.action.transpose(0, 1)
state, _, _ = audit.observe(model, obs, action, draws)
value = critic(model.rssm.features(state))  # (T+1, K)
reward = torch.cat((torch.zeros(1, obs.shape[1]), played.reward.T))  # on entering each record
record = torch.arange(len(obs)).unsqueeze(1)
to_go = played.length - record  # (T+1, K) steps that are left
final = played.reward.sum(1)  # paid once, at the end
came = final * gamma ** to_go.clamp_min(0)
steps = np.arange(0, 9)
ends = played.success & (played.length <= 100)
expected = [float(value[(to_go == k) & ends].mean()) for k in steps]
turned_out = [float(came[(to_go == k) & ends].mean()) for k in steps]
curves = {
    "the critic says": (steps, expected),
    "came of it": (steps, turned_out),
    "at best": (steps, BEST * gamma**steps),
}
ax = charts.series(curves, "steps left to the goal", "discounted return", "Value on the way")
ax.set_ylim(bottom=0)
print(
    f"{int(played.success.sum())} of {len(final)} real episodes reach the goal; mean return "
    f"{final.mean():.3f}, the shortest takes {int(played.length.min())} steps."
)

# %% [markdown]
# ## A door for your own environment
#
# Nothing above knows about Minigrid. `custom_env.train(env, config)` takes what gymnasium takes:
# an id, an environment, a function that makes one, or a list of these as a stream of tasks. What it
# shows (vectors, pixels, symbols) and what it takes (discrete or continuous) is found out.
#
# A corridor of seven cells, and a lamp at its right end:


# %%
class Corridor(gymnasium.Env):
    """Seven cells; the right end pays 1 and is the end."""

    observation_space = spaces.Box(0.0, 1.0, (7,), np.float32)
    action_space = spaces.Discrete(2)  # left, right

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = int(self.np_random.integers(3))
        return np.eye(7, dtype=np.float32)[self.place], {}

    def step(self, action):
        self.place = min(max(self.place + (1 if action == 1 else -1), 0), 6)
        there = self.place == 6
        return np.eye(7, dtype=np.float32)[self.place], float(there), there, False, {}


trained = custom_env.train(Corridor(), "debug", seed=seed, episode_length=40, progress=False)
tried = trained.play(episodes=5)
print("steps of five episodes:", tried.length.tolist(), "returns:", tried.reward.sum(1).tolist())

# %% [markdown]
# `debug` is the smallest preset: 600 steps, tiny networks. It shows that everything fits together,
# not that much is learnt. For more, give settings by their dotted names, or another preset:
#
#     longer = {"preset": "minigrid3-quick", "budget.env_steps_per_task": 20_000}
#     custom_env.train(Corridor(), longer)
#
# Two environments that come with gymnasium, a pole on a cart (discrete) and a pendulum (a torque
# between -2 and 2):

# %%
for name in ("CartPole-v1", "Pendulum-v1"):
    trained = custom_env.train(name, "debug", seed=seed, progress=False)
    tried = trained.play(episodes=3)
    space = trained.domain.actions
    kind = "discrete" if space.discrete else "continuous"
    print(f"{name}: {space.size} {kind}, returns {tried.reward.sum(1).round(decimals=0).tolist()}")

# %% [markdown]
# ## What goes wrong there, and what is said
#
# A mistake is one line: what arrived, what is allowed, what to do.


# %%
class Sentences(Corridor):
    """Shows text, which nothing here can read."""

    observation_space = spaces.Text(10)


for env, settings in (
    ("CartPol-v1", "debug"),
    (Sentences(), "debug"),
    (Corridor(), {"update.model_rate": 1e-3}),
    (Corridor(), {"update.prefill": 5_000}),
    (42, "debug"),
):
    try:
        custom_env.train(env, settings, progress=False)
    except UserError as error:
        print(f"- {error}\n")

# %% [markdown]
# ## What we saw
#
# **What we saw.** The policy was trained on no real step at all, only on rollouts of ten imagined
# ones, and came to walk the shortest way. The imagined return rose with the real one and ended
# below it, as it must: it is discounted, and begins anywhere on the way. Daydreams of the trained
# agent reach the goal where the same actions really do, almost every time. Past the end of an
# episode the model goes on dreaming of places that follow nothing; the discount of nearly 0 at the
# goal is what keeps these from counting.
#
# **Where it fails.** The goal of this room is found at random in a third of all episodes. Where
# rewards are rare the picture changes: a small error of the reward head, added up over 1 / (1 − γ)
# steps, outweighs the reward itself, and the policy learns to stay alive in a dream rather than to
# reach anything. On DoorKey-5x5 that happened to us; a smaller γ, a heavier reward loss and a
# bonus for rare cells mended it (`MINIGRID_QUICK` in `lib/algos/dreamer/presets.py`). And one seed
# of one room shows no spread.
#
# **What to try.** γ of 0.99 in the parameters above: does the imagined return still tell the
# truth? A horizon of 3. Your own environment with a larger preset than `debug`, which only shows
# that all parts fit together: CartPole and Pendulum have learnt nothing in its few hundred steps.
