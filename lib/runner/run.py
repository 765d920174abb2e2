"""One run in its folder: where it stands, what it writes down, how it is saved and found again.

`lib.runner.loop` walks one run, or several that differ by their seed in lock-step; what is here
concerns one seed and is the same for both.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.algos import registry
from lib.core import config as configs
from lib.core.config import RunConfig
from lib.core.errors import NonFiniteError, UserError
from lib.core.seeding import Streams, generator
from lib.core.trees import leaf_map
from lib.envs.api import Domain, VectorEnv
from lib.replay.buffer import Episodes
from lib.runner import checkpoint, warm_start
from lib.runner.checkpoint import Rotation
from lib.runner.evaluate import results, returns, unbroken
from lib.runner.film import Film
from lib.runner.progress import Progress
from lib.runner.record import Recorder
from lib.runner.summary import Log, differences, write_arrays, write_summary
from lib.runner.warm_start import FirstActor, Start, transfer_of

Place = tuple[int, int, int]  # task, decisions and updates in it: in order, and never twice
BEGINNING: Place = (0, 0, 0)


def places(out: Path) -> dict[Place, Path | None]:
    """Where a run can go on from: its newest checkpoints, or the beginning (None) without any.

    Raises:
        UserError: a checkpoint is damaged.
    """
    found: dict[Place, Path | None] = {}
    for path in Rotation(out / "checkpoints").kept():
        meta = checkpoint.load_meta(path)
        if "place" not in meta:
            raise UserError(
                f"'{path}' was written by an earlier version of the workbook, which can go on "
                "from it; here, start over with '--fresh'"
            )
        found[tuple(meta["place"])] = path
    return found or {BEGINNING: None}


def env_steps_done(cfg: RunConfig, place: Place) -> int:
    """Env steps of a whole run that has come to a place."""
    return cfg.budget.steps_before(place[0]) + place[1] * cfg.env.action_repeat


class Run:
    """One run in progress.

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
        device: torch.device,
        domain: Domain,
        first_actors: Mapping[int, FirstActor],
    ):
        self.cfg, self.out, self.device = cfg, out, device
        self.start, self.domain, self.first_actors = start, domain, first_actors
        self.streams = Streams(cfg.seed, device)
        self.agent = registry.build_agent(cfg, domain, self.streams, device)
        self.names = [task.name for task in domain.tasks]
        self.rotation = Rotation(out / "checkpoints")
        self.recorder: Recorder
        self.progress: Progress
        self.met = domain.new_memory()
        self.task = 0  # index of the task being learnt
        self.env_steps = 0  # of the whole run
        self.next_eval = 0  # task env steps at which the next evaluation is due
        self.next_save = cfg.budget.checkpoint_every
        self.reported = True  # whether the last updates have been written down
        self.next_report = 0  # task env steps at which they are to be
        self.unfinished: Any = None  # episodes under way, where a task is not played in whole ones
        self.decisions = 0
        self.dropped = 0  # episodes whose physics broke
        self.updates = 0
        self.seconds = 0.0  # trained before this process
        self.opened = time.monotonic()
        self.log = Log(self.names)
        self.heads: list[dict[str, Any]] = []  # of every finished task, to act it again

    # --- beginning, and going on ---------------------------------------------------------

    def open(self, saved: Path | None, *, show: bool, **recording: Any) -> None:
        """Continues from a checkpoint, or gets ready to begin; opens the files it writes.

        Args:
            saved: one of the folder's `places`.
            show: whether to draw a progress bar.
            recording: what `Recorder` takes besides.
        """
        resume_at = 0
        if saved:
            newest = self.rotation.last
            self.rotation.resume(saved)
            resume_at = self._restore(newest)
        self.recorder = Recorder(
            self.out, resume_at=resume_at, config=self.start.record(self.cfg), **recording
        )
        budget = self.cfg.budget
        total = budget.steps_before(len(self.names))
        self.progress = Progress(self.out, self.names, total, show=show)

    def close(self) -> None:
        """Lets go of the files, those that were opened."""
        for name in ("progress", "recorder"):
            if opened := getattr(self, name, None):
                opened.close()

    def begin(self) -> None:
        """Opens the first task, with another run's world model or agent where asked."""
        loaded = warm_start.load_for(self.agent, self.start) if self.start.load_mode else {}
        if loaded:
            transfer_of(self.agent).load_world_model(loaded["world_model"])
        self._begin_task()
        if self.start.load_mode == "agent":
            transfer_of(self.agent).load_heads(loaded)

    def _begin_task(self) -> None:
        self.agent.begin_task(self.task)
        self.next_eval, self.next_save = 0, self.cfg.budget.checkpoint_every
        self.next_report = self.cfg.budget.report_every

    # --- what happens on the way ---------------------------------------------------------

    def world(self, task: int, role: str = "learner") -> VectorEnv:
        """Where a role acts; another agent may act before the learner does."""
        env, first = self.domain.make(task), self.first_actors.get(task)
        if first is None or role != "learner":
            return env
        return warm_start.PreRollout(env, first, self.cfg.budget.pre_rollout)

    def sound(self, episodes: Episodes, env: VectorEnv) -> Episodes:
        """The episodes just played whose physics stayed finite; counts the others."""
        kept = unbroken(episodes, env)
        self.dropped += len(episodes.reward) - len(kept.reward)
        return kept

    def store(self, role: str, episodes: Episodes) -> None:
        """Takes a collection of episodes."""
        self.domain.record(self.met, self.task, episodes.obs[:, :-1], episodes.action)
        self.agent.store(role, episodes)

    def stepped(self, decisions: int) -> None:
        """Counts what was played."""
        self.decisions += decisions
        self.env_steps += decisions * self.domain.action_repeat
        self.reported = False

    def report(self, final: bool = False) -> None:
        """Writes down what the updates since the last time looked like, when that is due.

        Args:
            final: due or not.
        """
        if self.reported or not (final or self.task_env_steps >= self.next_report):
            return
        if every := self.cfg.budget.report_every:
            self.next_report = (self.task_env_steps // every + 1) * every
        self.recorder.write("train", self._header(), self.agent.report())
        self.recorder.timing(
            env_steps=self.env_steps, updates=self.total_updates, seconds=round(self._seconds(), 2)
        )
        self.reported = True

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

    def evaluated(self, episodes: Episodes) -> None:
        """Writes down how the learner does on the task that it learns."""
        name, found = self.names[self.task], results(episodes)
        values = {f"eval/{name}/{part}": value for part, value in found.items()}
        optimum = self.domain.optimum(self.task)
        if optimum is not None:
            values[f"eval/{name}/optimum"] = optimum
        self.recorder.write("eval", self._header(), values)
        self.log.add_eval(name, self.task_env_steps, found["return"])
        self.progress.result(found["return"], optimum)
        self.monitored(self.task, episodes)

    def monitored(self, task: int, episodes: Episodes) -> None:
        """Writes down how the learner does on any task, learnt before, now or later."""
        if self.cfg.budget.eval_tasks == "current":
            return
        name, found = self.names[task], results(episodes)
        values = {f"monitor/{name}/{part}": value for part, value in found.items()}
        self.recorder.write("monitor", self._header(), values)
        self.log.add_monitor(name, self.env_steps, found)

    def film(self, film: Film, poses: list[np.ndarray], episodes: Episodes) -> None:
        """Films the first of the episodes just evaluated, if none of them was left out."""
        if len(episodes.reward) < self.cfg.budget.eval_episodes:  # the first may be another one
            return
        label = f"{self.task + 1}-{self.names[self.task]}-{self.task_env_steps:07d}"
        predict = self.agent.capabilities().predict
        film.shoot(self.out / "videos", self.domain, self.task, label, poses, episodes, predict)

    def keep_heads(self) -> None:
        """Keeps what acts the task that was learnt, where its agent has heads of every task."""
        heads = self.agent.capabilities().heads
        self.heads.append(heads.save() if heads else {})

    def heads_of(self, task: int) -> Any:
        """Returns what acts a finished task; None where the agent acts all of them alike."""
        heads = self.agent.capabilities().heads
        return heads.load(self.heads[task]) if heads else None

    def finish_task(self, finals: Sequence[Episodes]) -> None:
        """Writes down what the task came to, audits the world model, and opens the next task.

        Args:
            finals: evaluation episodes of every task so far, with the heads of its own end.
        """
        index, name = self.task, self.names[self.task]
        row: list[float | None] = [None] * len(self.names)
        row[: index + 1] = [float(returns(episodes).mean()) for episodes in finals]
        values = {f"eval_final/{self.names[j]}/return": row[j] for j in range(index + 1)}
        self.recorder.write("eval", self._header(), values)
        draws = generator(self.cfg.seed, f"audit/{index}", self.device)
        metrics, arrays = self.agent.audit(self.domain, self.met, draws)
        self.recorder.write("audit", self._header(), metrics)
        paths = {f"eval_obs_{j}": episodes.obs.cpu().numpy() for j, episodes in enumerate(finals)}
        write_arrays(self.out / "audits" / f"task-{index + 1}.npz", {**arrays, **paths})
        self.log.add_task(row, metrics)
        checkpoint.save(
            self.rotation.folder / f"task-{index + 1}.safetensors",
            self.agent.state_dict(with_replay=False),
            self._meta() | {"finished": name},
        )
        self.updates += self.agent.updates
        self.task += 1
        if self.task < len(self.names):
            self._begin_task()

    # --- saving and resuming -------------------------------------------------------------

    @property
    def place(self) -> Place:
        """Where the run stands, between two pieces of work."""
        if self.task == len(self.names):
            return self.task, 0, 0
        return self.task, self.agent.steps, self.agent.updates

    def save(self) -> None:
        """Writes a checkpoint; what it replaces goes once `rotation.settle` is called."""
        every = self.cfg.budget.checkpoint_every
        steps = self.task_env_steps if self.task < len(self.names) else 0
        self.next_save = (steps // every + 1) * every
        meta = self._meta() | {
            "place": list(self.place),
            "metrics_bytes": self.recorder.offset(),
        }
        self.rotation.write(self.state_dict(), meta, self.log.score())

    def save_broken(self) -> None:
        """Keeps the state that holds a number which is none, to be looked at."""
        path = self.rotation.folder / "nonfinite.safetensors"
        checkpoint.save(path, self.state_dict(), self._meta())

    def _meta(self) -> dict[str, Any]:
        return {"config": configs.to_dict(self.cfg), "env_steps": self.env_steps}

    def state_dict(self) -> dict[str, Any]:
        """Everything that a run killed now needs to go on."""
        return {
            "agent": self.agent.state_dict(),
            "streams": self.streams.state_dict(),
            "met": self.met,
            "unfinished": self.unfinished.state_dict() if self.unfinished else None,
            "heads": self.heads,
            "log": self.log.state_dict(),
            "place": {
                "task": self.task,
                "env_steps": self.env_steps,
                "decisions": self.decisions,
                "dropped": self.dropped,
                "updates": self.updates,
                "next_eval": self.next_eval,
                "next_save": self.next_save,
                "reported": self.reported,
                "next_report": self.next_report,
                "seconds": self._seconds(),
            },
        }

    def _restore(self, path: Path) -> int:
        """Continues from a checkpoint; returns how many bytes of metrics belong to it."""
        state, meta = checkpoint.load(path)
        different = differences(meta["config"], configs.to_dict(self.cfg))
        if different:
            raise UserError(
                f"checkpoint '{path}' belongs to a different run ({'; '.join(different[:4])}); "
                "restore its config.yaml or choose another out_dir"
            )
        self.agent.load_state_dict(state["agent"])
        self.streams.load_state_dict(state["streams"])
        self.met = leaf_map(lambda found: found.to(self.device), state["met"])
        if state["unfinished"]:
            self.unfinished = leaf_map(lambda x: x.to(self.device), state["unfinished"])
        self.heads = state["heads"]
        self.log = Log.from_state(state["log"])
        for name, value in state["place"].items():
            setattr(self, name, value)
        return meta["metrics_bytes"]

    # --- words ---------------------------------------------------------------------------

    @property
    def task_env_steps(self) -> int:
        """Env steps of the task being learnt; the agent counts decisions."""
        return self.agent.steps * self.domain.action_repeat

    @property
    def total_updates(self) -> int:
        """Updates of the whole run."""
        return self.updates + (self.agent.updates if self.task < len(self.names) else 0)

    def _seconds(self) -> float:
        """Wall-clock spent on this run, earlier processes included."""
        return self.seconds + time.monotonic() - self.opened

    def standing(self) -> dict[str, int]:
        """What `Progress.show` wants to know."""
        return {
            "task_index": self.task,
            "env_steps": self.env_steps,
            "decisions": self.decisions,
            "updates": self.total_updates,
            "pending": self.agent.pending,
        }

    def show(self, phase: str) -> None:
        """Says what is going on."""
        self.progress.show(phase, **self.standing())

    def _header(self) -> dict[str, Any]:
        return {
            "task": self.names[self.task],
            "task_index": self.task,
            "env_steps": self.env_steps,
            "task_env_steps": self.task_env_steps,
            "decisions": self.decisions,
            "updates": self.total_updates,
        }

    def summarise(self, status: str, together: int) -> None:
        """Writes summary.json; `together` seeds shared the time that it took."""
        optimum = {name: self.domain.optimum(i) for i, name in enumerate(self.names)}
        write_summary(
            self.out,
            self.cfg,
            self.log,
            status=status,
            optimum=optimum,
            optimum_is="exact" if self.domain.exact_optimum else "ceiling",
            dropped=self.dropped,
            env_steps=self.env_steps,
            decisions=self.decisions,
            updates=self.updates,
            seconds=self._seconds(),
            together=together,
            device=self.device,
        )
