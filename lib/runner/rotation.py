"""Which checkpoints of a run are kept while it goes on: the last one, and the best."""

import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.core.errors import UserError
from lib.core.files import replacing, sync
from lib.core.storage import StorageError, told_to_the_user
from lib.runner import checkpoint
from lib.runner.contents import LAST


@dataclass(frozen=True)
class Rotation:
    """Keeps the last checkpoint of a run, and the best one.

    Where several runs save together, each of them `write`s and only then do all `settle`: until
    then the last but one is still there, so that a crash on the way leaves a moment which all
    the runs have.
    """

    folder: Path

    @property
    def last(self) -> Path:
        return self.folder / LAST

    @property
    def previous(self) -> Path:
        return self.folder / "previous.safetensors"

    @property
    def best(self) -> Path:
        return self.folder / "best.safetensors"

    def save(self, state: Any, meta: dict[str, Any], score: float | None = None) -> None:
        """Writes last.safetensors, and best.safetensors too when no score was higher.

        The score is kept in both files' meta, so that a resumed run knows the best so far. A
        crash between the two files is made good by the next `save` or `resume`.
        """
        self.write(state, meta, score)
        self.settle()

    def write(self, state: Any, meta: dict[str, Any], score: float | None = None) -> None:
        """The first half of `save`: the checkpoint before this one stays, as previous."""
        self._keep_the_best()
        if self.last.exists():
            self._link(self.previous, self.last)
        checkpoint.save(self.last, state, {**meta, "score": score})

    def settle(self) -> None:
        """The second half of `save`, once every run that saves with this one has written."""
        self._keep_the_best()
        self.previous.unlink(missing_ok=True)

    def kept(self) -> list[Path]:
        """The newest checkpoints, the last one at the end."""
        return [path for path in (self.previous, self.last) if path.exists()]

    def resume(self, path: Path) -> None:
        """Makes one of the checkpoints the last one; what came after it is forgotten."""
        if path == self.previous:
            with told_to_the_user(self.last):
                os.replace(self.previous, self.last)
                sync(self.folder)
        elif path == self.best:
            self._link(self.last, self.best)
        self.settle()

    def _keep_the_best(self) -> None:
        """Makes the last checkpoint the best one too, if its score says so."""
        score, highest = _score(self.last), _score(self.best)
        if score is None or math.isnan(score) or (highest is not None and score <= highest):
            return
        self._link(self.best, self.last)

    def _link(self, target: Path, source: Path) -> None:
        """Gives a checkpoint a second name, in one step."""
        if target.exists() and target.samefile(source):
            return  # a crash came after this step
        with replacing(target, source.stat().st_size) as partial:
            partial.unlink(missing_ok=True)
            try:
                os.link(source, partial)
            except OSError:  # the file system knows no hard links
                shutil.copyfile(source, partial)


def _score(path: Path) -> float | None:
    try:
        return checkpoint.load_meta(path).get("score")
    except StorageError:
        raise
    except UserError:  # a missing or damaged file has no score
        return None
