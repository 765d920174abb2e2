"""What runs say of themselves: summary.json of finished ones, progress.json while they go on."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.core.errors import UserError
from lib.core.plain import printable
from lib.runner import contents, records
from lib.runner.run_folder import RunFolder

# Any of these makes a folder a run's.
MARKS = (contents.SUMMARY, contents.CONFIG, contents.METRICS)
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


def summary(out: Path) -> dict[str, Any]:
    """The contents of summary.json, empty where there is none or it is damaged."""
    try:
        return RunFolder(out).read_summary() or {}
    except UserError:
        return {}


def is_finished(out: Path) -> bool:
    """Whether a run folder holds a finished run."""
    return RunFolder(out).is_complete()


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
    if not set(found) & set(MARKS) and RunFolder(folder).has_traces():
        raise UserError(
            f"'{folder}' is what is left of a run; see whether it can go on with "
            f"'python -m lib resume {folder}'"
        )
    if not set(found) & set(MARKS):
        raise UserError(
            f"folder '{folder}' is not a run's: it holds {few(found)}, "
            f"a run's holds {', '.join(MARKS)}; give a folder that 'python -m lib list' shows"
        )
    try:
        told = RunFolder(folder).read_summary() or {}
    except UserError as error:
        raise UserError(
            f"{str(error).partition('; ')[0]}; write it again with 'python -m lib resume {folder}'"
        ) from None
    if told.get("status") != records.COMPLETE:
        raise UserError(
            f"run '{folder}' has not finished{_how_far(folder)}; wait if it is training, "
            f"otherwise continue it with 'python -m lib resume {folder}'"
        )
    return told


def _how_far(folder: Path) -> str:
    state = read_progress(RunFolder(folder).progress)
    return f" ({stands_at(state)})" if state else ""


def read_progress(path: Path, newer_than: float = 0.0) -> dict[str, Any] | None:
    """The contents of a progress.json, or None where there is none (yet), or it is damaged."""
    try:
        if path.stat().st_mtime < newer_than:
            return None
        return records.read_json(path, records.PROGRESS)
    except (OSError, UserError):
        return None


def counted(state: Mapping[str, Any]) -> tuple[int, int, str]:
    """What is done, what there is to do, and in what that is counted.

    Args:
        state: what progress.json says. Runs that learn from files make updates alone.
    """
    if not state["env_steps_total"] and "updates_total" in state:
        return state.get("updates", 0), state["updates_total"], "updates"
    return state["env_steps"], state["env_steps_total"], "env steps"


def stands_at(state: Mapping[str, Any]) -> str:
    """The same in words: 1,200 of 24,000 env steps."""
    done, total, unit = counted(state)
    return f"{done:,} of {total:,} {unit}"


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
