"""The training loop of every family: tasks in order, episodes, updates, measurements, saves.

The loop knows an agent by `begin_task`, `roles`, `act`, `store`, `pending`, `update`, `report`,
`world`, `heads_copy`, `state_dict` and their loading halves. Work is cut into chunks of a few
updates; a save between two chunks holds everything, so a killed run repeats exactly what it
lost and `metrics.jsonl` ends up the same, byte for byte.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib import config as configs
from lib import families
from lib.config import RunConfig
from lib.envs.api import VectorEnv
from lib.errors import NonFiniteError, RunInterrupted, UserError, unknown
from lib.replay.buffer import Episodes
from lib.runner import checkpoint, claim, sources
from lib.runner.evaluate import play, returns, unbroken
from lib.runner.files import told_to_the_user
from lib.runner.film import Film
from lib.runner.progress import Progress
from lib.runner.record import Recorder
from lib.runner.summary import Log, differences, is_complete, write_arrays, write_summary
from lib.seeding import Streams, generator

CHUNK_SECONDS = 1.0  # aim for the time between two looks at the stop file
SAVE_SECONDS = 60.0  # most work that a kill can lose, besides budget.checkpoint_every
LOAD_MODES = ("", "world-model", "agent")
VIDEO = ("", "final", "every")
PATIENCE = 20  # collections in a row that may yield no usable episode


def train(
    config: RunConfig,
    out_dir: str | Path,
    *,
    load_mode: str = "",
    load_from: str = "",
    pre_rollout: str = "",
    video: str = "",
    wandb: str = "",
    tensorboard: bool = True,
    progress: bool = True,
) -> Path:
    """Runs, resumes or just confirms the run in a folder.

    Args:
        config: the whole run.
        out_dir: its folder; one that holds the same unfinished run resumes.
        load_mode: "world-model" starts from another run's dynamics, generator and threshold;
            "agent" also from its heads; "" starts fresh.
        load_from: checkpoint file, or run folder whose newest task checkpoint is taken.
        pre_rollout: checkpoint or run folder of an agent that acts before every episode of the
            learner, in training and evaluation; "" for none.
        video: film one evaluation episode: "" never, "final" when a task ends, "every" time.
        wandb: "" for off, "offline" or "online".
        progress: draw a progress bar.

    Returns:
        Path of `summary.json`.

    Raises:
        UserError: the folder holds another run, somebody else is training in it, a checkpoint
            does not fit. RunInterrupted: a stop was asked for. NonFiniteError: training broke.
    """
    out = Path(out_dir)
    if load_mode not in LOAD_MODES:
        raise unknown("load_mode", load_mode, LOAD_MODES[1:])
    if bool(load_mode) != bool(load_from):
        raise UserError(
            f"load_mode {load_mode!r} and load_from {load_from!r} go together: give both "
            "(mode 'world-model' or 'agent', and a checkpoint or run folder) or neither"
        )
    if video not in VIDEO:
        raise unknown("video", video, VIDEO[1:], "or nothing, for none")
    record = configs.to_dict(config) | {
        "load_mode": load_mode,
        "load_from": load_from,
        "pre_rollout": pre_rollout,
    }
    with told_to_the_user(out / "config.yaml"):
        out.mkdir(parents=True, exist_ok=True)
    with claim.locked(out):
        claim.claim(out, record)
        if is_complete(out):
            return out / "summary.json"
        device = families.choose_device(config.device)
        run = _Run(config, out, device, load_mode, load_from, pre_rollout)
        run.film = Film(out / "videos", video)
        newest = run.rotation.latest()
        resume_at = run.restore(newest) if newest else 0
        run.recorder = Recorder(
            out, tensorboard=tensorboard, wandb_mode=wandb, config=record, resume_at=resume_at
        )
        run.progress = Progress(out, run.names, config.budget.env_steps_per_task, show=progress)
        try:
            with _threads(config, device), _interrupts(run):
                run.go(fresh=newest is None)
        finally:
            run.progress.close()
            run.recorder.close()
            run.film.close()
    return out / "summary.json"


@contextmanager
def _threads(cfg: RunConfig, device: torch.device) -> Iterator[None]:
    """One CPU thread for small networks: more only pay off from about 512 units on."""
    before = torch.get_num_threads()
    if device.type != "cpu" or cfg.model.width < 512:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _interrupts(run: "_Run") -> Iterator[None]:
    """Makes the first Ctrl-C a request to save and stop; the second one acts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(signum: int, frame: Any) -> None:
        if run.stop_asked:
            raise KeyboardInterrupt
        run.stop_asked = True

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Run:
    """One run in progress: where it stands, and how to go on from there."""

    def __init__(
        self,
        cfg: RunConfig,
        out: Path,
        device: torch.device,
        load_mode: str,
        load_from: str,
        pre_rollout: str,
    ):
        self.cfg, self.out, self.device = cfg, out, device
        self.load_mode, self.load_from = load_mode, load_from
        self.streams = Streams(cfg.seed, device)
        self.agent, self.domain = families.build(cfg, self.streams, device)
        self.names = [task.name for task in self.domain.tasks]
        self.first_actors = sources.first_actors(pre_rollout, self.domain.tasks, cfg, device)
        self.rotation = checkpoint.Rotation(out / "checkpoints")
        self.recorder: Recorder
        self.progress: Progress
        self.film: Film
        self.met = self.domain.new_memory()
        self.task = 0  # index of the task being learnt
        self.env_steps = 0  # of the whole run
        self.next_eval = 0  # task env steps at which the next evaluation is due
        self.next_save = cfg.budget.checkpoint_every
        self.stop_asked = False
        self.reported = True  # whether the last updates have been written down
        self.decisions = 0
        self.dropped = 0  # episodes whose physics broke
        self.updates = 0
        self.seconds = 0.0  # trained before this process
        self.log = Log(self.names)
        self.heads: list[dict[str, Any]] = []  # of every finished task, to act it again

    # --- the walk through the tasks ------------------------------------------------------

    def go(self, fresh: bool) -> None:
        self.started = self.saved = time.monotonic()
        if fresh:
            self._load_other()
            self._begin(0)
            self._save()
        try:
            while self.task < len(self.names):
                self._learn_task()
                self._finish_task()
            self._conclude()
        except NonFiniteError:
            state = self.state_dict()
            checkpoint.save(self.out / "checkpoints" / "nonfinite.safetensors", state, self._meta())
            raise

    def _begin(self, index: int) -> None:
        self.agent.begin_task(index)
        if self.load_mode == "agent" and index == 0:
            self.agent.load_agents(self._loaded)
        self.next_eval, self.next_save = 0, self.cfg.budget.checkpoint_every

    def _learn_task(self) -> None:
        budget = self.cfg.budget
        worlds = {role: self._world(self.task, role) for role in self.agent.roles}
        chunk = 1
        while self.task_env_steps < budget.env_steps_per_task or self.agent.pending:
            self._pause_if_asked()
            if self.agent.pending:
                began = time.monotonic()
                self.agent.update(min(chunk, self.agent.pending))
                took = time.monotonic() - began
                chunk = max(1, min(200, round(chunk * min(4.0, CHUNK_SECONDS / max(took, 1e-3)))))
                self.agent.check_finite()
                self._show("update")
                continue
            self._report()
            if self.task_env_steps >= self.next_eval:
                self._evaluate()
                self.next_eval += budget.eval_every
            for role, env in worlds.items():
                self._collect(role, env)
        self._report()

    def _world(self, task: int, role: str = "learner") -> VectorEnv:
        """Where a role acts; another agent may act before the learner does."""
        env, first = self.domain.make(task), self.first_actors.get(task)
        if first is None or role != "learner":
            return env
        return sources.PreRollout(env, first, self.cfg.budget.pre_rollout)

    def _collect(self, role: str, env: VectorEnv) -> None:
        """Plays episodes with one role, dropping those whose physics broke, and stores them."""
        for _ in range(PATIENCE):
            self._show("collect")
            count = self.cfg.budget.parallel_envs
            played = play(self.agent, env, count, self.streams.env, role=role, explore=True)
            episodes = unbroken(played, env)
            self.dropped += count - len(episodes.reward)
            if len(episodes.reward):
                break
        else:
            raise NonFiniteError(
                f"the physics of '{self.names[self.task]}' broke in {PATIENCE} collections in a "
                "row; start again in another folder with a smaller env.action_repeat"
            )
        self.domain.record(self.met, self.task, episodes.obs[:, :-1], episodes.action)
        self.agent.store(role, episodes)
        self.decisions += episodes.reward.numel()
        self.env_steps += episodes.reward.numel() * self.domain.action_repeat
        self.reported = False

    def _report(self) -> None:
        """Writes down what the updates since the last collection looked like, once."""
        if self.reported:
            return
        self.recorder.write("train", self._header(), self.agent.report())
        self.recorder.timing(
            env_steps=self.env_steps, updates=self.total_updates, seconds=round(self._seconds(), 2)
        )
        self.reported = True

    def _evaluate(self, final: bool = False) -> Episodes:
        """Measures the learner on the task being learnt; returns the episodes played."""
        self._show("evaluate")
        name = self.names[self.task]
        filmed = self.film.wanted(final)
        poses: list[np.ndarray] | None = [] if filmed else None
        episodes = self._test(self.task, f"eval/{self.task}/{self.agent.steps}", poses=poses)
        result = returns(episodes).cpu()
        mean = float(result.mean())
        values = {
            f"eval/{name}/return": mean,
            f"eval/{name}/return_std": float(result.std(correction=0)),
        }
        optimum = self.domain.optimum(self.task)
        if optimum is not None:
            values[f"eval/{name}/optimum"] = optimum
        self.recorder.write("eval", self._header(), values)
        self.log.add_eval(name, self.task_env_steps, mean)
        self.progress.result(mean, optimum)
        if filmed and len(result) == self.cfg.budget.eval_episodes:  # the first is the first
            self._show("film")
            label = f"{self.task + 1}-{name}-{self.task_env_steps:07d}"
            predict = self.agent.world(self.streams.update).predict
            self.film.shoot(self.domain, self.task, label, poses, episodes, predict)
        return episodes

    def _test(
        self, task: int, stream: str, heads: Any = None, poses: list[np.ndarray] | None = None
    ) -> Episodes:
        """A batch of evaluation episodes on a task; leaves every generator of the run alone."""
        draws, env = generator(self.cfg.seed, stream, self.device), self._world(task)
        count = self.cfg.budget.eval_episodes
        played = play(
            *(self.agent, env, count, draws),
            explore=False,
            act_generator=draws,
            heads=heads,
            poses=poses,
        )
        episodes = unbroken(played, env)
        self.dropped += count - len(episodes.reward)
        if not len(episodes.reward):
            raise NonFiniteError(
                f"the physics of '{self.names[task]}' broke in every evaluation episode; start "
                "again in another folder with a smaller env.action_repeat"
            )
        return episodes

    def _finish_task(self) -> None:
        """Last evaluation, every earlier task again, the audit, the task's own checkpoint."""
        index, name = self.task, self.names[self.task]
        held_out = self._evaluate(final=True)
        self.domain.hold_out(self.met, index, held_out.obs, held_out.action)
        self._show("audit")
        self.heads.append(self.agent.heads_copy().state_dict())
        row: list[float | None] = [None] * len(self.names)
        paths = {}
        for earlier in range(index + 1):
            heads = self.agent.load_heads(self.heads[earlier])
            episodes = self._test(earlier, f"final/{index}/{earlier}", heads)
            row[earlier] = float(returns(episodes).mean())
            paths[f"eval_obs_{earlier}"] = episodes.obs.cpu().numpy()
        finals = {f"eval_final/{self.names[j]}/return": v for j, v in enumerate(row[: index + 1])}
        self.recorder.write("eval", self._header(), finals)
        draws = generator(self.cfg.seed, f"audit/{index}", self.device)
        metrics, arrays = self.domain.audit(self.met, *self.agent.world(draws))
        self.recorder.write("audit", self._header(), metrics)
        write_arrays(self.out / "audits" / f"task-{index + 1}.npz", {**arrays, **paths})
        self.log.add_task(row, metrics)
        folder = self.out / "checkpoints"
        meta = self._meta() | {"finished": name}
        checkpoint.save(
            folder / f"task-{index + 1}.safetensors", self.agent.state_dict(with_replay=False), meta
        )
        self.updates += self.agent.updates
        self.task += 1
        if self.task < len(self.names):
            self._begin(self.task)
        self._save()
        self._summary("running")

    def _conclude(self) -> None:
        self._summary("complete")
        self._show("done")

    # --- saving and resuming -------------------------------------------------------------

    def _pause_if_asked(self) -> None:
        """Saves when it is time to, and stops cleanly when the stop file is there."""
        stop = self.out / "stop"
        due = self.task_env_steps >= self.next_save or time.monotonic() - self.saved > SAVE_SECONDS
        if self.stop_asked or stop.exists():
            self._save()
            stop.unlink(missing_ok=True)
            raise RunInterrupted(
                f"stopped at {self.env_steps} env steps of task '{self.names[self.task]}', saved; "
                f"resume with: python -m lib resume {self.out}"
            )
        if due:
            self._save()

    def _save(self) -> None:
        every = self.cfg.budget.checkpoint_every
        steps = self.task_env_steps if self.task < len(self.names) else 0
        self.next_save = (steps // every + 1) * every
        meta = self._meta() | {"metrics_bytes": self.recorder.offset()}
        self.rotation.save(self.state_dict(), meta, self.log.score())
        self.saved = time.monotonic()

    def _meta(self) -> dict[str, Any]:
        return {"config": configs.to_dict(self.cfg), "env_steps": self.env_steps}

    def state_dict(self) -> dict[str, Any]:
        return {
            "agent": self.agent.state_dict(),
            "streams": self.streams.state_dict(),
            "met": self.met,
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
                "seconds": self._seconds(),
            },
        }

    def restore(self, path: Path) -> int:
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
        self.met.copy_(state["met"])
        self.heads = state["heads"]
        self.log = Log.from_state(state["log"])
        for name, value in state["place"].items():
            setattr(self, name, value)
        return meta["metrics_bytes"]

    def _load_other(self) -> None:
        """Starts from another run's world model or agent."""
        if not self.load_mode:
            return
        method, name = self.cfg.method, self.cfg.method_name
        if method.carry == "nothing":
            raise UserError(
                f"method '{name}' starts every task from nothing, so load_mode "
                f"'{self.load_mode}' would be thrown away; use method 'tdmpc' or another that "
                "carries its dynamics"
            )
        path = sources.checkpoint_of(self.load_from)
        self._loaded, theirs = sources.load(self.agent, path, self.load_mode == "agent")
        if method.rehearse == "dreams" and theirs.method.train_vae == "never":
            raise UserError(
                f"method '{name}' rehearses dreams, but the generator in '{path}' "
                f"was never trained (method '{theirs.method_name}'); load from a run "
                "that trains one, such as drago, or use method 'tdmpc'"
            )
        self.agent.load_world_model(self._loaded["world_model"])

    def _seconds(self) -> float:
        """Wall-clock spent on this run, earlier processes included."""
        return self.seconds + time.monotonic() - self.started

    @property
    def task_env_steps(self) -> int:
        """Env steps of the task being learnt; the agent counts decisions."""
        return self.agent.steps * self.domain.action_repeat

    @property
    def total_updates(self) -> int:
        """Updates of the whole run."""
        return self.updates + (self.agent.updates if self.task < len(self.names) else 0)

    def _show(self, phase: str) -> None:
        self.progress.show(
            phase,
            task_index=self.task,
            env_steps=self.env_steps,
            decisions=self.decisions,
            updates=self.total_updates,
            pending=self.agent.pending,
        )

    # --- words ---------------------------------------------------------------------------

    def _header(self) -> dict[str, Any]:
        return {
            "task": self.names[self.task],
            "task_index": self.task,
            "env_steps": self.env_steps,
            "task_env_steps": self.task_env_steps,
            "decisions": self.decisions,
            "updates": self.total_updates,
        }

    def _summary(self, status: str) -> None:
        optimum = {name: self.domain.optimum(i) for i, name in enumerate(self.names)}
        seconds = self._seconds()
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
            seconds=seconds,
            device=self.device,
        )
