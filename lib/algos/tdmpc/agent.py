"""One agent with a list of protections makes DRAGO and every method compared with it.

Where we differ from the published code:

- One owner of the dynamics. Their Adam state is separate from the heads', which changes nothing
  in the arithmetic; the gradient norm is clipped jointly as before.
- Warm-up asks how much is stored, so a wrapped buffer never acts at random again, and updates
  start with the episode that fills the warm-up instead of the one after it.
- Grid counts round to the nearest cell; errors are floored before their logarithm; continuous
  actions are clamped; any share of reviewer rows works.
- In grids an evaluation may draw the policy's actions instead of taking its likeliest ones
  (`planner.likeliest=false`, as preset grid-quick does).
- A task ends at its budget; the original collects one more episode.
- The target copy of the dynamics is left out: nothing reads it.
- E episodes are collected in lock-step and followed by E times as many updates. With E = 1 this
  is the published schedule; more makes the data of an update up to E episodes staler.

Shapes: E environments, T steps an episode, H window, B windows, L observation, A action.
"""

import copy
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib.algos.api import Capabilities, Imagination
from lib.algos.tdmpc import counts, precision, reviewer, shown
from lib.algos.tdmpc.actor import Actor
from lib.algos.tdmpc.averages import Averages
from lib.algos.tdmpc.computation import Computation
from lib.algos.tdmpc.model import Dynamics, Heads, Model
from lib.algos.tdmpc.protections import build
from lib.algos.tdmpc.protections.api import Context, Protection
from lib.algos.tdmpc.settings import TdmpcRun
from lib.algos.tdmpc.snapping import Snapped
from lib.algos.tdmpc.transfer import TaskHeads, WarmStart
from lib.core.errors import NonFiniteError
from lib.core.seeding import Streams
from lib.core.spaces import ActionSpace
from lib.engine.optim import Adam
from lib.engine.running_means import RunningMeans
from lib.engine.seed_batch import Batched
from lib.envs.api import Domain
from lib.replay.buffer import EpisodeBuffer, Episodes


def _short(name: str) -> str:
    """Shortens a logged group: `learner_update/reward` is `learner/reward`."""
    return name.replace("_update", "").replace("_episode", "")


class ContinualAgent(Batched):
    """Learns a sequence of tasks with TD-MPC; they share their dynamics.

    Learns from whole episodes, between which it makes the updates that are due.

    Args:
        cfg: the whole run.
        obs_dim, actions, episode_length: the world's sizes.
        grid_size: cells a side where the world is a grid, for exact counts; else None.
        streams: the run's random generators.
        device: where every tensor lives.
    """

    collects = "episodes"

    def __init__(
        self,
        cfg: TdmpcRun,
        obs_dim: int,
        actions: ActionSpace,
        episode_length: int,
        streams: Streams,
        device: torch.device | str,
        grid_size: int | None = None,
    ):
        self.cfg, self.obs_dim, self.actions = cfg, obs_dim, actions
        self.episode_length, self.grid_size = episode_length, grid_size
        self.streams, self.device = streams, device
        self.running_means = RunningMeans()
        self.task = -1
        self.tensor_version = 0  # rises whenever tensors are replaced
        self.threshold = torch.tensor(cfg.reviewer.threshold, device=device)
        self.next_threshold = self.threshold.clone()
        self.dynamics = self._new_dynamics()
        self.old_dynamics: Dynamics | None = None  # as the last boundary froze them
        context = Context(obs_dim, actions.size, cfg.vae, streams, device)
        self.known = build(cfg.protections, context)
        self.protections: list[Protection] = [p for p in self.known if p.on]
        self.reviewer: Actor | None = None  # of the current task, see `reviews`
        self.averages: Averages | None = None  # of the current task, where evaluations use one
        self.inherits = False  # whether the dynamics come from earlier tasks
        self.horizon = cfg.planner.horizon[0]  # of the current task

    # --- tasks ---------------------------------------------------------------------------

    def begin_task(self, index: int) -> None:
        """Crosses a task boundary: freezes what is old, recreates what belongs to one task."""
        cfg = self.cfg.method
        if self.task >= 0:
            for p in self.protections:
                p.end_task(self.dynamics, self.learner.buffer.transitions())
            self.inherits = True
        if self.inherits and cfg.carry == "nothing":
            self.dynamics, self.inherits = self._new_dynamics(), False
        if self.inherits:
            self.old_dynamics = self.dynamics.frozen()
            self.threshold = self.next_threshold.clone()
            self.next_threshold = self.threshold.clone()
        for p in self.protections:
            p.begin_task(self.inherits)
        self._open_task(index)

    def _open_task(self, index: int) -> None:
        """Makes fresh heads, optimisers, replay and counters for one task."""
        cfg = self.cfg
        self.task, self.steps, self.updates, self.updates_due = index, 0, 0, 0.0
        self.round_steps = self.round_updates = 0
        self.tensor_version += 1
        horizons = cfg.planner.horizon
        self.horizon = horizons[min(index, len(horizons) - 1)]
        self.dynamics_adam = Adam.over(self.dynamics.parameters(), cfg.learning.lr)
        self.learner = self._new_actor()
        self.reviewer = self._new_actor(review=True) if self.reviews else None
        averages = cfg.learning.average < 1
        self.averages = Averages(self.dynamics, self.learner.heads) if averages else None

    @property
    def evaluated_dynamics(self) -> Dynamics:
        """Returns the dynamics that evaluations plan with."""
        return self.averages.dynamics if self.averages else self.dynamics

    @property
    def evaluated_heads(self) -> Heads:
        """Returns the learner's heads that evaluations plan with."""
        return self.averages.heads if self.averages else self.learner.heads

    def average_anew(self) -> None:
        """Starts averages from the networks as they are."""
        if self.averages:
            self.averages.begin(self.dynamics, self.learner.heads)

    @property
    def reviews(self) -> bool:
        """Tells whether this task has a reviewer: from the second on, where the method has one."""
        return self.cfg.method.review and self.inherits

    @property
    def roles(self) -> tuple[str, ...]:
        """Names who collects episodes, in order."""
        return ("learner", "reviewer") if self.reviewer else ("learner",)

    # --- acting --------------------------------------------------------------------------

    def computation(self, agents: Sequence["ContinualAgent"]) -> Computation:
        """Makes what such agents compute together."""
        return Computation(agents)

    def acts_at_random(self, role: str) -> bool:
        """Tells whether a role still explores at random: warm-up, or too little to learn from."""
        cfg, steps = self.cfg.learning, self.schedule_steps(role)
        return steps < cfg.seed_steps or self.actor(role).buffer.count < cfg.batch

    def schedule_steps(self, role: str) -> int:
        """Returns the steps that a role's schedules count: all of a round act at its beginning."""
        return self.round_steps if role == "reviewer" else self.steps

    @property
    def update_step(self) -> int:
        """Returns the step that the next update is made at: one after the other from the round's
        beginning on, as in the published code, whose round is one episode of every role."""
        return self.round_steps + self.round_updates

    def visit(self, role: str, obs: Tensor) -> None:
        """Counts where the reviewer is about to explore from."""
        if role == "reviewer" and self.reviewer.counts:
            self.reviewer.counts.visit(obs)

    def store(self, role: str, episodes: Episodes) -> None:
        """Takes finished episodes of one role and notes how many updates are due."""
        if role == "reviewer":
            episodes = self._reviewed(episodes)
        self.actor(role).buffer.add(episodes)
        if role == "learner":  # first in a round
            self.round_steps, self.round_updates = self.steps, 0
        collected = episodes.reward.numel()
        self.steps += collected
        self.running_means.add(role, {"return": episodes.reward.sum(1).mean()})
        if role == "learner" and self.steps >= self.cfg.learning.seed_steps:
            self.updates_due += collected * self.cfg.learning.updates_per_step

    @property
    def pending(self) -> int:
        """Counts the updates that are due."""
        return int(self.updates_due)

    def _reviewed(self, episodes: Episodes) -> Episodes:
        """Replaces the task's reward, which the reviewer never sees, by its own."""
        obs, nxt = episodes.obs[:, :-1], episodes.obs[:, 1:]
        if self.reviewer.counts:
            self.reviewer.counts.visit(episodes.obs[:, -1])
        known, cost = self._review_parts(obs, episodes.action, nxt)
        sums = {"known_part": known.sum(1).mean(), "cost_part": cost.sum(1).mean()}
        self.running_means.add("reviewer_episode", sums)
        return episodes._replace(reward=known - cost)

    def _review(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        known, cost = self._review_parts(obs, action, next_obs)
        return known - cost

    @torch.no_grad()
    def _review_parts(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> tuple[Tensor, Tensor]:
        return reviewer.review_parts(
            self.dynamics,
            self.old_dynamics,
            obs,
            action,
            next_obs,
            self.threshold,
            self.cfg.reviewer,
        )

    def imagined(self, dynamics: Dynamics) -> Model:
        """Returns the dynamics as a search asks them."""
        return Snapped(dynamics, self.grid_size) if self.cfg.planner.snap else dynamics

    # --- learning ------------------------------------------------------------------------

    def count_update(self) -> None:
        """Counts one update that was made."""
        self.updates += 1
        self.round_updates += 1
        self.updates_due -= 1.0

    def schedule_lr(self) -> None:
        """Lowers the learning rates linearly over the task's budget, where asked."""
        cfg = self.cfg
        done = min(1.0, self.steps / cfg.decisions_per_task)
        scale = 1.0 - (1.0 - cfg.learning.lr_end) * done
        for p in self.protections:
            p.set_lr(scale)
        self.dynamics_adam.set_lr(scale * cfg.learning.lr)
        for actor in (self.learner, self.reviewer) if self.reviewer else (self.learner,):
            actor.heads_adam.set_lr(scale * cfg.learning.lr)
            actor.policy_adam.set_lr(scale * cfg.learning.lr)

    # --- looking in ----------------------------------------------------------------------

    def report(self) -> dict[str, float]:
        """Returns means of every training quantity since the last report, as `train/part/quantity`.

        Raises:
            NonFiniteError: a quantity stopped being finite.
        """
        self.check_finite()
        means = self.running_means.means()
        self.running_means.clear()
        named = {f"train/{_short(key)}": value for key, value in means.items()}
        if self.cfg.method.review:
            named["train/reviewer/threshold"] = float(self.threshold)
            named["train/reviewer/next_threshold"] = float(self.next_threshold)
        if self.cfg.planner.precision == "bf16" and self.learner.buffer.count:
            single, half = precision.scores(self.dynamics, *self.learner.buffer.transitions())
            precision.warn_if_lost(single, half)
            named["train/planner/score"], named["train/planner/score_bf16"] = single, half
        return dict(sorted(named.items()))

    def check_finite(self) -> None:
        """Raises NonFiniteError where a training quantity is no longer a finite number."""
        broken = [_short(name) for name, ok in self.running_means.finite().items() if not ok]
        if broken:
            raise NonFiniteError(
                f"non-finite {', '.join(broken)} in task {self.task + 1} near update "
                f"{self.updates} ({self.steps} agent steps); start again in another folder with a "
                "lower learning.lr (resuming would break at the same place)"
            )

    def capabilities(self) -> Capabilities:
        """Predicts and searches, and does what its method adds: dreams, review."""
        generators = [p.generate for p in self.protections if p.generate]
        return Capabilities(
            predict=torch.no_grad()(self.evaluated_dynamics.__call__),
            imagine=self._imagine,
            generate=generators[0] if generators else None,
            value=functools.partial(shown.values, self),
            look_ahead=self.horizon,
            search=shown.TracedSearch(self),
            review=self._review if self.reviewer else None,
            review_rule=shown.review_rule(self),
            heads=TaskHeads(self),
            transfer=WarmStart(self),
        )

    @torch.no_grad()
    def _imagine(
        self,
        obs: Tensor,
        action: Tensor,
        seen: int,
        generator: torch.Generator,
        remembered: None = None,
    ) -> Imagination:
        """Goes on from the last of the observations seen with the episode's actions, open loop."""
        imagined = self.evaluated_dynamics.unroll(obs[seen - 1], action[seen - 1 :])
        return Imagination(torch.cat((obs[:seen], imagined[1:])))

    def audit(
        self, domain: Domain, held_out: Any, generator: torch.Generator
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Returns what the world finds out about the world model: flat metrics, and arrays."""
        can = self.capabilities()
        sample = can.generate and functools.partial(can.generate, generator=generator)
        return domain.audit(held_out, can.predict, sample, can.review)

    # --- saving --------------------------------------------------------------------------

    def world_model(self, dynamics: Dynamics | None = None) -> dict[str, Any]:
        """Returns what goes with the dynamics into other runs: the parts' tensors by name."""
        trained = {n: own.network for p in self.known for n, own in p.trained.items()}
        parts = {"dynamics": dynamics or self.dynamics, **trained}
        state = {name: module.state_dict() for name, module in parts.items()}
        return state | {"threshold": self.next_threshold}

    def load_world_model(self, state: dict[str, Any]) -> None:
        """Takes dynamics, protections' networks and threshold of another run; the rest stays."""
        self.dynamics.load_state_dict(state["dynamics"])
        for p in self.known:
            for name, own in p.trained.items():
                own.network.load_state_dict(state[name])
        self.next_threshold.copy_(state["threshold"])
        self.inherits = True
        self.average_anew()

    def state_dict(self, with_replay: bool = True) -> dict[str, Any]:
        """Returns everything; without replay, what transfer and acting need, as evaluated."""
        dynamics, heads = self.evaluated_dynamics, self.evaluated_heads
        if with_replay:
            dynamics, heads = self.dynamics, self.learner.heads
        state = {
            "world_model": self.world_model(dynamics),
            "learner": self.learner.state_dict(with_replay) | {"heads": heads.state_dict()},
            "reviewer": self.reviewer.state_dict(with_replay) if self.reviewer else None,
        }
        if with_replay:
            state |= {
                "averages": self.averages.state_dict() if self.averages else None,
                "task": self.task,
                "steps": self.steps,
                "updates": self.updates,
                "updates_due": self.updates_due,
                "round": [self.round_steps, self.round_updates],
                "inherits": self.inherits,
                "threshold": self.threshold,
                "dynamics_optimizer": self.dynamics_adam.state_dict(),
                "old_dynamics": self.old_dynamics.state_dict() if self.old_dynamics else None,
                "protections": {p.name: p.state_dict() for p in self.protections},
                "running_means": self.running_means.state_dict(),
            }
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a full state exactly; the random generators are restored by their owner."""
        self.inherits = state["inherits"]
        self._open_task(state["task"])
        self.load_world_model(state["world_model"])
        self.inherits = state["inherits"]
        if state["old_dynamics"] is not None:
            self.old_dynamics = self.dynamics.frozen()
            self.old_dynamics.load_state_dict(state["old_dynamics"])
        for p in self.protections:
            p.load_state_dict(state["protections"][p.name])
        self.threshold.copy_(state["threshold"])
        self.steps, self.updates, self.updates_due = (
            state["steps"],
            state["updates"],
            state["updates_due"],
        )
        self.round_steps, self.round_updates = state["round"]
        self.learner.load_state_dict(state["learner"])
        if self.reviewer:
            self.reviewer.load_state_dict(state["reviewer"])
        if self.averages:
            self.averages.load_state_dict(state["averages"])
        self.dynamics_adam.load_state_dict(state["dynamics_optimizer"])
        self.running_means.load_state_dict(state["running_means"], self.device)
        self.tensor_version += 1

    # --- construction --------------------------------------------------------------------

    def actor(self, role: str) -> Actor:
        """Returns what a role owns."""
        return self.reviewer if role == "reviewer" else self.learner

    def skeleton(self) -> dict[str, nn.Module]:
        """Returns the networks' architecture alone, a protection's as `protection:network`."""
        modules: dict[str, nn.Module] = {
            "dynamics": self.dynamics,
            "heads": self.new_heads(torch.Generator()),
        }
        if self.old_dynamics:
            modules["old_dynamics"] = self.old_dynamics
        for p in self.protections:
            networks = {name: own.network for name, own in p.trained.items()} | p.frozen
            modules |= {f"{p.name}:{name}": network for name, network in networks.items()}
        return {name: copy.deepcopy(module).to("meta") for name, module in modules.items()}

    def _new_dynamics(self) -> Dynamics:
        model = self.cfg.model
        return Dynamics(
            self.obs_dim,
            self.actions.size,
            model.width,
            self.streams.init,
            crelu=model.crelu,
            bounded=model.bounded,
        ).to(self.device)

    def new_heads(self, generator: torch.Generator) -> Heads:
        """Makes fresh heads whose first weights a random generator draws."""
        return Heads(
            self.obs_dim,
            self.actions.size,
            self.cfg.model.width,
            generator,
            self.actions.discrete,
        ).to(self.device)

    def _new_actor(self, review: bool = False) -> Actor:
        cfg = self.cfg
        learning = cfg.learning
        count = None
        if review:
            count = counts.build(
                cfg.reviewer, self.obs_dim, self.grid_size, self.streams.init, self.streams.update
            )
        buffer = EpisodeBuffer(
            min(cfg.decisions_per_task, learning.capacity),
            self.episode_length,
            self.obs_dim,
            self.actions.size,
            self.horizon,
            alpha=learning.priority_alpha,
            beta=learning.priority_beta,
            device=self.device,
        )
        return Actor(self.new_heads(self.streams.init), buffer, learning, count)
