"""What runs say of themselves: summary.json of finished ones, progress.json while they go on."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.core.errors import UserError
from lib.core.plain import printable
from lib.core.storage import holding_nothing
from lib.runner import expected
from lib.runner.run_folder import SUMMARY

MARKS = ("summary.json", "config.yaml", "metrics.jsonl")  # any of these makes a folder a run's
Fits = Callable[[object], bool]


def is_text(value: object) -> bool:
    """Whether a value from a file is text."""
    return isinstance(value, str)


def is_whole(value: object) -> bool:
    """Whether it is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def all_are(fits: Fits) -> Fits:
    """A check that every item of a list, which is not empty, fits."""
    return lambda value: isinstance(value, list) and bool(value) and all(map(fits, value))


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _are_numbers(value: object) -> bool:
    return value is None or (isinstance(value, dict) and all(map(_is_number, value.values())))


# What every finished run's summary holds, and what it must look like.
NEEDED: dict[str, Fits] = {
    "name": is_text,
    "method": is_text,
    "preset": is_text,
    "seeds": all_are(is_whole),
    "status": is_text,
    "tasks": all_are(is_text),
    "optimum": _are_numbers,
    "return_matrix": lambda value: isinstance(value, list),
}
FURTHER: dict[str, Fits] = {"env_steps": is_whole, "final_return": _are_numbers}


def summary(out: Path) -> dict[str, Any]:
    """The contents of summary.json, empty where there is none or it holds other things."""
    told = None
    with holding_nothing():
        told = json.loads((out / "summary.json").read_text())
    wanted = NEEDED | FURTHER
    fits = isinstance(told, dict) and all(wanted[k](told[k]) for k in wanted.keys() & told.keys())
    return told if fits else {}


def is_finished(out: Path) -> bool:
    """Whether a run folder holds a finished run."""
    return summary(out).get("status") == "complete"


def finished(folder: Path) -> dict[str, Any]:
    """The summary of a finished run, with all that every run says of itself.

    Raises:
        UserError: the folder is missing, empty, not a run's, still training, stopped early, or
            its summary is damaged.
    """
    if not folder.is_dir():
        raise UserError(f"no run folder '{folder}'; 'python -m lib list' shows the runs there are")
    found = names(folder)
    if not found:
        raise UserError(f"folder '{folder}' is empty; start a run with 'python -m lib run NAME'")
    if not set(found) & set(MARKS):
        raise UserError(
            f"folder '{folder}' is not a run's: it holds {few(found)}, "
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
    except (ValueError, RecursionError) as error:
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
    expected.check(told, SUMMARY, "it", path)
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
    except (OSError, ValueError, RecursionError):
        return None
    counts = ("env_steps", "env_steps_total")
    fits = isinstance(state, dict) and all(is_whole(state.get(count)) for count in counts)
    return state if fits else None


def names(out: Path) -> list[str]:
    """What lies in a folder."""
    if out.is_dir():
        return sorted(path.name for path in out.iterdir())
    return ["a file itself"] if out.exists() else []


def few(found: Sequence[str]) -> str:
    """The first of many names, for messages."""
    return printable(", ".join(found[:3])) + (", ..." if len(found) > 3 else "")


# As text ------------------------------------------------------------------------------------


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Task, final return, what counts as 100 %, and share, as text.

    Args:
        results: summary of one run, or those of several seeds: then the mean return is said, the
            lowest and the highest.
    """
    results = [result for result in results if result.get("tasks")] or results[:1]
    first, several = results[0], len(results) > 1
    returns = ["mean of the seeds", "lowest", "highest"] if several else ["final return"]
    lines = [["task", *returns, best_is(first), "share"]]
    for row in zip(*map(rows, results), strict=True):
        task, _, best, _ = row[0]
        finals = [final for _, final, _, _ in row]
        known = None not in finals
        mean = sum(finals) / len(finals) if known else None
        said = [mean, min(finals), max(finals)] if several and known else [mean] * len(returns)
        share = mean / best if known and best else None
        numbers = [_number(number, ".1f") for number in (*said, best)]
        lines.append([printable(task), *numbers, _number(share, ".0%")])
    widths = [max(map(len, column)) + 2 for column in zip(*lines, strict=True)]
    return "\n".join(
        line[0].ljust(widths[0])
        + "".join(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        for line in lines
    )


def best_is(result: Mapping[str, Any]) -> str:
    """What a summary's `optimum` is, in a word."""
    return "optimum" if result.get("optimum_is", "exact") == "exact" else "ceiling"


def rows(result: Mapping[str, Any]) -> list[tuple[str, Any, Any, Any]]:
    """Of every task its name, final return, what counts as 100 %, and the share of it."""
    finals, optimum = result.get("final_return") or {}, result.get("optimum") or {}
    rows = []
    for task in result.get("tasks", []):
        final, best = finals.get(task), optimum.get(task)
        rows.append((task, final, best, final / best if final is not None and best else None))
    return rows


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
