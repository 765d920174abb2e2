"""One agent, a Decision Transformer, is pre-trained on files and then learns tasks one by one.

Where we differ from the papers (Schmied et al. 2023, L2M; Wang et al. 2023, HiDe-Prompt) and from
their public code:

- A bin of an action stands for its centre; the published code's lower edge is `model.decode lower`.
- An update is a step of the optimiser, and all of its batches count. The published code steps after
  the first batch of all, which sees one domain.
- Keys and values are kept while an action's numbers are decided one after the other, instead of
  reading the window again for each; the numbers are the same.
- EWC keeps an anchor for every task; sets of a pool that no window chose stay where they are; what
  `modulators.hide_lora` and `inference` say.
- The return wanted of a task is the best in its own file, and evaluation is told it. Which module
  acts is told to methods that say so in their line, and to no other.

Shapes: E episodes, L numbers of an observation, A of an action.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib.algos.api import Capabilities
from lib.algos.decision_transformer import acting, audit, replaying, slots, transfer
from lib.algos.decision_transformer.acting import Memory
from lib.algos.decision_transformer.model import (
    DecisionTransformer,
    action_loss,
    counted,
    decayed,
)
from lib.algos.decision_transformer.modulators import KNOWN
from lib.algos.decision_transformer.modulators.api import Context, Data, Modulator
from lib.algos.decision_transformer.modulators.full import Full
from lib.algos.decision_transformer.named_adamw import Moments, NamedAdamW
from lib.algos.decision_transformer.schedule import rate_at
from lib.algos.decision_transformer.settings import SequenceRun
from lib.algos.decision_transformer.tokens import padded
from lib.algos.decision_transformer.windows import Experience, Window
from lib.core.errors import NonFiniteError, UserError
from lib.core.seeding import Streams
from lib.core.trees import leaf_map
from lib.engine import compiling, ranks
from lib.engine.running_means import RunningMeans
from lib.envs.api import Domain, data_parts, spaces
from lib.replay.buffer import Episodes

ALL = slice(None)  # of the windows of a batch


class SequenceAgent:
    """Learns from files of experience; see `lib.algos.api.Agent`.

    Args:
        cfg: the whole run.
        domain: the world, of which only spaces and names are asked.
        streams: the run's generators.
        device: where every tensor lives.

    Raises:
        UserError: a task that shows or takes more numbers than the model has room for.
    """

    collects, roles, pending = "dataset", ("learner",), 0

    def __init__(
        self, cfg: SequenceRun, domain: Domain, streams: Streams, device: torch.device | str
    ):
        self.cfg, self.domain, self.streams, self.device = cfg, domain, streams, device
        self.parts = [data_parts(domain, task) for task in range(len(domain.tasks))]
        self.spaces = [spaces(domain, task) for task in range(len(domain.tasks))]
        self.layouts = [[self._layout(part) for part in parts] for parts in self.parts]
        self.model = DecisionTransformer(cfg.model, streams.init).to(device)
        if compiling.wanted_on_gpu(cfg.engine.compile, torch.device(device)):
            self.model.compile_body()
        kind, tasks = cfg.modulator.kind, max(1, len(domain.tasks) - cfg.pretrain.tasks)
        context = Context(cfg.model, tasks, streams.init)
        self.modulator: Modulator = KNOWN[kind](getattr(cfg.modulators, kind, None), context)
        self.modulator.to(device)
        self.pretraining = Full(None, context)
        widest = max(map(len, self.parts))
        # Returns wanted, scaled, of every file of a task.
        self.targets = torch.zeros(len(domain.tasks), widest, device=device)
        self.base = ""  # fingerprint of the model that modules belong to; "": none does
        self.means = RunningMeans()
        self.task, self.steps, self.updates = -1, 0, 0
        self.optimizer: NamedAdamW | None = None
        self.experience: dict[Any, Experience] = {}
        self.read = 0  # files of the task at hand
        self._shared: nn.Module | None = None  # computes losses, among processes; None: to be made

    def _layout(self, part: Any) -> tuple[int, ...]:
        room = self.cfg.model.actions
        if part.actions.discrete or part.actions.size > room:
            kind = "choices" if part.actions.discrete else "numbers"
            raise UserError(
                f"an action of task '{part.name}' is {part.actions.size} {kind}, but the model has "
                f"tokens for {room} numbers; name another task, or raise model.actions"
            )
        return slots.layout(part.obs_space, self.cfg.model.slots, part.name)

    # --- tasks ---------------------------------------------------------------------------

    @property
    def tuning(self) -> Modulator:
        """Returns what learns in this task."""
        return self.pretraining if self.cfg.pretrains(self.task) else self.modulator

    def begin_task(self, index: int) -> None:
        """Crosses a boundary: other files, and in the stream perhaps another module."""
        first = index <= self.cfg.pretrain.tasks  # of a stage, or of pre-training
        before = {} if first or self.cfg.tune.reset_optimizer else self._moments()
        self.task, self.steps, self.updates = index, 0, 0
        self.experience, self.read = {}, 0
        if not self.cfg.pretrains(index):
            self.modulator.begin_task(index - self.cfg.pretrain.tasks)
            if self.modulator.keeps_base and not self.base:
                self.base = self._fingerprint()
        self._begin_learning(before)

    def _fingerprint(self) -> str:
        learning = self.modulator.trained(self.model)
        return transfer.fingerprint(self.model, {n.removeprefix("model.") for n in learning})

    def check_base(self, theirs: str) -> None:
        """Raises UserError where modules belong to another model than this one."""
        mine = self._fingerprint() if theirs else ""
        if mine != theirs:
            raise UserError(
                f"these modules were trained on the model {theirs}, and the one at hand is {mine}; "
                "name the run whose model they belong to with load_from"
            )

    def _begin_learning(self, moments: Moments) -> None:
        """Makes an optimiser of what learns now, with moments that it had before, by name."""
        for p in (*self.model.parameters(), *self.modulator.parameters()):
            p.requires_grad_(False)
        learning = self.tuning.trained(self.model)
        for p in learning.values():
            p.requires_grad_(True)
        shrinking = {f"model.{name}" for name in decayed(self.model)}
        self._shared = None
        self.optimizer = NamedAdamW(learning, shrinking, self.cfg.optimizer.decay)
        self.optimizer.load_moments(moments)

    def _moments(self) -> Moments:
        """Returns what the optimiser remembers; nothing before the first task."""
        return self.optimizer.moments() if self.optimizer else {}

    # --- acting --------------------------------------------------------------------------

    def act(
        self,
        obs: Tensor,
        memory: Memory | None,
        *,
        role: str = "learner",
        explore: bool = True,
        generator: torch.Generator | None = None,
        heads: dict[str, int] | None = None,
    ) -> tuple[Tensor, Memory]:
        """Returns the likeliest actions (E, A) for observations (E, L); nothing is random."""
        self.model.eval()
        task = heads["task"] if heads else self._shown(obs.shape[-1])
        cfg, stream = self.cfg.model, task - self.cfg.pretrain.tasks
        if memory is None:
            memory = acting.begun(len(obs), cfg, self.modulator.context.tasks, self.device)
        memory = self.observed(memory, obs, task)
        sizes = [self.parts[task][part].actions.size for part in self.played(task, len(obs))]
        action, memory = acting.act(
            self.model,
            self.acting_with(task),
            memory,
            torch.tensor(sizes, device=self.device),
            stream,
            self.cfg.modulator.freeze_after,
        )
        return padded(action, self.spaces[task][1].size), memory

    def acting_with(self, task: int) -> Modulator | None:
        """Returns what changes the model while a task is acted; None: nothing does."""
        told = self.modulator.labelled and self.cfg.pretrains(task)
        return None if told or self.cfg.pretrains(self.task) else self.modulator

    def observed(self, memory: Memory, obs: Tensor, task: int) -> Memory:
        """Takes observations (E, L) into what episodes carry along, each number in its slot."""
        played = self.played(task, len(obs))
        state = obs.new_zeros(len(obs), self.cfg.model.slots)
        for part in set(played):
            rows = torch.tensor([one == part for one in played], device=obs.device).nonzero()
            slots = torch.tensor(self.layouts[task][part], device=obs.device)
            state[rows, slots] = obs[rows[:, 0], : len(slots)]
        scale = torch.tensor([self.scale(task, part) for part in played], device=self.device)
        return acting.observed(memory, state, self.targets[task, played], scale)

    def played(self, task: int, copies: int) -> list[int]:
        """Returns which of a task's files each copy plays: in turn, or all the first one's."""
        turns = len(getattr(self.domain.tasks[task], "turns", ())) or 1
        return [copy % turns for copy in range(copies)]

    def _shown(self, numbers: int) -> int:
        """Returns the task at hand, or another one where observations are none of its own."""
        order = [self.task, *range(len(self.spaces))]
        return next(task for task in order if self.spaces[task][0].shape == (numbers,))

    def observe_reward(self, memory: Memory, reward: Tensor) -> Memory:
        """Takes the rewards of the step just made into what episodes carry along."""
        return acting.rewarded(memory, reward)

    def scale(self, task: int, part: int = 0) -> float:
        """Returns what rewards of a task's file are divided by."""
        scales = self.cfg.data.reward_scale
        at = sum(map(len, self.parts[:task])) + part
        return scales[min(at, len(scales) - 1)]

    # --- experience ----------------------------------------------------------------------

    def store(self, role: str, episodes: Episodes) -> None:
        """Takes the episodes of one file; those of a task's several files come in their order."""
        number, cfg = self.read, self.cfg.model
        part, layout = self.parts[self.task][number], self.layouts[self.task][number]
        sizes = cfg.slots, cfg.actions, cfg.bins, cfg.context
        here = Experience(
            *(episodes, layout, sizes, self.scale(self.task, number), part.name),
            keep_short=self.cfg.data.pad_starts,
        )
        self.targets[self.task, number] = here.best
        kind = (layout, part.actions.size)  # what shows and takes the same is one domain
        if kind in self.experience:
            self.experience[kind].join(here)
        else:
            self.experience[kind] = here
        self.read += 1

    def _draw(self, batch: int, domain: int = 0, share: slice = ALL) -> Window:
        held = list(self.experience.values())
        found = held[domain % len(held)]
        return found.draw(batch, self.streams.replay, self.cfg.data.pad_starts, share)

    def _data(self) -> Data:
        held = next(iter(self.experience.values()))
        return Data(
            draw=self._draw,
            starts=lambda count: held.starts(count, self.streams.replay),
            loss=lambda window: self._loss(window)[0],
            generator=self.streams.update,
        )

    # --- learning ------------------------------------------------------------------------

    def update(self, n: int) -> None:
        """Makes n updates; what a modulator does before and after a task belongs to them."""
        for _ in range(n):
            draws = self.streams.update
            seed = int(torch.randint(2**62, (), generator=draws, device=draws.device))
            with self._reproducibly(seed):
                if self.updates == 0 and not self.cfg.pretrains(self.task):
                    self.tuning.before_learning(self.model, self._data())
                self._lead(seed)
                self._update()
                self.updates += 1
                last = self.updates == self.cfg.budget.updates_of(self.task)
                if last and not self.cfg.pretrains(self.task):
                    self.tuning.after_learning(self.model, self._data())

    @contextmanager
    def _reproducibly(self, seed: int) -> Iterator[None]:
        """Lets dropout draw from the run's own stream, and leaves PyTorch's generator alone."""
        devices = [self.device] if torch.device(self.device).type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            yield

    def _lead(self, seed: int) -> None:
        """Tells processes that learn beside this one what the next update needs."""
        if group := ranks.group(self.device):
            told = self._shared is not None
            group.tell(
                {
                    "state": None if told else leaf_map(lambda x: x.cpu(), self.state_dict()),
                    "replay": self.streams.replay.get_state(),
                    "updates": self.updates,
                    "seed": seed,
                }
            )

    def follow(self, order: dict[str, Any]) -> None:
        """Makes the update that the leader makes; see `lib.engine.ranks`."""
        self.streams.replay.set_state(order["replay"])
        self.updates = order["updates"]
        with self._reproducibly(order["seed"] + ranks.number()):  # drops out other numbers
            self._update()

    def _update(self) -> None:
        """Steps once along the mean gradient of its batches."""
        pretrain, tune, group = self.cfg.pretrain, self.cfg.tune, ranks.group(self.device)
        self.model.train()
        if self.cfg.pretrains(self.task):
            batch, count, stage = pretrain.batch, pretrain.domains, "pretraining"
            rate = rate_at(self.updates, self.cfg.budget.updates_of(self.task), pretrain)
        else:
            batch, count, stage, rate = tune.batch, 1, "policy", tune.rate
        share = group.share(batch) if group else ALL
        batches = [self._draw(batch, domain, share) for domain in range(count)]
        if self._shared is None:
            self._shared = _Loss(self)
            if group:
                unused = self.tuning.keeps_base or self.cfg.model.idle_heads
                self._shared = group.averaging(self._shared, unused)
        self.optimizer.clear()
        told: list[dict[str, Tensor]] = []
        for window in batches:
            more = len(told) < count - 1
            with ranks.Group.held_back(self._shared) if more else nullcontext():
                loss, parts = self._shared(window, group.weight(counted(window)) if group else 1.0)
                (loss / count).backward()
            told.append(parts)
        norm = self.optimizer.step(rate, self.cfg.optimizer.clip)
        found = {name: torch.stack([part[name] for part in told]).mean() for name in told[0]}
        self.means.add(stage, {**found, "grad_norm": norm})

    def _loss(
        self, window: Window, weight: Tensor | float = 1.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns what is minimised, and its parts for the record.

        Args:
            weight: of the actions' cross-entropy.
        """
        half = self.cfg.optimizer.precision == "bf16" and torch.device(self.device).type == "cuda"
        with torch.autocast("cuda", torch.bfloat16, enabled=half):
            tokens = self.model.embed(window)
            query = self.model.query(tokens, window.valid, self.tuning.query)
            adapted = self.tuning.adapt(query)
            features = self.model.read(tokens, window.valid, adapted.adapter)
            logits = self.model.logits(features)
        action = action_loss(logits.float(), window.action, window.valid, window.real)
        parts = {**adapted.parts, **self.tuning.penalty(self.model, features.float(), window)}
        loss = weight * action + sum(parts.values())
        return loss, {"action": action.detach(), **{k: v.detach() for k, v in parts.items()}}

    def check_finite(self) -> None:
        """Raises NonFiniteError where a training quantity is no longer a finite number."""
        if broken := [name for name, ok in self.means.finite().items() if not ok]:
            raise NonFiniteError(
                f"non-finite {', '.join(broken)} in task {self.task + 1} near update "
                f"{self.updates}; start again in another folder with a lower rate (pretrain.rate, "
                "tune.rate; resuming would break at the same place)"
            )

    # --- looking in ----------------------------------------------------------------------

    def report(self) -> dict[str, float]:
        """Returns means of every training quantity since the last report."""
        self.check_finite()
        named = {f"train/{key}": value for key, value in self.means.means().items()}
        self.means.clear()
        return dict(sorted(named.items()))

    def audit(
        self, domain: Domain, held_out: dict[str, Tensor], generator: torch.Generator
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Returns for which tasks held-out episodes are taken, where they are inferred."""
        return audit.inferred_tasks(self, held_out)

    def capabilities(self) -> Capabilities:
        """Acts finished tasks by their returns, starts from another run's model, explains."""
        return Capabilities(
            heads=self,
            is_told=True,
            transfer=transfer.WarmStart(self),
            decisions=partial(replaying.decisions, self),
        )

    def save(self) -> dict[str, int]:
        """Returns what acts the current task: which one it is."""
        return {"task": self.task}

    def load(self, saved: dict[str, int]) -> dict[str, int]:
        """Returns heads for `act`. Raises IndexError for a task that there is not."""
        self.layouts[saved["task"]]
        return saved

    # --- saving --------------------------------------------------------------------------

    def state_dict(self, with_replay: bool = True) -> dict[str, Any]:
        """Returns everything; without replay, what acting and transfer need."""
        state: dict[str, Any] = {
            "world_model": {"model": self.model.state_dict()},
            "learner": {
                "modulator": self.modulator.state_dict(),
                "targets": self.targets,
                "base": self.base,
            },
        }
        if with_replay:
            state |= {
                "task": self.task,
                "updates": self.updates,
                "moments": self._moments(),
                "memory": self.modulator.memory(),
                "means": self.means.state_dict(),
            }
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a full state exactly; the generators are restored by their owner."""
        self.begin_task(state["task"])
        learner = state["learner"]
        self.model.load_state_dict(state["world_model"]["model"])
        self.modulator.load_state_dict(learner["modulator"])
        self.targets.copy_(learner["targets"])
        self.base, self.updates = learner["base"], state["updates"]
        self.optimizer.load_moments(state["moments"])
        if state["memory"] is not None:
            self.modulator.load_memory(state["memory"])
        self.means.load_state_dict(state["means"], self.device)


class _Loss(nn.Module):
    """An agent's loss as a module, which processes that learn together need it to be."""

    def __init__(self, agent: SequenceAgent):
        super().__init__()
        self.model, self.modulator, self._of = agent.model, agent.modulator, agent._loss

    def forward(self, window: Window, weight: Tensor | float) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns what is minimised, and its parts for the record."""
        return self._of(window, weight)
