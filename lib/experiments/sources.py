"""Finds the finished runs whose world models a comparison builds on, and checks that they fit."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lib.algos import registry
from lib.algos.api import TransferStudy
from lib.core.config import RunConfig
from lib.core.errors import UserError, unknown
from lib.core.paths import ROOT, shown
from lib.experiments import summaries
from lib.runner import checkpoint, warm_start
from lib.runner.run_folder import differences


@dataclass(frozen=True)
class Source:
    """A finished run to build on."""

    folder: Path
    name: str
    method: str
    seed: int
    tasks: tuple[str, ...]  # full names, in the order learnt
    env_steps: int  # of the whole run


def of(found: Iterable[Source], method: str, seed: int) -> Source | None:
    """The source of a method with a seed."""
    return next((one for one in found if (one.method, one.seed) == (method, seed)), None)


def stream_of(preset: str) -> str:
    """What the runs that a preset builds on are called, after their method: cheetah-quick."""
    name = re.sub(r"-(transfer|few-shot)", "", preset)
    return "grid-full" if name == "grid" else name


def find(preset: str, outputs: Path, methods: Iterable[str]) -> list[Path]:
    """Finished runs of some methods that a preset builds on, by method and seed."""
    found = []
    for method in methods:
        by_seed = {
            int(match[1]): path
            for path in outputs.glob(f"{method}-{stream_of(preset)}-s*")
            if (match := re.fullmatch(r".*-s(\d+)", path.name))
        }
        found += [by_seed[seed] for seed in sorted(by_seed) if summaries.is_finished(by_seed[seed])]
    return found


def load(given: list[str], base: RunConfig, outputs: Path, rules: TransferStudy) -> list[Source]:
    """The runs to build on, each fit for it, one of each method and seed.

    Args:
        given: their folders, as seen from the repository's root; all that are found if empty.
        base: what every new run is.
        outputs: where they are looked for.

    Raises:
        UserError: none is there, or one of them does not fit.
    """
    paths = [ROOT / text for text in given] or find(base.preset, outputs, rules.sources)
    if not paths:
        stream = stream_of(base.preset)
        commands = " and ".join(command(f"{method}-{stream}") for method in rules.sources)
        raise UserError(
            f"no finished run in '{shown(outputs)}' that preset '{base.preset}' could build on; "
            f"make them with {commands}, or name others with sources"
        )
    found: list[Source] = []
    for path in paths:
        source = read(shown(path))
        _check_fits(source, base, rules)
        if twin := of(found, source.method, source.seed):
            raise UserError(
                f"'{twin.folder}' and '{source.folder}' are both runs of {source.method} with "
                f"seed {source.seed}; name one of them"
            )
        found.append(source)
    return found


def read(folder: Path) -> Source:
    told = summaries.finished(folder)
    return Source(
        folder=folder,
        name=told["name"],
        method=told["method"],
        seed=told["seeds"][0],
        tasks=tuple(told["tasks"]),
        env_steps=int(told.get("env_steps") or 0),
    )


def _check_fits(source: Source, mine: RunConfig, rules: TransferStudy) -> None:
    """Raises UserError where a run's world model cannot be that of a new run."""
    family = registry.of(mine)
    if source.method not in family.methods:  # it becomes part of folders' names
        raise unknown("method", source.method, family.methods, f"in '{source.folder}'")
    path = warm_start.checkpoint_of(str(source.folder))
    theirs = warm_start.written_by(checkpoint.load_meta(path), path)
    if not theirs.carries:
        raise UserError(
            f"'{source.folder}' is a run of '{source.method}', which starts every task from "
            "nothing, so its world model knows the last one only; name runs of a continual method"
        )
    if theirs.env.domain != mine.env.domain:
        raise UserError(
            f"'{source.folder}' is a run on the {theirs.env.domain}, but preset '{mine.preset}' is "
            f"about the {mine.env.domain}; choose a preset of the {theirs.env.domain}, or other "
            "sources"
        )
    if theirs.family != mine.family:
        raise UserError(
            f"'{source.folder}' is a run of family '{theirs.family}', but preset '{mine.preset}' "
            f"is one of '{mine.family}'; name runs of that"
        )
    warm_start.check_same_world(mine, theirs, path, warm_start.MEANING)
    if different := differences(rules.networks(theirs), rules.networks(mine)):
        raise UserError(
            f"'{source.folder}' has other networks than preset '{mine.preset}' "
            f"({'; '.join(different)}); name runs of {stream_of(mine.preset)}, or a preset that "
            "fits"
        )


def seeds(given: list[int], found: Iterable[Source]) -> list[int]:
    """The seeds asked for, or all that every method has a source of.

    Raises:
        UserError: a method has no source with one of them.
    """
    by_method: dict[str, dict[int, Source]] = {}
    for source in found:
        by_method.setdefault(source.method, {})[source.seed] = source
    if not given:
        shared = set.intersection(*map(set, by_method.values()))
        if not shared:
            have = "; ".join(f"{name} has {sorted(held)}" for name, held in by_method.items())
            raise UserError(f"no seed that every method has a source of: {have}; add sources")
        return sorted(shared)
    for seed in given:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise UserError(f"seed {seed!r} is no whole number of 0 or more")
        for method, held in by_method.items():
            if seed not in held:
                first = next(iter(held.values()))
                raise UserError(
                    f"no source of {method} with seed {seed}; make it with "
                    f"{command(first.name, seed)}, and name it where you name the others"
                )
    return list(dict.fromkeys(given))


def command(name: str, seed: int = 0) -> str:
    """How a run is made, for messages."""
    return f"'python -m lib run {name} -p seed={seed}'"
