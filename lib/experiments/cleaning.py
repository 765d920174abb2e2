"""Removes what the workbook wrote into a folder, and nothing else."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lib.core.errors import UserError
from lib.core.paths import shown
from lib.core.plain import printable
from lib.experiments import folders
from lib.experiments.locks import is_busy
from lib.experiments.summaries import few, names
from lib.runner import contents


@dataclass(frozen=True)
class Plan:
    """What goes from a folder, and what stays."""

    folder: Path
    goes: tuple[Path, ...]  # in the order of going: the record of what the folder is comes last
    stays: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Bytes that are freed."""
        return sum(path.lstat().st_size for path in self.goes)

    def about(self) -> str:
        """What goes and what stays, in one or two lines."""
        said = f"    removes {_listed(self.folder, self.goes, most=20) or 'nothing but the folder'}"
        if self.stays:
            said += f"\n    stays, as the workbook did not write it: {self.left()}"
        return said

    def left(self) -> str:
        """What stays, the first of it."""
        return _listed(self.folder, self.stays)


def plan(given: Sequence[Path]) -> list[Plan]:
    """Tells what would be removed; a folder that is named twice is looked at once.

    Raises:
        UserError: one of them is a link, the working directory, in use, or nothing of ours.
    """
    once: dict[Path, Path] = {}
    for path in given:
        once.setdefault(path.resolve(), path)
    plans = [_plan(path) for path in once.values()]
    going = {path.resolve() for each in plans for path in each.goes}  # also of one in another
    return [
        replace(each, stays=tuple(path for path in each.stays if path.resolve() not in going))
        for each in plans
    ]


def in_words(plans: Sequence[Plan]) -> Iterator[str]:
    """Says of every folder what it is, what goes from it, and what stays."""
    named = {each.folder.resolve() for each in plans}
    for each in plans:
        out = each.folder
        yield f"  {shown(out)}  {each.size / 1e6:,.1f} MB  {folders.status(out)}"
        yield each.about()
        if folders.asked(out, contents.SEEDS):
            runs = [run for run in folders.runs_of(out) if run.resolve() not in named]
            kept = [run.name for run in runs if run.exists()]
            stay = f"; {', '.join(kept)} stay" if kept else ""
            yield f"    only the notebook about them{stay}"


def _plan(out: Path) -> Plan:
    if out.is_symlink():
        raise UserError(f"'{shown(out)}' is a link; give the folder it points to")
    if Path.cwd().is_relative_to(out.resolve()):
        raise UserError(
            f"you are in '{printable(out.resolve())}'; leave it, and give its name from outside"
        )
    kinds = folders.kinds(out)
    if not kinds:
        raise UserError(
            f"'{shown(out)}' holds other things than a run ({few(names(out))}); "
            f"remove it yourself if you mean it"
        )
    check_free(out)
    there = list(contents.entries(out))
    goes = [p for p in there if any(contents.is_written_by(kind, out, p) for kind in kinds)]
    records = {kind.record for kind in kinds}
    goes.sort(key=lambda path: path.name in records)
    return Plan(out, tuple(goes), tuple(path for path in there if path not in goes))


def plan_afresh(old: Iterable[Path]) -> list[Plan]:
    """Tells what goes before runs begin afresh in folders, those that are there.

    Raises:
        UserError: what `plan` says, or something would stay, which no run is mixed with.
    """
    plans = plan([out for out in old if out.exists()])
    for each in plans:
        if each.stays:
            raise UserError(
                f"'{shown(each.folder)}' holds {each.left()} besides a run; move that elsewhere, "
                "or choose another folder with '--out DIR'"
            )
    return plans


def check_free(out: Path) -> None:
    """Raises UserError where a process runs in a folder, or in a run of the comparison there."""
    if is_busy(out) or any(map(is_busy, out.glob(f"{contents.TRIALS}/*"))):
        raise UserError(f"'{shown(out)}' is in use by another process; stop that one first")


def remove(plans: Iterable[Plan]) -> None:
    """Removes what was planned, and the folders that are empty then.

    Raises:
        UserError: somebody has begun to use one of them, or something may not be removed.
    """
    for each in sorted(plans, key=lambda each: -len(each.folder.resolve().parts)):  # innermost
        check_free(each.folder)
        for path in each.goes:
            _remove(path)
            _remove_if_empty(path.parent, each.folder)
        _remove_if_empty(each.folder, each.folder)


def _remove_if_empty(folder: Path, top: Path) -> None:
    """Removes a folder that holds nothing, and those above it up to one."""
    while folder.is_relative_to(top) and folder.is_dir() and not any(folder.iterdir()):
        _remove(folder)
        folder = folder.parent


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(
            f"cannot remove '{shown(path)}': {error.strerror}; mend its permissions, and say it "
            "again for what is left"
        ) from None


def _listed(folder: Path, paths: Iterable[Path], most: int = 3) -> str:
    """What lies at the top of a folder and is or holds some of these, the first of many."""
    top = dict.fromkeys(path.relative_to(folder).parts[0] for path in paths)
    shown_as = [f"{name}/" if (folder / name).is_dir() else name for name in top]
    more = f" and {len(top) - most} more" if len(top) > most else ""
    return printable(", ".join(shown_as[:most])) + more
