"""Training, from wherever a run's folder is to its end: one run, or several seeds of one.

Which runs can go on together is decided here; `lib.runner.loop` then takes them through the tasks.
"""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.algos import registry
from lib.core import config as configs
from lib.core.config import RunConfig
from lib.core.errors import NonFiniteError, UserError, unknown
from lib.core.seeding import Streams
from lib.core.storage import continued_in
from lib.core.trees import leaf_map
from lib.engine import machine, ranks
from lib.envs import worlds
from lib.envs.api import Domain, spaces
from lib.runner import collect, saved, warm_start, window
from lib.runner.film import Film
from lib.runner.loop import TrainingLoop
from lib.runner.progress import Progress
from lib.runner.run import Broke, Run, work_before
from lib.runner.run_folder import RunFolder, differences
from lib.runner.warm_start import Start

VIDEO = ("", "final", "every")


def train(config: RunConfig, out_dir: str | Path, **how: Any) -> Path:
    """Runs, resumes or just confirms the run in a folder.

    Args:
        config: the whole run.
        out_dir: its folder; one that holds the same unfinished run resumes.
        how: as in `train_seeds`.

    Returns:
        Path of `summary.json`.

    Raises:
        UserError: the folder holds another run, somebody else is training in it, a checkpoint
            does not fit. RunInterrupted: a stop was asked for. NonFiniteError: training broke.
    """
    return train_seeds([config], [out_dir], out_dir, **how)[0]


def train_seeds(
    cfgs: Sequence[RunConfig],
    folders: Sequence[str | Path],
    out_dir: str | Path,
    *,
    load_mode: str = "",
    load_from: str = "",
    pre_rollout: str = "",
    video: str = "",
    render: str = "",
    wandb: str = "",
    tensorboard: bool = True,
    progress: bool = True,
    domain: Domain | None = None,
) -> list[Path]:
    """Trains runs that differ by their seed alone at once; every folder ends up as if alone.

    Finished runs are kept. Unfinished ones go on together from the newest moment that all of
    them have; those that stand elsewhere, such as a seed added later, follow as a batch of their
    own. A seed whose numbers break is left out, the others go on from their last save.

    Args:
        cfgs: the whole runs.
        folders: one for each; one that holds the same unfinished run resumes.
        out_dir: where `progress.json` tells of all of them, and where a file named `stop` stops
            them (one in any of `folders` does so too); the folder itself of a single run.
        load_mode: "world-model" starts from another run's dynamics, generator and threshold;
            "agent" also from its heads; "" starts fresh.
        load_from: checkpoint file, or run folder whose newest task checkpoint is taken; `{seed}`
            in it is each run's seed.
        pre_rollout: checkpoint or run folder of an agent that acts before every episode of the
            learner, in training and evaluation; "" for none. `{seed}` as above.
        video: film one evaluation episode: "" never, "final" when a task ends, "every" time.
        render: "human" shows evaluation episodes of the first run in a window, "" none.
        wandb: "" for off, "offline" or "online".
        progress: draw a progress bar.
        domain: the world, where it cannot be built from a configuration alone.

    Returns:
        Paths of the `summary.json`.

    Raises:
        UserError: as `train`, or the runs differ in more than their seed. RunInterrupted.
        NonFiniteError: training broke, of several seeds after the others have ended.
    """
    _check_shared(cfgs)
    start = Start(load_mode, load_from, pre_rollout)
    if video not in VIDEO:
        raise unknown("video", video, VIDEO[1:], "or nothing, for none")
    window.check_screen(render)
    _check_alike(cfgs)
    jobs = [
        _Job(cfg, Path(folder), start.of_seed(cfg.seed))
        for cfg, folder in zip(cfgs, folders, strict=True)
    ]
    home = Path(out_dir)
    with continued_in(home), ExitStack() as held:
        for out in dict.fromkeys([home, *(job.out for job in jobs)]):
            out.mkdir(parents=True, exist_ok=True)
            held.enter_context(RunFolder(out).locked())
        for job in jobs:
            saved.take(job.folder, job.start.record(job.cfg))
        _train(jobs, _Options(home, video, render, wandb, tensorboard, progress, domain))
    return [job.folder.summary for job in jobs]


def follow(cfgs: Sequence[RunConfig]) -> None:
    """Learns beside the process that trains a run, until that says that it is done.

    Args:
        cfgs: the run, as the leader has it.

    Raises:
        UserError: several runs, or of a family that learns in one process.
    """
    _check_shared(cfgs)
    (cfg,) = cfgs
    device = machine.choose_device(cfg.device)
    domain = worlds.build(cfg.env, cfg.tasks, device)
    agent = registry.build_agent(cfg, domain, Streams(cfg.seed, device), device)
    together = ranks.group(device)
    with machine.settled(cfg, device, False):
        while (order := together.hear()) is not None:
            if state := order["state"]:
                agent.load_state_dict(state)
                for episodes in collect.episodes_of(cfg, domain, agent.task)[0]:
                    agent.store("learner", leaf_map(lambda x: x.to(device), episodes))
            agent.follow(order)
    ranks.dismiss()


def _check_shared(cfgs: Sequence[RunConfig]) -> None:
    """Raises UserError where several processes were started for what one learns."""
    if ranks.size() == 1:
        return
    if not registry.of(cfgs[0]).shared:
        raise UserError(
            f"agents of family '{cfgs[0].family}' learn in one process; start them without torchrun"
        )
    if len(cfgs) > 1:
        raise UserError(
            f"{ranks.size()} processes learn one run, and {len(cfgs)} seeds were asked for; start "
            "them one after the other"
        )


@dataclass(frozen=True)
class _Job:
    """A run to be taken to its end."""

    cfg: RunConfig
    out: Path
    start: Start

    @property
    def folder(self) -> RunFolder:
        """The folder, by what lies where."""
        return RunFolder(self.out)


@dataclass(frozen=True)
class _Options:
    """How a process records its work."""

    home: Path
    video: str
    render: str
    wandb: str
    tensorboard: bool
    progress: bool
    domain: Domain | None


def _check_alike(cfgs: Sequence[RunConfig]) -> None:
    """Raises UserError unless every configuration has a seed of its own, and nothing else."""
    first, *others = [configs.to_dict(cfg) for cfg in cfgs]
    for other in others:
        if different := differences(first, other | {"seed": first["seed"]}):
            raise UserError(
                f"runs that differ in more than their seed cannot train together "
                f"({'; '.join(different[:4])}); train them one by one"
            )
    seeds = [cfg.seed for cfg in cfgs]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"seeds {seeds} hold one twice; name every seed once")


def _train(jobs: Sequence[_Job], options: _Options) -> None:
    """Trains batch after batch of seeds until every run is complete or broke."""
    for job in jobs:
        for note in () if job.folder.is_complete() else saved.standing(job.folder).notes:
            print(note)
    broke: dict[int, str] = {}  # words alone: the error itself would keep its agents alive
    while todo := [j for j in jobs if j.cfg.seed not in broke and not j.folder.is_complete()]:
        try:
            _train_batch(jobs, _next_batch(todo), options)
        except Broke as error:
            if len(jobs) == 1:
                raise error.error from None
            broke[error.run.cfg.seed] = str(error)
    if broke:
        told = "; ".join(f"seed {seed}: {error}" for seed, error in broke.items())
        rest = ", ".join(str(job.cfg.seed) for job in jobs if job.cfg.seed not in broke)
        raise NonFiniteError(told + (f". The other seeds ({rest}) are complete" if rest else ""))


def _next_batch(jobs: Sequence[_Job]) -> list[tuple[_Job, Path | None]]:
    """The runs that can go on from one position, as many as possible, with their checkpoints.

    Of two positions that equally many have, the newer one.
    """
    known = [saved.standing(job.folder).positions for job in jobs]
    every = {position for found in known for position in found}
    best = max(every, key=lambda at: (sum(at in found for found in known), at))
    return [(job, found[best]) for job, found in zip(jobs, known, strict=True) if best in found]


def _train_batch(
    jobs: Sequence[_Job],
    together: Sequence[tuple[_Job, Path | None]],
    options: _Options,
) -> None:
    """Takes runs at the same position to their end.

    Args:
        jobs: all of them, for the common progress.
        together: these, with the checkpoints that they go on from.
    """
    cfg = together[0][0].cfg
    device = machine.choose_device(cfg.device)
    domain = options.domain or worlds.build(cfg.env, cfg.tasks, device)
    _check_spaces(cfg, domain)
    acting: dict[str, Any] = {}  # who acts first, shared by seeds that name the same agent
    runs = []
    for job, _ in together:
        who = job.start.pre_rollout
        if who not in acting:
            acting[who] = warm_start.first_actors(who, domain, job.cfg, device)
        runs.append(Run(job.cfg, job.out, job.start, device, domain, acting[who]))
    recording = {"tensorboard": options.tensorboard, "wandb_mode": options.wandb}
    alone = len(jobs) == 1
    with ExitStack() as open_files:
        open_files.callback(ranks.dismiss)
        for run, (_, saved) in zip(runs, together, strict=True):
            open_files.callback(run.report.close)
            run.open(saved, show=alone and options.progress, **recording)
        if runs[0].agent.collects == "dataset":
            collect.check_files(cfg, domain, runs[0].state.task)
        board = None
        if not alone:
            board = _board(jobs, runs, options)
            open_files.callback(board.close)
        film = Film(options.video)
        open_files.callback(film.close)
        screen = window.Window(options.render, film.scenes)
        open_files.callback(screen.close)
        loop = TrainingLoop(runs, options.home, film, screen, board)
        with machine.settled(cfg, device, loop.batch.compile), _interrupts(loop):
            loop.go([run for run, (_, saved) in zip(runs, together, strict=True) if saved is None])


def _check_spaces(cfg: RunConfig, domain: Domain) -> None:
    """Raises UserError where tasks differ in what they show or take, and the family wants one."""
    if registry.of(cfg).mixed_spaces:
        return
    found = []
    for index in range(len(domain.tasks)):
        space, actions = spaces(domain, index)
        found.append((space.kind, space.shape, space.dtype, actions))
    for task, mine in zip(domain.tasks, found, strict=True):
        if mine != found[0]:
            raise UserError(
                f"task '{task.name}' shows or takes another kind of numbers than "
                f"'{domain.tasks[0].name}', and agents of family '{cfg.family}' learn tasks that "
                "are alike; train them one by one"
            )


def _board(jobs: Sequence[_Job], runs: Sequence[Run], options: _Options) -> Progress:
    """Progress of all runs as one piece of work, those that others have a turn for included."""
    here, first = {run.cfg.seed for run in runs}, runs[0]
    return Progress(
        RunFolder(options.home).progress,
        first.names,
        work_before(first.cfg, first.unit, (len(first.names), 0, 0)),
        show=options.progress,
        seeds=[job.cfg.seed for job in jobs],
        elsewhere=sum(_done(job, first) for job in jobs if job.cfg.seed not in here),
        unit=first.unit,
    )


def _done(job: _Job, like: Run) -> int:
    """Progress of a run that is not being trained just now, of the same kind as another."""
    done = job.folder.is_complete()
    at = (len(like.names), 0, 0) if done else saved.standing(job.folder).newest
    return work_before(job.cfg, like.unit, at)


@contextmanager
def _interrupts(loop: TrainingLoop) -> Iterator[None]:
    """Makes the first Ctrl-C a request to save and stop; the second one acts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(signum: int, frame: Any) -> None:
        if loop.stop_asked:
            raise KeyboardInterrupt
        loop.stop_asked = True

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
