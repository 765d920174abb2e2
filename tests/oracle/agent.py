"""An agent on the plain path: `lib.algos.tdmpc.plain` updates it, states are planned one by one.

Tests compare the fast path with it, benchmarks measure the fast path against it. It consumes the
same random numbers in the same order.

Shapes: E environments, H steps of a window, L observation, A action.
"""

import torch
from torch import Tensor

from lib.algos.tdmpc import plain
from lib.algos.tdmpc.agent import ContinualAgent
from lib.algos.tdmpc.graph_key import next_key, noise_layout
from lib.algos.tdmpc.transfer import KeptHeads
from lib.core.noise import draw_noise
from lib.core.planning import PlanNoise, Trace, ramp, scheduled_horizon
from lib.engine.optim import Adam
from tests.oracle.plan import Search, of_state


class PlainAgent(ContinualAgent):
    """A ContinualAgent that plans for one state at a time and learns one time step at a time."""

    _settled = -1  # tensor_version that the optimisers belong to

    # --- acting --------------------------------------------------------------------------

    @torch.no_grad()
    def act(
        self,
        obs: Tensor,
        memory: Tensor | None,
        *,
        role: str = "learner",
        explore: bool = True,
        generator: torch.Generator | None = None,
        heads: KeptHeads | None = None,
        trace: Trace | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """See `ContinualAgent.act`; `trace` sees one state's search after the other's."""
        cfg, own, states = self.cfg.planner, self.actor(role), len(obs)
        generator = generator or self.streams.act
        if explore and own.counts:
            own.counts.visit(obs)
        if explore and self.acts_at_random(role):
            return self.actions.random(states, generator, obs.device), None
        longest = heads.horizon if heads else self.horizon
        steps = self.steps if role == "learner" else self.round_steps
        horizon = scheduled_horizon(longest, cfg.horizon_ramp, steps)
        noise = PlanNoise.draw(states, horizon, self.actions, cfg, generator)
        ours = own.heads if explore or role != "learner" else self.evaluated_heads
        search = Search(
            self.dynamics if explore else self.evaluated_dynamics,
            heads.heads if heads else ours,
            cfg,
            self.cfg.learning.discount,
            bonus=(lambda z: own.counts.rate(own.counts.live(), z)) if own.counts else None,
            std_floor=ramp(0.5, cfg.min_std, cfg.std_ramp, steps),
            explore=explore,
            trace=trace,
        )
        action = torch.zeros(states, self.actions.size, device=obs.device)
        kept = torch.zeros(states, longest, self.actions.size, device=obs.device)
        for e in range(states):
            previous = None if memory is None else memory[e]
            action[e], kept[e, :horizon] = search.plan(obs[e], of_state(noise, e, states), previous)
        return action, kept

    # --- learning ------------------------------------------------------------------------

    def update(self, n: int) -> None:
        """Runs n updates."""
        self._restack()
        done = min(1.0, self.steps / self.cfg.decisions_per_task)
        scale = 1.0 - (1.0 - self.cfg.learning.lr_end) * done
        for name, (optimizer, _) in self.optimizers.items():
            rate = self.cfg.vae.lr if name.endswith(":vae") else self.cfg.learning.lr
            optimizer.param_groups[0]["lr"] = scale * rate
        moved = {name: optimizer for name, (optimizer, _) in self.optimizers.items()}
        for _ in range(n):
            key = next_key(self)
            noise = draw_noise(noise_layout(self, key), self.streams.update)
            plain.update(self, moved, key, noise)
            self.count_update()

    def _restack(self) -> None:
        """Takes up the optimisers of a task that has begun since."""
        if self._settled == self.tensor_version:
            return
        self._settled = self.tensor_version
        held = {"dynamics": self.dynamics_adam}
        for p in self.protections:
            held |= {f"{p.name}:{name}": own.adam for name, own in p.trained.items()}
        for role in self.roles:
            held[f"{role}/heads"] = self.actor(role).heads_adam
            held[f"{role}/policy"] = self.actor(role).policy_adam
        self.optimizers: dict[str, tuple[torch.optim.Adam, Adam]] = {
            name: (plain_adam(adam), adam) for name, adam in held.items()
        }

    def _review_parts(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> tuple[Tensor, Tensor]:
        models = self.dynamics, self.old_dynamics
        return plain.review_parts(*models, obs, action, next_obs, self.threshold, self.cfg.reviewer)

    # --- saving --------------------------------------------------------------------------

    def state_dict(self, with_replay: bool = True) -> dict:
        """See `ContinualAgent.state_dict`."""
        if self._settled == self.tensor_version:
            for optimizer, adam in self.optimizers.values():
                keep_counts(optimizer, adam)
        return super().state_dict(with_replay)


def plain_adam(held: Adam) -> torch.optim.Adam:
    """PyTorch's Adam, one tensor after another, on the very moments that `held` saves.

    Step counts live on the host, as they do by default; `keep_counts` writes them back.
    """
    optimizer = torch.optim.Adam(held.parameters, foreach=False, fused=False)
    moments = zip(held.parameters, held.step, held.exp_avg, held.exp_avg_sq, strict=True)
    for p, step, mean, square in moments:
        optimizer.state[p] = {"step": step.cpu(), "exp_avg": mean, "exp_avg_sq": square}
    return optimizer


def keep_counts(optimizer: torch.optim.Adam, held: Adam) -> None:
    """Puts the number of steps made where `held` saves it."""
    for p, step in zip(held.parameters, held.step, strict=True):
        step.copy_(optimizer.state[p]["step"])
