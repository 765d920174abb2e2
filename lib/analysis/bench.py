"""Reads what `make bench` measured on one machine, and sorts it for drawing.

A file names hardware, commit and versions and holds rows; every row has the fields of `Row` and no
others. A row's name is `WHAT, DETAIL, SIZE`, where the size is a preset of a family,
or `WHAT, LETTER = NUMBER, SIZE` where one setting is varied. Nothing here measures or draws.
"""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from lib.core.errors import UserError
from lib.core.paths import OUTPUTS, shown

LATEST = OUTPUTS / "bench" / "latest.json"
PUBLISHED = OUTPUTS / "published"
LOWER = "-lower"  # ends the size of rows whose fast form computes in lower precision
AGAIN = "measure again with: make bench"
SMALLER_IS_BETTER = ("ms", "s", "h", "MiB")
NEEDED = ("hardware", "commit", "versions", "rows")
GROUPS = {
    # What a row is about, by the first words of its name; anything else steps an environment.
    "plans": "planning",
    "reviewer plans": "planning",
    "updates": "updates",
    "seeds": "stacked seeds",
    "end to end": "end to end",
    "memory": "memory",
    "ready": "ready",
    "plan": "growth",
    "update": "growth",
    "hours": "hours",
    "dreamer updates": "dreamers",
    "dreamer decisions": "dreamers",
    "dreamer seeds": "dreamers",
    "viewer steps": "viewer",
}
ENVIRONMENTS = "environments"
PARTS = {
    # What a reader looks for to the part of the benchmark that measures it.
    "planning": "plans",
    "updates": "updates",
    "stacked seeds": "seeds",
    ENVIRONMENTS: "environments",
    "end to end": "whole",
    "memory": "ready",
    "ready": "ready",
    "growth": "growth",
    "hours": "hours",
    "dreamers": "dreamer",
    "viewer": "viewer",
}
MACHINES = ("nvidia", "geforce", "tesla")  # words of a device's name that tell nothing apart


@dataclass(frozen=True)
class Row:
    """Holds one comparison; `None` stands where a number makes no sense."""

    name: str
    unit: str
    reference: float | None  # the plain form, in the unit
    fast: float | None  # the fast form
    ratio: float | None  # how many times better the fast form is, whatever the unit's direction
    share_of_peak: float | None  # of the measured float32 matrix-product peak, the fast form

    @property
    def group(self) -> str:
        """Returns what the row is about: a value of `GROUPS`, or environments."""
        return GROUPS.get(self.name.split(",")[0], ENVIRONMENTS)

    def cells(self) -> list[str]:
        """Returns name, unit, both forms, ratio and share of the peak, for a table."""
        share = "–" if self.share_of_peak is None else f"{self.share_of_peak:.1%}"
        numbers = (self.reference, self.fast, self.ratio)
        return [self.name, self.unit, *(cell(value) for value in numbers), share]


@dataclass(frozen=True)
class Aim:
    """Holds what is asked of one number of a row."""

    row: str
    field: str  # "fast" or "ratio"
    limit: float
    at_least: bool
    device: str  # kind of device on which it is asked
    words: str

    def asked(self) -> str:
        """Returns the limit in words: at least 1,500."""
        return f"at {'least' if self.at_least else 'most'} {self.limit:,g}"

    def met(self, value: float) -> bool:
        """Tells whether a measured value is within the limit."""
        return value >= self.limit if self.at_least else value <= self.limit


BARE = "without evaluation"
AIMS = (
    Aim("plans, 64 states, cheetah-full", "fast", 1_500, True, "cuda", "plans/s, 64 states"),
    Aim("plans, 1 state, cheetah-full", "fast", 250, True, "cuda", "plans/s, one state (4 ms)"),
    Aim("updates, first task, cheetah-full", "fast", 500, True, "cuda", "updates/s (2 ms)"),
    Aim("updates, reviewed, cheetah-full", "fast", 200, True, "cuda", "reviewed updates/s (5 ms)"),
    Aim(
        "seeds, first task, S = 5, cheetah-full",
        "ratio",
        2.5,
        True,
        "cuda",
        "5 seeds at once",
    ),
    Aim("ready, first task, cheetah-full", "fast", 15, False, "cuda", "seconds until ready"),
    # Without evaluation, as the 83 hours that the plain form took were measured.
    Aim(f"hours, 3 tasks {BARE}, cheetah-full", "fast", 1.5, False, "cuda", "hours, cheetah"),
    Aim(f"hours, 4 tasks {BARE}, grid-full", "fast", 0.5, False, "cuda", "hours, MiniGrid"),
    Aim("end to end, whole run, grid-quick", "ratio", 5, True, "cpu", "times the plain path"),
    *(
        Aim(f"dreamer updates, minigrid3-full-{how}", "fast", limit, False, "cuda", words)
        for how, limit, words in (
            ("tf32", 36, "Dreamer's update [ms]"),
            ("bf16", 33, "the same in half precision [ms]"),
        )
    ),
    *(
        Aim(f"dreamer updates, {method}, dmc-full-bf16", "fast", limit, False, "cuda", words)
        for method, limit, words in (
            ("dreamer", 20, "Dreamer's update, pictures of bodies [ms]"),
            ("dreamer-pro", 28, "DreamerPro's [ms]"),
            ("tpc", 36, "TPC's [ms]"),
        )
    ),
    # Five seeds at most 2.5 times as long as one: five turns of one are twice as long.
    *(
        Aim(f"dreamer seeds, S = 5, minigrid3-full-{how}", "ratio", 2, True, "cuda", words)
        for how, words in (("tf32", "5 Dreamers at once"), ("bf16", "5 in half precision"))
    ),
    Aim("dreamer updates, minigrid3-quick", "fast", 70, False, "cpu", "Dreamer's update [ms]"),
    Aim("viewer steps, 250 pictures", "fast", 100, False, "cpu", "a scrubbed step [ms]"),
)


@dataclass(frozen=True)
class Bench:
    """Holds one file."""

    path: Path
    told: dict[str, Any]  # everything in the file but the rows
    rows: tuple[Row, ...]

    @property
    def device(self) -> str:
        """Returns the kind of device that was measured: "cuda" or "cpu"."""
        return self.told.get("device") or ("cuda" if self.told["hardware"].get("gpu") else "cpu")

    @property
    def machine(self) -> str:
        """Returns the device's name."""
        hardware = self.told["hardware"]
        return str(hardware.get("gpu") if self.device == "cuda" else hardware.get("cpu"))

    def group(self, name: str) -> list[Row]:
        """Returns rows about one thing, in the file's order."""
        return [row for row in self.rows if row.group == name]

    def without(self, name: str) -> str:
        """Returns what to tell a reader who looks for a group of rows that is not there."""
        return (
            f"{shown(self.path)} has no rows about {name}; measure them with: "
            f"make bench ARGS='--only {PARTS[name]}'"
        )

    def row(self, name: str) -> Row | None:
        """Returns the row of that name, or None."""
        return next((row for row in self.rows if row.name == name), None)

    def aims(self) -> list[tuple[Aim, float]]:
        """Returns what is asked of this kind of device and what was measured, where it was."""
        asked = [aim for aim in AIMS if aim.device == self.device]
        lower = [
            replace(aim, row=aim.row + LOWER, words=f"{aim.words}, lower precision")
            for aim in asked
        ]
        found = []
        for aim in (*asked, *lower):
            row = self.row(aim.row)
            value = getattr(row, aim.field) if row else None
            if value is not None:
                found.append((aim, value))
        return found

    def card(self) -> list[tuple[str, str]]:
        """Returns what was measured on and with, as lines of a table."""
        hardware, peak = self.told["hardware"], self.told.get("peak") or {}
        peaks = [f"{number:,.0f} ({kind})" for kind, number in peak.items()]
        return [
            ("file", str(shown(self.path))),
            ("device", self.machine),
            ("cores, most threads", f"{hardware.get('cores')}, {self.told.get('threads')}"),
            ("matrix products [GFLOP/s]", ", ".join(peaks) or "not measured"),
            ("commit", str(self.told["commit"])),
            ("versions", ", ".join(f"{k} {v}" for k, v in self.told["versions"].items())),
            ("command", str(self.told.get("command") or "not told")),
        ]


@dataclass(frozen=True)
class Growth:
    """Holds how long one call takes as one setting grows; of equal length, in milliseconds."""

    what: str  # "plan" or "update"
    letter: str  # "E", "S", "horizon" or "width"
    size: str  # the preset whose setting is varied
    x: tuple[float, ...]
    reference: tuple[float, ...]  # NaN where not measured
    fast: tuple[float, ...]


def growths(rows: Iterable[Row]) -> list[Growth]:
    """Returns rows such as `plan, E = 16, grid-quick` gathered into curves, x increasing."""
    found: dict[tuple[str, str, str], list[tuple[float, Row]]] = {}
    for row in rows:
        parts = re.fullmatch(r"(plan|update), (\w+) = ([\d.]+), (.+)", row.name)
        if parts:
            what, letter, x, size = parts.groups()
            found.setdefault((what, letter, size), []).append((float(x), row))
    curves = []
    for key, points in found.items():
        points.sort(key=lambda point: point[0])
        x, fast = [x for x, _ in points], [number(row.fast) for _, row in points]
        curves.append(
            Growth(*key, tuple(x), tuple(number(row.reference) for _, row in points), tuple(fast))
        )
    return curves


def payback(found: Bench) -> tuple[float, float] | None:
    """Returns seconds that preparing the fast form costs, and updates that win them back.

    Both for the preset that was started with nothing compiled before; None where a row is missing
    or an update gains nothing.
    """
    for row in found.group("ready"):
        words = row.name.split(", ")
        if "nothing cached" not in words:
            continue
        plain = found.row(f"ready, first task, {words[-1]}")
        update = found.row(f"updates, first task, {words[-1]}")
        if plain and update and None not in (plain.reference, update.reference, update.fast):
            seconds = max(0.0, row.fast - plain.reference)
            gained = 1 / update.reference - 1 / update.fast
            return (seconds, seconds / gained) if gained > 0 else None
    return None


def number(value: float | None) -> float:
    """Returns the value, NaN for None."""
    return math.nan if value is None else float(value)


def cell(value: float | None) -> str:
    """Returns a number for a table with as many digits as it deserves, or a dash."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def better(unit: str, reference: float | None, fast: float | None) -> float | None:
    """Returns how many times better `fast` is; None where either is missing or nothing."""
    if not reference or not fast:
        return None
    return reference / fast if unit in SMALLER_IS_BETTER else fast / reference


# Files -----------------------------------------------------------------------------------------


def find(path: str | Path = "") -> list[Bench]:
    """Returns the file at `path`, else the latest of this machine, else all that are published.

    Raises:
        UserError: there is no such file, or it has another layout.
    """
    if path:
        return [read(path)]
    if LATEST.is_file():
        return [read(LATEST)]
    there = sorted(PUBLISHED.glob("bench-*.json"))
    if not there:
        raise UserError(
            f"no bench file: neither '{shown(LATEST)}' nor '{shown(PUBLISHED)}/bench-*.json'; "
            "make one with: make bench"
        )
    return [read(one) for one in there]


def read(path: str | Path) -> Bench:
    """Returns one file.

    Raises:
        UserError: there is no such file, or it has another layout.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no bench file '{shown(path)}'; make one with: make bench")
    try:
        told = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"bench file '{shown(path)}' is not JSON ({error}); {AGAIN}") from None
    missing = [key for key in NEEDED if not isinstance(told, dict) or key not in told]
    if missing:
        raise UserError(f"bench file '{shown(path)}' has no {', '.join(missing)}; {AGAIN}")
    rows = tuple(_row(row, index, path) for index, row in enumerate(told.pop("rows"), 1))
    return Bench(path, told, rows)


def _row(found: Any, index: int, path: Path) -> Row:
    wanted = [field.name for field in fields(Row)]
    if not isinstance(found, dict) or set(found) != set(wanted):
        names = ", ".join(found) if isinstance(found, dict) else type(found).__name__
        raise UserError(
            f"bench file '{shown(path)}' has another layout: row {index} holds {names}, "
            f"wanted {', '.join(wanted)}; {AGAIN}"
        )
    return Row(**found)


def to_dict(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Returns rows as a file holds them."""
    return [asdict(row) for row in rows]


def slug(device: str, name: str) -> str:
    """Returns a short name: h200 for "NVIDIA H200, 140 GiB", cpu for any processor."""
    if device == "cpu":
        return "cpu"
    words = re.findall(r"[a-z0-9]+", name.split(",")[0].lower())
    return "-".join(word for word in words if word not in MACHINES) or device
