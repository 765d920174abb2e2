"""Actor and critic learn from imagined rollouts.

Letters: H imagined steps, N rollouts, F features, A action size, P policies. Step k of a rollout is
the state that k actions led to; state 0 is a replayed one, so H steps make H + 1 states.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.algos.dreamer.networks import Scalar, dense
from lib.algos.dreamer.rssm import Rssm, State
from lib.algos.dreamer.settings import BehaviourConfig, NetworkConfig
from lib.algos.dreamer.world_model import WorldModel
from lib.core import losses
from lib.core.distributions import (
    categorical_entropy,
    log_softmax,
    one_hot,
    softmax,
    straight_through,
    tanh_normal_log_prob,
)
from lib.core.noise import NoiseSpec
from lib.core.spaces import ActionSpace

MEAN_LIMIT = 5.0  # continuous actions: the mean before tanh stays within this
EDGE = 1 - 1e-6  # where an action at the bound is read back


class Actor(nn.Module):
    """A policy on features: one-hot actions, or a normal distribution squashed by tanh.

    `forward` gives raw statistics (..., A or 2 A), from which everything else is computed.

    Source: DreamerV2; mean 5 tanh(m / 5) and std softplus(s + shift) + floor for continuous
    actions, with a shift of 0 and a floor of 0.1.
    """

    def __init__(
        self,
        features: int,
        actions: ActionSpace,
        network: NetworkConfig,
        norm: str,
        generator: torch.Generator,
    ):
        super().__init__()
        self.actions = actions
        self.shift, self.min_std = network.actor_shift, network.actor_min_std
        outputs = actions.size if actions.discrete else 2 * actions.size
        self.net = dense(
            features, network.head_width, network.head_layers, outputs, norm, generator
        )

    def forward(self, features: Tensor) -> Tensor:
        """(..., F) to (..., A) logits, or (..., 2 A) for continuous actions."""
        return self.net(features).float()

    def noise(self, *lead: int) -> NoiseSpec:
        """Declares what `sample` takes for statistics (*lead, ·)."""
        if self.actions.discrete:
            return NoiseSpec("uniform", lead)
        return NoiseSpec("normal", (*lead, self.actions.size))

    def moments(self, stats: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation before tanh, each (..., A). Continuous actions only."""
        mean, raw = stats.chunk(2, -1)
        return MEAN_LIMIT * torch.tanh(mean / MEAN_LIMIT), F.softplus(
            raw + self.shift
        ) + self.min_std

    def sample(self, stats: Tensor, noise: Tensor) -> Tensor:
        """(..., A); gradients flow, straight through where actions are discrete."""
        if self.actions.discrete:
            return straight_through(softmax(stats), noise)
        mean, std = self.moments(stats)
        return torch.tanh(mean + std * noise)

    def mode(self, stats: Tensor, noise: Tensor | None = None) -> Tensor:
        """Returns the action of an evaluation: (..., A).

        Args:
            noise: continuous actions: (K, ..., A), of whose K samples the likeliest is taken, row
                by row; None: the tanh of the mean, which is not the likeliest action.
        """
        if self.actions.discrete:
            return one_hot(stats.argmax(-1), self.actions.size)
        mean, std = self.moments(stats)
        if noise is None:
            return torch.tanh(mean)
        raw = mean + std * noise  # (K, ..., A)
        best = tanh_normal_log_prob(raw, mean, std).sum(-1, keepdim=True).argmax(0, keepdim=True)
        return torch.tanh(torch.take_along_dim(raw, best, 0)[0])

    def log_prob(self, stats: Tensor, action: Tensor) -> Tensor:
        """Of (..., A) actions, through which no gradient flows: (...).

        Differs from the authors' code, where a sampled action carries its straight-through
        gradient into its own log-probability.
        """
        action = action.detach()
        if self.actions.discrete:
            return (log_softmax(stats) * action).sum(-1)
        raw = torch.atanh(action.clamp(-EDGE, EDGE))
        return tanh_normal_log_prob(raw, *self.moments(stats)).sum(-1)

    def entropy(self, stats: Tensor, noise: Tensor) -> Tensor:
        """Exact for discrete actions, otherwise -log pi of the sample that `noise` makes: (...).

        Args:
            noise: (..., A), or (K, ..., A) of K samples, whose average is returned.
        """
        if self.actions.discrete:
            return categorical_entropy(stats)
        mean, std = self.moments(stats)
        each = -tanh_normal_log_prob(mean + std * noise, mean, std).sum(-1)
        return each.mean(0) if noise.dim() > stats.dim() else each


class Critic(Scalar):
    """The value of a state: (..., F) to (...)."""

    def __init__(self, features: int, network: NetworkConfig, norm: str, gen: torch.Generator):
        super().__init__(features, network, norm, gen, network.critic_layers)


# Rollouts -----------------------------------------------------------------------------------


class Starts(NamedTuple):
    """States where rollouts begin."""

    state: State  # (N, ·)
    terminal: Tensor  # (N,) bool, whether the episode ended there


class Imagined(NamedTuple):
    """Rollouts of a model under a policy."""

    features: Tensor  # (H+1, N, F)
    action: Tensor  # (H, N, A), action k is the one taken in state k
    noise: Tensor  # (H, N, ·) what the actions were drawn with
    terminal: Tensor  # (N,) bool, of the replayed states
    stats: Tensor | None = None  # (H, N, ·) the policy's, if gradients flowed while it acted

    @property
    def action_into(self) -> Tensor:
        """(H+1, N, A), the action that led into each state; zeros for the replayed one."""
        return torch.cat((torch.zeros_like(self.action[:1]), self.action))

    def share(self, index: int, of: int) -> "Imagined":
        """Returns the rollouts of policy `index` out of `of`."""
        stats = None if self.stats is None else self.stats.chunk(of, 1)[index]
        parts = (part.chunk(of, 1)[index] for part in self[:3])
        return Imagined(*parts, self.terminal.chunk(of)[index], stats)


def of_sequences(
    state: State, terminal: Tensor, records: int, sequences: int
) -> tuple[State, Tensor]:
    """Returns the states of a batch's first sequences, and whether the episode ended there.

    Args:
        state: (T*B, ·). terminal: (T*B,) bool.
        records: T.
        sequences: how many; 0: all of them.
    """
    if not sequences:
        return state, terminal

    def first(part: Tensor) -> Tensor:
        return part.unflatten(0, (records, -1))[:, :sequences].flatten(0, 1)

    return State(*map(first, state)), first(terminal)


def starts_noise(states: int, starts: int) -> dict[str, NoiseSpec]:
    """Declares the random numbers of `choose_starts`: none where all states are taken."""
    return {"starts": NoiseSpec("uniform", (states,))} if 0 < starts < states else {}


def choose_starts(
    state: State,
    terminal: Tensor,
    noise: Mapping[str, Tensor],
    starts: int = 0,
    policies: int = 1,
) -> Starts:
    """Returns so many different states of a batch, repeated for every policy.

    Args:
        state: (T*B, ·). terminal: (T*B,) bool.
        noise: see `starts_noise`.
        starts: how many; 0 or more than there are: all of them.
        policies: P, so that N = P * starts and policy 0's rows come first.
    """
    if "starts" in noise:
        index = noise["starts"].topk(starts).indices  # the largest of uniform draws
        state, terminal = State(*(part[index] for part in state)), terminal[index]
    if policies > 1:
        state = State(*(part.repeat(policies, 1) for part in state))
        terminal = terminal.repeat(policies)
    return Starts(state, terminal)


def imagine_noise(rssm: Rssm, actor: Actor, horizon: int, rows: int) -> dict[str, NoiseSpec]:
    """Declares the random numbers of `imagine`, for N rows of all policies together."""
    return {
        "action": actor.noise(horizon, rows),
        "state": rssm.latent.noise(horizon, rows),
    }


def judged(cfg: BehaviourConfig) -> int:
    """Returns how many of the H imagined actions the actor is judged by: J.

    Where it is the return of the next state that counts, the last action only leads to the last
    value, and is left out.
    """
    return cfg.horizon - (cfg.credit != "current")


def entropy_noise(actor: Actor, rows: int, cfg: BehaviourConfig) -> dict[str, NoiseSpec]:
    """Declares the K samples (K, J, N, A) that estimate entropies; none where one acts anyway."""
    if actor.actions.discrete or cfg.samples == 1:
        return {}
    return {"entropy": actor.noise(cfg.samples, judged(cfg), rows)}


def imagine(
    rssm: Rssm,
    actors: Sequence[Actor],
    starts: Starts,
    noise: Mapping[str, Tensor],
    gradient: str = "reinforce",
) -> Imagined:
    """Rolls the model out, all policies in one batch.

    Args:
        actors: P policies; each acts on its N / P rows, in order.
        starts: N rows.
        noise: see `imagine_noise`; its length decides H.
        gradient: "dynamics" lets gradients flow through the model into the actions; "reinforce"
            needs none. Policies read detached states either way.
    """
    with torch.no_grad() if gradient == "reinforce" else nullcontext():
        state, features, actions, stats = starts.state, [rssm.features(starts.state)], [], []
        step, count = rssm.imagining(), len(actors)
        for act, drawn in zip(noise["action"].unbind(), noise["state"].unbind(), strict=True):
            shares = zip(actors, features[-1].detach().chunk(count), act.chunk(count), strict=True)
            told = [(actor, actor(read), numbers) for actor, read, numbers in shares]
            stats.append(_joined([part for _, part, _ in told]))
            actions.append(_joined([actor.sample(part, numbers) for actor, part, numbers in told]))
            state = step(state, actions[-1], drawn)
            features.append(rssm.features(state))
        found = torch.stack(features), torch.stack(actions), noise["action"], starts.terminal
        return Imagined(*found, None if gradient == "reinforce" else torch.stack(stats))


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def rollout_discounts(model: WorldModel, imagined: Imagined) -> Tensor:
    """Returns d_k of states 0..H-1: (H, N).

    With a discount head, the replayed state's comes from its record instead of the head. Without
    one, all are gamma: then nobody imagines that an episode ends, neither in the replayed state.
    """
    if model.discount_head is None:
        return model.discounts(imagined.features[:-1])
    replayed = model.discount * (~imagined.terminal).float()
    return torch.cat((replayed.unsqueeze(0), model.discounts(imagined.features[1:-1])))


# Rewards ------------------------------------------------------------------------------------

Reward = Callable[..., Tensor]  # (world model, rollouts, further networks) to (H, N)


@dataclass(frozen=True)
class Behaviour:
    """An actor and a critic that learn in imagination, from a reward of their own.

    Args:
        actor, critic: what the two networks are called.
        logged: the group of their metrics.
        reward: of the states 0..H-1 that rollouts went through.
        reads: further networks that `reward` takes.
    """

    actor: str
    critic: str
    logged: str
    reward: Reward
    reads: tuple[str, ...] = ()


def predicted_reward(model: WorldModel, imagined: Imagined) -> Tensor:
    """Returns the rewards that a world model predicts of states 0..H-1: (H, N)."""
    return model.reward(imagined.features[:-1])


TASK = Behaviour("actor", "critic", "behaviour", predicted_reward)


# Learning -----------------------------------------------------------------------------------


def copied_after(update: int, cfg: BehaviourConfig) -> bool:
    """Returns whether critics are copied to their slow selves between an update and the next one.

    Args:
        update: its number, counted from 0.
    """
    return (update + (cfg.slow_when == "before")) % cfg.slow_every == 0


def behaviour_loss(
    actor: Actor,
    critic: Critic,
    slow: Critic,
    imagined: Imagined,
    reward: Tensor,
    discount: Tensor,
    cfg: BehaviourConfig,
    samples: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns actor's and critic's loss of one policy's rollouts, added.

    Neither's gradient reaches the other: the critic reads detached features and targets, the actor
    is judged by the slow critic.

    Args:
        slow: the critic's older copy.
        reward: (H, N) of states 0..H-1. discount: (H, N), see `rollout_discounts`.
        samples: (K, J, N, A), see `entropy_noise`; None: those that acted.

    Returns:
        The scalar loss, and scalars for the log.
    """
    learns = cfg.gradient == "dynamics"
    still = imagined.features.detach()
    with nullcontext() if learns else torch.no_grad():
        value = slow(imagined.features)  # (H+1, N)
        returns = losses.lambda_return(reward, discount, value[1:], cfg.lam)  # (H, N)
    weight = losses.rollout_weights(discount)

    count = judged(cfg)
    # Where gradients flowed while it acted, the policy need not be asked again.
    stats = actor(still[:count]) if imagined.stats is None else imagined.stats[:count]
    entropy = actor.entropy(stats, imagined.noise[:count] if samples is None else samples)
    if learns:
        objective = returns[-count:]
    else:
        log_prob = actor.log_prob(stats, imagined.action[:count])
        objective = losses.reinforce_objective(log_prob, returns, value[:-1])
    of_actor = losses.actor_loss(objective, entropy, weight[:count], cfg.entropy)
    first = 1 if cfg.credit == "reached" else 0
    predicted = critic(still[first:-1])
    of_critic = losses.critic_loss(predicted, returns[first:], weight[: len(predicted)])
    parts = {
        "actor": of_actor,
        "critic": of_critic,
        "entropy": entropy.mean(),
        "return": returns.mean(),
        "reward": reward.mean(),
        "value": predicted.mean(),
        "discount": discount.mean(),
    }
    return of_actor + of_critic, {name: part.detach() for name, part in parts.items()}
