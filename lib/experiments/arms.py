"""Lays out studies: every arm in every seed, and before them the runs that they build on.

What an arm builds on its params file says, as a place such as `outputs/NAME-s{seed}`. That run is
taken where it is finished and just as its own params file has it. Otherwise it is trained first,
in the study's folder, once for each seed, whichever arms build on it.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.algos import registry
from lib.core import config
from lib.core.errors import UserError, short
from lib.core.paths import PARAMS, ROOT, from_root, shown
from lib.envs import worlds
from lib.experiments import (
    catalogue,
    folders,
    params,
    run_config,
    runs,
    sources,
    studies,
    summaries,
)
from lib.experiments.sources import Source
from lib.experiments.studies import Arms
from lib.experiments.trials import Study, Trial
from lib.runner import contents, warm_start
from lib.runner.run_folder import differences
from lib.runner.warm_start import SEED

PLACE = re.compile(r"outputs/(.+)-s(\{seed\}|\d+)")  # a run that can be made, for one seed or each
ANYWHERE = ("name", "device", "engine")  # settings that change no number of a source
TARGETS = "budget"  # the section of settings that are about the new tasks alone


def prepare(given: Mapping[str, Any], outputs: Path, folder: Path = PARAMS) -> Study:
    """Lists every run that a comparison takes, and checks them before the first one starts.

    Settings reach every run, those that are built on as well, but for settings of the budget, which
    reach the new tasks alone, and for those of what a run takes of others, which reach the arms
    that set such themselves.

    Args:
        given: all of `transfer.PARAMETERS`. `study` is the comparison's name; `tasks` replace what
            the arms learn, each a target of its own; `sources` are finished runs to take in place
            of those of the same name and seed.
        outputs: folder where sources are looked for, and where the result goes if no `out_dir`
            is given.
        folder: of params files.

    Raises:
        UserError: an unknown name, what the params files cannot say, a source that is missing or
            of no use, or a folder that holds something else.
    """
    found = studies.read(given["study"], folder)
    if given["pre_rollout"]:
        raise UserError("pre_rollout is said by the arms of a study; leave it out")
    out = ROOT / given["out_dir"] if given["out_dir"] else outputs / found.name
    folders.check_asked(out, contents.TRANSFER)
    seeds = run_config.checked_seeds(given["seeds"] or list(found.seeds))
    layout = _Layout(found, given, out, outputs, folder, _named(given["sources"]))
    layout.check_settings()
    targets = given["tasks"] or _shared_tasks(found)
    trials = [
        layout.trial(arm, entry, seed) for entry in targets for arm in found.arms for seed in seeds
    ]
    layout.check_used()
    complete = {
        **given,
        "study": found.name if found.name in catalogue.studies(folder) else given["study"],
        "preset": found.preset,
        "tasks": list(targets),
        "sources": [from_root(source.folder) for source in layout.taken.values()],
        "seeds": list(seeds),
        "out_dir": from_root(out),
    }
    made = tuple(layout.made.values())
    notes = dict.fromkeys(note for trial in trials for note in layout.notes(trial))
    return Study(out, complete, tuple(layout.taken.values()), tuple(trials), made, tuple(notes))


def _named(places: list[Any]) -> dict[tuple[str, int], Source]:
    """Finished runs by name and seed."""
    found: dict[tuple[str, int], Source] = {}
    for place in places:
        if not isinstance(place, str):
            raise UserError(f"parameter 'sources': {place!r} is no folder; give paths of runs")
        source = sources.read(shown(ROOT / place))
        found[source.name, source.seed] = source
    return found


def _shared_tasks(found: Arms) -> list[Any]:
    """The tasks that all arms learn."""
    each = {arm: given["tasks"] for arm, given in found.arms.items()}
    first, *others = each
    for other in others:
        if each[other] != each[first]:
            raise UserError(
                f"arm '{first}' of study '{found.name}' learns {short(each[first])}, and '{other}' "
                f"{short(each[other])}; give all the same tasks"
            )
    if not each[first]:
        raise UserError(f"study '{found.name}' names no tasks; list them in its params files")
    return list(each[first])


@dataclass
class _Layout:
    """Turns arms into trials, and collects what these build on."""

    found: Arms
    given: Mapping[str, Any]
    out: Path
    outputs: Path
    folder: Path
    named: Mapping[tuple[str, int], Source]  # that somebody wants to be taken
    taken: dict[tuple[str, int], Source] = field(default_factory=dict)
    made: dict[tuple[str, int], Trial] = field(default_factory=dict)
    open: list[tuple[str, int]] = field(default_factory=list)  # sources being laid out

    def trial(self, arm: str, entry: Any, seed: int) -> Trial:
        """Lays out one run of an arm; raises UserError where its folder holds something else."""
        mine = self.found.arms[arm]
        parameters = self._complete(mine, seed, self._settings(mine, target=True))
        parameters["tasks"] = [entry]
        (task,) = worlds.resolve(run_config.resolve(parameters).env, [entry])
        parameters["name"] = f"{self.found.name}-{task.name}-{arm}"
        return self._run(task.name, arm, f"{task.name}-{arm}-s{seed}", parameters)

    def _run(self, task: str, start: str, folder: str, parameters: dict[str, Any]) -> Trial:
        """A run in the comparison's folder, once what it builds on is known."""
        parameters, needs = self._placed(parameters)
        cfg = run_config.resolve(parameters)
        path = self.out / contents.TRIALS / folder
        held, record = folders.held(path), params.record(cfg, parameters)
        if held is not None and (different := differences(held, record)):
            raise UserError(
                f"'{shown(path)}' already holds a different run ({'; '.join(different[:4])}); "
                "choose another out_dir, or remove that folder"
            )
        before = [self.made[key] for key in needs if key in self.made]
        for other in before:
            warm_start.check_same_view(cfg, other.config, shown(other.folder))
            warm_start.check_same_family(cfg, other.config, shown(other.folder))
        if all(summaries.is_finished(other.folder) for other in before):
            runs.check_sources(cfg, parameters)
        waits = tuple(other.folder for other in before)
        return Trial(task, start, cfg.seed, parameters, cfg, path, waits)

    def _complete(
        self, mine: Mapping[str, Any], seed: int, settings: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Parameters with a seed, and with settings of the whole comparison."""
        device = self.given["device"]
        changes = {"seed": seed, "seeds": [], "overrides": {**mine["overrides"], **settings}}
        if device != run_config.PARAMETERS["device"]:
            changes["device"] = device
        return {**mine, **changes, "out_dir": "", "video": "", "render": "", "wandb": ""}

    # What reaches whom ------------------------------------------------------------------------

    def _settings(self, mine: Mapping[str, Any], target: bool) -> dict[str, Any]:
        """The settings of the whole comparison that reach one run."""
        takes = registry.of_preset(self.found.preset).takes
        own = {_section(key) for key in mine["overrides"]}

        def reaches(key: str) -> bool:
            section = _section(key)
            if section in takes:
                return target and section in own
            return target or section != TARGETS

        asked = config.flat(self.given["overrides"])
        return {key: value for key, value in asked.items() if reaches(key)}

    def check_settings(self) -> None:
        """Raises UserError where a setting of the whole comparison reaches none of its arms."""
        reached = {
            key for mine in self.found.arms.values() for key in self._settings(mine, target=True)
        }
        for key in config.flat(self.given["overrides"]):
            if key not in reached:
                raise UserError(
                    f"setting '{key}' reaches no arm of study '{self.found.name}', as none sets "
                    f"'{_section(key)}' itself; leave it out"
                )

    # What is built on -------------------------------------------------------------------------

    def _placed(self, parameters: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, int]]]:
        """Parameters in which places of runs are where those are or will be, and these runs."""
        needs: list[tuple[str, int]] = []

        def placed(text: str) -> str:
            match = PLACE.fullmatch(text)
            if not match:
                return text
            name, which = match.groups()
            seed = parameters["seed"] if which == SEED else int(which)
            home = self._source(name, seed)
            if home is None:
                return text
            needs.append((name, seed))
            place = from_root(home)
            own = f"-s{seed}"
            if which == SEED and place.endswith(own):  # alike in all seeds
                place = place.removesuffix(own) + f"-s{SEED}"
            return place

        changed = {key: placed(parameters[key]) for key in ("load_from", "pre_rollout")}
        overrides = {key: _mapped(value, placed) for key, value in parameters["overrides"].items()}
        return parameters | changed | {"overrides": overrides}, needs

    def _source(self, name: str, seed: int) -> Path | None:
        """Where the run of a name and seed is; one that is not there is to be made first.

        None where nothing is known of how it is made.
        """
        key = name, seed
        for known in (self.made, self.taken):
            if key in known:
                return known[key].folder
        if key in self.named:
            self.taken[key] = self.named[key]
            return self.taken[key].folder
        if key in self.open:
            raise UserError(f"study '{self.found.name}': run '{name}' builds on itself; mend that")
        mine = self.found.sources.get(name)
        if mine is None:
            with suppress(UserError):
                mine = studies.parameters_of(name, self.folder, name)
        if mine is None:
            return None
        self.open.append(key)
        self._find_or_make(name, seed, mine)
        self.open.remove(key)
        return self._source(name, seed)

    def _find_or_make(self, name: str, seed: int, mine: Mapping[str, Any]) -> None:
        """Takes a run from outputs/ where it is what would be made, or lays it out."""
        parameters = self._complete(mine, seed, self._settings(mine, target=False))
        parameters["name"], folder = name, f"{name}-s{seed}"
        placed, _ = self._placed(parameters)
        begun = (self.out / contents.TRIALS / folder).exists()
        if not begun and self._is_there(folder, placed):
            self.taken[name, seed] = sources.read(shown(self.outputs / folder))
            return
        cfg = run_config.resolve(placed)
        task = "+".join(one.name for one in worlds.resolve(cfg.env, cfg.tasks))
        self.made[name, seed] = self._run(task, name, folder, parameters)

    def _is_there(self, folder: str, parameters: Mapping[str, Any]) -> bool:
        """Whether a finished run below outputs/ is what would be made."""
        path = self.outputs / folder
        if not summaries.is_finished(path):
            return False
        with suppress(UserError):  # what is damaged is not taken
            mine = params.record(run_config.resolve(parameters), parameters)
            held = folders.held(path) or {}
            return not differences(*(_essence(record) for record in (held, mine)))
        return False

    def check_used(self) -> None:
        """Raises UserError where a source that somebody named is none that an arm builds on."""
        built_on = {name for name, _ in (*self.taken, *self.made)}
        for (name, _), source in self.named.items():
            if name not in built_on:
                raise UserError(
                    f"'{source.folder}' is a run called '{name}', and no arm of study "
                    f"'{self.found.name}' builds on one; they build on "
                    f"{', '.join(sorted(built_on)) or 'nothing'}"
                )

    def notes(self, trial: Trial) -> Iterator[str]:
        """Yields a line for every source of a trial that has learnt its task already."""
        tasks = {str(shown(other.folder)): other.config.tasks for other in self.made.values()}
        for place in runs.teachers(trial.config, trial.parameters):
            if note := warm_start.learnt_already(trial.config, place, tasks.get(place)):
                yield note


def _section(key: str) -> str:
    return key.split(".")[0]


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """The same with every text in a list, or the text itself, changed."""
    if isinstance(value, list | tuple):
        return [_mapped(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def _essence(record: Mapping[str, Any]) -> dict[str, Any]:
    """What config.yaml holds of a run, without what changes no number."""
    return {key: value for key, value in record.items() if key not in ANYWHERE}
