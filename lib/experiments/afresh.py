"""Keeps a run that is to be replaced until the new one has begun in its place.

`--fresh` renames old folders, and removes them once the new run has written what it is. Where the
new one does not begin, they are put back; after a crash the next `run` or `resume` does either.
"""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from lib.core.errors import UserError
from lib.experiments import cleaning, runs, summaries
from lib.experiments.locks import is_busy
from lib.experiments.runs import RunSpec
from lib.runner import warm_start


def aside_of(out: Path) -> Path:
    """Where the old run of a folder waits."""
    return out.with_name(f".{out.name}.old")


def set_aside(spec: RunSpec) -> None:
    """Renames the folders that new runs are about to be written to, those that are there.

    Raises:
        UserError: a folder is in use or holds other things than a run; a new run would find no
            source, or one of these folders is its source.
    """
    plans = cleaning.plan_afresh(spec.outs)
    going = [plan.folder.resolve() for plan in plans]
    for config, _ in spec.each():
        runs.check_sources(config, spec.parameters)
        for source in filter(None, runs.sources(config, spec.parameters)):
            place = warm_start.checkpoint_of(source).resolve()
            if any(place.is_relative_to(out) for out in going):
                raise UserError(
                    f"'--fresh' would throw away '{source}', which this run builds on; choose "
                    "another folder with '--out DIR'"
                )
    for plan in plans:
        plan.folder.rename(aside_of(plan.folder))


def has_begun(outs: Iterable[Path]) -> bool:
    """Whether something new has written itself into one of the folders of a run, or of several."""
    return any((out / mark).exists() for out in outs for mark in summaries.MARKS)


def remove_replaced(outs: Sequence[Path]) -> None:
    """Removes the old runs of folders in which new ones have begun."""
    for aside in filter(Path.exists, map(aside_of, outs)):
        if has_begun(outs):
            shutil.rmtree(aside)


def settle(outs: Sequence[Path]) -> list[Path]:
    """Removes the old runs of folders in which new ones have begun, or else puts them back.

    Returns:
        The folders that were put back.
    """
    if any(is_busy(out) for out in outs if out.exists()):
        return []  # another command is about to begin there
    remove_replaced(outs)
    back = [out for out in outs if aside_of(out).exists()]
    for out in back:
        if out.exists():  # what a command left that could not begin
            shutil.rmtree(out)
        aside_of(out).rename(out)
    return back
