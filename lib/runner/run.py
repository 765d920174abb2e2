"""One training run of one seed: agent, world and counters, saved in its folder and found again.

What it writes down is in `lib.runner.report`, where its files lie in `lib.runner.run_folder`.
"""

import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lib.algos import registry
from lib.algos.api import Agent
from lib.core import config as configs
from lib.core.config import RunConfig
from lib.core.errors import NonFiniteError, UserError
from lib.core.seeding import Streams, generator
from lib.core.storage import StorageError, how_to_go_on
from lib.core.trees import leaf_map
from lib.envs.api import Domain, VectorEnv, evaluation_env
from lib.replay.buffer import Episodes
from lib.runner import beginning, checkpoint, expected, expected_state, open_loop, parts, warm_start
from lib.runner.evaluate import unbroken
from lib.runner.report import Report
from lib.runner.rotation import Rotation
from lib.runner.run_folder import DIFFERENCES, RunFolder, differences
from lib.runner.state import Position, RunState
from lib.runner.warm_start import FirstActor, Start

WRONG_KIND = (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError)
"""What reading a state of another layout raises, wherever it is copied."""


class Broke(Exception):
    """A run whose numbers stopped being finite, and what was said about it."""

    def __init__(self, run: "Run", error: NonFiniteError):
        super().__init__(str(error))
        self.run, self.error = run, error


class Run:
    """A run in progress.

    Args:
        cfg: the whole run.
        out: its folder.
        start: what it builds on.
        domain: the world, which seeds of one run may share.
        first_actors: who acts before the learner, by task.
    """

    def __init__(
        self,
        cfg: RunConfig,
        out: Path,
        start: Start,
        device: Any,
        domain: Domain,
        first_actors: Mapping[int, FirstActor],
    ):
        self.cfg, self.folder, self.device = cfg, RunFolder(out), device
        self.start, self.domain, self.first_actors = start, domain, first_actors
        self.names = [task.name for task in domain.tasks]
        self.streams = Streams(cfg.seed, device)
        self.agent: Agent = registry.build_agent(cfg, domain, self.streams, device)
        self.rotation = Rotation(self.folder.checkpoints)
        self.state = RunState(next_save=cfg.budget.checkpoint_every)
        self.report = Report(self.folder, cfg, domain, self.unit)
        self.held_out = domain.new_held_out()  # for audits: what the agent never trains on
        self.unfinished: Any = None  # saved episodes under way, of agents that learn meanwhile
        self.heads: list[dict[str, Any]] = []  # of every finished task, to act it again
        self.opened = time.monotonic()

    # --- beginning, and going on ---------------------------------------------------------

    def open(self, saved: Path | None, *, show: bool, **recording: Any) -> None:
        """Continues from a checkpoint, or gets ready to begin; opens the files it writes.

        Args:
            saved: one of those that `saved.standing` names; None begins.
            show: whether to draw a progress bar.
            recording: what `Recorder` takes besides.
        """
        resume_at = self._resume(saved) if saved else 0
        record = self.start.record(self.cfg)
        total = work_before(self.cfg, self.unit, (len(self.names), 0, 0))
        self.report.open(total, show=show, resume_at=resume_at, config=record, **recording)

    def begin(self) -> None:
        """Opens the first task, with what the run takes of others; writes down what that was."""
        moved = beginning.begin(self.agent, self.start)
        self.state.open_task(self.cfg.budget)
        if moved:
            parts.write_table(self.folder.parts, moved)

    def _begin_task(self) -> None:
        self.agent.begin_task(self.state.task)
        self.state.open_task(self.cfg.budget)

    # --- what happens on the way ---------------------------------------------------------

    def world(self, task: int, role: str = "learner", evaluates: bool = False) -> VectorEnv:
        """Where a role acts, or is evaluated; another agent may act before the learner does."""
        env = evaluation_env(self.domain, task) if evaluates else self.domain.make(task)
        first = self.first_actors.get(task)
        if first is None or role != "learner":
            return env
        return warm_start.PreRollout(env, first, self.cfg.budget.pre_rollout)

    def sound(self, episodes: Episodes, env: VectorEnv) -> Episodes:
        """The episodes just played whose physics stayed finite; counts the others."""
        kept = unbroken(episodes, env)
        self.state.dropped += len(episodes.reward) - len(kept.reward)
        return kept

    def store(self, role: str, episodes: Episodes) -> None:
        """Takes a collection of episodes."""
        self.domain.record(self.held_out, self.state.task, episodes.obs[:, :-1], episodes.action)
        self.agent.store(role, episodes)

    def stepped(self, decisions: int) -> None:
        """Counts what was played."""
        self.state.decisions += decisions
        self.state.env_steps += decisions * self.domain.action_repeat
        self.state.reported = False

    def report_training(self, final: bool = False) -> None:
        """Writes down what the updates since the last time looked like, when that is due.

        Args:
            final: due or not.
        """
        state = self.state
        if state.reported or not (final or self.progress >= state.next_report):
            return
        if every := self.cfg.budget.report_every:
            state.next_report = (self.progress // every + 1) * every
        values = self.agent.report() | self._played()
        self.report.train(self.header(), values, self.seconds)
        state.reported = True

    def _played(self) -> dict[str, float]:
        """How much of each task that takes turns has been played, and of all of them."""
        env = getattr(self.unfinished, "env", None)
        if not hasattr(env, "played"):
            return {}
        found = env.played()
        episodes = sum(count for name, count in found.items() if name.endswith("/episodes"))
        each = {f"train/turns/{name}": float(count) for name, count in found.items()}
        return each | {"train/turns/episodes": float(episodes)}

    def tested(self, task: int, episodes: Episodes, env: VectorEnv) -> Episodes:
        """The evaluation episodes of a task that count.

        Raises:
            NonFiniteError: none does.
        """
        kept = self.sound(episodes, env)
        if not len(kept.reward):
            raise NonFiniteError(
                f"the physics of '{self.names[task]}' broke in every evaluation episode; start "
                "again in another folder with a smaller env.action_repeat"
            )
        return kept

    def heads_of(self, task: int) -> Any:
        """Returns what acts a finished task; None where the agent acts all of them alike."""
        heads = self.agent.capabilities().heads
        return heads.load(self.heads[task]) if heads else None

    def hold_out(self, played: Episodes) -> None:
        """Keeps the last evaluation of a task for audits, and its heads to act it again."""
        index = self.state.task
        self.domain.hold_out(
            self.held_out, index, played.obs, played.action, played.reward, played.length
        )
        heads = self.agent.capabilities().heads
        self.heads.append(heads.save() if heads else {})

    def finish_task(self, finals: Sequence[Episodes]) -> None:
        """Writes down what the task came to, audits the world model, and opens the next task.

        Args:
            finals: evaluation episodes of every task so far, with the heads of its own end.
        """
        state, at = self.state, self.header()
        self.report.finished(at, finals)
        draws = generator(self.cfg.seed, f"audit/{state.task}", self.device)
        metrics, arrays = self.agent.audit(self.domain, self.held_out, draws)
        for found, more in self._audit_plans(finals, draws):
            metrics, arrays = {**metrics, **found}, {**arrays, **more}
        self.report.audited(at, metrics, arrays, finals)
        checkpoint.save(
            self.folder.task_checkpoint(state.task),
            self.agent.state_dict(with_replay=False),
            self._meta() | {"finished": self.names[state.task]},
        )
        state.updates += self.agent.updates
        state.task += 1
        self.unfinished = None
        if not self.is_done:
            self._begin_task()

    def probe(self, stream: str) -> None:
        """Writes down what each part of the agent still knows of earlier tasks."""
        ask = self.agent.capabilities().probe
        if ask and self.state.task:
            draws = generator(self.cfg.seed, f"{stream}/probe", self.device)
            self.report.probed(self.header(), ask(self.domain, self.held_out, draws))

    def _audit_plans(
        self, finals: Sequence[Episodes], draws: torch.Generator
    ) -> Iterator[tuple[dict[str, float], dict[str, Any]]]:
        """Yields what an agent that searches expects of action sequences, task by task."""
        can = self.agent.capabilities()
        for task, played in enumerate(finals) if can.search else ():
            outcomes = functools.partial(can.search.outcomes, heads=self.heads_of(task))
            name, discount = self.names[task], can.search.discount
            if hasattr(self.domain, "audit_plans"):
                found, arrays = self.domain.audit_plans(
                    task, outcomes, can.look_ahead, discount, draws
                )
            else:
                found, arrays = open_loop.audit_windows(
                    outcomes, played, can.look_ahead, discount, name
                )
            yield found, {f"plans_{part}_{task}": array for part, array in arrays.items()}

    # --- saving and resuming -------------------------------------------------------------

    def save(self) -> None:
        """Writes a checkpoint; what it replaces goes once `rotation.settle` is called."""
        self._check_folder()
        every = self.cfg.budget.checkpoint_every
        progress = 0 if self.is_done else self.progress
        self.state.next_save = (progress // every + 1) * every
        meta = self._meta() | {
            "position": list(self.position),
            "metrics_bytes": self.report.recorder.offset(),
        }
        self.rotation.write(self.state_dict(), meta, self.report.log.score())

    def _check_folder(self) -> None:
        """Raises StorageError where somebody removed the run's folder, which makes it no run."""
        if not self.folder.config.exists():
            raise StorageError(
                f"'{self.folder.config}' has been removed while the run went on, and what it "
                f"learnt cannot be kept without it; {how_to_go_on(None)}"
            )

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Keeps the state that holds a number which is none, and says whose it is: `Broke`."""
        try:
            yield
        except NonFiniteError as error:
            path = self.folder.checkpoints / "nonfinite.safetensors"
            checkpoint.save(path, self.state_dict(), self._meta())
            raise Broke(self, error) from error

    def _meta(self) -> dict[str, Any]:
        return {
            "config": configs.to_dict(self.cfg),
            "start": asdict(self.start),
            "env_steps": self.state.env_steps,
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything that a run killed now needs to go on."""
        return {
            "agent": self.agent.state_dict(),
            "streams": self.streams.state_dict(),
            "held_out": self.held_out,
            "unfinished": self.unfinished.state_dict() if self.unfinished else None,
            "heads": self.heads,
            "log": self.report.log.state_dict(),
            "counters": self.state.state_dict() | {"seconds": self.seconds},
        }

    def _resume(self, saved: Path) -> int:
        """Continues from a checkpoint; returns how many bytes of metrics belong to it."""
        state, meta = checkpoint.load(saved)
        mine = configs.to_dict(self.cfg)
        if different := differences(warm_start.config_in(meta, saved), mine):
            raise UserError(
                f"checkpoint '{saved}' belongs to a different run "
                f"({'; '.join(different[:DIFFERENCES])}); "
                "restore its config.yaml or choose another out_dir"
            )
        resume_at = self._restore(state, meta, saved)
        self.rotation.resume(saved)
        progress = 0 if self.is_done else self.progress
        evaluated = not self.is_done and self.report.log.evaluated_at(
            self.names[self.state.task], progress
        )
        self.folder.remove_leftovers(self.state.task, progress, evaluated)
        return resume_at

    def _restore(self, state: Any, meta: Mapping[str, Any], path: Path) -> int:
        """Takes a checked state, as this run would have saved it."""
        expected.check(meta, expected.record({"metrics_bytes": expected.WHOLE}), "meta", path)
        expected.check(state, expected.record({"counters": expected.ANYTHING}), "state", path)
        counters, tasks = RunState.loaded(state["counters"], path), len(self.names)
        if counters.task > tasks:
            raise expected.damaged(path, f"it has finished {counters.task} of {tasks} tasks")
        self.agent.begin_task(min(counters.task, tasks - 1))  # to see what kinds there are to be
        if complaint := expected_state.like(state, self.state_dict() | {"log": {}}, "state"):
            raise expected.damaged(path, complaint)
        heads = expected.each(expected.mapping(expected.ANYTHING), counters.task)
        expected.check(state["heads"], heads, "heads", path)
        self.report.log.load_state_dict(state["log"], counters.task, path)
        self.state, self.heads = counters, state["heads"]
        try:
            self.agent.load_state_dict(state["agent"])
            self.streams.load_state_dict(state["streams"])
            for task in range(len(self.heads)):
                self.heads_of(task)
        except WRONG_KIND as error:
            told = " ".join(str(error).split())[:200]
            raise expected.damaged(path, f"its agent does not fit this run ({told})") from error
        checkpoint.check_layout(state["agent"], self.agent.state_dict(), path)
        if list(self.position) != list(meta["position"]):
            raise expected.damaged(path, "its position is not that of its agent")
        self.held_out = leaf_map(lambda found: found.to(self.device), state["held_out"])
        if state["unfinished"]:
            self.unfinished = leaf_map(lambda x: x.to(self.device), state["unfinished"])
        return meta["metrics_bytes"]

    # --- where it stands -----------------------------------------------------------------

    @property
    def is_done(self) -> bool:
        """Whether every task has been learnt."""
        return self.state.task == len(self.names)

    @property
    def position(self) -> Position:
        """Where the run stands, between two pieces of work."""
        if self.is_done:
            return self.state.task, 0, 0
        return self.state.task, self.agent.steps, self.agent.updates

    @property
    def unit(self) -> str:
        """What progress is counted in: "env_steps", or "updates" where there are no such steps."""
        return "updates" if self.agent.collects == "dataset" else "env_steps"

    @property
    def progress(self) -> int:
        """How much of the task has been done."""
        return self.agent.updates if self.unit == "updates" else self.task_env_steps

    @property
    def task_env_steps(self) -> int:
        """Env steps of the task being learnt; the agent counts decisions."""
        return self.agent.steps * self.domain.action_repeat

    @property
    def updates(self) -> int:
        """Updates of the whole run."""
        return self.state.updates + (0 if self.is_done else self.agent.updates)

    @property
    def seconds(self) -> float:
        """Wall-clock spent on this run, earlier processes included."""
        return self.state.seconds + time.monotonic() - self.opened

    def standing(self) -> dict[str, int]:
        """What `Progress.show` wants to know."""
        return {
            "task_index": self.state.task,
            "env_steps": self.state.env_steps,
            "decisions": self.state.decisions,
            "updates": self.updates,
            "pending": self.agent.pending,
        }

    def show(self, phase: str) -> None:
        """Says what is going on."""
        self.report.progress.show(phase, **self.standing())

    def header(self) -> dict[str, Any]:
        """Where the run stands, as every record of its metrics says."""
        found = {
            "task": self.names[self.state.task],
            "task_index": self.state.task,
            "env_steps": self.state.env_steps,
            "task_env_steps": self.task_env_steps,
            "decisions": self.state.decisions,
            "updates": self.updates,
        }
        return found | ({"task_updates": self.agent.updates} if self.unit == "updates" else {})


def work_before(cfg: RunConfig, unit: str, position: Position) -> int:
    """Returns the progress of a whole run that has come to a position.

    Args:
        unit: what progress is counted in, "env_steps" or "updates".
    """
    task, decisions, updates = position
    if unit == "updates":
        return sum(map(cfg.budget.updates_of, range(task))) + updates
    return cfg.budget.steps_before(task) + decisions * cfg.env.action_repeat
