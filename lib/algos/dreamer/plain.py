"""DreamerV2's update stands here as the paper has it: one seed, one record after the other.

`update` makes one update of an agent; what it calls stands above it, in the order of its steps.
The fast path, `lib.algos.dreamer.learning`, computes the same numbers for many seeds at once and is
tested against this module.

Sources: DreamerV2 (arXiv 2010.02193), whose equations are named below; Adam as Keras has it.

Shapes: T records, B sequences, N rollouts, H imagined steps, Z and D parts of the state, F = Z + D.
"""

from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.algos.dreamer import dream_rehearsal
from lib.algos.dreamer.behaviour import TASK, Actor, Critic, Imagined
from lib.algos.dreamer.objectives.api import Evidence
from lib.algos.dreamer.rssm import Observed, State
from lib.algos.dreamer.settings import BehaviourConfig, CloningConfig, RehearsalConfig
from lib.algos.dreamer.world_model import WorldModel
from lib.core.noise import draw_noise
from lib.engine.optim import FlatAdam
from lib.replay.sampling import Rows
from lib.replay.store import Batch

if TYPE_CHECKING:
    from lib.algos.dreamer.agent import DreamerAgent

Modules = dict[str, nn.Module]  # networks by name; `slow_NAME` is an older copy


# The world model ----------------------------------------------------------------------------


def observe(
    model: WorldModel, batch: Batch, state: State, noise: Tensor
) -> tuple[Tensor, Observed]:
    """Infers the states of sequences, record by record: eq. 1.

    h_t = f(h_{t-1}, z_{t-1}, a_{t-1}); posterior z_t ~ q(z_t | h_t, x_t); prior p(z_t | h_t).

    Args:
        state: (B, ·) before the first record. noise: (T, B, ·).

    Returns:
        Embeddings (T, B, E), and what was observed (T, B, ·).
    """
    found = []
    for t, obs in enumerate(batch.obs):
        keep = 1 - batch.first[t].float()[:, None]  # an episode that begins starts from zeros
        before, action = State(state.z * keep, state.h * keep), batch.action[t] * keep
        embed = model.encoder(obs)
        state, posterior = model.rssm.step(before, action, noise[t], embed)
        found.append((embed, *state, posterior, model.rssm.prior(state.h)))
    embed, z, h, posterior, prior = (torch.stack(part) for part in zip(*found, strict=True))
    return embed, Observed(State(z, h), posterior, prior)


def model_loss(
    model: WorldModel,
    batch: Batch,
    state: State,
    noise: dict[str, Tensor],
    updates: int,
    average: WorldModel | None = None,
) -> tuple[Tensor, Observed, dict[str, Tensor]]:
    """Returns the world model's loss, eq. 2 with the KL balanced as in algorithm 2.

    beta [alpha KL(sg(q) || p) + (1 - alpha) KL(q || sg(p))] - ln p(x) - ln p(r) - ln p(gamma),
    averaged over records; -ln p(x) is what the objective puts there.

    Args:
        state: (B, ·) before the first record. noise: see `WorldModel.loss_noise`.
        updates: made before this one.
        average: an averaged copy of the model, for objectives that ask for one.

    Returns:
        The loss, the states, detached, and scalars to log.
    """
    aim, latent, views = model.aim, model.rssm.latent, model.objective.views
    if views > 1:
        batch = Batch(*(torch.cat([part] * views, 1) for part in batch))
        state = State(*(torch.cat([part] * views) for part in state))
    batch = batch._replace(obs=model.objective.augment(batch.obs, noise))
    embed, seen = observe(model, batch, state, noise["posterior"])
    features = torch.cat(seen.state, -1)
    scheduled = model.objective.scheduled(updates)
    given = Evidence(batch.obs, batch.action, embed, seen, features, noise, average, scheduled)
    parts, told = model.objective.losses(given)
    read = features if aim.reward_shapes else features.detach()
    target = torch.tanh(batch.reward) if aim.reward == "tanh" else batch.reward
    parts["reward"] = (0.5 * (model.reward(read) - target) ** 2).mean()
    if model.discount_head is not None:
        ahead = model.discount * (1 - batch.terminal.float())
        logit = model.discount_head(read)
        parts["discount"] = F.binary_cross_entropy_with_logits(logit, ahead)
    of_prior = latent.kl(seen.posterior.detach(), seen.prior).mean()
    of_posterior = latent.kl(seen.posterior, seen.prior.detach()).mean()
    # KL below the free nats is left alone.
    balanced = aim.kl_balance * of_prior.clamp(min=aim.free_nats)
    balanced = balanced + (1 - aim.kl_balance) * of_posterior.clamp(min=aim.free_nats)
    total = aim.kl_scale * balanced
    for name, part in parts.items():
        total = total + (aim.reward_scale * part if name == "reward" else part)
    parts |= told | {
        "kl": of_prior,
        "prior_entropy": latent.entropy(seen.prior).mean(),
        "posterior_entropy": latent.entropy(seen.posterior).mean(),
        "total": total,
    }
    z, h = (part.detach() for part in seen.state)
    kept = Observed(State(z, h), seen.posterior.detach(), seen.prior.detach())
    return total, kept, {name: part.detach() for name, part in parts.items()}


# Behaviour ----------------------------------------------------------------------------------


def imagine(
    model: WorldModel, actor: Actor, state: State, noise: tuple[Tensor, Tensor], terminal: Tensor
) -> Imagined:
    """Rolls the model out under a policy, by the prior alone: eq. 3.

    Args:
        state: (N, ·) where rollouts begin. terminal: (N,) whether the episode ended there.
        noise: (H, N, ·) of actions and of states.
    """
    features, actions = [torch.cat(state, -1)], []
    for of_action, of_state in zip(*noise, strict=True):
        stats = actor(features[-1].detach())
        actions.append(actor.sample(stats, of_action))
        state, _ = model.rssm.step(state, actions[-1], of_state)
        features.append(torch.cat(state, -1))
    return Imagined(torch.stack(features), torch.stack(actions), noise[0], terminal)


def behaviour_loss(
    actor: Actor,
    critic: Critic,
    slow: Critic,
    imagined: Imagined,
    reward: Tensor,
    discount: Tensor,
    cfg: BehaviourConfig,
    samples: Tensor,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Returns the actor's loss, eq. 6, the critic's, eq. 5, and scalars to log.

    With v the slow critic, V_H = v(s_H), V_k = r_k + g_k ((1 - lam) v(s_{k+1}) + lam V_{k+1})
    (eq. 4), g_k the discounts, and w_k the product of g_0 .. g_{k-1}:

    critic: mean of w_k (v_psi(s_k) - sg(V_k))^2 / 2, of s_{k+1} and V_{k+1} with `credit reached`;
    actor: mean of -w_k [ln pi(a_k | s_k) sg(V_{k+1} - v(s_k)) + eta H(pi(s_k))] for reinforce,
    of -w_k [V_{k+1} + eta H(pi(s_k))] where gradients go through the dynamics, or of
    -w_k [V_k + eta H(pi(s_k))] with `credit current`.

    Here r_k is the reward of the state s_k itself, which a_{k-1} led to, so that a_k matters from
    V_{k+1} on.

    Args:
        reward, discount: (H, N) of states 0..H-1.
        samples: (K, J, N, ·) what the entropy is estimated from; of discrete actions it is exact.
    """
    horizon, still = len(reward), imagined.features.detach()
    value = [slow(features) for features in imagined.features]
    returns = value[-1:]
    for k in reversed(range(horizon)):
        ahead = (1 - cfg.lam) * value[k + 1] + cfg.lam * returns[0]
        returns.insert(0, reward[k] + discount[k] * ahead)
    weight = [torch.ones_like(discount[0])]
    for k in range(horizon - 1):
        weight.append(weight[-1] * discount[k].detach())

    first = 1 if cfg.credit == "reached" else 0
    predicted = [critic(still[k]) for k in range(first, horizon)]
    critic_loss, actor_loss, entropies = 0, 0, []
    for k, value_of in enumerate(predicted):
        error = value_of - returns[first + k].detach()
        critic_loss = critic_loss + (weight[k] * 0.5 * error**2).mean() / len(predicted)
    later = 0 if cfg.credit == "current" else 1
    actions = horizon - later  # the last action only leads to the last value
    for k in range(actions):
        stats = actor(still[k])
        drawn = torch.stack([actor.entropy(stats, sample) for sample in samples[:, k]])
        entropies.append(drawn.mean(0))
        objective = returns[k + later]
        if cfg.gradient == "reinforce":
            advantage = (returns[k + 1] - value[k]).detach()
            objective = actor.log_prob(stats, imagined.action[k]) * advantage
        gain = objective + cfg.entropy * entropies[k]
        actor_loss = actor_loss - (weight[k] * gain).mean() / actions
    told = {"entropy": entropies, "return": returns[:-1], "value": predicted}
    parts = {name: torch.stack(each).mean().detach() for name, each in told.items()}
    parts |= {"reward": reward.mean().detach(), "discount": discount.mean().detach()}
    return (
        actor_loss,
        critic_loss,
        parts
        | {
            "actor": actor_loss.detach(),
            "critic": critic_loss.detach(),
        },
    )


def rehearsal_loss(
    model: WorldModel,
    actor: Actor,
    slow: Critic,
    state: State,
    terminal: Tensor,
    eligible: Tensor,
    noise: dict[str, Tensor],
    behaviour: BehaviourConfig,
    cfg: RehearsalConfig,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns the loss of imitating the best of several dreams from each start, and scalars.

    See `lib.algos.dreamer.dream_rehearsal`.

    Args:
        state, terminal: all replayed ones. eligible: (N,) which of them are of earlier tasks.
        noise: of the rehearsal alone.
    """
    taken, total, gains, chosen = 0.0, 0.0, [], []
    by_chance = noise["starts"].argsort(descending=True)
    starts = torch.cat([by_chance[eligible[by_chance]], by_chance[~eligible[by_chance]]])
    starts = starts[: cfg.starts]  # others only where those do not suffice
    for n, start in enumerate(starts):
        dreams = []
        for k in range(n * cfg.dreams, (n + 1) * cfg.dreams):
            with torch.no_grad():
                begin = State(*(part[start].unsqueeze(0) for part in state))
                draws = noise["action"][:, k, None], noise["state"][:, k, None]
                one = imagine(model, actor, begin, draws, terminal[start, None])
                reward = model.reward(one.features[:-1])
                discount = model.discounts(one.features[:-1]).clone()
                if model.discount_head:
                    discount[0] = model.discount * (1 - terminal[start].float())
                grade = slow(one.features[-1])
                for r, g, after in zip(
                    reversed(reward), reversed(discount), reversed(one.features[1:]), strict=True
                ):
                    grade = r + g * ((1 - behaviour.lam) * slow(after) + behaviour.lam * grade)
            dreams.append((grade, one, discount))
        grades = torch.cat([grade for grade, *_ in dreams])
        _, best, discount = dreams[int(grades.argmax())]
        gains.append(grades.max() - grades.mean())
        chosen.append((eligible[start] & (gains[-1] > cfg.margin)).float())
        weight = chosen[-1]
        for k, action in enumerate(best.action):
            log_prob = actor.log_prob(actor(best.features[k]), action)
            total, taken = total - (weight * log_prob).sum(), taken + weight
            weight = weight * discount[k, 0]
    loss = total / taken.clamp(min=1)
    told = {
        "eligible": eligible[starts].float().mean(),
        "imitated": torch.stack(chosen).mean(),
        "gain": torch.stack(gains).mean(),
    }
    return cfg.weight * loss, {"imitation": loss.detach()} | told


def cloning_loss(
    actor: Actor,
    state: State,
    action: Tensor,
    earlier: np.ndarray,
    better: np.ndarray,
    first: np.ndarray,
    cfg: CloningConfig,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns the loss of repeating what was done well in earlier tasks, and scalars.

    See `lib.algos.dreamer.cloning`.

    Args:
        state: (T, V B, ·). action: (T, V B, A) that led to each record.
        earlier, better, first: (T, B) whether a record is of an earlier task, of an episode that
            paid more than the average, and whether a piece of an episode begins.
    """
    records, rows = earlier.shape
    total, count = 0.0, 0
    for t in range(records - 1):
        for b in range(action.shape[1]):
            row = b % rows
            if earlier[t, row] and better[t, row] and not first[t + 1, row]:
                stats = actor(torch.cat([part[t, b] for part in state]))
                total, count = total - actor.log_prob(stats, action[t + 1, b]), count + 1
    loss = torch.as_tensor(total) / max(count, 1)
    share = torch.tensor(count / action[..., 0].numel())
    return cfg.weight * loss, {"imitation": loss.detach(), "cloned": share}


# Steps --------------------------------------------------------------------------------------


class Trained(NamedTuple):
    """A network that learns, and what Adam knows of it, tensor by tensor."""

    network: nn.Module
    adam: FlatAdam  # counts the steps and knows the settings
    moments: list[tuple[Tensor, Tensor]]  # mean and mean square of gradients, written in place


def descend(loss: Tensor, trained: Trained, frozen: tuple[str, ...] = ()) -> Tensor:
    """Makes one step of Adam along the clipped gradient; returns its norm before clipping.

    Decay comes first, and epsilon is added before the moments' bias is corrected, as in Keras.
    """
    network, adam, moments = trained
    learn = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    names, parameters = zip(*learn, strict=True)
    found = torch.autograd.grad(loss, parameters)
    for name, gradient in zip(names, found, strict=True):
        if name in frozen:
            gradient.zero_()
    norm = torch.sqrt(sum((gradient**2).sum() for gradient in found))
    adam.step += 1
    t = adam.step.item()
    rate = adam.lr * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t)
    with torch.no_grad():
        for parameter, gradient, (mean, square) in zip(parameters, found, moments, strict=True):
            gradient = gradient * adam.clip / norm.clamp(min=adam.clip)
            mean.copy_(0.9 * mean + 0.1 * gradient)
            square.copy_(0.999 * square + 0.001 * gradient**2)
            step = rate * mean / (square.sqrt() + adam.epsilon)
            parameter.mul_(1 - adam.decay).sub_(step)
    return norm


def practise(
    agent: "DreamerAgent",
    modules: Modules,
    trained: dict[str, Trained],
    rows: Rows,
    batch: Batch,
    seen: Observed,
    noise: dict[str, Tensor],
) -> None:
    """Lets every behaviour learn from what it imagines: step 3 of `update`."""
    cfg, behaviours, model = agent.cfg, agent.networks.behaviours, modules["model"]
    views, sequences = model.objective.views, cfg.behaviour.sequences
    action, terminal = (torch.cat([x] * views, 1) for x in (batch.action, batch.terminal))
    state, over = State(*(part.flatten(0, 1) for part in seen.state)), terminal.flatten()
    tasks = agent.replay.tasks_of(rows)
    eligible = dream_rehearsal.eligible(tasks, agent.task, cfg.rehearsal)
    replayed = state, over, torch.cat([torch.from_numpy(eligible)] * views, 1).flatten()
    if sequences:  # a few of them alone
        state = State(*(part[:, :sequences].flatten(0, 1) for part in seen.state))
        terminal = terminal[:, :sequences]
    terminal = terminal.flatten()
    if "starts" in noise:  # a few states, drawn without replacement
        chosen = noise["starts"].argsort(descending=True)[: cfg.behaviour.starts]
        state, terminal = State(*(part[chosen] for part in state)), terminal[chosen]
    aim, losses = agent.networks.behaviour_cfg, []
    for i, each in enumerate(behaviours):
        mine = slice(i * len(terminal), (i + 1) * len(terminal))
        draws = noise["action"][:, mine], noise["state"][:, mine]
        with nullcontext() if aim.gradient == "dynamics" else torch.no_grad():
            rollouts = imagine(model, modules[each.actor], state, draws, terminal)
            reward = each.reward(model, rollouts, *(modules[name] for name in each.reads))
            ended = terminal.float() if model.discount_head else 0 * terminal.float()
            begin = aim.discount * (1 - ended)
            discount = torch.stack([begin, *model.discounts(rollouts.features[1:-1])])
        networks = modules[each.actor], modules[each.critic], modules[f"slow_{each.critic}"]
        samples = noise["entropy"][:, :, mine] if "entropy" in noise else draws[0][None]
        losses.append(behaviour_loss(*networks, rollouts, reward, discount, aim, samples))
    if (rehearsal := cfg.rehearsal).weight:
        own = {name.removeprefix("rehearsal/"): drawn for name, drawn in noise.items()}
        critic = modules[f"slow_{TASK.critic}"]
        loss, parts = rehearsal_loss(
            model, modules[TASK.actor], critic, *replayed, own, aim, rehearsal
        )
        agent.running_means.add("rehearsal", parts)
        of_actor, *rest = losses[0]  # the task's comes first
        losses[0] = (of_actor + loss, *rest)
    if cfg.cloning.weight:
        own = tasks < agent.task, agent.replay.better(rows), rows.first
        loss, parts = cloning_loss(modules[TASK.actor], seen.state, action, *own, cfg.cloning)
        agent.running_means.add("cloning", parts)
        of_actor, *rest = losses[0]
        losses[0] = (of_actor + loss, *rest)
    for each, (actor_loss, critic_loss, parts) in zip(behaviours, losses, strict=True):
        parts["actor_grad_norm"] = descend(actor_loss, trained[each.actor])
        parts["critic_grad_norm"] = descend(critic_loss, trained[each.critic])
        agent.running_means.add(each.logged, parts)


def follow(agent: "DreamerAgent") -> None:
    """Copies critics to their slow selves."""
    for name in agent.networks.critics:
        agent.slow[name].copy_(agent.trained[name].row)


def update(agent: "DreamerAgent", modules: Modules, trained: dict[str, Trained]) -> None:
    """Makes one update of an agent.

    1. The world model learns from a batch of sequences.
    2. The network of exploration, if it has one, learns from the states that were found.
    3. Every behaviour imagines from those states, and its actor and critic learn from that; the
       task's actor also practises earlier tasks, where it is asked to. While pretraining trains
       the model alone, their steps are along gradients of zero.
    4. Slow critics are copied from today's, after updates 0, `slow_every`, 2 `slow_every`, ...,
       or before these.
    """
    cfg, made = agent.cfg, agent.total_updates
    copies = made % cfg.behaviour.slow_every == 0
    if copies and cfg.behaviour.slow_when == "before":
        follow(agent)
    rows = agent.replay.draw(cfg.update.batch, cfg.update.length, agent.streams.replay)
    batch = agent.replay.gather(rows)
    noise = draw_noise(agent.networks.noise(), agent.streams.update)

    model = modules["model"]
    average = modules.get("slow_model")
    loss, seen, parts = model_loss(model, batch, agent.carried, noise, made, average)
    frozen = agent.networks.frozen(made)
    norm = descend(loss, trained["model"], tuple(f"objective.{name}" for name in frozen))
    if model.objective.after_update:
        own = model.objective.named_parameters()
        model.objective.after_update({name: parameter.data for name, parameter in own})
    agent.running_means.add("model", parts | {"grad_norm": norm})
    if agent.networks.average is not None:
        agent.slow["model"].lerp_(agent.trained["model"].row, agent.networks.average)
    for mine, last in zip(agent.carried, seen.state, strict=True):
        mine.copy_(last[-1, : len(mine)])

    action = torch.cat([batch.action] * model.objective.views, 1)
    if own := agent.exploration.network:
        loss, parts = agent.exploration.loss(modules[own], model, seen, action)
        agent.running_means.add(own, parts | {"grad_norm": descend(loss, trained[own])})

    if cfg.update.pretrains == "model" and made < cfg.update.pretrain:
        for each in agent.networks.behaviours:
            for name in (each.actor, each.critic):
                parameters = trained[name].network.parameters()
                descend(0 * torch.stack([p.sum() for p in parameters]).sum(), trained[name])
    else:
        practise(agent, modules, trained, rows, batch, seen, noise)
    if copies and cfg.behaviour.slow_when == "after":
        follow(agent)
