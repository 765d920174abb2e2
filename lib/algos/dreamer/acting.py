"""S Dreamers act on E observations each: they infer the latent state, then ask a policy.

Shapes: S seeds, E episodes, Z and D parts of the state, A action.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lib.algos.dreamer.behaviour import TASK, Actor
from lib.algos.dreamer.learning import Learning
from lib.algos.dreamer.rssm import State
from lib.algos.dreamer.world_model import WorldModel
from lib.core.noise import NoiseBuffers, NoiseSpec
from lib.core.trees import leaf_map
from lib.engine.cuda_graphs import Graphs
from lib.engine.seeds import on_tensors, over_seeds, prefixed


class Memory(NamedTuple):
    """What an agent keeps between two decisions of an episode; zeros before the first one."""

    z: Tensor  # (..., Z)
    h: Tensor  # (..., D)
    action: Tensor  # (..., A) the last one

    def unsqueeze(self, dim: int) -> "Memory":
        """With an axis more."""
        return Memory(*(part.unsqueeze(dim) for part in self))

    def squeeze(self, dim: int) -> "Memory":
        """With an axis less."""
        return Memory(*(part.squeeze(dim) for part in self))


class Acting:
    """Decisions of a batch of seeds, one graph for every number of episodes and kind of policy.

    Args:
        agents: S agents in lock-step.
        learning: holds their stacked parameters.
        record: whether to record CUDA graphs.
    """

    def __init__(self, agents: Sequence[Any], learning: Learning, record: bool):
        self.agents, self.learning, self.first = agents, learning, agents[0]
        self.graphs = Graphs(torch.device(self.first.device), record)
        self.draws: dict[Any, NoiseBuffers] = {}
        self.inputs: dict[Any, tuple[Tensor, Memory]] = {}
        self.steps = {
            (name, best): self._on_rows(self._best if best else self._sampled, name)
            for name, module in self.first.networks.modules.items()
            if isinstance(module, Actor)
            for best in (False, True)
        }

    def _on_rows(self, fn: Callable[..., Memory], actor: str) -> Callable[..., Memory]:
        """Returns a decision of one seed as one of S seeds, with their parameters as they are."""
        views = {name: self.learning.views(name) for name in ("model", actor)}
        seeds, networks = len(self.agents), self.first.networks
        if seeds > 1:
            modules = {"model": networks.modules["model"], "actor": networks.modules[actor]}
            call = over_seeds(on_tensors(fn, **modules), seeds)
            return partial(call, prefixed(model=views["model"], actor=views[actor]))
        # Swapping tensors takes longer than a decision: modules that look at the rows do without.
        looking = []
        for name, tensors in views.items():
            looking.append(networks.empty(name, self.first.device).requires_grad_(False))
            for key, parameter in looking[-1].named_parameters():
                parameter.data = tensors[key][0]
        return over_seeds(partial(fn, *looking), seeds)

    def policy(self, explore: bool) -> tuple[str, bool]:
        """Returns the actor whose turn it is, and whether it plays its best action.

        The last behaviour collects: exploration's where it has one, else the task's.
        """
        agent, cfg = self.first, self.first.cfg.explore
        collects = agent.networks.behaviours[-1].actor
        if not explore:
            return (TASK.actor, True) if cfg.evaluate == "task" else (collects, False)
        decisions = agent.total_env_steps // agent.cfg.env.action_repeat
        turn = decisions // agent.cfg.budget.parallel_envs
        explores = cfg.every == 0 or turn % cfg.every == 0
        return (collects if explores else TASK.actor), False

    def act(
        self,
        obs: Tensor,
        memory: Memory | None,
        *,
        explore: bool,
        generators: Sequence[torch.Generator],
    ) -> tuple[Tensor, Memory]:
        """Returns actions (S, E, A) for (S, E, *shape), and the memory for the next decision."""
        key = (*self.policy(explore), obs.shape[1])
        noise = self._noise(key, obs.shape[1], generators)
        seen, kept = self._static_inputs(key, obs)
        seen.copy_(obs)
        for mine, given in zip(kept, memory or (None,) * 3, strict=True):
            mine.zero_() if given is None else mine.copy_(given)
        memory = self.graphs.run(key, lambda: self._step(key, seen, kept, noise))
        if self.graphs.enabled:
            memory = leaf_map(Tensor.clone, memory)
        return memory.action, memory

    def _step(self, key: Any, obs: Tensor, memory: Memory, noise: dict[str, Tensor]) -> Memory:
        name, best, _ = key
        return self.steps[name, best](obs, memory, noise)

    def _sampled(
        self,
        model: WorldModel,
        actor: Actor,
        obs: Tensor,
        memory: Memory,
        noise: dict[str, Tensor],
        best: bool = False,
    ) -> Memory:
        """Returns one decision of E episodes of one seed."""
        start = torch.zeros(len(obs), dtype=torch.bool, device=obs.device)  # zeros say it already
        seen = (model.encoder(obs), memory.action, start, noise["state"])
        record = (part.unsqueeze(0) for part in seen)
        states, _ = model.rssm.infer(*record, State(memory.z, memory.h))
        state = State(*(part[0] for part in states))
        stats = actor(model.rssm.features(state))
        if best:
            action = actor.mode(stats, noise.get("best"))
        else:
            action = actor.sample(stats, noise["action"])
            if "added" in noise:
                spread = self.first.cfg.explore.noise
                action = (action + spread * noise["added"]).clamp(-1, 1)
        return Memory(*state, action)

    def _best(self, *args: Any) -> Memory:
        return self._sampled(*args, best=True)

    def _noise(
        self, key: Any, episodes: int, generators: Sequence[torch.Generator]
    ) -> dict[str, Tensor]:
        if key not in self.draws:
            modules = self.first.networks.modules
            actor, samples = modules[key[0]], self.first.cfg.behaviour.samples
            layout: dict[str, NoiseSpec] = {
                "state": modules["model"].rssm.latent.noise(episodes),
                "action": actor.noise(episodes),
            }
            if not actor.actions.discrete:
                if key[1] and samples > 1:
                    layout["best"] = actor.noise(samples, episodes)
                if not key[1] and self.first.cfg.explore.noise:
                    layout["added"] = actor.noise(episodes)
            self.draws[key] = NoiseBuffers(layout, len(self.agents), self.first.device)
        return self.draws[key].refill(generators)

    def _static_inputs(self, key: Any, obs: Tensor) -> tuple[Tensor, Memory]:
        """Returns the tensors in which a recorded step finds observations and memories."""
        if key not in self.inputs:
            lead, device = obs.shape[:2], obs.device
            z, h = self.first.networks.initial(1, device)
            sizes = (z.shape[-1], h.shape[-1], self.first.actions.size)
            zeros = (torch.zeros(*lead, size, device=device) for size in sizes)
            self.inputs[key] = torch.empty_like(obs), Memory(*zeros)
        return self.inputs[key]
