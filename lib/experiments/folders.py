"""Tells what run folders hold and how far they are, and which may be written to or removed."""

import os
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from lib.core.errors import UserError, unknown
from lib.core.paths import ROOT, shown
from lib.core.plain import check_plain, printable
from lib.core.plain_yaml import read_yaml_file
from lib.core.storage import holding_nothing
from lib.experiments import summaries
from lib.experiments.locks import is_busy
from lib.experiments.summaries import all_are, few, is_text, is_whole, names
from lib.runner import contents
from lib.runner.contents import (
    COMPARISON,
    CONFIG,
    LAUNCH_LOCK,
    SEEDS,
    TRANSFER,
    WANDB_ID,
    Kind,
)
from lib.runner.run_folder import RunFolder

RUN_KEYS = {"method_name", "preset", "seed", "tasks", "budget"}  # in every run's config.yaml
WHAT = {TRANSFER: contents.STUDY.about, SEEDS: contents.SEVERAL.about}


def status(out: Path) -> str:
    """One line about a run: how far, and how well."""
    if (out / COMPARISON).is_file():
        return "a comparison"
    if (found := asked(out, TRANSFER)) is not None:
        return f"transfer, {_finished(out, found)} of {len(found['runs'])} runs finished"
    if (found := asked(out, SEEDS)) is not None:
        return _status_of_seeds(out, found)
    result, progress = summaries.summary(out), summaries.read_progress(out / "progress.json")
    if result.get("status") == "complete":
        shares = [share for _, _, _, share in summaries.rows(result) if share is not None]
        best = summaries.best_is(result)
        mean = f", {sum(shares) / len(shares):.0%} of the {best}" if shares else ""
        return f"finished, {result.get('env_steps', 0):,} env steps{mean}"
    where = "before its first env step"
    if progress:
        where = f"at {progress['env_steps']:,} of {progress['env_steps_total']:,} env steps"
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
        if os.path.isdir(path):  # which a name that can be none does not trouble
            return path
    known = [path.name for path in outputs.glob("*") if path.is_dir()]
    raise unknown("run", name, known, f"in {shown(outputs)}")


def held(out: Path) -> dict[str, Any] | None:
    """The configuration of the run in a folder, or None where nothing is there yet.

    Raises:
        UserError: the folder holds something else.
    """
    config = _config(out)
    if config is None and (others := [name for name in names(out) if not contents.is_early(name)]):
        raise UserError(
            f"'{shown(out)}' holds other things than a run ({few(others)}); "
            f"choose another folder with '--out DIR'"
        )
    return config


def check_asked(out: Path, record: str) -> None:
    """Raises UserError where a folder holds other things than what `record` tells of.

    Args:
        record: TRANSFER or SEEDS.
    """
    others = [name for name in names(out) if not contents.is_early(name)]
    if others and asked(out, record) is None:
        raise UserError(
            f"'{shown(out)}' holds other things than {WHAT[record]} ({few(others)}); "
            "choose another folder with '--out DIR'"
        )


def is_ours(out: Path) -> bool:
    """Whether a folder holds a run, several seeds of one, or a comparison."""
    if not out.is_dir():
        return False
    records = any(asked(out, record) is not None for record in WHAT)
    return records or (out / COMPARISON).is_file() or _config(out) is not None


def kinds(out: Path) -> list[Kind]:
    """What the workbook made of a folder, as far as that can be told; empty if it made nothing.

    Where the record of it is gone or damaged, a command's lock or a checkpoint tells that there
    was one.
    """
    told = {
        contents.RUN: _config(out) is not None,
        contents.SEVERAL: asked(out, SEEDS) is not None,
        contents.STUDY: asked(out, TRANSFER) is not None,
        contents.COMPARED: (out / COMPARISON).is_file(),
    }
    if found := [kind for kind, fits in told.items() if fits]:
        return found
    if not _has_traces(out) and not all(map(contents.is_early, names(out))):
        return []
    left = [kind for kind in contents.KINDS if os.path.lexists(out / kind.record)]
    return left or list(contents.KINDS)


def _has_traces(out: Path) -> bool:
    """Whether there is something that the workbook alone leaves."""
    from lib.runner import checkpoint

    saved = RunFolder(out).checkpoints.glob("*.safetensors")
    return (out / LAUNCH_LOCK).is_file() or any(map(checkpoint.is_one, saved))


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
    if run := next((above for above in out.resolve().parents if _config(above)), None):
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
    """Raises UserError where something in a run folder is a link: writing to it writes elsewhere.

    The stop file may be one: it lets one file stop all runs of a comparison.
    """
    for folder, below, files in os.walk(out):
        for name in (*below, *files):  # a link to a folder is one of those below
            path = Path(folder, name)
            if path.is_symlink() and name != "stop":
                raise UserError(
                    f"'{shown(path)}' is a link to '{printable(os.readlink(path))}'; nothing is "
                    "written through links, so put there what it leads to, or remove it"
                )


def _config(out: Path) -> dict[str, Any] | None:
    """What config.yaml holds, if it is a run's."""
    found = read_mapping(out / CONFIG)
    return found if found is not None and found.keys() >= RUN_KEYS else None


def read_mapping(path: Path) -> dict[str, Any] | None:
    """The mapping of plain values in a YAML file, or None where there is no such thing."""
    with holding_nothing():
        found = read_yaml_file(path)
        check_plain(found, str(path))
        return found if isinstance(found, dict) else None
    return None


def asked(out: Path, record: str) -> dict[str, Any] | None:
    """What was asked for in a folder: `parameters`, and the `runs` as seen from there.

    Args:
        record: TRANSFER or SEEDS.

    Returns:
        None where there is no such record.
    """
    found = read_mapping(out / record)
    if found is None or not all_are(is_text)(found.get("runs")):
        return None
    parameters = found.get("parameters")
    fits = isinstance(parameters, dict) and all_are(is_whole)(parameters.get("seeds"))
    return found if fits else None


def runs_of(out: Path) -> list[Path]:
    """The run in a folder, or those of the seeds that it stands for."""
    found = asked(out, SEEDS)
    if found is None:
        return [out]
    return [Path(os.path.normpath(out / run)) for run in found["runs"]]


def wandb_mode(out: Path) -> str:
    """Whether the earlier part of a run went to W&B, and how."""
    if not (out / WANDB_ID).exists():
        return ""
    return "offline" if list(out.glob("wandb/offline-run-*")) else "online"
