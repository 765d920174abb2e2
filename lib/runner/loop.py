"""The walk through the tasks: episodes, updates, measurements and saves, in lock-step.

Runs that differ by their seed alone are walked as one team; a single run is a team of one.
Whatever a seed draws comes from its own streams, in the order in which it would alone. Work is cut
into chunks of a few updates; a save between two chunks holds everything, so a killed run repeats
exactly what it lost and `metrics.jsonl` ends up the same, byte for byte.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.errors import NonFiniteError, RunInterrupted
from lib.core.seeding import generator
from lib.engine.seed_batch import SeedBatch
from lib.replay.buffer import Episodes
from lib.runner import evaluate
from lib.runner.collect import collector
from lib.runner.film import Film
from lib.runner.progress import Progress
from lib.runner.run import Run

CHUNK_SECONDS = 1.0  # aim for the time between two looks at the stop file
SAVE_SECONDS = 60.0  # most work that a kill can lose, besides budget.checkpoint_every ...
SAVE_SHARE = 0.05  # ... unless saving takes so long that this share of the time would go into it


class Broke(Exception):
    """A run whose numbers stopped being finite, and what was said about it."""

    def __init__(self, run: Run, error: NonFiniteError):
        super().__init__(str(error))
        self.run, self.error = run, error


class TrainingLoop:
    """Runs at the same place, taken through their tasks in lock-step.

    Args:
        runs: S of them, open. Whatever is the same for all is asked of the first one.
        home: where to look for the stop file, besides the runs' own folders.
        board: where several of them stand together.
    """

    def __init__(self, runs: Sequence[Run], home: Path, film: Film, board: Progress | None):
        self.runs, self.first, self.home = runs, runs[0], home
        self.film, self.board = film, board
        self.budget = self.first.cfg.budget
        self.stop_files = [out / "stop" for out in dict.fromkeys([home, *(r.out for r in runs)])]
        self.team = SeedBatch.of([run.agent for run in self.runs])
        self.stop_asked = False
        self.saved, self.pause = time.monotonic(), SAVE_SECONDS

    def go(self, fresh: Sequence[Run]) -> None:
        """To the end of the last task.

        Args:
            fresh: those of the runs that have never been saved.
        """
        for run in fresh:
            run.begin()
        if fresh:
            self._save()
        while self.first.task < len(self.first.names):
            self._learn_task()
            self._finish_task()
        self._summarise("complete")
        self._show("done")

    def _learn_task(self) -> None:
        first, runs = self.first, self.runs
        steps = self.budget.steps_of(first.task)
        play = collector(self.team, runs, self._watching)
        chunk = 1
        while first.task_env_steps < steps or self.team.pending:
            self._pause_if_asked()
            if self.team.pending:
                began = time.monotonic()
                self.team.update(min(chunk, self.team.pending))
                self._check_finite()
                took = time.monotonic() - began
                chunk = max(1, min(200, round(chunk * min(4.0, CHUNK_SECONDS / max(took, 1e-3)))))
                self._show("update")
                continue
            self._report()
            if first.task_env_steps >= first.next_eval:
                self._evaluate()
                for run in runs:
                    run.next_eval += self.budget.eval_every
            self._show("collect")
            play.collect()
        play.close()
        self._report(final=True)

    def _check_finite(self) -> None:
        for run in self.runs:
            with self._watching(run):
                run.agent.check_finite()

    def _report(self, final: bool = False) -> None:
        for run in self.runs:
            with self._watching(run):
                run.report(final)

    @contextmanager
    def _watching(self, run: Run) -> Iterator[None]:
        """Keeps the state of a run that breaks, and says which one it is."""
        try:
            yield
        except NonFiniteError as error:
            run.save_broken()
            raise Broke(run, error) from error

    # --- looking ---------------------------------------------------------------------------

    def _evaluate(self, final: bool = False) -> list[Episodes]:
        """Measures the learners on the task that they learn; returns the episodes played."""
        self._show("evaluate")
        task, filmed = self.first.task, self.film.wanted(final)
        poses: list[list[np.ndarray]] | None = [[] for _ in self.runs] if filmed else None
        played = self._test(task, f"eval/{task}/{self.first.agent.steps}", poses=poses)
        for run, episodes in zip(self.runs, played, strict=True):
            run.evaluated(episodes)
        for other in self._others(task):
            again = self._test(other, f"eval/{task}/{self.first.agent.steps}/{other}")
            for run, episodes in zip(self.runs, again, strict=True):
                run.monitored(other, episodes)
        if self.board:
            results = [run.progress.last_return for run in self.runs]
            self.board.result(sum(results) / len(results), self.first.progress.optimum)
        if poses:
            self._show("film")
            for run, taken, episodes in zip(self.runs, poses, played, strict=True):
                run.film(self.film, taken, episodes)
        return played

    def _others(self, task: int) -> list[int]:
        """Tasks that are looked at beside the one that is learnt."""
        many = {"current": 0, "seen": task, "all": len(self.first.names)}[self.budget.eval_tasks]
        return [other for other in range(many) if other != task]

    def _test(
        self,
        task: int,
        stream: str,
        heads: Sequence[Any] | None = None,
        poses: Sequence[list[np.ndarray]] | None = None,
    ) -> list[Episodes]:
        """Evaluation episodes of every run on a task; leaves all generators of the runs alone."""
        draws = [generator(run.cfg.seed, stream, run.device) for run in self.runs]
        envs = [run.world(task) for run in self.runs]
        played = evaluate.play_team(
            *(self.team, envs, self.budget.eval_episodes, draws),
            explore=False,
            act_generators=draws,
            heads=heads,
            poses=poses,
        )
        kept = []
        for run, env, episodes in zip(self.runs, envs, played, strict=True):
            with self._watching(run):
                kept.append(run.tested(task, episodes, env))
        return kept

    def _finish_task(self) -> None:
        """Last evaluation, every earlier task again, the audit, the task's own checkpoint."""
        index = self.first.task
        for run, played in zip(self.runs, self._evaluate(final=True), strict=True):
            run.domain.hold_out(
                run.met, index, played.obs, played.action, played.reward, played.length
            )
            run.keep_heads()
        self._show("audit")
        finals = []
        for earlier in range(index + 1):
            heads = [run.heads_of(earlier) for run in self.runs]
            finals.append(self._test(earlier, f"final/{index}/{earlier}", heads))
        for run, played in zip(self.runs, zip(*finals, strict=True), strict=True):
            run.finish_task(played)
        self._save()
        self._summarise("running")

    # --- saving and telling --------------------------------------------------------------

    def _pause_if_asked(self) -> None:
        """Saves when it is time to, and stops cleanly when somebody asks for it."""
        first, stops = self.first, [path for path in self.stop_files if path.exists()]
        if self.stop_asked or stops:
            self._save()
            for path in stops:
                path.unlink(missing_ok=True)
            seeds = ", ".join(str(run.cfg.seed) for run in self.runs)
            raise RunInterrupted(
                f"stopped at {first.env_steps} env steps of task '{first.names[first.task]}'"
                f"{f' in each of seeds {seeds}' if self.board else ''}, saved; "
                f"resume with: python -m lib resume {self.home}"
            )
        if first.task_env_steps >= first.next_save or time.monotonic() - self.saved > self.pause:
            self._save()

    def _save(self) -> None:
        """Saves every run, and only then forgets what each had saved before."""
        began = time.monotonic()
        for run in self.runs:
            run.save()
        for run in self.runs:
            run.rotation.settle()
        self.saved = time.monotonic()
        self.pause = max(SAVE_SECONDS, (self.saved - began) / SAVE_SHARE)

    def _summarise(self, status: str) -> None:
        for run in self.runs:
            run.summarise(status, len(self.runs))

    def _show(self, phase: str) -> None:
        for run in self.runs:
            run.show(phase)
        if self.board:
            each = [run.standing() for run in self.runs]
            summed = {name: sum(one[name] for one in each) for name in each[0]}
            self.board.show(phase, **summed | {"task_index": self.first.task})
