"""Where experience for learning comes from: whole episodes, steps of episodes that go on, or files.

A family says which it wants by its agents' `collects`. Several seeds stay in lock-step: all of them
play as many env steps, and make as many updates.

Shapes: S seeds, E parallel episodes of each, A action.
"""

import zlib
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from lib.core.config import RunConfig
from lib.core.errors import NonFiniteError, UserError
from lib.core.paths import shown
from lib.core.trees import leaf_map, stack_copies
from lib.engine.seed_batch import Batch
from lib.envs import worlds
from lib.envs.api import Domain, VectorEnv, data_parts
from lib.replay.buffer import Episodes
from lib.runner import dataset, evaluate
from lib.runner.run import Run
from lib.runner.unfinished import Unfinished

PATIENCE = 20  # collections in a row that may yield no usable episode


class Source(Protocol):
    """Experience of one task for every run of a batch of seeds."""

    @property
    def goes_on(self) -> bool:
        """Whether there is more of the task, besides updates that are due."""
        ...

    @property
    def due(self) -> int:
        """Updates to make before the next look at the run and the next collection."""
        ...

    def collect(self) -> None:
        """Takes one round of experience for every run."""
        ...

    def close(self) -> None:
        """The task is over: stores what is unfinished."""
        ...


def source(batch: Batch, runs: Sequence[Run]) -> Source:
    """Returns the experience of the task that the runs stand at."""
    kinds = {"episodes": WholeEpisodes, "steps": Steps, "dataset": FromFiles}
    return kinds[runs[0].agent.collects](batch, runs)


class Online:
    """What all sources share that play in a world until a task's env steps are spent."""

    def __init__(self, batch: Batch, runs: Sequence[Run]):
        self.batch, self.runs, self.first = batch, runs, runs[0]
        self.budget = self.first.cfg.budget.steps_of(self.first.state.task)

    @property
    def goes_on(self) -> bool:
        """Whether env steps are left."""
        return self.first.task_env_steps < self.budget

    @property
    def due(self) -> int:
        """Updates that what was collected asks for."""
        return self.batch.pending


class WholeEpisodes(Online):
    """Plays as many episodes at once as there are parallel environments, one role after another."""

    def __init__(self, batch: Batch, runs: Sequence[Run]):
        super().__init__(batch, runs)
        task, roles = self.first.state.task, self.first.agent.roles
        self.envs = {role: [run.world(task, role) for run in runs] for role in roles}

    def collect(self) -> None:
        """Plays and stores a round of episodes of every role."""
        draws = [run.streams.env for run in self.runs]
        together = self.first.cfg.budget.parallel_envs
        for role, envs in self.envs.items():
            for run in self.runs:
                run.show("collect")
            played = evaluate.play_batch(self.batch, envs, together, draws, role=role, explore=True)
            for run, env, episodes in zip(self.runs, envs, played, strict=True):
                with run.watched():
                    episodes = self._completed(run, role, env, episodes)
                    run.stepped(episodes.reward.numel())
                    run.store(role, episodes)

    def _completed(self, run: Run, role: str, env: VectorEnv, episodes: Episodes) -> Episodes:
        """As many episodes as were played, those whose physics broke played again.

        Seeds would get out of step if they stored fewer; a single run does the same, so that it
        stays equal to its seed in a batch.
        """
        kept = run.sound(episodes, env)
        fruitless = 0 if len(kept.reward) else 1
        while missing := len(episodes.reward) - len(kept.reward):
            if fruitless == PATIENCE:
                raise NonFiniteError(
                    f"the physics of '{run.names[run.state.task]}' broke in {PATIENCE} collections "
                    "in a row; start again in another folder with a smaller env.action_repeat"
                )
            played = evaluate.play(
                run.agent, env, missing, run.streams.env, role=role, explore=True
            )
            again = run.sound(played, env)
            fruitless = 0 if len(again.reward) else fruitless + 1
            kept = Episodes(*(_joined(pair) for pair in zip(kept, again, strict=True)))
        return kept

    def close(self) -> None:
        """Does nothing: no episode is ever unfinished."""


def _joined(pair: tuple[Tensor | None, Tensor | None]) -> Tensor | None:
    return None if pair[0] is None else torch.cat(pair)


class Steps(Online):
    """Plays a few steps of E episodes that begin anew whenever they end."""

    def __init__(self, batch: Batch, runs: Sequence[Run]):
        super().__init__(batch, runs)
        self.plays: list[Unfinished] = []
        for run in runs:
            env, count = run.world(run.state.task), run.cfg.budget.parallel_envs
            if run.unfinished:
                run.unfinished = Unfinished.loaded(env, count, run.unfinished, run.rotation.last)
            else:
                run.unfinished = Unfinished(env, count, run.streams.env)
            self.plays.append(run.unfinished)

    def collect(self) -> None:
        """Plays as many steps of all episodes as one update asks for, and none too many."""
        together = self.first.cfg.budget.parallel_envs
        left = self.budget - self.first.task_env_steps
        env_steps = together * self.first.domain.action_repeat
        for _ in range(max(1, min(self.first.agent.steps_per_update, left) // env_steps)):
            obs = torch.stack([under.obs for under in self.plays])
            each = [under.memory for under in self.plays]
            memory = None if each[0] is None else stack_copies(each)  # (S, E, ...)
            action, memory = self.batch.act(obs, memory, explore=True)
            envs = [under.env for under in self.plays]
            action, memory = evaluate.executed(envs, action, memory)
            for s, (run, under) in enumerate(zip(self.runs, self.plays, strict=True)):
                under.memory = None if memory is None else leaf_map(lambda x, s=s: x[s], memory)
                with run.watched():
                    for episodes in under.step(action[s], run.streams.env):
                        run.store("learner", episodes)
                    run.agent.count_steps(together)
                    run.stepped(together)

    def close(self) -> None:
        """Stores unfinished episodes as cut, not ended."""
        for run, under in zip(self.runs, self.plays, strict=True):
            with run.watched():
                for episodes in under.cut():
                    run.store("learner", episodes)


def check_files(cfg: RunConfig, domain: Domain, first: int) -> None:
    """Raises UserError where a file is missing that a run learns from, with what makes it.

    Args:
        first: index of the task that the run stands at; files of those before are not needed.
    """
    if not cfg.dataset:
        raise UserError(
            f"agents of family '{cfg.family}' learn from files: name their folder in `dataset`"
        )
    for task in range(first, len(domain.tasks)):
        for part in data_parts(domain, task):
            if dataset.is_there(cfg.dataset, part.name):
                continue
            if told := dataset.missing(cfg.dataset, part.name):
                raise UserError(told)
            command = worlds.of(cfg.env).made_by
            path = shown(dataset.path_of(cfg.dataset, part.name))
            advice = f"make it with '{command}', or name" if command else "name"
            raise UserError(
                f"no experience of task '{part.name}' at '{path}'; {advice} "
                "a folder with a folder of arrays per task in `dataset`"
            )


def episodes_of(cfg: RunConfig, domain: Domain, task: int) -> tuple[list[Episodes], int]:
    """Returns the episodes of a task's files, one after the other, and a checksum of all."""
    held = [dataset.read(cfg.dataset, *part) for part in data_parts(domain, task)]
    checksum = held[0].checksum
    for other in held[1:]:
        checksum = zlib.crc32(other.checksum.to_bytes(4, "little"), checksum) or 1
    return [found.episodes for found in held], checksum


class FromFiles:
    """Hands over the episodes of a task's files at once; then the task lasts so many updates.

    A checkpoint leaves them out: an agent that learns from files is given them again after every
    restart.
    """

    def __init__(self, batch: Batch, runs: Sequence[Run]):
        self.batch, self.runs, self.first = batch, runs, runs[0]
        task, cfg = self.first.state.task, self.first.cfg
        self.budget = cfg.budget.updates_of(task)
        check_files(cfg, self.first.domain, task)
        parts = data_parts(self.first.domain, task)
        held, checksum = episodes_of(cfg, self.first.domain, task)
        for run in runs:
            if run.state.dataset not in (0, checksum):
                files = ", ".join(f"'{dataset.path_of(cfg.dataset, part.name)}'" for part in parts)
                raise UserError(
                    f"{files} is not the file that this run began to learn from; put that back, "
                    "or start over in another folder"
                )
            fresh, run.state.dataset = not run.state.dataset, checksum
            for episodes in held:
                here = leaf_map(lambda x: x.to(self.first.device), episodes)
                (run.store if fresh else run.agent.store)("learner", here)

    @property
    def goes_on(self) -> bool:
        """Whether updates are left."""
        return self.first.agent.updates < self.budget

    @property
    def due(self) -> int:
        """Updates until somebody looks at the run, or until the task is over."""
        state, stops = self.first.state, [self.budget, self.first.state.next_eval]
        if self.first.cfg.budget.report_every:
            stops.append(state.next_report)
        return max(0, min(stops) - self.first.agent.updates)

    def collect(self) -> None:
        """Notes that updates follow; there is nothing to collect."""
        for run in self.runs:
            run.state.reported = False

    def close(self) -> None:
        """Does nothing: files have no unfinished episodes."""
