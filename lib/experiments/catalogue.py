"""What can be run: params files by their names, and every preset with every method without a file.

A name is a file's below `params/`, a preset's, METHOD-PRESET (`-full` may be left out), or of a
preset for new tasks PRESET-TASK.
"""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lib.algos import registry
from lib.algos.api import Family
from lib.core.errors import UserError, unknown
from lib.envs import worlds
from lib.experiments import params, run_config

STUDIES = "studies"  # folder of files that are no runs, see `lib.experiments.studies`
WIDTH = 100  # columns of an overview
ENDINGS = ("", ".yaml", ".yml")
FILE, FITS, REFUSED = "F", "o", "."  # cells of the table of methods and presets


def files(folder: Path) -> dict[str, Path]:
    """Every params file in a folder and those in it, by name without the ending."""
    found = (path for path in sorted(folder.rglob("*.yaml")) if path.parent.name != STUDIES)
    return {path.stem: path for path in found}


def studies(folder: Path) -> dict[str, Path]:
    """Lists every comparison that has a file, by name, see `lib.experiments.studies`."""
    return {path.stem: path for path in sorted((folder / STUDIES).glob("*.yaml"))}


def read(name: str, folder: Path) -> dict[str, Any]:
    """The parameters that a name stands for.

    Args:
        name: a path, or one of the names that this module explains.
        folder: where params files are.

    Raises:
        UserError: it stands for nothing, or a file is damaged.
    """
    path = Path(name)
    if path.is_file():
        return params.read(path)
    known = files(folder)
    if path.suffix in ENDINGS:
        if path.stem in known:
            return params.read(known[path.stem])
        if found := without_file(path.stem, folder):
            return found
    names = [*known, *registry.presets(), *(name for name, _, _ in combinations())]
    hint = "'python -m lib list' shows all; or give the path of your own"
    raise unknown("params file or preset", name, names, hint)


def has_file(name: str, folder: Path) -> bool:
    """Whether a name is a path, or that of a file in a folder."""
    return Path(name).is_file() or Path(name).stem in files(folder)


def without_file(name: str, folder: Path) -> dict[str, Any] | None:
    """The parameters that a name without a file stands for, or None if it stands for nothing.

    Besides what the name says they hold what all files of the preset agree in, such as the device.
    """
    if name in registry.presets():
        return {"preset": name} | _shared(name, folder)
    for combined, method, preset in combinations():
        if name in (combined, combined.removesuffix("-full")):
            return _shared(preset, folder) | {"name": name, "preset": preset, "method": method}
    for combined, task, preset in _new_tasks():
        if name == combined:
            found = _shared(preset, folder) | {"name": name, "preset": preset, "tasks": [task]}
            (resolved,) = worlds.resolve(run_config.plain(preset, "").env, [task])
            if not resolved.after:
                found.pop("pre_rollout", None)  # nobody acts first
            return found
    return None


def combinations() -> Iterator[tuple[str, str, str]]:
    """Every METHOD-PRESET, the method and the preset."""
    for preset, family in registry.presets().items():
        for method in registry.family(family).methods:
            yield f"{method}-{preset}", method, preset


def _new_tasks() -> Iterator[tuple[str, str, str]]:
    """Every PRESET-TASK, the task and the preset, where a family has presets for new tasks."""
    for preset, name in registry.presets().items():
        study = registry.family(name).transfer_study
        if study is None:
            continue
        run = run_config.plain(preset, study.learner)
        if len(run.tasks) == 1:
            for task in study.tasks[run.env.domain]:
                yield f"{preset}-{task.removeprefix('room-')}", task, preset


def _readable(folder: Path) -> list[dict[str, Any]]:
    """What every params file holds that is not damaged."""
    found = []
    for path in files(folder).values():
        with suppress(UserError):  # whoever names it is told
            found.append(params.read(path))
    return found


def _shared(preset: str, folder: Path) -> dict[str, Any]:
    """What all params files of a preset agree in, but for their names."""
    found = [given for given in _readable(folder) if given.get("preset") == preset]
    first = found[0] if found else {}
    return {
        key: value
        for key, value in first.items()
        if key != "name" and all(given.get(key) == value for given in found)
    }


def in_words(parameters: dict[str, Any]) -> str:
    """What a name without a file stands for, in a few words."""
    said = f"preset {parameters['preset']}"
    if method := parameters.get("method"):
        said += f", method {method}"
    if parameters.get("load_mode"):
        said += f", task {', '.join(map(str, parameters['tasks']))}"
    return said


# Overviews ----------------------------------------------------------------------------------


def families() -> str:
    """Families with their presets and methods, a few lines each; the default method is marked *."""
    lines = []
    for name in registry.FAMILIES:
        family = registry.family(name)
        methods = [f"{m}*" if m == family.method else m for m in family.methods]
        lines += [f"family {name}"]
        lines += _wrapped("  presets: ", family.presets) + _wrapped("  methods: ", methods)
    return "\n".join(lines)


def overview(folder: Path) -> str:
    """Methods and presets of every family as a table, and the files, as text."""
    named = _readable(folder)
    parts = [_table(name, registry.family(name), named) for name in registry.FAMILIES]
    return "\n".join([*parts, *_listed(folder)])


def _table(name: str, family: Family, named: Sequence[dict[str, Any]]) -> str:
    """What a family's methods are, and with which presets they run."""
    letters = dict(zip(family.methods, "abcdefghijklmnopqrstuvwxyz", strict=False))
    wide = max(map(len, family.methods))
    lines = [f"family {name}"]
    for method, letter in letters.items():
        default = "*" if method == family.method else " "
        about = textwrap.shorten(family.about[method], WIDTH - wide - 7, placeholder=" ...")
        lines.append(f"  {letter}{default} {method:<{wide}}  {about}")
    wide = max(map(len, family.presets))
    lines.append(f"  {'preset':<{wide}}  {' '.join(letters.values())}")
    with_file = {(given.get("preset"), given.get("method")) for given in named}
    for preset in family.presets:
        cells = [
            FILE if (preset, method) in with_file else FITS if _fits(preset, method) else REFUSED
            for method in letters
        ]
        lines.append(f"  {preset:<{wide}}  {' '.join(cells)}")
    return "\n".join([*lines, ""])


def _fits(preset: str, method: str) -> bool:
    try:
        run_config.check(run_config.plain(preset, method))
    except UserError:
        return False
    return True


def _listed(folder: Path) -> Iterator[str]:
    """Every file by the folder it is in, and what it is about; comparisons last."""
    known = files(folder)
    paths = [*known.values(), *studies(folder).values()]
    first = max((len(path.stem) for path in paths), default=0)
    room = max(30, WIDTH - first - 4)
    for place in dict.fromkeys(
        [*sorted({path.parent for path in known.values()}), folder / STUDIES]
    ):
        inside = [path for path in paths if path.parent == place]
        if inside:
            note = ", 'python -m lib transfer NAME' runs one" if place.name == STUDIES else ""
            within = "" if place == folder else f"{place.relative_to(folder)}/"
            yield f"params/{within}{note}"
        for path in inside:
            about = textwrap.shorten(params.about(path), room, placeholder=" ...")
            yield f"  {path.stem:<{first}}  {about}".rstrip()


def _wrapped(head: str, names: Any) -> list[str]:
    indent = " " * len(head)
    return textwrap.wrap(
        head + ", ".join(names), WIDTH, subsequent_indent=indent, break_on_hyphens=False
    )
