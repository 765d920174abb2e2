"""How S agents pick actions for E states each: all S times E searches as one.

A search knows nothing of seeds: its rows are states. Only what asks a network (guides and values)
is mapped over the S stacked networks.

Shapes: S seeds, E states, N candidates, P guides, h horizon, L observation, A action.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lib.algos.tdmpc import planner
from lib.algos.tdmpc.learning import Learning
from lib.algos.tdmpc.model import Dynamics, Heads
from lib.algos.tdmpc.settings import TdmpcRun
from lib.core.noise import NoiseBuffers
from lib.core.spaces import ActionSpace
from lib.core.trees import leaf_map
from lib.engine.compiling import compiled
from lib.engine.cuda_graphs import Graphs
from lib.engine.seeds import named, on_tensors, over_seeds, stack_as_views


class Acting:
    """Plans for a team, one recorded graph per horizon, role and number of states.

    Args:
        agents: S agents in lock-step.
        modules: dynamics and heads, for their architecture alone.
        compile: whether to hand the valuation of candidates to the compiler.
    """

    def __init__(self, agents: Sequence[Any], modules: dict[str, Any], graphs: bool, compile: bool):
        first = agents[0]
        self.cfg: TdmpcRun = first.cfg
        self.actions: ActionSpace = first.actions
        self.agents, self.lanes, self.compile = agents, len(agents), compile
        self.record, self.modules = graphs, modules
        self.guides = over_seeds(
            on_tensors(self._guides, dynamics=modules["dynamics"], heads=modules["heads"]),
            self.lanes,
        )
        self.imagining: dict[Any, tuple[Callable[..., Any], Callable[..., Tensor]]] = {}

    def begin(self, learning: Learning) -> None:
        """Takes up the tensors that are stacked for learning after a task boundary."""
        agents, first = self.agents, self.agents[0]
        self.graphs = Graphs(torch.device(first.device), self.record)
        self.draws: dict[Any, NoiseBuffers] = {}
        self.inputs: dict[Any, tuple[Tensor, Tensor, Tensor]] = {}
        self.dynamics = learning.dynamics
        self.heads = {role: own.heads for role, own in learning.roles.items()}
        self.guest = {k: torch.zeros_like(v) for k, v in self.heads["learner"].items()}
        self.seated: list[Heads] = []
        counts = [a.reviewer.counts for a in agents] if first.reviewer else [None]
        self.counts = stack_as_views([c.live() for c in counts]) if counts[0] else {}

    # --- one decision ------------------------------------------------------------------------

    def plan(
        self,
        obs: Tensor,
        previous: Tensor | None,
        *,
        role: str,
        explore: bool,
        generators: Sequence[torch.Generator],
        heads: Sequence[Heads] | None = None,
        trace: planner.Trace | None = None,
    ) -> planner.Plan:
        """Actions (S, E, A) for observations (S, E, L), and plan means (S, E, H, A).

        Args:
            previous: the mean of the same episodes' last plan, or None at their start.
            heads: others than the role's own, to act a task learnt earlier.
            trace: sees every iteration of all S times E searches; never recorded.
        """
        first, cfg = self.agents[0], self.cfg.planner
        states = obs.shape[1]
        horizon = planner.scheduled_horizon(first.horizon, cfg.horizon_ramp, first.steps)
        key = (role, heads is not None, explore, states, horizon)
        noise = self._noise(key, states, horizon, generators)
        seat, kept, floor = self._inputs(key, obs)
        seat.copy_(obs)
        kept.zero_() if previous is None else kept.copy_(previous)
        floor.fill_(planner.ramp(0.5, cfg.min_std, cfg.std_ramp, first.steps))
        if heads is not None:
            self._seat(heads)

        def search() -> planner.Plan:
            return self._search(key, seat, kept, floor, noise, trace)

        plan = search() if trace else self.graphs.run(key, search)
        return planner.Plan(*(part.clone() for part in plan)) if self.graphs.enabled else plan

    def _noise(
        self, key: Any, states: int, horizon: int, generators: Sequence[torch.Generator]
    ) -> dict[str, Tensor]:
        if key not in self.draws:
            layout = planner.PlanNoise.layout(states, horizon, self.actions, self.cfg.planner)
            self.draws[key] = NoiseBuffers(layout, self.lanes, self.agents[0].device)
        return self.draws[key].refill(generators)

    def _inputs(self, key: Any, obs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where a recorded search finds its observations, last plans and smallest deviation."""
        if key not in self.inputs:
            kept = obs.new_zeros(*obs.shape[:2], self.agents[0].horizon, self.actions.size)
            self.inputs[key] = torch.empty_like(obs), kept, obs.new_zeros(())
        return self.inputs[key]

    def _seat(self, heads: Sequence[Heads]) -> None:
        """Puts other heads where a recorded search looks for them."""
        if len(self.seated) == len(heads) and all(
            a is b for a, b in zip(self.seated, heads, strict=True)
        ):
            return
        self.seated = list(heads)
        for lane, own in enumerate(heads):
            for name, value in own.named_parameters():
                self.guest[name][lane].copy_(value)

    # --- a search ----------------------------------------------------------------------------

    def _search(
        self,
        key: Any,
        obs: Tensor,
        previous: Tensor,
        floor: Tensor,
        noise: dict[str, Tensor],
        trace: planner.Trace | None,
    ) -> planner.Plan:
        role, guest, explore, states, horizon = key
        cfg, lanes = self.cfg.planner, self.lanes
        tensors = named(dynamics=self.dynamics, heads=self.guest if guest else self.heads[role])
        if cfg.precision == "bf16":
            tensors = leaf_map(Tensor.bfloat16, tensors)
        rated = self.counts if role == "reviewer" else {}
        depth = planner.shared_depth(horizon, self.actions, cfg)
        grow, value = self._imagine(bool(rated), horizon, depth)
        shared = (grow(tensors, obs, rated),) if depth else ()
        last = noise["last"].unbind(1)  # I of (S, E*(N+P), A)
        turns = iter(range(cfg.iterations))

        def score(z: Tensor, candidates: Tensor) -> Tensor:
            shaped = candidates.unflatten(0, (lanes, states))
            return value(tensors, obs, shaped, last[next(turns)], rated, *shared).flatten(0, 1)

        guides = None
        if planner.guide_count(cfg):
            guides = self.guides(tensors, obs, noise["guides"]).flatten(0, 1)
        rows = _by_row(noise)
        args = (score, obs.flatten(0, 1), rows, cfg, guides, trace)
        if self.actions.discrete:
            plan = planner.categorical_plan(*args)
        else:
            plan = planner.gaussian_plan(
                *args, previous=previous.flatten(0, 1), std_floor=floor, explore=explore
            )
        mean = torch.nn.functional.pad(plan.mean, (0, 0, 0, previous.shape[2] - horizon))
        return planner.Plan(*(part.unflatten(0, (lanes, states)) for part in (plan.action, mean)))

    def _guides(self, dynamics: Dynamics, heads: Heads, obs: Tensor, noise: Tensor) -> Tensor:
        return planner.policy_sequences(dynamics, heads, obs, noise, self.cfg.planner.min_std)

    def _imagine(
        self, rated: bool, horizon: int, depth: int
    ) -> tuple[Callable[..., planner.Prefixes], Callable[..., Tensor]]:
        """Shared beginnings, and the value of candidates; compiled where they are asked most."""
        often = self.compile and horizon == self.agents[0].horizon
        key = (rated, often, depth)
        if key in self.imagining:
            return self.imagining[key]
        rule = self.agents[0].reviewer.counts if rated else None
        discount, cfg = self.cfg.learning.discount, self.cfg.planner

        def bonus(counts: dict[str, Tensor]) -> planner.Bonus | None:
            return (lambda latent: rule.rate(counts, latent)) if rated else None

        def grow(dynamics: Dynamics, heads: Heads, obs: Tensor, counts: dict[str, Tensor]) -> Any:
            return planner.prefixes(
                dynamics,
                heads,
                obs,
                depth,
                self.actions.size,
                discount=discount,
                bonus=bonus(counts),
            )

        def value(
            dynamics: Dynamics,
            heads: Heads,
            obs: Tensor,
            candidates: Tensor,
            noise: Tensor,
            counts: dict[str, Tensor],
            shared: planner.Prefixes | None = None,
        ) -> Tensor:
            return planner.trajectory_value(
                dynamics,
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

        modules = {"dynamics": self.modules["dynamics"], "heads": self.modules["heads"]}
        both = [over_seeds(on_tensors(fn, **modules), self.lanes) for fn in (grow, value)]
        if often:
            both = [compiled(fn, name) for fn, name in zip(both, ("grow", "value"), strict=True)]
        self.imagining[key] = both[0], both[1]
        return self.imagining[key]


def _by_row(noise: dict[str, Tensor]) -> planner.PlanNoise:
    """The numbers of S plans of E states as those of one plan of S*E states."""
    candidates = noise["candidates"].transpose(0, 1).flatten(1, 2)  # (I, S*E, N, ...)
    flat = {name: noise[name].flatten(0, 1) for name in ("pick", "explore")}
    last = noise["last"].transpose(0, 1).flatten(1, 2)  # for its sizes alone
    return planner.PlanNoise(candidates, noise["guides"].flatten(0, 1), last, **flat)
