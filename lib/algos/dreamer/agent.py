"""One agent, a Continual-Dreamer or a relative, learns tasks that nobody announces.

Where we differ from the paper (Kessler et al. 2023) and its public code:

- The reservoir is a true one; the published code's, which favours recent tasks, is
  `replay.retention random-evict`.
- Every row of a batch begins with an empty latent; continuing the last batch's latents, most of
  which belong to other episodes, is `replay.row_start carry`.
- Optimisers keep their moments at a task's boundary; the published code rebuilds its agent there,
  which tells it that the task has changed (`boundary.reset_optimizers`).
- Episodes under 5 steps are discarded everywhere; the published MiniGrid run with Plan2Explore
  discards those under 50, and with them every early success.
- Several episodes may be under way at once (`budget.parallel_envs`); updates per env step stay.
- Actions are detached inside the policy's log-probability.
- Slow critics begin as copies of the critics, instead of with numbers of their own.
- `rehearsal` and `cloning`, off unless asked for, read the numbers of tasks.

And from DreamerPro's code (Deng, Jang and Ahn 2022), which has Dreamer and TPC of pictures too:

- Losses are single precision, products bf16 where asked for; float16 throughout there, but for
  natural backgrounds.
- The best of 100 samples is each row's own; theirs is the first environment's for all.
- Seeds are read, and optimisers go on after a restart.
- The averaged encoder begins as a copy, not as another random network.
- One layer gives the actor's mean and spread, two of half the size there.
- Backgrounds are generated unless the user has films.

And from the code of transfer from several sources (Sasso, Sabatelli and Wiering 2023):

- Parts are taken before any update, tensors alone; counters and running means too there.
- A meta head reads what the sources' heads say; theirs computes it and leaves it out.

Shapes: E episodes, T steps, A action, P parameters.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib.algos.api import Capabilities
from lib.algos.dreamer import audit, exploration, shown, trust
from lib.algos.dreamer.agent_networks import AgentNetworks
from lib.algos.dreamer.behaviour import TASK
from lib.algos.dreamer.computation import Computation
from lib.algos.dreamer.learn_model import learn_model
from lib.algos.dreamer.learning import uncertainty
from lib.algos.dreamer.run_settings import DreamerRun
from lib.algos.dreamer.transfer import WarmStart
from lib.core.errors import NonFiniteError
from lib.core.seeding import Streams, generator
from lib.core.spaces import ActionSpace, ObsSpace
from lib.engine.optim import FlatAdam
from lib.engine.running_means import RunningMeans
from lib.engine.seed_batch import Batched
from lib.engine.seeds import unprefixed
from lib.envs.api import Domain
from lib.replay.buffer import Episodes
from lib.replay.padding import padded
from lib.replay.store import EpisodeStore


class DreamerAgent(Batched):
    """Learns a world model and behaviours from replay, in one run.

    Args:
        cfg: the whole run.
        obs_space, actions: the world's.
        streams: the run's generators.
        device: where every tensor lives.
    """

    collects = "steps"
    roles = ("learner",)

    def __init__(
        self,
        cfg: DreamerRun,
        obs_space: ObsSpace,
        actions: ActionSpace,
        streams: Streams,
        device: torch.device | str,
    ):
        self.cfg, self.obs_space, self.actions = cfg, obs_space, actions
        self.streams, self.device = streams, device
        self.running_means = RunningMeans()
        self.exploration = exploration.KNOWN[cfg.explore.bonus](cfg)
        self.networks = AgentNetworks(cfg, obs_space, actions, self.exploration)
        self.task, self.steps, self.updates = -1, 0, 0
        self.tensor_version = 0  # rises whenever tensors are replaced
        self._reset()

    def _reset(self) -> None:
        """Starts with fresh networks, optimisers and replay."""
        cfg = self.cfg
        self.tensor_version += 1
        self.total_env_steps, self.total_updates, self.updates_due = 0, 0, 0.0
        self.burst_end = 0  # total updates once what is due in whole bursts is made
        self.prefilled = False  # whether the prefill is over
        self.trained: dict[str, FlatAdam] = {}
        self.slow: dict[str, Tensor] = {}
        self.fixed: dict[str, Tensor] = {}  # what never learns, at most one row
        for name, module in self.networks.fresh(self.streams.init).items():
            rows = self.networks.rows(name, dict(module.named_parameters()))
            row, update = rows.pop(name).to(self.device), cfg.update
            self.fixed |= {of: held.to(self.device) for of, held in rows.items()}
            self.trained[name] = FlatAdam.over(
                row, self.networks.rates[name], update.epsilon, update.decay, update.clip
            )
            if name in self.networks.copied:
                self.slow[name] = row.clone()
        self.carried = self.networks.initial(cfg.update.batch, self.device)
        replay = cfg.replay
        self.replay = EpisodeStore(
            replay.capacity,
            self.obs_space.shape,
            self.obs_space.dtype,
            self.actions.size,
            cfg.env.decisions,
            retention=replay.retention,
            sampling=replay.sampling,
            recent_share=replay.recent_share,
            min_length=replay.min_length,
            slack=replay.slack,
            row_start=replay.row_start,
            to_images=self.obs_space.draw,
            seed_generator=generator(cfg.seed, "coverage"),  # alike in every start, so not saved
            device=self.device,
        )
        self.exploration.begin_task()

    # --- tasks ---------------------------------------------------------------------------

    def begin_task(self, index: int) -> None:
        """Crosses a task's boundary, where nothing is done unless settings say so."""
        boundary = self.cfg.boundary
        if self.task >= 0 and boundary.carry == "nothing":
            self._reset()
        elif self.task >= 0 and boundary.reset_optimizers:
            for adam in self.trained.values():
                adam.reset()
        self.task, self.steps, self.updates = index, 0, 0
        self.exploration.begin_task()

    # --- acting --------------------------------------------------------------------------

    def computation(self, agents: Sequence["DreamerAgent"]) -> Computation:
        """Returns what such agents compute together."""
        return Computation(agents)

    def acts_at_random(self, role: str = "learner") -> bool:
        """Returns whether it still fills its replay with random actions."""
        return self.total_env_steps < self.cfg.update.prefill

    @property
    def steps_per_update(self) -> int:
        """Env steps that an update asks for."""
        return self.cfg.update.env_steps_per_update

    def count_steps(self, decisions: int) -> None:
        """Counts decisions, and the updates that their env steps make due."""
        env_steps = decisions * self.cfg.env.action_repeat
        self.steps += decisions
        self.total_env_steps += env_steps
        if self.acts_at_random():
            return
        if not self.prefilled:
            self.prefilled = True
            self.updates_due += self.cfg.update.pretrain
        self.updates_due += env_steps / self.steps_per_update
        # The first ones of all come as they are.
        size = self.cfg.update.burst if self.total_updates >= self.cfg.update.pretrain else 1
        whole = int(self.updates_due) // size * size
        self.burst_end = max(self.burst_end, self.total_updates + whole)

    @property
    def pending(self) -> int:
        """Updates that are due, in whole bursts, or what is left of one that has begun."""
        return max(0, self.burst_end - self.total_updates) if self.replay.episodes else 0

    def store(self, role: str, episodes: Episodes) -> None:
        """Takes finished episodes."""
        found = {"return": episodes.reward.sum(1).mean()}
        if episodes.success is not None:
            found["success"] = episodes.success.float().mean()
        if episodes.length is not None:
            found["length"] = episodes.length.float().mean()
        self.running_means.add(
            "learner", {name: value.to(self.device) for name, value in found.items()}
        )
        returned = episodes.reward.sum(1)
        episodes = self.exploration.pay(episodes)
        priority = None
        if self.cfg.replay.sampling == "uncertainty":
            priority = uncertainty(self, episodes)
        if self.cfg.replay.pad:
            episodes = padded(episodes, self.cfg.update.length)
        self.replay.add(episodes, self.task, self.streams.replay, priority, returned)

    # --- learning ------------------------------------------------------------------------

    def count_update(self) -> None:
        """Counts one update that was made."""
        self.updates += 1
        self.total_updates += 1
        self.updates_due -= 1.0

    def check_finite(self) -> None:
        """Raises NonFiniteError where a training quantity is no longer a finite number."""
        broken = [name for name, ok in self.running_means.finite().items() if not ok]
        if broken:
            raise NonFiniteError(
                f"non-finite {', '.join(broken)} in task {self.task + 1} near update "
                f"{self.updates} ({self.steps} env steps); start again in another folder with "
                "lower learning rates (update.model_lr, update.actor_lr, update.critic_lr; "
                "resuming would break at the same place)"
            )

    # --- looking in ----------------------------------------------------------------------

    def report(self) -> dict[str, float]:
        """Means of every training quantity since the last report, as `train/part/quantity`.

        Raises:
            NonFiniteError: a quantity stopped being finite.
        """
        self.check_finite()
        named = {f"train/{key}": value for key, value in self.running_means.means().items()}
        self.running_means.clear()
        tasks = max(len(self.cfg.tasks), self.task + 1)
        for index, share in enumerate(self.replay.composition(tasks)):
            named[f"train/replay/share-{index + 1}"] = float(share)
        named["train/replay/steps"] = float(self.replay.steps)
        named["train/replay/episodes"] = float(self.replay.episodes)
        named["train/replay/discarded"] = float(self.replay.discarded)
        return dict(sorted(named.items()))

    def audit(
        self, domain: Domain, held_out: dict[str, Tensor], generator: torch.Generator
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Returns what the world model makes of every task's held-out episodes.

        An ensemble fitted to replayed episodes says besides how far to trust it.
        """
        metrics, arrays = self._audited(domain, self.task + 1, held_out, generator)
        if not self.replay.episodes:
            return metrics, arrays
        names = [task.name for task in domain.tasks[: self.task + 1]]
        replayed = self.replay.whole(trust.REPLAYED, generator)
        told, kept = trust.examine(self.module("model"), replayed, held_out, names, generator)
        return {**metrics, **told}, {**arrays, **kept}

    def probe(
        self, domain: Domain, held_out: dict[str, Tensor], generator: torch.Generator
    ) -> dict[str, float]:
        """Returns what model, reward, critic and actor still know of the tasks before this one."""
        metrics, _ = self._audited(domain, self.task, held_out, generator)
        return {name.replace("audit/met-", "probe/", 1): value for name, value in metrics.items()}

    def _audited(
        self, domain: Domain, tasks: int, held_out: dict[str, Tensor], generator: torch.Generator
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        names = [task.name for task in domain.tasks[:tasks]]
        model, actor, critic = map(self.module, ("model", TASK.actor, TASK.critic))
        return audit.audit(model, held_out, names, generator, (actor, critic))

    def capabilities(self) -> Capabilities:
        """Imagines states and shows them as its objective can; one policy acts in all tasks."""
        return Capabilities(
            imagine=functools.partial(shown.imagine, self),
            remember=functools.partial(shown.remember, self),
            value=functools.partial(shown.values, self),
            look_ahead=self.cfg.behaviour.horizon,
            transfer=WarmStart(self),
            fit=functools.partial(learn_model, self),
            probe=self.probe,
        )

    def module(self, name: str) -> nn.Module:
        """Returns a copy of one of its networks as it is now: model, actor, critic, ..."""
        module = self.networks.empty(name, self.device)
        module.load_state_dict(self._named(name))
        return module.requires_grad_(False)

    # --- saving --------------------------------------------------------------------------

    def _named(self, name: str) -> dict[str, Tensor]:
        return self.networks.tensors(name, {name: self.trained[name].row, **self.fixed})

    def state_dict(self, with_replay: bool = True) -> dict[str, Any]:
        """Returns everything; without replay, what acting and transfer need."""
        named = {name: self._named(name) for name in self.trained}
        state: dict[str, Any] = {"world_model": {"model": named.pop("model")}, "learner": named}
        if with_replay:
            state |= {
                "task": self.task,
                "steps": self.steps,
                "updates": self.updates,
                "total_env_steps": self.total_env_steps,
                "total_updates": self.total_updates,
                "updates_due": self.updates_due,
                "burst_end": self.burst_end,
                "prefilled": self.prefilled,
                "optimizers": {name: adam.state_dict() for name, adam in self.trained.items()},
                "slow": {
                    name: self.networks.flats[name].views(row) for name, row in self.slow.items()
                },
                "carried": self.carried,
                "exploration": self.exploration.state_dict(),
                "replay": self.replay.state_dict(),
                "running_means": self.running_means.state_dict(),
            }
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a full state exactly; the generators are restored by their owner."""
        self._load_rows({**state["world_model"], **state["learner"]})
        for name, adam in self.trained.items():
            adam.load_state_dict(state["optimizers"][name])
        for name, row in self.slow.items():
            row.copy_(self.networks.flats[name].row(state["slow"][name]))
        for mine, theirs in zip(self.carried, state["carried"], strict=True):
            mine.copy_(theirs)
        counts = (
            "task",
            "steps",
            "updates",
            "total_env_steps",
            "total_updates",
            "updates_due",
            "burst_end",
            "prefilled",
        )
        for name in counts:
            setattr(self, name, state[name])
        self.exploration.load_state_dict(state["exploration"])
        self.replay.load_state_dict(state["replay"])
        self.running_means.load_state_dict(state["running_means"], self.device)
        self.tensor_version += 1

    def _load_rows(self, named: dict[str, dict[str, Tensor]]) -> None:
        for name, tensors in named.items():
            for of, row in self.networks.rows(name, tensors).items():
                (self.fixed[of] if of in self.fixed else self.trained[of].row).copy_(row)

    def load_world_model(self, state: dict[str, Any]) -> None:
        """Takes another run's world model; everything else stays fresh."""
        self._load_rows(state)
        if "model" in self.slow:  # an averaged copy starts where the model does
            self.slow["model"].copy_(self.trained["model"].row)

    def load_behaviour(self, named: dict[str, dict[str, Tensor]]) -> None:
        """Takes the actors and critics of another run; slow critics start as copies."""
        self._load_rows(named)
        for name in self.networks.critics:
            self.slow[name].copy_(self.trained[name].row)

    def load_tensors(self, found: Mapping[str, Tensor]) -> None:
        """Takes some tensors, as `network.tensor`; older copies of what they are in start anew."""
        for name, adam in self.trained.items():
            if own := unprefixed(found, name):
                self._load_rows({name: self._named(name) | own})
                if name in self.slow:
                    self.slow[name].copy_(adam.row)
