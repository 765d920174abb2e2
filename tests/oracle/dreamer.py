"""The plain Dreamer: what `lib.algos.dreamer` computes in batches, graphs and stacks, done one by one.

Tests compare the fast path with it, benchmarks measure the fast path against it. It consumes the
same random numbers in the same order; everything else is written out anew from the formulas, as
an ordinary PyTorch program would have it, so that a mistake in either shows.

Shapes: T records, B rows, H imagined steps, N rollouts, A action, F features.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.algos.dreamer.acting import Memory
from lib.algos.dreamer.agent import DreamerAgent
from lib.algos.dreamer.behaviour import Actor, Critic
from lib.algos.dreamer.parts import EXPLORER, TASK
from lib.algos.dreamer.rssm import State
from lib.algos.dreamer.settings import BehaviourConfig, LatentConfig
from lib.algos.dreamer.world_model import WorldModel
from lib.core.noise import NoiseSpec, draw_noise
from lib.engine.optim import FlatAdam
from tests.oracle import dreamer_model as plain

# Policies -----------------------------------------------------------------------------------


def normal(stats: Tensor) -> torch.distributions.Normal:
    """The distribution before tanh: mean 5 tanh(m / 5), std softplus(s) + 0.1."""
    mean, raw = stats.chunk(2, -1)
    return torch.distributions.Normal(
        5 * torch.tanh(mean / 5), F.softplus(raw) + 0.1, validate_args=False
    )


def squashed(raw: Tensor, stats: Tensor) -> Tensor:
    """Log-density of tanh(raw), summed: (N,)."""
    return (normal(stats).log_prob(raw) - torch.log(1 - torch.tanh(raw) ** 2)).sum(-1)


def act(actor: Actor, read: Tensor, noise: Tensor) -> Tensor:
    """A sampled action: (N, F) to (N, A)."""
    stats = actor.net(read).float()
    if actor.actions.discrete:
        return plain.one_hot_sample(stats, noise)
    told = normal(stats)
    return torch.tanh(told.mean + told.stddev * noise)


def best(actor: Actor, read: Tensor) -> Tensor:
    """The likeliest action, or the mean's."""
    stats = actor.net(read).float()
    if actor.actions.discrete:
        return F.one_hot(stats.argmax(-1), actor.actions.size).to(stats)
    return torch.tanh(normal(stats).mean)


def surprise(actor: Actor, read: Tensor, action: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of an action, detached, and the policy's entropy: (N,) each."""
    stats, action = actor.net(read).float(), action.detach()
    if actor.actions.discrete:
        log_probs = torch.log_softmax(stats, -1)
        return (log_probs * action).sum(-1), -(log_probs.exp() * log_probs).sum(-1)
    edge = 1 - 1e-6
    told = normal(stats)
    log_prob = squashed(torch.atanh(action.clamp(-edge, edge)), stats)
    return log_prob, -squashed(told.mean + told.stddev * noise, stats)


# Imagination ----------------------------------------------------------------------------------


class Rollout(NamedTuple):
    """What one policy lives through in imagination."""

    reads: list[Tensor]  # H+1 of (N, F)
    actions: list[Tensor]  # H of (N, A), action k is taken in state k


def imagine(
    model: WorldModel,
    actor: Actor,
    state: State,
    noise: tuple[Tensor, Tensor],
    cfg: LatentConfig,
) -> Rollout:
    """H steps from (N, ·) states; noise of actions and of states, H first."""
    reads, actions = [plain.features(state)], []
    for of_action, of_state in zip(*noise, strict=True):
        actions.append(act(actor, reads[-1].detach(), of_action))
        h = plain.advance(model.rssm, state, actions[-1])
        state = State(plain.sample(plain.expect(model.rssm, h), of_state, cfg), h)
        reads.append(plain.features(state))
    return Rollout(reads, actions)


def behaviour_loss(
    actor: Actor,
    critic: Critic,
    slow: Critic,
    rollout: Rollout,
    reward: list[Tensor],
    discount: list[Tensor],
    noise: Tensor,
    cfg: BehaviourConfig,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The actor's loss, the critic's, and scalars for the log."""
    reads, actions = rollout
    horizon = len(actions)
    value = [slow.net(read)[:, 0] for read in reads]
    returns = value[-1:]
    for k in reversed(range(horizon)):
        ahead = (1 - cfg.lam) * value[k + 1] + cfg.lam * returns[0]
        returns.insert(0, reward[k] + discount[k] * ahead)
    weight = [torch.ones_like(discount[0])]
    for k in range(horizon - 1):
        weight.append(weight[-1] * discount[k].detach())
    of_critic, predicted = [], []
    for k in range(horizon):
        predicted.append(critic.net(reads[k].detach())[:, 0])
        of_critic.append((weight[k] * 0.5 * (predicted[k] - returns[k].detach()) ** 2).mean())
    of_actor, entropies = [], []
    for k in range(horizon - 1):
        log_prob, entropy = surprise(actor, reads[k].detach(), actions[k], noise[k])
        objective = returns[k + 1]
        if cfg.gradient != "dynamics":
            objective = log_prob * (returns[k + 1] - value[k]).detach()
        of_actor.append(-(weight[k] * (objective + cfg.entropy * entropy)).mean())
        entropies.append(entropy.mean())
    actor_loss, critic_loss = sum(of_actor) / (horizon - 1), sum(of_critic) / horizon
    told = {
        "entropy": entropies,
        "return": returns[:-1],
        "reward": reward,
        "value": predicted,
        "discount": discount,
    }
    parts = {name: torch.stack(each).mean().detach() for name, each in told.items()}
    parts |= {"actor": actor_loss.detach(), "critic": critic_loss.detach()}
    return actor_loss, critic_loss, parts


# The agent ------------------------------------------------------------------------------------


class PlainDreamer(DreamerAgent):
    """A DreamerAgent that decides for one observation and learns one step at a time."""

    _settled = -1  # tensor_version that the modules belong to

    def _networks(self) -> dict[str, nn.Module]:
        """The networks as modules whose parameters are views of the rows that are saved."""
        if self._settled != self.tensor_version:
            self._settled = self.tensor_version
            rows = {name: adam.row for name, adam in self.trained.items()}
            rows |= {f"slow_{name}": row for name, row in self.slow.items()}
            self._modules = {name: self._module(name, row) for name, row in rows.items()}
        return self._modules

    def _module(self, name: str, row: Tensor) -> nn.Module:
        name = name.removeprefix("slow_")
        module = self.parts.empty(name, self.device)
        views = self.parts.flats[name].views(row)
        for key, parameter in module.named_parameters():
            parameter.data = views[key]
        return module

    # --- acting --------------------------------------------------------------------------

    @torch.no_grad()
    def act(
        self,
        obs: Tensor,
        memory: Memory | None,
        *,
        role: str = "learner",
        explore: bool = True,
        generator: torch.Generator | None = None,
        heads: None = None,
    ) -> tuple[Tensor, Memory | None]:
        """See `DreamerAgent.act`; one observation after the other."""
        generator, episodes = generator or self.streams.act, len(obs)
        if explore and self.acts_at_random():
            return self.actions.random(episodes, generator, obs.device), None
        name, greedy = self._policy(explore)
        networks = self._networks()
        model, actor = networks["model"], networks[name]
        layout = {"state": self._latent_draw(episodes), "action": self._action_draw(episodes)}
        noise, kept = draw_noise(layout, generator), []
        for e in range(episodes):
            if memory is None:
                state = self.parts.initial(1, obs.device)
                last = torch.zeros(1, self.actions.size, device=obs.device)
            else:
                z, h, last = (part[e : e + 1] for part in memory)
                state = State(z, h)
            h = plain.advance(model.rssm, state, last)
            embed = plain.encode(model.encoder, obs[e : e + 1], self.obs_space)
            stats = plain.believe(model.rssm, h, embed)
            z = plain.sample(stats, noise["state"][e : e + 1], self.cfg.latent)
            read = torch.cat((z, h), -1)
            own = noise["action"][e : e + 1]
            action = best(actor, read) if greedy else act(actor, read, own)
            kept.append(Memory(z, h, action))
        memory = Memory(*(torch.cat(each) for each in zip(*kept, strict=True)))
        return memory.action, memory

    def _policy(self, explore: bool) -> tuple[str, bool]:
        """Whose turn it is, and whether it plays its best action."""
        cfg, acting = self.cfg.explore, EXPLORER[0] if self.parts.explores else TASK[0]
        if explore:
            turn = self.total_env_steps // self.cfg.budget.parallel_envs
            return (TASK[0] if cfg.every and turn % cfg.every else acting), False
        return (TASK[0], True) if cfg.evaluate == "task" else (acting, False)

    def _latent_draw(self, *lead: int) -> NoiseSpec:
        latent = self.cfg.latent
        kind = "uniform" if latent.kind == "categorical" else "normal"
        return NoiseSpec(kind, (*lead, latent.variables))

    def _action_draw(self, *lead: int) -> NoiseSpec:
        if self.actions.discrete:
            return NoiseSpec("uniform", lead)
        return NoiseSpec("normal", (*lead, self.actions.size))

    # --- learning ------------------------------------------------------------------------

    def update(self, n: int) -> None:
        """Runs n updates, every network after the other."""
        for _ in range(n):
            self._learn()
            self.updates += 1
            self.total_updates += 1
            self.updates_due -= 1.0

    def _learn(self) -> None:
        networks, cfg = self._networks(), self.cfg
        if self.total_updates % cfg.behaviour.slow_every == 0:
            for name in self.parts.critics:
                self.slow[name].copy_(self.trained[name].row)
        length, rows = cfg.update.length, cfg.update.batch
        batch = self.replay.sample(rows, length, self.streams.replay)
        states, starts = length * rows, cfg.behaviour.starts
        few = 0 < starts < states
        pairs, each, horizon = self.parts.pairs, starts or states, cfg.behaviour.horizon
        layout = {"posterior": self._latent_draw(length, rows)}
        layout |= {"starts": NoiseSpec("uniform", (states,))} if few else {}
        layout |= {
            "action": self._action_draw(horizon, each * len(pairs)),
            "state": self._latent_draw(horizon, each * len(pairs)),
        }
        noise = draw_noise(layout, self.streams.update)

        model = networks["model"]
        loss, seen = plain.model_loss(
            model, batch, self.carried, noise["posterior"], cfg, self.obs_space
        )
        parts = seen.parts | {"grad_norm": self._descend("model", loss)}
        self.running_means.add("model", parts)
        for mine, last in zip(self.carried, seen.states[-1], strict=True):
            mine.copy_(last)
        if self.parts.explores:
            loss = plain.ensemble_loss(networks["ensemble"], seen.states, batch.action)
            norm = self._descend("ensemble", loss)
            self.running_means.add("ensemble", {"ensemble": loss.detach(), "grad_norm": norm})

        state = State(*(torch.cat(part) for part in zip(*seen.states, strict=True)))
        terminal = batch.terminal.flatten()
        if few:
            chosen = noise["starts"].argsort(descending=True)[:starts]
            state, terminal = State(*(part[chosen] for part in state)), terminal[chosen]
        losses: dict[str, Tensor] = {}
        logged = []
        for i, names in enumerate(pairs):
            own = slice(i * each, (i + 1) * each)
            drawn_here = noise["action"][:, own], noise["state"][:, own]
            told = self._imagined(names, state, terminal, drawn_here)
            losses |= dict(zip(names, told[:2], strict=True))
            logged.append(told[2])
        norms = {name: self._descend(name, loss) for name, loss in losses.items()}
        for (actor, critic), parts in zip(pairs, logged, strict=True):
            parts |= {"actor_grad_norm": norms[actor], "critic_grad_norm": norms[critic]}
            self.running_means.add("behaviour" if actor == "actor" else "exploration", parts)

    def _imagined(
        self,
        names: tuple[str, str],
        state: State,
        terminal: Tensor,
        noise: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Both losses of a policy, in a rollout of its own."""
        networks, cfg = self._networks(), self.parts.behaviour
        model, (actor, critic) = networks["model"], (networks[name] for name in names)
        slow, explore = networks[f"slow_{names[1]}"], self.cfg.explore
        quiet: Callable = nullcontext if cfg.gradient == "dynamics" else torch.no_grad
        with quiet():
            rollout = imagine(model, actor, state, noise, self.cfg.latent)
            reward, discount = [], [cfg.discount * (1 - terminal.float())]
            for k, read in enumerate(rollout.reads[:-1]):
                reward.append(plain.mean_reward(model, read))
                if names == EXPLORER:
                    into = rollout.actions[k - 1] if k else torch.zeros_like(rollout.actions[0])
                    curious = plain.disagreement(networks["ensemble"], read, into)
                    reward[k] = explore.intrinsic * curious + explore.extrinsic * reward[k]
                if k:
                    discount.append(plain.mean_discount(model, read, cfg.discount))
        return behaviour_loss(actor, critic, slow, rollout, reward, discount, noise[0], cfg)

    def _descend(self, name: str, loss: Tensor) -> Tensor:
        """Gradient, clipping and Keras's Adam, one parameter after the other; the norm before."""
        parameters, held = list(self._networks()[name].parameters()), self.trained[name]
        found = torch.autograd.grad(loss, parameters)
        norm = torch.sqrt(sum((gradient**2).sum() for gradient in found))
        views = self.parts.flats[name].views
        moments = zip(views(held.mean).values(), views(held.square).values(), strict=True)
        adam(held, list(moments), parameters, found, norm)
        return norm


@torch.no_grad()
def adam(
    held: FlatAdam,
    moments: list[tuple[Tensor, Tensor]],
    parameters: list[nn.Parameter],
    found: tuple[Tensor, ...],
    norm: Tensor,
) -> None:
    """Decay, then a step whose epsilon is added before the moments' bias is corrected.

    Args:
        held: counts the steps and knows the settings.
        moments: mean and mean square of each parameter's gradients, written in place.
        found: the gradients. norm: over all of them.
    """
    held.step += 1
    t = held.step.item()
    rate = held.lr * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t)
    for parameter, gradient, (mean, square) in zip(parameters, found, moments, strict=True):
        gradient = gradient * held.clip / norm.clamp(min=held.clip)
        mean.copy_(0.9 * mean + 0.1 * gradient)
        square.copy_(0.999 * square + 0.001 * gradient**2)
        step = rate * mean / (square.sqrt() + held.epsilon)
        parameter.mul_(1 - held.decay).sub_(step)
