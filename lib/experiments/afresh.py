"""Keeps a run that is to be replaced until the new one has begun in its place.

`--fresh` renames old folders, and removes them once every new run has saved its first checkpoint.
Where one does not come so far, all are put back; after a crash the next command does either.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from lib.core.errors import UserError
from lib.core.paths import shown
from lib.experiments import cleaning, folders, runs
from lib.experiments.locks import is_busy
from lib.experiments.runs import RunSpec
from lib.runner import warm_start
from lib.runner.contents import SEEDS
from lib.runner.run_folder import RunFolder


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


def group_of(out: Path) -> tuple[list[Path], list[Path]]:
    """All folders that belong to what a name stands for, and those of them that hold a run each."""
    for place in (out, aside_of(out)):
        if folders.asked(place, SEEDS):
            beside = [out.with_name(run.name) for run in folders.runs_of(place)]
            return [out, *beside], beside
    return [out], [out]


def has_begun(runs: Iterable[Path]) -> bool:
    """Whether every one of some new runs has saved or told something of its own."""
    return all(_has_saved(RunFolder(run)) for run in runs)


def _has_saved(folder: RunFolder) -> bool:
    return folder.summary.exists() or any(folder.checkpoints.glob("*.safetensors"))


def remove(outs: Iterable[Path]) -> None:
    """Removes the old runs of folders, where new ones have begun or come to their end.

    Raises:
        UserError: something may not be removed.
    """
    cleaning.remove(cleaning.plan([aside for aside in map(aside_of, outs) if aside.exists()]))


def remove_replaced(outs: Iterable[Path], runs: Iterable[Path]) -> None:
    """Does so once all new runs have begun; raises what `remove` does."""
    if has_begun(runs):
        remove(outs)


def settle(outs: Sequence[Path], runs: Sequence[Path]) -> list[Path]:
    """Removes the old runs of folders in which new ones have begun, or else puts them back.

    Args:
        outs: all folders that are written to.
        runs: those of them that hold a run each.

    Returns:
        The folders that were put back.

    Raises:
        UserError: something else has come to lie in the place of an old run.
    """
    if any(is_busy(out) for out in outs if out.exists()):
        return []  # another command is about to begin there
    remove_replaced(outs, runs)
    back = [] if has_begun(runs) else [out for out in outs if aside_of(out).exists()]
    for out in back:
        if out.exists():  # what a command left that could not begin
            cleaning.remove(cleaning.plan([out]))
        if out.exists():
            raise UserError(
                f"'{shown(out)}' holds other things than a run; move them elsewhere, so that the "
                f"run that was there before, now in '{shown(aside_of(out))}', can be put back"
            )
        aside_of(out).rename(out)
    return back
