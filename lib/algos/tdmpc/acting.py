"""Planned actions of S agents in E states each, computed as one search over S times E states.

The search (`lib.core.planning`) knows no seeds: its rows are states. Only what asks a network, the
policy's sequences and the values of candidates, is mapped over the S stacked networks.

Shapes: S seeds, E states, N candidates, P policy sequences, h horizon, H longest horizon,
L observation, A action.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lib.algos.tdmpc import value
from lib.algos.tdmpc.learning import Learning
from lib.algos.tdmpc.model import Dynamics, Heads
from lib.algos.tdmpc.settings import TdmpcRun
from lib.algos.tdmpc.transfer import KeptHeads
from lib.core import planning
from lib.core.noise import NoiseBuffers
from lib.core.spaces import ActionSpace
from lib.core.trees import leaf_map
from lib.engine.compiling import compiled
from lib.engine.cuda_graphs import Graphs
from lib.engine.seeds import on_tensors, over_seeds, prefixed, stack_as_views

START_NOISE = 0.5  # TD-MPC: smallest standard deviation at first, which falls to planner.min_std


class PlanKey(NamedTuple):
    """What fixes the operations of a plan, and so its recorded graph."""

    role: str
    other_heads: bool  # acts with heads of another task
    explore: bool
    states: int
    horizon: int
    longest: int  # horizon at the end of the schedule


class Inputs(NamedTuple):
    """Static inputs of a recorded search: tensors at fixed addresses, filled before each plan."""

    obs: Tensor  # (S, E, L)
    previous: Tensor  # (S, E, H, A) means of the last plan, zeros at an episode's start
    std_floor: Tensor  # ()


class Acting:
    """Plans for S agents, with one recorded graph per `PlanKey`.

    Args:
        agents: S agents in lock-step.
        modules: dynamics and heads, for their architecture alone.
        graphs: whether to record CUDA graphs.
        compile: whether to hand the valuation of candidates to the compiler.
    """

    def __init__(self, agents: Sequence[Any], modules: dict[str, Any], graphs: bool, compile: bool):
        first = agents[0]
        self.cfg: TdmpcRun = first.cfg
        self.actions: ActionSpace = first.actions
        self.agents, self.seeds, self.compile, self.record = agents, len(agents), compile, graphs
        self.imagined = first.imagined
        self.modules = {name: modules[name] for name in ("dynamics", "heads")}
        self.sequences = over_seeds(on_tensors(self._sequences, **self.modules), self.seeds)
        self.valuing: dict[Any, tuple[Callable[..., Any], Callable[..., Tensor]]] = {}

    def begin(self, learning: Learning) -> None:
        """Takes the tensors that are stacked for learning, anew after each task boundary."""
        agents, first = self.agents, self.agents[0]
        self.graphs = Graphs(torch.device(first.device), self.record)
        self.noise: dict[PlanKey, NoiseBuffers] = {}
        self.inputs: dict[PlanKey, Inputs] = {}
        self.dynamics, own = learning.dynamics, learning.averages
        self.evaluated = own.dynamics if own else learning.dynamics
        self.heads = {role: own.heads for role, own in learning.roles.items()}
        self.evaluated_heads = self.heads | ({"learner": own.heads} if own else {})
        self.other_heads = {k: torch.zeros_like(v) for k, v in self.heads["learner"].items()}
        self.copied: list[KeptHeads] = []  # whose numbers `other_heads` holds
        counts = [a.reviewer.counts for a in agents] if first.reviewer else [None]
        self.counts = stack_as_views([c.live() for c in counts]) if counts[0] else {}

    def plan(
        self,
        obs: Tensor,
        previous: Tensor | None,
        *,
        role: str,
        explore: bool,
        generators: Sequence[torch.Generator],
        heads: Sequence[KeptHeads] | None = None,
        trace: planning.Trace | None = None,
    ) -> planning.Plan:
        """Plans actions (S, E, A) for observations (S, E, L); the plan's means are (S, E, H, A).

        Args:
            previous: the mean of the same episodes' last plan, or None at their start.
            heads: one per seed, to act with instead of the role's own, to their own horizon.
            trace: sees every iteration of all S times E searches; never recorded.
        """
        first, cfg = self.agents[0], self.cfg.planner
        longest = heads[0].horizon if heads else first.horizon
        steps = first.schedule_steps(role)
        horizon = planning.scheduled_horizon(longest, cfg.horizon_ramp, steps)
        key = PlanKey(role, heads is not None, explore, obs.shape[1], horizon, longest)
        noise, inputs = self._noise(key, generators), self._inputs(key, obs)
        inputs.obs.copy_(obs)
        inputs.previous.zero_() if previous is None else inputs.previous.copy_(previous)
        inputs.std_floor.fill_(planning.ramp(START_NOISE, cfg.min_std, cfg.std_ramp, steps))
        if heads is not None:
            self._copy(heads)

        def search() -> planning.Plan:
            return self._search(key, inputs, noise, trace)

        plan = search() if trace else self.graphs.run(key, search)
        return planning.Plan(*(part.clone() for part in plan)) if self.graphs.enabled else plan

    # --- static inputs -----------------------------------------------------------------------

    def _noise(self, key: PlanKey, generators: Sequence[torch.Generator]) -> dict[str, Tensor]:
        """Draws a plan's random numbers, each seed's from its own generator."""
        if key not in self.noise:
            sizes = key.states, key.horizon, self.actions, self.cfg.planner
            layout = planning.PlanNoise.layout(*sizes)
            self.noise[key] = NoiseBuffers(layout, self.seeds, self.agents[0].device)
        noise = self.noise[key].refill(generators)
        if self.actions.discrete and self.cfg.planner.likeliest and not key.explore:
            # DRAGO's published code: an evaluation asks the policy for its likeliest actions, and
            # equal draws leave the choice to its logits.
            for name in ("guides", "last"):
                noise[name].fill_(0.5)
        return noise

    def _inputs(self, key: PlanKey, obs: Tensor) -> Inputs:
        """Returns the tensors that a plan of this key reads, made at its first call."""
        if key not in self.inputs:
            means = obs.new_zeros(*obs.shape[:2], key.longest, self.actions.size)
            self.inputs[key] = Inputs(torch.empty_like(obs), means, obs.new_zeros(()))
        return self.inputs[key]

    def _copy(self, kept: Sequence[KeptHeads]) -> None:
        """Copies other heads into the tensors that a recorded search reads."""
        if [id(one) for one in kept] == [id(one) for one in self.copied]:
            return
        self.copied = list(kept)
        for seed, own in enumerate(kept):
            for name, tensor in own.heads.named_parameters():
                self.other_heads[name][seed].copy_(tensor)

    # --- a search ----------------------------------------------------------------------------

    def _search(
        self,
        key: PlanKey,
        inputs: Inputs,
        noise: dict[str, Tensor],
        trace: planning.Trace | None,
    ) -> planning.Plan:
        """Searches for all seeds and states; its result begins with (S, E)."""
        cfg, obs, split = self.cfg.planner, inputs.obs, (self.seeds, key.states)
        dynamics, by_role = (
            (self.dynamics, self.heads) if key.explore else (self.evaluated, self.evaluated_heads)
        )
        heads = self.other_heads if key.other_heads else by_role[key.role]
        tensors = prefixed(dynamics=dynamics, heads=heads)
        if cfg.precision == "bf16":
            tensors = leaf_map(Tensor.bfloat16, tensors)
        counts = self.counts if key.role == "reviewer" else {}
        depth = value.shared_depth(key.horizon, self.actions, cfg.samples)
        prefixes, values = self._valuing(bool(counts), key.horizon, depth)
        shared = (prefixes(tensors, obs, counts),) if depth else ()
        last = iter(noise["last"].unbind(1))  # one of (S, E*(N+P), A) for each iteration

        def score(z: Tensor, candidates: Tensor) -> Tensor:
            split_candidates = candidates.unflatten(0, split)
            return values(tensors, obs, split_candidates, next(last), counts, *shared).flatten(0, 1)

        guides = None
        if planning.guide_count(cfg):
            guides = self.sequences(tensors, obs, noise["guides"]).flatten(0, 1)
        args = (score, obs.flatten(0, 1), _flat_noise(noise), cfg, guides, trace)
        if self.actions.discrete:
            plan = planning.categorical_plan(*args)
        else:
            plan = planning.gaussian_plan(
                *args,
                previous=inputs.previous.flatten(0, 1),
                std_floor=inputs.std_floor,
                explore=key.explore,
            )
        mean = F.pad(plan.mean, (0, 0, 0, key.longest - key.horizon))
        return planning.Plan(plan.action.unflatten(0, split), mean.unflatten(0, split))

    def _sequences(self, dynamics: Dynamics, heads: Heads, obs: Tensor, noise: Tensor) -> Tensor:
        model = self.imagined(dynamics)
        return value.policy_sequences(model, heads, obs, noise, self.cfg.planner.min_std)

    def _valuing(
        self, counted: bool, horizon: int, depth: int
    ) -> tuple[Callable[..., value.Prefixes], Callable[..., Tensor]]:
        """Returns the values of shared beginnings and of candidates, as functions of S seeds.

        They are compiled for the longest horizon alone, which most decisions look ahead.
        """
        compile = self.compile and horizon == self.agents[0].horizon
        key = (counted, compile, depth)
        if key in self.valuing:
            return self.valuing[key]
        rule = self.agents[0].reviewer.counts if counted else None
        discount, cfg = self.cfg.learning.discount, self.cfg.planner

        def bonus(counts: dict[str, Tensor]) -> value.Bonus | None:
            return functools.partial(rule.rate, counts) if counted else None

        def prefixes(
            dynamics: Dynamics, heads: Heads, obs: Tensor, counts: dict[str, Tensor]
        ) -> value.Prefixes:
            options = {"discount": discount, "bonus": bonus(counts)}
            model = self.imagined(dynamics)
            return value.prefixes(model, heads, obs, depth, self.actions.size, **options)

        def values(
            dynamics: Dynamics,
            heads: Heads,
            obs: Tensor,
            candidates: Tensor,
            noise: Tensor,
            counts: dict[str, Tensor],
            shared: value.Prefixes | None = None,
        ) -> Tensor:
            return value.trajectory_value(
                self.imagined(dynamics),
                heads,
                obs,
                candidates,
                noise,
                discount=discount,
                policy_std=cfg.min_std,
                use_q=cfg.use_q,
                bonus=bonus(counts),
                shared=shared,
            )

        both = [over_seeds(on_tensors(fn, **self.modules), self.seeds) for fn in (prefixes, values)]
        if compile:
            both = [compiled(fn, n) for fn, n in zip(both, ("prefixes", "values"), strict=True)]
        self.valuing[key] = both[0], both[1]
        return self.valuing[key]


def _flat_noise(noise: dict[str, Tensor]) -> planning.PlanNoise:
    """Turns the numbers of S plans of E states into those of one plan of S*E states."""
    flat = {name: noise[name].flatten(0, 1) for name in ("guides", "pick", "explore")}
    by_iteration = ("candidates", "last")  # (S, I, E, ...) to (I, S*E, ...)
    flat |= {name: noise[name].transpose(0, 1).flatten(1, 2) for name in by_iteration}
    return planning.PlanNoise(**flat)
