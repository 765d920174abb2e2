"""What a run tells while it goes: metrics, results so far, progress and summary."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lib.core.config import RunConfig
from lib.envs.api import Domain
from lib.replay.buffer import Episodes
from lib.runner.evaluate import every, results
from lib.runner.progress import Progress
from lib.runner.record import Recorder
from lib.runner.run_folder import RunFolder
from lib.runner.state import RunState
from lib.runner.summary import Log, write_arrays, write_summary

Header = Mapping[str, Any]  # where a run stands, as every record of its metrics says


class Report:
    """Writes down what a run comes to.

    Args:
        folder: where to.
        cfg: the whole run.
        domain: its world.
        unit: "env_steps" or "updates", whichever its progress is counted in.
    """

    recorder: Recorder
    progress: Progress

    def __init__(self, folder: RunFolder, cfg: RunConfig, domain: Domain, unit: str):
        self.folder, self.cfg, self.domain, self.unit = folder, cfg, domain, unit
        self.names = [task.name for task in domain.tasks]
        self.log = Log(self.names, f"task_{unit}")

    def open(self, total: int, *, show: bool, **recording: Any) -> None:
        """Opens the files.

        Args:
            total: progress of the whole run when it is complete.
            show: whether to draw a progress bar.
            recording: what `Recorder` takes besides.
        """
        self.recorder = Recorder(self.folder.path, **recording)
        self.progress = Progress(self.folder.progress, self.names, total, show=show, unit=self.unit)

    def close(self) -> None:
        """Lets go of the files, those that were opened."""
        for name in ("progress", "recorder"):
            if opened := getattr(self, name, None):
                opened.close()

    def train(self, at: Header, values: Mapping[str, float], seconds: float) -> None:
        """Writes down what the updates since the last time looked like."""
        self.recorder.write("train", at, values)
        self.recorder.timing(
            env_steps=at["env_steps"], updates=at["updates"], seconds=round(seconds, 2)
        )

    def evaluated(self, at: Header, episodes: Episodes) -> None:
        """Writes down how the learner does on the task that it learns."""
        task, name, found = at["task_index"], at["task"], results(episodes)
        values = {f"eval/{name}/{part}": value for part, value in found.items()}
        optimum = self.domain.optimum(task)
        if optimum is not None:
            values[f"eval/{name}/optimum"] = optimum
        self.recorder.write("eval", at, values)
        self.log.add_eval(name, at[f"task_{self.unit}"], found["return"])
        self.progress.result(found["return"], optimum)
        self.monitored(at, task, episodes)

    def monitored(self, at: Header, task: int, episodes: Episodes) -> None:
        """Writes down how the learner does on any task, learnt before, now or later.

        Of a task that is several in turn each constituent is told as well, see `lib.envs.turns`.
        """
        parts = getattr(self.domain.tasks[task], "turns", ())
        told = {part: results(every(episodes, i, len(parts))) for i, part in enumerate(parts)}
        if self.cfg.budget.eval_tasks != "current":
            name = self.names[task]
            told[name] = results(episodes)
            self.log.add_monitor(name, at[self.unit], told[name])
        if told:
            values = {
                f"monitor/{name}/{part}": value
                for name, found in told.items()
                for part, value in found.items()
            }
            self.recorder.write("monitor", at, values)

    def probed(self, at: Header, metrics: Mapping[str, float]) -> None:
        """Writes down what each part of the agent still knows of earlier tasks."""
        self.recorder.write("probe", at, metrics)

    def finished(self, at: Header, finals: Sequence[Episodes]) -> None:
        """Writes down how every task so far is done when one has been learnt.

        Args:
            finals: evaluation episodes of each, with the heads of its own end.
        """
        values = {}
        for part, matrix in {"return": self.log.matrix, **self.log.successes}.items():
            row: list[float | None] = [results(episodes).get(part) for episodes in finals]
            named = {f"eval_final/{self.names[j]}/{part}": value for j, value in enumerate(row)}
            values |= {name: value for name, value in named.items() if value is not None}
            matrix.append(row + [None] * (len(self.names) - len(row)))
        self.recorder.write("eval", at, values)

    def audited(
        self,
        at: Header,
        metrics: Mapping[str, float],
        arrays: Mapping[str, Any],
        finals: Sequence[Episodes],
    ) -> None:
        """Writes down what the world model makes of what was held out."""
        self.recorder.write("audit", at, metrics)
        paths = {f"eval_obs_{j}": episodes.obs.cpu().numpy() for j, episodes in enumerate(finals)}
        write_arrays(self.folder.audit(at["task_index"]), {**arrays, **paths})
        self.log.audit.append(dict(metrics))

    def summarise(
        self, state: RunState, status: str, seconds: float, together: int, device: torch.device
    ) -> None:
        """Writes the summary; `together` seeds shared the seconds that it took."""
        write_summary(
            self.folder.summary,
            self.cfg,
            self.log,
            status=status,
            optimum={name: self.domain.optimum(i) for i, name in enumerate(self.names)},
            optimum_is="exact" if self.domain.exact_optimum else "ceiling",
            dropped=state.dropped,
            env_steps=state.env_steps,
            decisions=state.decisions,
            updates=state.updates,
            seconds=seconds,
            together=together,
            device=device,
        )
