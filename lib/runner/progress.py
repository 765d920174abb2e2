"""Where the work stands, for eyes outside the process: `progress.json` and a progress bar."""

import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lib.core.files import replacing
from lib.core.storage import StorageError

WRITE_SECONDS = 1.0
BAR_SECONDS = 5.0  # notebooks keep every line a bar prints


class Progress:
    """Rewrites `progress.json` about once a second and draws a throttled bar.

    Args:
        path: the file.
        tasks: names in order.
        total: progress of the whole run when it is complete, in `unit`.
        show: whether to draw the bar (to standard error).
        seeds: of the runs whose numbers are added up, where they are one piece of work.
        elsewhere: progress of those of them that `show` is not told about.
        unit: "env_steps" (learner and reviewer together), or "updates" where there are none.
    """

    def __init__(
        self,
        path: Path,
        tasks: list[str],
        total: int,
        *,
        show: bool,
        seeds: Sequence[int] = (),
        elsewhere: int = 0,
        unit: str = "env_steps",
    ):
        self.path, self.unit = path, unit
        self.tasks, self.seeds, self.elsewhere = tasks, list(seeds), elsewhere
        self.total = total * max(1, len(seeds))
        self.last_return: float | None = None
        self.optimum: float | None = None
        self.began = time.monotonic()
        self.first_done: int | None = None
        self.written = 0.0
        self.bar = tqdm(
            total=self.total,
            unit=unit.rstrip("s").replace("env_", ""),
            disable=not show,
            mininterval=BAR_SECONDS,
            file=sys.stderr,
        )

    def result(self, mean: float, optimum: float | None) -> None:
        """Remembers the newest evaluation."""
        self.last_return, self.optimum = mean, optimum

    def show(
        self,
        phase: str,
        *,
        task_index: int,
        env_steps: int,
        decisions: int,
        updates: int,
        pending: int,
    ) -> None:
        """Says what is going on; cheap enough for every chunk of work.

        Args:
            pending: updates still due, so that the rate counts collected steps as done only
                once they have been learnt from.
        """
        now, done = time.monotonic(), {"env_steps": env_steps, "updates": updates}
        done[self.unit] += self.elsewhere
        if self.first_done is None:
            self.first_done = done[self.unit]
        if now - self.written < WRITE_SECONDS and phase != "done":
            return
        self.written = now
        rate = (done[self.unit] - self.first_done) / max(now - self.began, 1e-6)
        left = self.total - done[self.unit]
        name = self.tasks[min(task_index, len(self.tasks) - 1)]
        state = {
            "task": name,
            "task_index": task_index,
            "tasks": len(self.tasks),
            "env_steps": done["env_steps"],
            "env_steps_total": self.total if self.unit == "env_steps" else 0,
            "decisions": decisions,
            "updates": done["updates"],
            "updates_pending": pending,
            f"{self.unit}_per_s": round(rate, 2),
            "eta_s": round(left / rate, 1) if rate > 0 else None,
            "phase": phase,
            "last_return": self.last_return,
            "optimum": self.optimum,
        }
        if self.unit == "updates":
            state["updates_total"] = self.total
        self._write(state | ({"seeds": self.seeds} if self.seeds else {}))
        many = f"{len(self.seeds)} seeds, " if self.seeds else ""
        self.bar.set_description_str(f"{many}{name} ({phase})", refresh=False)
        if self.last_return is not None:
            best = f" of {self.optimum:.0f}" if self.optimum else ""
            self.bar.set_postfix_str(f"return {self.last_return:.1f}{best}", refresh=False)
        self.bar.update(done[self.unit] - self.bar.n)

    def _write(self, state: dict[str, Any]) -> None:
        """Replaces the file in one step; without forcing the disk, since it can be lost.

        So work goes on where the disk is full; the next checkpoint says so if it still is.
        """
        with suppress(StorageError), replacing(self.path, forced=False) as partial:
            partial.write_text(json.dumps(state))

    def close(self) -> None:
        self.bar.close()
