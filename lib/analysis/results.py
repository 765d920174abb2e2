"""Reads finished run folders into arrays, and groups runs that differ only in their seed.

Nothing here trains or draws. The files read are `summary.json`, `metrics.jsonl` and
`audits/task-<k>.npz` of a run folder (README, "What a run leaves behind").
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lib.algos import registry
from lib.analysis import measures, origins, whole_runs
from lib.analysis.measures import Measure, Yardstick
from lib.analysis.origins import Origin
from lib.core import metrics
from lib.core.errors import UserError
from lib.core.metrics import Array
from lib.core.plain import escape
from lib.experiments import summaries
from lib.runner import records
from lib.runner.record import read_metrics
from lib.runner.run_folder import RunFolder

RECORDED = (
    "env_steps",
    "decisions",
    "updates",
    "dropped_episodes",
    "wall_clock_s",
    "seeds_together",
    "hardware",
    "commit",
    "versions",
    "final_return",
    "return_matrix",
    "curves",
    "monitor",
    "audit",
)  # fields of summary.json that a comparison keeps of every run
SEED_ONLY = ("name", "seed", "device", "engine")  # settings in which runs of one group may differ


def _steps_ahead(quantity: str) -> int:
    """Returns the number that ends a name such as `right_4`, or 0."""
    tail = quantity.rpartition("_")[2]
    return int(tail) if tail.isdigit() else 0


@dataclass(frozen=True, eq=False)
class Run:
    """Holds one finished run; arrays have one row or column per task, in the order learnt."""

    folder: Path
    name: str
    method: str
    preset: str
    seed: int
    tasks: tuple[str, ...]
    prepares: int  # of these, at the beginning, in which it got ready for the stream
    optimum: Array  # (tasks,) the return that counts as 100 %, NaN where unknown
    yardstick: Yardstick  # what that return is
    return_matrix: Array  # (tasks, tasks) [after task, on task], NaN above the diagonal
    success_matrix: Array  # the same, share of episodes at the goal in the end; NaN where unknown
    success_any_matrix: Array  # the same, at the goal at any step
    final_return: Array  # (tasks,) mean evaluation return when the task's own training ended
    curves: dict[str, tuple[Array, Array]]  # task -> (env steps since the task began, return)
    audit: tuple[dict[str, float], ...]  # per task boundary: metric name -> value
    began: Origin  # with what, and of which other runs
    summary: dict[str, Any] = field(repr=False)

    @property
    def origin(self) -> str:
        """Returns what the run was started from in words, "" for nothing."""
        return str(self.began)

    @property
    def background(self) -> str:
        """Returns what is behind a body in pictures; "plain" also where there are none."""
        return self.summary.get("config", {}).get("env", {}).get("background", "plain")

    def audit_arrays(self, after: int) -> dict[str, np.ndarray]:
        """Returns the audit's arrays after task `after` (0 is the first), or nothing."""
        path = RunFolder(self.folder).audit(after)
        return records.read_arrays(path) if path.is_file() else {}

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Everything that was logged, read once."""
        path = RunFolder(self.folder).metrics
        if not path.is_file():
            print(f"'{path}' is gone, so that nothing of what was logged can be drawn")
            return []
        return read_metrics(path)

    def series(self, name: str, gaps: bool = False) -> tuple[Array, Array]:
        """Returns one logged metric: environment steps over the whole run, and values.

        Args:
            gaps: put a NaN between tasks, so that no line joins what belongs to two of them.
        """
        rows = [row for row in self.rows if name in row["values"]]
        steps = [row["env_steps"] for row in rows]
        values = [_number(row["values"][name]) for row in rows]
        return with_gaps(steps, values, [row.get("task") for row in rows] if gaps else ())

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Returns how this run's audits say what the world model knows, the one to draw first."""
        return measures.measures_in(name for row in self.audit for name in row)

    def met(self, quantity: str = "") -> Array:
        """Returns (tasks, tasks) [k, j]: the audit after task k on the transitions of task j.

        Args:
            quantity: last part of the metric's name; that of the run's first measure if not given.
        """
        quantity = quantity or self.measures[0].quantity
        return self._by_task(f"audit/met-{{}}/{quantity}")

    def plans(self, quantity: str) -> Array:
        """Returns (tasks, tasks) [k, j]: what was found after task k of plans for task j.

        Args:
            quantity: one of `plan_quantities`.
        """
        return self._by_task(f"plans/{{}}/{quantity}")

    def own_plans(self, quantity: str) -> Array:
        """Returns (tasks,): what was found of each task's plans when it had been learnt."""
        return np.diagonal(self.plans(quantity))

    @property
    def plan_quantities(self) -> list[str]:
        """Names what was measured of whole plans, those by steps ahead in their order; or []."""
        first = f"plans/{self.tasks[0]}/"
        found = [name.removeprefix(first) for name in self.audit[0] if name.startswith(first)]
        return sorted(found, key=lambda name: (_steps_ahead(name), name))

    def _by_task(self, pattern: str) -> Array:
        """Returns (tasks, tasks) of a metric whose name has the task in it."""
        names = [pattern.format(task) for task in self.tasks]
        found = [[_number(row.get(name)) for name in names] for row in self.audit]
        out = np.full((len(self.tasks), len(self.tasks)), np.nan)
        if found:
            out[: len(found)] = found
        out[np.triu_indices(len(self.tasks), 1)] = np.nan
        return out

    def rooms(self) -> list[str]:
        """Returns the groups of transitions that the audit reports, such as room-1, doors."""
        found = {
            name.split("/")[1]
            for row in self.audit
            for name in row
            if name.startswith("audit/") and name.count("/") == 2 and name.endswith("/accuracy")
        }
        return sorted(name for name in found if not name.startswith("met-") and name != "all")

    def by_room(self, quantity: str = "accuracy") -> Array:
        """Returns (tasks, rooms) [k, r]: the audit after task k over all transitions of a room."""
        rooms = self.rooms()
        rows = [[_number(row.get(f"audit/{r}/{quantity}")) for r in rooms] for row in self.audit]
        return np.array(rows, float).reshape(len(self.audit), len(rooms))

    def performance(self) -> Array:
        """Returns the return matrix as shares of the return that counts as 100 %."""
        return metrics.normalise(self.return_matrix, self.optimum)

    def areas(self) -> Array:
        """Returns (tasks,) areas under the learning curves, 1 for 100 % from the first step."""
        out = np.full(len(self.tasks), np.nan)
        for index, task in enumerate(self.tasks):
            steps, returns = self.curves.get(task, ((), ()))
            if len(steps):
                height = metrics.normalise(np.asarray(returns)[:, None], self.optimum[[index]])
                out[index] = metrics.area_under_curve(steps, height[:, 0])
        return out


def with_gaps(
    steps: Sequence[float], values: Sequence[float], tasks: Sequence[str] = ()
) -> tuple[Array, Array]:
    """Returns a curve with a NaN wherever the task changes.

    Args:
        steps, values: (points,). tasks: (points,) of each, or nothing for a curve without gaps.
    """
    x, y = np.array(steps, float), np.array(values, float)
    changes = [i for i in range(1, len(tasks)) if tasks[i] != tasks[i - 1]]
    return np.insert(x, changes, x[changes]), np.insert(y, changes, np.nan)


def load_run(folder: str | Path) -> Run:
    """Reads a finished run.

    Raises:
        UserError: the folder is missing, empty, not a run's, still training, stopped early, or
            its summary is damaged.
    """
    folder = Path(folder)
    return _to_run(folder, summaries.finished(folder))


def complete_runs(outputs: str | Path) -> tuple[list[Run], list[str]]:
    """Returns every finished run directly below `outputs`, and a line for each folder left out."""
    runs, left_out = [], []
    for folder in sorted(Path(outputs).iterdir()) if Path(outputs).is_dir() else []:
        if not folder.is_dir() or not any((folder / mark).is_file() for mark in summaries.MARKS):
            continue
        try:
            runs.append(load_run(folder))
        except UserError as error:
            left_out.append(str(error))
    return runs, left_out


def _to_run(folder: Path, summary: dict[str, Any]) -> Run:
    tasks = tuple(summary["tasks"])
    final, optimum = summary.get("final_return") or {}, summary["optimum"] or {}
    curves = {
        task: (_positions(curve), _numbers(curve["return"]))
        for task, curve in (summary.get("curves") or {}).items()
    }
    return Run(
        folder=folder,
        name=summary["name"],
        method=summary["method"],
        preset=summary["preset"],
        seed=int(summary["seeds"][0]),
        tasks=tasks,
        prepares=summary.get("prepares", 0),
        optimum=_numbers(optimum.get(task) for task in tasks),
        yardstick=measures.yardstick(summary.get("optimum_is", "exact")),  # new with control
        return_matrix=_matrix(summary["return_matrix"], len(tasks)),
        success_matrix=_matrix(summary.get("success_matrix") or (), len(tasks)),
        success_any_matrix=_matrix(summary.get("success_any_matrix") or (), len(tasks)),
        final_return=_numbers(final.get(task) for task in tasks),
        curves=curves,
        audit=tuple(summary.get("audit") or ()),
        began=origins.of_record(records.read_mapping(RunFolder(folder).config) or {}),
        summary=summary,
    )


def _matrix(rows: Sequence[Sequence[float | None]], tasks: int) -> Array:
    """Returns (tasks, tasks), NaN where nothing is known."""
    matrix = np.full((tasks, tasks), np.nan)
    for index, row in enumerate(rows):
        matrix[index, : len(row)] = _numbers(row)
    return matrix


def _positions(curve: dict[str, Any]) -> Array:
    """Returns where a task's evaluations stand: env steps, or updates of a run without any."""
    return np.array(curve.get("task_env_steps", curve.get("task_updates")), float)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _numbers(values: Iterable[float | None]) -> Array:
    return np.array([_number(value) for value in values], float)


@dataclass(frozen=True, eq=False)
class Group:
    """Holds runs that differ only in their seed."""

    label: str  # short name for legends, unique among the groups made together
    runs: tuple[Run, ...]  # by seed
    repeated: tuple[Run, ...] = ()  # runs left out because their seed is there already

    @property
    def first(self) -> Run:
        return self.runs[0]

    def stack(self, quantity: str, *arguments: str) -> Array:
        """Stacks (seeds, ...): `return_matrix`, `final_return`, or a method's, such as `met`."""
        values = [getattr(run, quantity) for run in self.runs]
        return np.stack([value(*arguments) if callable(value) else value for value in values])

    @property
    def env_steps(self) -> int:
        """Returns a run's env steps, reviewer included; decisions are fewer under action repeat."""
        return int(self.first.summary.get("env_steps", 0))

    @property
    def decisions(self) -> int:
        """Returns decisions of a run: actions chosen, each held for one or more env steps."""
        return int(self.first.summary.get("decisions", self.env_steps))

    def curve(self, task: str) -> tuple[Array, Array]:
        """Returns env steps (points,) and returns (seeds, points) where all the runs have them."""
        curves = [run.curves[task] for run in self.runs if len(run.curves.get(task, ((),))[0])]
        if not curves:
            return np.zeros(0), np.zeros((len(self.runs), 0))
        end = min(steps[-1] for steps, _ in curves)
        grid = np.unique(np.concatenate([steps[steps <= end] for steps, _ in curves]))
        return grid, np.stack([np.interp(grid, steps, height) for steps, height in curves])


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Groups runs by preset, method, origin and every setting that changes what is learnt.

    Labels are the method's name, followed by what tells groups of one method apart: the preset,
    the tasks, what they began with (and of which runs, where that is alike), or the run's name. A
    seed that turns up twice counts once.
    """
    groups: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: (run.preset, run.method, run.seed, run.name)):
        settings = origins.without_places(run.summary.get("config", {}))
        config = {k: v for k, v in settings.items() if k not in SEED_ONLY}
        groups.setdefault(
            json.dumps([run.preset, run.method, run.tasks, run.origin, config], sort_keys=True), []
        ).append(run)
    members = list(groups.values())
    labels = _labels([group[0] for group in members])
    return [_group(label, found) for label, found in zip(labels, members, strict=True)]


def _group(label: str, found: list[Run]) -> Group:
    by_seed: dict[int, Run] = {}
    for run in found:
        by_seed.setdefault(run.seed, run)
    kept = tuple(by_seed.values())
    return Group(label, kept, tuple(run for run in found if run not in kept))


def _labels(firsts: list[Run]) -> list[str]:
    labels = [run.method for run in firsts]
    extras = (
        lambda alike: [run.preset for run in alike],
        lambda alike: ["+".join(run.tasks) for run in alike],
        _beginnings,
        lambda alike: [run.name for run in alike],
    )
    for extra in extras:
        clashes = {label for label in labels if labels.count(label) > 1}
        for label in clashes:
            where = [i for i, other in enumerate(labels) if other == label]
            said = extra([firsts[i] for i in where])
            if len(set(said)) > 1:
                for i, words in zip(where, said, strict=True):
                    labels[i] = f"{label} {words}"
    counts: dict[str, int] = {}
    for i, label in enumerate(labels):
        counts[label] = counts.get(label, 0) + 1
        labels[i] = label if counts[label] == 1 else f"{label} #{counts[label]}"
    return labels


def _beginnings(alike: list[Run]) -> list[str]:
    """Returns what runs began with; and of which other runs, where that alone tells them apart."""
    short = [run.began.begins for run in alike]
    enough = len(set(short)) == len({run.began for run in alike})
    said = short if enough else [run.origin for run in alike]
    return [f"({words or 'from nothing'})" for words in said]


def forward_transfer(group: Group, groups: Sequence[Group]) -> Array | None:
    """Returns (seeds, tasks) forward transfer against runs from nothing of equal preset and tasks.

    These are of the family's `reference`, or else of the group's own method, where the group took
    something of other runs. The reference area of a task is the mean over their seeds. None without
    any.
    """
    alike = [
        other
        for other in groups
        if (other.first.preset, other.first.tasks) == (group.first.preset, group.first.tasks)
    ]
    nothing = [other for other in alike if other.first.method == reference_of(group.first)]
    if not nothing and group.first.origin:
        own = group.first.method
        nothing = [o for o in alike if o.first.method == own and not o.first.origin]
    if not nothing:
        return None
    areas = group.stack("areas")
    reference = nothing[0].stack("areas").mean(axis=0)
    return metrics.forward_transfer(areas, np.broadcast_to(reference, areas.shape))


def reference_of(run: Run) -> str:
    """Returns the method against which a run's forward transfer is measured."""
    with suppress(UserError):  # of a preset that there no longer is
        return registry.of_preset(run.preset).reference
    return "scratch"


def markdown_table(
    header: Sequence[str], rows: Iterable[Sequence[object]], numbers: bool = True
) -> str:
    """Returns a Markdown table of plain text: what its cells say is shown, not obeyed.

    Args:
        numbers: align every column but the first to the right.
    """
    rest = "--:|" if numbers else ":--|"
    lines = [f"| {' | '.join(map(escape, header))} |", "|:--|" + rest * (len(header) - 1)]
    lines += [f"| {' | '.join(map(escape, row))} |" for row in rows]
    return "\n".join(lines)


def table_cell(scores: Array, form: str = ".2f") -> str:
    """Returns the interquartile mean and its interval, or a dash where a number is unknown."""
    scores = np.asarray(scores, float)
    return metrics.interval(scores).text(form) if _known(scores) else "–"


def comparison(
    groups: Sequence[Group], shared: Mapping[str, Array] | None = None
) -> dict[str, Any]:
    """Returns everything that a comparison rests on, as plain data worth keeping without the runs.

    Per group: label, method, preset, tasks, the return that counts as 100 % and whether it is the
    exact optimum, the command that repeats it, interquartile means with 95 % intervals over seeds,
    also of whole runs, and what each seed measured, in how many steps, on which hardware and
    commit.

    Args:
        shared: errors by label, see `lib.analysis.shared_transitions.errors_by_group`.
    """
    return {group.label: _compared(group, (shared or {}).get(group.label)) for group in groups}


def _compared(group: Group, shared: Array | None) -> dict[str, Any]:
    first = group.first
    share = first.yardstick.share
    estimates = {
        f"{share} at the end of {task}": metrics.interval(shares)
        for task, shares in zip(first.tasks, _shares(group), strict=True)
        if _known(shares)
    } | {
        name: measure.estimate(scores)
        for measure in first.measures
        for name, scores in _knowledge(group, measure)
        if _known(scores)
    }
    if shared is not None:
        for k, task in enumerate(first.tasks):
            name = f"error on what all runs held out in {first.tasks[0]}, after {task}"
            estimates[name] = measures.ERROR.estimate(shared[:, k, 0])
    return {
        "method": first.method,
        "preset": first.preset,
        "origin": first.origin or "nothing",
        "tasks": list(first.tasks),
        "optimum": first.summary["optimum"],
        "optimum_is": first.summary.get("optimum_is", "exact"),
        "command": f"python -m lib run {first.name} -p seed=SEED",
        "estimates": {name: _plain(estimate) for name, estimate in estimates.items()},
        "whole_runs": {
            task: {
                name: _plain(part.estimate) | {"std_over_evaluations": float(part.returns.std())}
                for name, part in (("overall", found.overall), ("final 10 %", found.last))
            }
            for task in first.tasks
            if (found := whole_runs.of_group(group, task))
        },
        "runs": [
            {
                "seed": run.seed,
                **{key: run.summary[key] for key in RECORDED if key in run.summary},
            }
            for run in group.runs
        ],
    }


def _plain(estimate: metrics.Estimate) -> dict[str, float | None]:
    """Returns an estimate as JSON has it."""
    ends = {"low": _finite(estimate.low), "high": _finite(estimate.high)}
    return {"point": estimate.point, **ends}


def _shares(group: Group) -> Array:
    """Returns (tasks, seeds) returns at each task's own end, divided by what counts as 100 %."""
    return (group.stack("final_return") / group.first.optimum).T


def _knowledge(group: Group, measure: Measure) -> Iterable[tuple[str, Array]]:
    """Yields what the world model knows of the first task after each task: name and (seeds,)."""
    tasks, met = group.first.tasks, group.stack("met", measure.quantity)
    short = measure.name.removeprefix("right-cell ")
    for k, task in enumerate(tasks):
        yield f"{short} on what was {measure.of} {tasks[0]}, after {task}", met[:, k, 0]
    yield f"{measure.left_name} after {tasks[-1]}", measure.left_of(met)[:, -1, 0]


def _known(values: Array) -> bool:
    return bool(values.size and np.isfinite(values).all())


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
