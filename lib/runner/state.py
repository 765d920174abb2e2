"""Where a run stands: the counters that a checkpoint keeps besides agent, streams and results."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lib.core.config import BudgetConfig
from lib.runner import expected

Position = tuple[int, int, int]
"""Task, decisions and updates in it: they only ever rise, so that later positions are greater."""

BEGINNING: Position = (0, 0, 0)


@dataclass
class RunState:
    """The counters of a run. Progress is in env steps of the task, or in updates without any."""

    task: int = 0  # index of the task being learnt; the number of tasks once all are
    env_steps: int = 0  # of the whole run
    decisions: int = 0
    dropped: int = 0  # episodes whose physics broke
    updates: int = 0  # of finished tasks
    next_eval: int = 0  # progress at which the next evaluation is due
    next_save: int = 0  # progress at which the next checkpoint is due
    next_report: int = 0  # progress at which the next training record is due
    reported: bool = True  # whether the last updates have been written down
    dataset: int = 0  # checksum of the file that the task is learnt from; 0 where there is none
    seconds: float = 0.0  # trained so far

    def open_task(self, budget: BudgetConfig) -> None:
        """Starts counting anew within a task."""
        self.next_eval, self.next_save = 0, budget.checkpoint_every
        self.next_report, self.dataset = budget.report_every, 0

    def state_dict(self) -> dict[str, Any]:
        """Returns every counter by its name."""
        return asdict(self)

    @classmethod
    def loaded(cls, saved: Any, path: Path) -> "RunState":
        """Returns the counters that a checkpoint holds.

        Raises:
            UserError: one is missing, or is no count.
        """
        kinds = {bool: expected.FLAG, int: expected.WHOLE, float: expected.NUMBER}
        spec = expected.record({item.name: kinds[item.type] for item in fields(cls)})
        expected.check(saved, spec, "counters", path)
        return cls(**{item.name: saved[item.name] for item in fields(cls)})
