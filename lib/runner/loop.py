"""The training loop: takes runs through their tasks, experience and updates in turn.

Runs that differ by their seed alone go through it as one batch of seeds; a single run is a batch of
one. Whatever a seed draws comes from its own streams, in the order in which it would alone. Work is
cut into chunks of a few updates; a checkpoint between two chunks holds everything, so a killed run
repeats exactly what it lost and `metrics.jsonl` ends up the same, byte for byte.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.errors import RunInterrupted
from lib.core.seeding import generator
from lib.engine.seed_batch import batch_of
from lib.replay.buffer import Episodes
from lib.runner import evaluate
from lib.runner.collect import source
from lib.runner.film import Film
from lib.runner.progress import Progress
from lib.runner.run import Run
from lib.runner.run_folder import RunFolder
from lib.runner.window import Window

CHUNK_SECONDS = 1.0  # aim for the time between two looks at the stop file
SAVE_SECONDS = 60.0  # most work that a kill can lose, besides budget.checkpoint_every ...
SAVE_SHARE = 0.05  # ... unless saving takes so long that this share of the time would go into it


class TrainingLoop:
    """Takes runs at the same position through their tasks, in lock-step.

    Args:
        runs: S of them, open. Whatever is the same for all is asked of the first one.
        home: where to look for the stop file, besides the runs' own folders.
        film, window: show evaluation episodes.
        board: where several of them stand together.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        home: Path,
        film: Film,
        window: Window,
        board: Progress | None,
    ):
        self.runs, self.first, self.home = runs, runs[0], home
        self.film, self.window, self.board = film, window, board
        self.budget = self.first.cfg.budget
        folders = [RunFolder(home), *(run.folder for run in runs)]
        self.stop_files = list(dict.fromkeys(folder.stop for folder in folders))
        self.batch = batch_of([run.agent for run in self.runs])
        self.chunk = 1  # updates between two looks at the stop file
        self.stop_asked = False
        self.saved, self.pause = time.monotonic(), SAVE_SECONDS

    def go(self, fresh: Sequence[Run]) -> None:
        """Trains to the end of the last task.

        Args:
            fresh: those of the runs that have never been saved.
        """
        for run in fresh:
            run.begin()
        if fresh:
            self._save()
        while not self.first.is_done:
            self._learn_task()
            self._finish_task()
        self._show("done")
        self._summarise("complete")  # last, so that a run that says this has nothing left to write

    # --- learning ------------------------------------------------------------------------

    def _learn_task(self) -> None:
        """Alternates between experience and the updates that it asks for, until both are spent."""
        experience = source(self.batch, self.runs)
        self.chunk = 1
        while experience.goes_on or experience.due:
            self._pause_if_asked()
            if due := experience.due:
                self._update(due)
                continue
            self._report()
            if self.first.progress >= self.first.state.next_eval:
                self._evaluate()
                for run in self.runs:
                    run.state.next_eval += self.budget.eval_every
            self._show("collect")
            experience.collect()
        experience.close()
        self._report(final=True)

    def _update(self, due: int) -> None:
        """Makes some of the updates that are due, about a second's worth."""
        began = time.monotonic()
        self.batch.update(min(self.chunk, due))
        for run in self.runs:
            with run.watched():
                run.agent.check_finite()
        took = time.monotonic() - began
        faster = min(4.0, CHUNK_SECONDS / max(took, 1e-3))
        self.chunk = max(1, min(200, round(self.chunk * faster)))
        self._show("update")

    def _report(self, final: bool = False) -> None:
        for run in self.runs:
            with run.watched():
                run.report_training(final)

    # --- evaluating ----------------------------------------------------------------------

    def _evaluate(self, final: bool = False) -> list[Episodes]:
        """Measures the learners on the task that they learn; returns the episodes played."""
        self._show("evaluate")
        first, filmed = self.first, self.film.wanted(final)
        task, stream = first.state.task, self._stream()
        drawn = filmed or self.window.wanted
        poses: list[list[np.ndarray]] | None = [[] for _ in self.runs] if drawn else None
        played = self._test(task, stream, poses=poses)
        for run, episodes in zip(self.runs, played, strict=True):
            run.report.evaluated(run.header(), episodes)
        for other in self._others(task):
            again = self._test(other, f"{stream}/{other}", self._told(other))
            for run, episodes in zip(self.runs, again, strict=True):
                run.report.monitored(run.header(), other, episodes)
        for run in self.runs:
            run.probe(stream)
        if self.board:
            results = [run.report.progress.last_return for run in self.runs]
            self.board.result(sum(results) / len(results), first.report.progress.optimum)
        if poses and len(played[0].reward) >= self.budget.eval_episodes:  # the first one is whole
            self.window.show(first.domain, task, poses[0], played[0])
        if poses and filmed:
            self._show("film")
            for run, taken, episodes in zip(self.runs, poses, played, strict=True):
                self._film(run, taken, episodes)
        return played

    def _stream(self) -> str:
        """Names the random numbers of an evaluation: those of one point in a run are its own."""
        agent = self.first.agent
        at = agent.updates if self.first.unit == "updates" else agent.steps
        return f"eval/{self.first.state.task}/{at}"

    def _others(self, task: int) -> list[int]:
        """Tasks that are looked at beside the one that is learnt."""
        many = {"current": 0, "seen": task, "all": len(self.first.names)}[self.budget.eval_tasks]
        return [other for other in range(many) if other != task]

    def _told(self, other: int) -> list[Any] | None:
        """Heads of an earlier task, of agents that are told which one they act; else None."""
        if other >= len(self.first.heads) or not self.first.agent.capabilities().is_told:
            return None
        return [run.heads_of(other) for run in self.runs]

    def _test(
        self,
        task: int,
        stream: str,
        heads: Sequence[Any] | None = None,
        poses: Sequence[list[np.ndarray]] | None = None,
    ) -> list[Episodes]:
        """Evaluation episodes of every run on a task; leaves all generators of the runs alone."""
        stream = f"eval/fixed/{task}" if self.budget.eval_fixed else stream
        draws = [generator(run.cfg.seed, stream, run.device) for run in self.runs]
        envs = [run.world(task, evaluates=True) for run in self.runs]
        played = evaluate.play_batch(
            *(self.batch, envs, self.budget.eval_episodes, draws),
            explore=False,
            act_generators=draws,
            heads=heads,
            poses=poses,
        )
        kept = []
        for run, env, episodes in zip(self.runs, envs, played, strict=True):
            with run.watched():
                kept.append(run.tested(task, episodes, env))
        return kept

    def _film(self, run: Run, poses: list[np.ndarray], episodes: Episodes) -> None:
        """Films the first of the episodes just evaluated, if none of them was left out."""
        if len(episodes.reward) < self.budget.eval_episodes:  # the first may be another one
            return
        task, predict = run.state.task, run.agent.capabilities().predict
        label = run.folder.film_label(task, run.names[task], run.progress)
        self.film.shoot(run.folder.videos, run.domain, task, label, poses, episodes, predict)

    def _finish_task(self) -> None:
        """Evaluates a last time, every earlier task again, audits, and saves what was learnt."""
        index = self.first.state.task
        for run, played in zip(self.runs, self._evaluate(final=True), strict=True):
            run.hold_out(played)
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
        self.window.pump()
        first, stops = self.first, [path for path in self.stop_files if path.exists()]
        if self.stop_asked or stops:
            self._save()
            for path in stops:
                path.unlink(missing_ok=True)
            seeds = ", ".join(str(run.cfg.seed) for run in self.runs)
            done = first.updates if first.unit == "updates" else first.state.env_steps
            raise RunInterrupted(
                f"stopped at {done} {first.unit.replace('_', ' ')} of task "
                f"'{first.names[first.state.task]}'"
                f"{f' in each of seeds {seeds}' if self.board else ''}, saved; "
                f"resume with: python -m lib resume {self.home}"
            )
        late = time.monotonic() - self.saved > self.pause
        if late or first.progress >= first.state.next_save:
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
            run.report.summarise(run.state, status, run.seconds, len(self.runs), run.device)

    def _show(self, phase: str) -> None:
        for run in self.runs:
            run.show(phase)
        if self.board:
            each = [run.standing() for run in self.runs]
            summed = {name: sum(one[name] for one in each) for name in each[0]}
            self.board.show(phase, **summed | {"task_index": self.first.state.task})
