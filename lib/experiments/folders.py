"""Run folders: what they hold, how far they are, and which may be removed."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.core.errors import UserError, unknown
from lib.core.paths import shown
from lib.core.plain import check_plain, printable, read_yaml
from lib.experiments.locks import is_busy

TRANSFERRED = "transfer.ipynb"
# What may lie in a folder before the record of what it holds does.
EARLY = (".lock", ".launch-lock", "kernel.log", "run.ipynb", TRANSFERRED, "stop")
MARKS = ("summary.json", "config.yaml", "metrics.jsonl")  # any of these makes a folder a run's


def _text(value: object) -> bool:
    return isinstance(value, str)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _all(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and bool(value) and all(map(fits, value))


# What every finished run's summary holds, and what it must look like.
NEEDED: dict[str, Callable[[object], bool]] = {
    "name": _text,
    "method": _text,
    "preset": _text,
    "seeds": _all(_whole),
    "status": _text,
    "tasks": _all(_text),
    "optimum": lambda value: value is None or isinstance(value, dict),
    "return_matrix": lambda value: isinstance(value, list),
}
RUN_KEYS = {"method_name", "preset", "seed", "tasks", "budget"}  # in every run's config.yaml
COMPARISON = "compare.ipynb"
TRANSFER = "transfer.yaml"  # what a comparison of learners on new tasks was asked for
SEEDS = "seeds.yaml"  # what several seeds of a run, trained together, were asked for
WHAT = {TRANSFER: "a comparison on new tasks", SEEDS: "several seeds of a run"}


def status(out: Path) -> str:
    """One line about a run: how far, and how well."""
    if (out / COMPARISON).is_file():
        return "a comparison"
    if (found := asked(out, TRANSFER)) is not None:
        return f"transfer, {_finished(out, found)} of {len(found['runs'])} runs finished"
    if (found := asked(out, SEEDS)) is not None:
        return _status_of_seeds(out, found)
    result, progress = summary(out), read_progress(out / "progress.json")
    if result.get("status") == "complete":
        shares = [share for _, _, _, share in _rows(result) if share is not None]
        best = _best(result)
        mean = f", {sum(shares) / len(shares):.0%} of the {best}" if shares else ""
        return f"finished, {result['env_steps']:,} env steps{mean}"
    where = "before its first env step"
    if progress:
        where = f"at {progress['env_steps']:,} of {progress['env_steps_total']:,} env steps"
    return f"running, {where}" if is_busy(out) else f"stopped, {where}; resume it"


def _finished(out: Path, found: Mapping[str, Any]) -> int:
    return sum(is_finished(out / run) for run in found["runs"])


def _status_of_seeds(out: Path, found: Mapping[str, Any]) -> str:
    """The same for several seeds, whose own folders say the rest."""
    seeds, done = found["parameters"]["seeds"], _finished(out, found)
    said = f"seeds {', '.join(map(str, seeds))} together, {done} of {len(seeds)} finished"
    if done == len(seeds):
        return said
    return f"{said}; {'running' if is_busy(out) else 'stopped; resume it'}"


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Task, final return, what counts as 100 %, and share, as text.

    Args:
        results: summary of one run, or those of several seeds: then the mean return is said, the
            lowest and the highest.
    """
    results = [result for result in results if result.get("tasks")] or results[:1]
    first, several = results[0], len(results) > 1
    returns = ["mean of the seeds", "lowest", "highest"] if several else ["final return"]
    lines = [["task", *returns, _best(first), "share"]]
    for row in zip(*map(_rows, results), strict=True):
        task, _, best, _ = row[0]
        finals = [final for _, final, _, _ in row]
        known = None not in finals
        mean = sum(finals) / len(finals) if known else None
        said = [mean, min(finals), max(finals)] if several and known else [mean] * len(returns)
        share = mean / best if known and best else None
        numbers = [_number(number, ".1f") for number in (*said, best)]
        lines.append([task, *numbers, _number(share, ".0%")])
    widths = [max(map(len, column)) + 2 for column in zip(*lines, strict=True)]
    return "\n".join(
        line[0].ljust(widths[0])
        + "".join(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        for line in lines
    )


def _best(result: Mapping[str, Any]) -> str:
    """What a summary's `optimum` is, in a word."""
    return "optimum" if result.get("optimum_is", "exact") == "exact" else "ceiling"


def _rows(result: Mapping[str, Any]) -> list[tuple[str, Any, Any, Any]]:
    finals, optimum = result.get("final_return") or {}, result.get("optimum") or {}
    rows = []
    for task in result.get("tasks", []):
        final, best = finals.get(task), optimum.get(task)
        rows.append((task, final, best, final / best if final is not None and best else None))
    return rows


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def find_run(name: str, outputs: Path) -> Path:
    """A run folder from its path or its name below outputs/."""
    for path in (Path(name), outputs / name):
        if path.is_dir():
            return path
    known = [path.name for path in outputs.glob("*") if path.is_dir()]
    raise unknown("run", name, known, f"in {shown(outputs)}")


def held(out: Path) -> dict[str, Any] | None:
    """The configuration of the run in a folder, or None where nothing is there yet.

    Raises:
        UserError: the folder holds something else.
    """
    config = _config(out)
    if config is None and (others := [name for name in _names(out) if name not in EARLY]):
        raise UserError(
            f"'{shown(out)}' holds other things than a run ({_few(others)}); "
            f"choose another folder with '--out DIR'"
        )
    return config


def check_asked(out: Path, record: str) -> None:
    """Raises UserError where a folder holds other things than what `record` tells of.

    Args:
        record: TRANSFER or SEEDS.
    """
    others = [name for name in _names(out) if name not in EARLY]
    if others and asked(out, record) is None:
        raise UserError(
            f"'{shown(out)}' holds other things than {WHAT[record]} ({_few(others)}); "
            "choose another folder with '--out DIR'"
        )


def is_ours(out: Path) -> bool:
    """Whether a folder holds a run, several seeds of one, or a comparison."""
    if not out.is_dir():
        return False
    records = any(asked(out, record) is not None for record in WHAT)
    return records or (out / COMPARISON).is_file() or _config(out) is not None


def removable(out: Path) -> None:
    """Raises UserError unless run, compare or transfer made this folder and nobody is at it."""
    if out.is_symlink():
        raise UserError(f"'{shown(out)}' is a link; give the folder it points to")
    names = _names(out)
    if not is_ours(out) and not set(names) <= set(EARLY):
        raise UserError(
            f"'{shown(out)}' holds other things than a run ({_few(names)}); "
            f"remove it yourself if you mean it"
        )
    if is_busy(out) or any(map(is_busy, out.glob("runs/*"))):
        raise UserError(f"'{shown(out)}' is in use by another process; stop that one first")


def check_links(out: Path) -> None:
    """Raises UserError where something in a run folder is a link: writing to it writes elsewhere.

    The stop file may be one: it lets one file stop all runs of a comparison.
    """
    for folder, below, files in os.walk(out):
        for name in (*below, *files):
            path = Path(folder, name)
            if path.is_symlink() and name != "stop":
                raise UserError(
                    f"'{shown(path)}' is a link to '{printable(os.readlink(path))}'; nothing is "
                    "written through links, so put there what it leads to, or remove it"
                )


def _config(out: Path) -> dict[str, Any] | None:
    """What config.yaml holds, if it is a run's."""
    found = read_mapping(out / "config.yaml")
    return found if found is not None and found.keys() >= RUN_KEYS else None


def read_mapping(path: Path) -> dict[str, Any] | None:
    """The mapping of plain values in a YAML file, or None where there is no such thing."""
    try:
        found = read_yaml(path.read_text())
        check_plain(found, str(path))
    except (OSError, ValueError, UserError):
        return None
    return found if isinstance(found, dict) else None


def asked(out: Path, record: str) -> dict[str, Any] | None:
    """What was asked for in a folder: `parameters`, and the `runs` as seen from there.

    Args:
        record: TRANSFER or SEEDS.

    Returns:
        None where there is no such record.
    """
    found = read_mapping(out / record)
    if found is None or not _all(_text)(found.get("runs")):
        return None
    parameters = found.get("parameters")
    fits = isinstance(parameters, dict) and _all(_whole)(parameters.get("seeds"))
    return found if fits else None


def runs_of(out: Path) -> list[Path]:
    """The run in a folder, or those of the seeds that it stands for."""
    found = asked(out, SEEDS)
    if found is None:
        return [out]
    return [Path(os.path.normpath(out / run)) for run in found["runs"]]


def _names(out: Path) -> list[str]:
    if out.is_dir():
        return sorted(path.name for path in out.iterdir())
    return ["a file itself"] if out.exists() else []


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def summary(out: Path) -> dict[str, Any]:
    """The contents of summary.json, empty where there is none."""
    try:
        told = json.loads((out / "summary.json").read_text())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def finished(folder: Path) -> dict[str, Any]:
    """The summary of a finished run, with all that every run says of itself.

    Raises:
        UserError: the folder is missing, empty, not a run's, still training, stopped early, or
            its summary is damaged.
    """
    if not folder.is_dir():
        raise UserError(f"no run folder '{folder}'; 'python -m lib list' shows the runs there are")
    found = _names(folder)
    if not found:
        raise UserError(f"folder '{folder}' is empty; start a run with 'python -m lib run NAME'")
    if not set(found) & set(MARKS):
        raise UserError(
            f"folder '{folder}' is not a run's: it holds {_few(found)}, "
            f"a run's holds {', '.join(MARKS)}; give a folder that 'python -m lib list' shows"
        )
    path = folder / "summary.json"
    told = _read_summary(path) if path.is_file() else {"status": "running"}
    if told["status"] != "complete":
        raise UserError(
            f"run '{folder}' has not finished{_how_far(folder)}; wait if it is training, "
            f"otherwise continue it with 'python -m lib resume {folder}'"
        )
    return told


def _read_summary(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(
            f"'{path}' is not valid JSON ({error}); rewrite it with "
            f"'python -m lib resume {path.parent}'"
        ) from None
    told = told if isinstance(told, dict) else {}
    if told.get("status", "complete") != "complete":
        return told
    wrong = [key for key, fits in NEEDED.items() if key not in told or not fits(told[key])]
    if wrong:
        raise UserError(
            f"'{path}' is not the summary of a run of this workbook: it lacks "
            f"{', '.join(wrong)}, or holds something else there; give another folder"
        )
    return told


def _how_far(folder: Path) -> str:
    state = read_progress(folder / "progress.json")
    if state is None:
        return ""
    return f" ({state['env_steps']:,} of {state['env_steps_total']:,} env steps)"


def read_progress(path: Path, newer_than: float = 0.0) -> dict[str, Any] | None:
    """The contents of a progress.json, or None where there is none (yet)."""
    try:
        if path.stat().st_mtime < newer_than:
            return None
        state = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    counts = ("env_steps", "env_steps_total")
    fits = isinstance(state, dict) and all(_whole(state.get(count)) for count in counts)
    return state if fits else None


def is_finished(out: Path) -> bool:
    """Whether a run folder holds a finished run."""
    return summary(out).get("status") == "complete"


def wandb_mode(out: Path) -> str:
    """Whether the earlier part of a run went to W&B, and how."""
    if not (out / "wandb-id.txt").exists():
        return ""
    return "offline" if list(out.glob("wandb/offline-run-*")) else "online"
