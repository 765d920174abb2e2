"""Prepares and trains a run, or several seeds of one: configurations and folders.

A run lives in a folder of its own, with the notebook that was executed for it. Several seeds have
a folder each, which looks like that of a single run to everything that reads runs, and one more
beside them: for the notebook of all of them, and `seeds.yaml`, which says what was asked for.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lib.algos import registry
from lib.core.config import RunConfig
from lib.core.files import atomic_write
from lib.core.kernel import UNATTENDED
from lib.core.paths import ROOT, shown
from lib.core.storage import told_to_the_user
from lib.envs import worlds
from lib.experiments import folders, own_modules, params, requests, run_config
from lib.runner import checkpoint, contents, parts, saved, training, warm_start
from lib.runner.run_folder import RunFolder
from lib.runner.warm_start import Start
from lib.runner.window import check_screen

LONGEST_TAIL = 60  # characters of a folder's name after that of the run


@dataclass(frozen=True)
class RunSpec:
    """A run that is asked for, or several seeds of one."""

    out: Path  # notebook, figures, stop file and progress of all
    parameters: dict[str, Any]  # of notebooks/20_run.py
    configs: tuple[RunConfig, ...]  # one for each seed
    folders: tuple[Path, ...]  # of their runs; `out` itself where there is one

    @property
    def together(self) -> bool:
        """Whether there are several."""
        return len(self.configs) > 1

    @property
    def outs(self) -> tuple[Path, ...]:
        """Every folder that is written to: the runs' own, and what several share."""
        return tuple(dict.fromkeys((self.out, *self.folders)))

    def each(self) -> Iterator[tuple[RunConfig, Path]]:
        """The runs one by one."""
        return zip(self.configs, self.folders, strict=True)


def prepare(parameters: Mapping[str, Any], outputs: Path) -> RunSpec:
    """Checks the parameters of a run, and returns what it takes and where it goes.

    A single run goes to `out_dir`, or else to outputs/NAME-sSEED. Of several seeds the notebook
    goes to `out_dir`, or else to outputs/NAME-seeds-0-1-2, and the runs beside it to folders
    that are called -sSEED instead. Many seeds are called 0-to-199, or by a digest.

    Args:
        parameters: see `run_config.PARAMETERS`; `out_dir` as seen from the working directory.
        outputs: the folder for all runs.

    Raises:
        UserError: what `run_config.resolve` says, a world that is handed over in a
            notebook, and a load_mode without a place to load from.
    """
    own_modules.import_them()  # a notebook's process has yet to do so
    given = run_config.PARAMETERS | dict(parameters)
    configs = run_config.resolve_seeds(given)
    check_screen(given["render"])
    if worlds.of(configs[0].env).handed_over:
        worlds.build(configs[0].env, configs[0].tasks)  # which says where they come from
    several = len(configs) > 1
    seeds = [config.seed for config in configs]
    tail = _tail(seeds)
    Start(*(given[key] for key in params.KEPT))
    out = Path(given["out_dir"]) if given["out_dir"] else outputs / f"{configs[0].name}{tail}"
    if not several:
        return RunSpec(out, given, configs, (out,))
    out = out.resolve() if out.name in ("", "..") else out
    base = out.name.removesuffix(tail)
    return RunSpec(out, given, configs, tuple(out.with_name(f"{base}-s{seed}") for seed in seeds))


def _tail(seeds: list[int]) -> str:
    """What a folder is called after the run's name: its seeds, in a few characters."""
    if len(seeds) == 1:
        return f"-s{seeds[0]}"
    listed = "-".join(map(str, seeds))
    if len(listed) > LONGEST_TAIL and seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        listed = f"{seeds[0]}-to-{seeds[-1]}"
    elif len(listed) > LONGEST_TAIL:
        listed = f"{len(seeds)}-{hashlib.sha256(listed.encode()).hexdigest()[:8]}"
    return f"-seeds-{listed}"


def check_sources(config: RunConfig, parameters: Mapping[str, Any]) -> None:
    """Looks whether a run that is about to begin will find the runs that it builds on.

    Args:
        parameters: of which `load_from` and `pre_rollout` count from the repository's root.

    Raises:
        UserError: one of them is missing, or comes from another world.
    """
    load_from, pre_rollout = sources(config, parameters)
    if load_from:
        checkpoint.load_meta(warm_start.checkpoint_of(load_from))
    for foreign in registry.of(config).foreign(config):
        parts.check(foreign._replace(path=str(shown(ROOT / foreign.path))), config)
    warm_start.first_checkpoints(pre_rollout, worlds.resolve(config.env, config.tasks), config)


def sources(config: RunConfig, parameters: Mapping[str, Any]) -> tuple[str, str]:
    """Where a run starts from and who acts first, as seen from here; "" for nowhere and nobody."""
    start = Start(*(parameters[key] for key in params.KEPT)).of_seed(config.seed)
    load_from, pre_rollout = (
        place and str(shown(ROOT / place)) for place in (start.load_from, start.pre_rollout)
    )
    return load_from, pre_rollout


def teachers(config: RunConfig, parameters: Mapping[str, Any]) -> list[str]:
    """Lists the runs of which a run takes what tells what tasks pay, or how they are done.

    They should not have learnt what it is to learn. As `sources` names them.
    """
    load_from, _ = sources(config, parameters)
    foreign = [part for part in registry.of(config).foreign(config) if part.teaches]
    found = [load_from] if parameters["load_mode"] == "parts" else []
    return found + [str(shown(ROOT / part.path)) for part in foreign]


def notes(spec: RunSpec) -> Iterator[str]:
    """What is damaged in the folders of unfinished runs, and what is done about it.

    Raises:
        UserError: one of them cannot go on.
    """
    for config, path in spec.each():
        folder = RunFolder(path)
        if not folder.is_complete():
            yield from saved.standing(folder).notes
        if not folder.checkpoints.exists():
            told = (
                warm_start.learnt_already(config, place)
                for place in teachers(config, spec.parameters)
            )
            yield from filter(None, told)


def write_request(spec: RunSpec) -> None:
    """Writes down in the folder of several seeds what it is, for `resume`, `list` and `clean`.

    Raises:
        UserError: the folder holds something else.
    """
    if not spec.together:
        return
    folders.check_asked(spec.out, contents.SEEDS)
    with told_to_the_user(spec.out / contents.SEEDS):
        spec.out.mkdir(parents=True, exist_ok=True)
    runs = [os.path.relpath(folder, spec.out) for folder in spec.folders]
    record = {"parameters": requests.kept(spec.parameters), "runs": runs}
    atomic_write(spec.out / contents.SEEDS, yaml.safe_dump(record, sort_keys=False))


def train(spec: RunSpec, *, tensorboard: bool = True, progress: bool | None = None) -> list[Path]:
    """Takes every run to its end from wherever its folder is; see `training.train_seeds`.

    Args:
        progress: draw a progress bar; left out, where somebody watches. A notebook that the
            command line executes is the same then, whether or not its run was interrupted.

    Returns:
        Paths of their `summary.json`.
    """
    write_request(spec)
    for config, folder in spec.each():
        alone = {"seed": config.seed, "seeds": []} if spec.together else {}
        requests.write(folder, config, spec.parameters | alone)
    if progress is None:
        progress = not os.environ.get(UNATTENDED)
    given = {key: spec.parameters[key] for key in (*params.KEPT, "video", "render", "wandb")}
    return training.train_seeds(
        spec.configs, spec.folders, spec.out, **given, tensorboard=tensorboard, progress=progress
    )
