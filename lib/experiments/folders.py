"""Tells what run folders hold and how far they are, and which may be written to or removed."""

import os
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from lib.core.errors import UserError, unknown
from lib.core.paths import ROOT, shown
from lib.core.plain import printable
from lib.experiments import summaries
from lib.experiments.locks import is_busy
from lib.experiments.summaries import all_are, few, is_text, is_whole, names
from lib.runner import contents, records
from lib.runner.contents import COMPARISON, CONFIG, SEEDS, STOP, TRANSFER, Kind
from lib.runner.records import COMPLETE
from lib.runner.run_folder import RunFolder

WHAT = {TRANSFER: contents.STUDY, SEEDS: contents.SEVERAL}


def status(out: Path) -> str:
    """One line about a run: how far, and how well; or what is damaged, and what to do."""
    if (out / COMPARISON).is_file():
        return "a comparison"
    if (found := asked(out, TRANSFER)) is not None:
        return f"transfer, {_finished(out, found)} of {len(found['runs'])} runs finished"
    if (found := asked(out, SEEDS)) is not None:
        return _status_of_seeds(out, found)
    result = summaries.summary(out)
    if result.get("status") == COMPLETE:
        shares = [share for _, _, _, share in summaries.rows(result) if share is not None]
        best = summaries.best_is(result)
        mean = f", {sum(shares) / len(shares):.0%} of the {best}" if shares else ""
        steps, updates = result.get("env_steps", 0), result.get("updates", 0)
        done = f"{updates:,} updates" if updates and not steps else f"{steps:,} env steps"
        return f"finished, {done}{mean}"
    try:
        if held(out) is None:
            return "nothing learnt yet; start it again, or clean it"
    except UserError:
        record = kinds(out)[0].record if kinds(out) else CONFIG
        return f"damaged: {record} cannot be read; put back a copy, or clean it"
    if not result and os.path.lexists(RunFolder(out).summary):
        return "damaged: summary.json cannot be read; resume it"
    progress = summaries.read_progress(RunFolder(out).progress)
    where = f"at {summaries.stands_at(progress)}" if progress else "before its first env step"
    return f"running, {where}" if is_busy(out) else f"stopped, {where}; resume it"


def _finished(out: Path, found: Mapping[str, Any]) -> int:
    return sum(summaries.is_finished(out / run) for run in found["runs"])


def _status_of_seeds(out: Path, found: Mapping[str, Any]) -> str:
    """The same for several seeds, whose own folders say the rest."""
    seeds, done = found["parameters"]["seeds"], _finished(out, found)
    said = f"seeds {', '.join(map(str, seeds))} together, {done} of {len(seeds)} finished"
    if done == len(seeds):
        return said
    return f"{said}; {'running' if is_busy(out) else 'stopped; resume it'}"


def find_run(name: str, outputs: Path) -> Path:
    """A run folder from its path or its name below outputs/."""
    for path in (Path(name), outputs / name):
        if path.is_dir():
            return path
    known = [path.name for path in outputs.glob("*") if path.is_dir()]
    raise unknown("run", name, known, f"in {shown(outputs)}")


def held(out: Path) -> Mapping[str, Any] | None:
    """The configuration of the run in a folder, or None where nothing has been learnt there yet.

    Where config.yaml is damaged or gone, a checkpoint tells it.

    Raises:
        UserError: the folder holds something else, or what is left of a run.
    """
    if (config := records.read_config(out / CONFIG)) is not None:
        return config
    if not RunFolder(out).has_traces():
        if others := [name for name in names(out) if not contents.is_early(name)]:
            raise UserError(
                f"'{shown(out)}' holds other things than a run ({few(others)}); "
                f"choose another folder with '--out DIR'"
            )
        return None
    from lib.runner import saved  # which loads PyTorch

    if told := saved.recorded(RunFolder(out)):
        return told
    there = contents.entries(out)
    begun = all(contents.is_written_by(contents.RUN, out, path) for path in there)
    learnt = RunFolder(out).checkpoints.exists() or summaries.is_finished(out)
    if begun and not learnt:
        return None
    raise _what_is_left(out)


def no_run(out: Path) -> UserError:
    """The error for a folder without a run that could go on."""
    if RunFolder(out).has_traces():
        return UserError(
            f"the run in '{shown(out)}' had learnt nothing yet, and its {CONFIG} cannot be read; "
            "start it again with the command that began it"
        )
    return UserError(f"'{shown(out)}' holds no run; 'python -m lib list' shows those there are")


def _what_is_left(out: Path) -> UserError:
    """The error for a folder whose record of what it holds is damaged or gone."""
    kind = kinds(out)[0]
    again = "" if kind is contents.RUN else "start it again with the command that began it, "
    return UserError(
        f"'{shown(out)}' is what is left of {kind.about}: its {kind.record} cannot be read; put "
        f"back a copy, {again}or remove what is left with 'python -m lib clean {shown(out)}'"
    )


def check_asked(out: Path, record: str) -> None:
    """Raises UserError where a folder holds other things than what `record` tells of.

    Where the record itself is damaged or gone, and all else is there, it may be written again.

    Args:
        record: TRANSFER or SEEDS.
    """
    others = [name for name in names(out) if not contents.is_early(name)]
    if not others or asked(out, record) is not None:
        return
    there = contents.entries(out)
    known = all(contents.is_written_by(WHAT[record], out, path) for path in there)
    if not known or not RunFolder(out).has_traces():
        raise UserError(
            f"'{shown(out)}' holds other things than {WHAT[record].about} ({few(others)}); "
            "choose another folder with '--out DIR'"
        )


def is_ours(out: Path) -> bool:
    """Whether a folder holds a run, several seeds of one, a comparison, or what is left of one."""
    return out.is_dir() and (bool(_told(out)) or RunFolder(out).has_traces())


def kinds(out: Path) -> list[Kind]:
    """What the workbook made of a folder, as far as that can be told; empty if it made nothing.

    Where the record of it is gone or damaged, a command's lock or a checkpoint tells that there
    was one.
    """
    if found := _told(out):
        return found
    if not RunFolder(out).has_traces() and not all(map(contents.is_early, names(out))):
        return []
    left = [kind for kind in contents.KINDS if os.path.lexists(out / kind.record)]
    return left or list(contents.KINDS)


def _told(out: Path) -> list[Kind]:
    """What a folder is by the records in it."""
    told = {
        contents.RUN: records.read_config(out / CONFIG) is not None,
        contents.SEVERAL: asked(out, SEEDS) is not None,
        contents.STUDY: asked(out, TRANSFER) is not None,
        contents.COMPARED: (out / COMPARISON).is_file(),
    }
    return [kind for kind, fits in told.items() if fits]


def check_comparison(out: Path, outputs: Path) -> None:
    """Raises UserError unless a comparison of finished runs may be written to a folder.

    Args:
        outputs: the folder of all runs, which may not be one itself.
    """
    if os.path.lexists(out) and not out.is_dir():
        raise UserError(f"'{shown(out)}' is no folder; choose another one with '--out DIR'")
    if out.resolve() in (outputs.resolve(), ROOT):
        raise UserError(
            f"'{shown(out)}' holds more than one comparison; give it a folder of its own, such as "
            f"'--out {shown(outputs / 'compare-mine')}'"
        )
    runs = (above for above in out.resolve().parents if records.read_config(above / CONFIG))
    if run := next(runs, None):
        raise UserError(
            f"'{shown(out)}' lies in the folder of the run '{run.name}'; choose another one with "
            "'--out DIR'"
        )
    there = contents.entries(out) if out.is_dir() else ()
    others = (p for p in there if not contents.is_written_by(contents.COMPARED, out, p))
    if first := list(islice(others, 4)):  # a large tree is not walked for a few names
        raise UserError(
            f"'{shown(out)}' holds other things than a comparison "
            f"({few([str(path.relative_to(out)) for path in first])}); "
            "choose another folder with '--out DIR'"
        )


def check_links(out: Path) -> None:
    """Raises UserError where something in a run folder is not what can be written to.

    Writing to a link writes elsewhere. The stop file may be one: it lets one file stop all runs of
    a comparison. A folder in a file's place, or the other way round, cannot be replaced.
    """
    for folder, below, files in os.walk(out):
        for name in (*below, *files):  # a link to a folder is one of those below
            path = Path(folder, name)
            if path.is_symlink():
                if name != STOP:
                    raise UserError(
                        f"'{shown(path)}' is a link to '{printable(os.readlink(path))}'; nothing "
                        "is written through links, so put there what it leads to, or remove it"
                    )
                continue
            place = path.relative_to(out).as_posix()
            is_folder, is_file = path.is_dir(), path.is_file()
            if contents.RUN.written.fullmatch(place) and not is_file and place[:6] != "wandb/":
                kind = "a folder" if is_folder else "no regular file"
                raise UserError(
                    f"'{shown(path)}' is {kind}, where a file belongs; move it elsewhere, or put "
                    "back a copy of the file"
                )
            if contents.FOLDERS.fullmatch(place) and not is_folder:
                raise UserError(
                    f"'{shown(path)}' is a file, where a folder belongs; move it elsewhere, or put "
                    "back a copy of the folder"
                )


def asked(out: Path, record: str) -> dict[str, Any] | None:
    """What was asked for in a folder: `parameters`, and the `runs` as seen from there.

    Args:
        record: TRANSFER or SEEDS.

    Returns:
        None where there is no such record.
    """
    found = records.read_mapping(out / record)
    if found is None or not all_are(is_text)(found.get("runs")):
        return None
    parameters = found.get("parameters")
    if not isinstance(parameters, dict) or not all_are(is_whole)(parameters.get("seeds")):
        return None
    several = record != SEEDS or len(found["runs"]) == len(parameters["seeds"])
    return found if several else None


def runs_of(out: Path) -> list[Path]:
    """The run in a folder, or those of the seeds that it stands for."""
    found = asked(out, SEEDS)
    if found is None:
        return [out]
    return [Path(os.path.normpath(out / run)) for run in found["runs"]]


def wandb_mode(out: Path) -> str:
    """Whether the earlier part of a run went to W&B, and how."""
    if not RunFolder(out).wandb_id.exists():
        return ""
    return "offline" if list(out.glob("wandb/offline-run-*")) else "online"
