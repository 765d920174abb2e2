"""Every family keeps what `lib.algos.api` says: members, round trips, capabilities, equal runs.

A new family adds a row to `CASES`: a run of seconds, and its world.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lib.algos import api, registry
from lib.core import config
from lib.core.config import RunConfig
from lib.core.errors import RunInterrupted
from lib.core.seeding import Streams, generator
from lib.engine.seed_batch import OneByOne, batch_of
from lib.envs import worlds
from lib.envs.api import Domain, spaces
from lib.runner import checkpoint, loop, training
from lib.runner.collect import source
from lib.runner.record import read_metrics
from lib.runner.run import Run
from lib.runner.saved import take
from lib.runner.warm_start import Start
from tests import cloning, dreamer_tiny, sequence_tiny
from tests import tiny as tdmpc_tiny
from tests.tiny import same

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """A run of seconds, and its world where that cannot be built from the run alone."""

    cfg: Callable[[Path], RunConfig]
    world: Callable[[], Domain] | None = None

    def domain(self, cfg: RunConfig) -> Domain:
        return self.world() if self.world else worlds.build(cfg.env, cfg.tasks, CPU)


def cloner(tmp_path: Path) -> cloning.ClonerRun:
    for task in cloning.SPACES:
        cloning.experience(tmp_path, task)
    return cloning.ClonerRun(dataset=str(tmp_path))


def sequence(tmp_path: Path) -> RunConfig:
    return sequence_tiny.tiny(dataset=sequence_tiny.files(tmp_path))


CASES = {
    "tdmpc": Case(lambda _: tdmpc_tiny.tiny("drago", budget__env_steps_per_task=56)),
    "dreamer": Case(lambda _: dreamer_tiny.tiny("continual-dreamer")),
    "decision_transformer": Case(sequence),
    "cloning": Case(cloner, cloning.World),
}


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory) -> Case:
    """One family's row, its files of experience written."""
    row = CASES[request.param]
    cfg = row.cfg(tmp_path_factory.mktemp("experience"))
    return Case(lambda _: cfg, row.world)


@pytest.fixture(scope="module")
def cfg(case) -> RunConfig:
    return case.cfg(Path())


@pytest.fixture(scope="module")
def done(case, cfg, tmp_path_factory) -> Path:
    """A run that nobody interrupted."""
    return train(case, cfg, tmp_path_factory.mktemp("conformance") / "whole")


def train(case: Case, cfg: RunConfig, out: Path) -> Path:
    how = {"tensorboard": False, "progress": False, "domain": case.domain(cfg)}
    training.train(cfg, out, **how)
    return out


OPEN: list[Run] = []


@pytest.fixture(scope="module", autouse=True)
def closed():
    """Lets go of all files in the end."""
    yield
    while OPEN:
        OPEN.pop().report.close()


def practised(case: Case, cfg: RunConfig, out: Path, updates: int = 2) -> Run:
    """A run in its first task that has been updated so many times."""
    run = Run(cfg, out, Start(), CPU, case.domain(cfg), {})
    run.open(None, show=False, tensorboard=False)
    OPEN.append(run)
    run.begin()
    run.state.next_eval = 10**6
    batch, made = batch_of([run.agent]), 0
    experience = source(batch, [run])
    while made < updates:
        if experience.due:
            batch.update(1)
            made += 1
        else:
            experience.collect()
    return run


@pytest.fixture(scope="module")
def run(case, cfg, tmp_path_factory) -> Run:
    return practised(case, cfg, tmp_path_factory.mktemp("practised"))


def observed(run: Run, count: int = 5) -> torch.Tensor:
    """(n, *shape) beginnings of the first task."""
    return run.domain.make(0).reset(count, generator(1, "env"))


# Members ----------------------------------------------------------------------------------------


def test_every_family_has_a_row_here():
    assert CASES.keys() == registry.FAMILIES.keys()


def unfit(thing: Any, protocol: type) -> list[str]:
    """Members of a protocol that a thing lacks, or that cannot be called as it says."""
    found = []
    for base in [base for base in protocol.__mro__ if base.__module__ == api.__name__]:
        found += [name for name in inspect.get_annotations(base) if not hasattr(thing, name)]
        for name, member in vars(base).items():
            if name.startswith("_") or not (
                inspect.isfunction(member) or isinstance(member, property)
            ):
                continue
            if not hasattr(thing, name) or (
                inspect.isfunction(member) and not fits(thing, name, member)
            ):
                found.append(name)
    return found


def fits(thing: Any, name: str, member: Any) -> bool:
    """Whether a method takes everything that the protocol's one takes, in the same ways."""
    parameters = list(inspect.signature(member).parameters.values())[1:]
    given = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    named = {one.name: None for one in parameters if one.kind is one.KEYWORD_ONLY}
    try:
        inspect.signature(getattr(thing, name)).bind(*given, **named)
        needed = [one.name for one in parameters if one.default is one.empty]
        inspect.signature(getattr(thing, name)).bind(*needed)
    except TypeError:
        return False
    return True


def test_an_agent_has_every_member_of_the_protocol(run):
    kind = api.StepwiseAgent if run.agent.collects == "steps" else api.Agent
    assert unfit(run.agent, kind) == []
    can = run.agent.capabilities()
    assert isinstance(can, api.Capabilities)
    for thing, protocol in ((can.heads, api.Heads), (can.transfer, api.Transfer)):
        assert thing is None or unfit(thing, protocol) == []


def test_what_lacks_a_member_is_found():
    assert {"act", "store", "cfg", "roles"} <= set(unfit(object(), api.Agent))

    class Wrong:
        def save(self, where): ...

    assert unfit(Wrong(), api.Heads) == ["save", "load"]


def test_a_row_of_the_registry_is_whole(cfg):
    row = registry.of(cfg)
    assert isinstance(row, api.Family) and isinstance(cfg, row.config)
    assert row.method in row.methods and row.methods.keys() == row.about.keys()
    assert cfg.preset in {**row.presets, cfg.preset: 0} and cfg.method_name in row.methods
    assert registry.from_dict(config.to_dict(cfg)) == cfg
    assert row.cut(cfg, 1).tasks == cfg.tasks[1:]
    assert isinstance(cfg.width, int) and isinstance(cfg.carries, bool)


def test_an_agent_is_whole_before_its_first_task(case, cfg):
    domain = case.domain(cfg)
    agent = registry.build_agent(cfg, domain, Streams(cfg.seed, CPU), CPU)
    assert (agent.task, agent.cfg) == (-1, cfg)
    assert agent.collects in ("episodes", "steps", "dataset")
    assert isinstance(agent.capabilities(), api.Capabilities)


# Acting and learning ----------------------------------------------------------------------------


def test_actions_are_of_the_tasks_space_and_drawn_from_the_given_generator(run):
    obs, (_, actions) = observed(run), spaces(run.domain, 0)
    for explore in (False, True):
        draws = [
            run.agent.act(obs, None, explore=explore, generator=generator(2, "act"))[0]
            for _ in range(2)
        ]
        assert torch.equal(*draws) and draws[0].shape == (5, actions.size)
        assert draws[0].dtype == torch.float32 and draws[0].abs().max() <= 1
        if actions.discrete:
            assert torch.equal(draws[0].sum(1), torch.ones(5))


def test_what_an_agent_carries_through_an_episode_fits_the_next_decision(run):
    obs, memory = observed(run), None
    for _ in range(3):
        action, memory = run.agent.act(obs, memory, explore=False, generator=generator(2, "act"))
    assert action.shape[0] == len(obs)


def test_updates_change_it_and_are_counted(case, cfg, tmp_path):
    one, other = (practised(case, cfg, tmp_path / str(n), n) for n in (1, 2))
    assert (one.agent.updates, other.agent.updates) == (1, 2)
    before, after = (run.agent.state_dict(with_replay=False) for run in (one, other))
    assert same(before, after) != []


def test_reports_and_audits_are_numbers_by_name(case, cfg, tmp_path):
    run = practised(case, cfg, tmp_path)
    run.agent.check_finite()
    found = run.agent.report()
    assert found and all(name.split("/")[0] == "train" for name in found)
    assert all(np.isfinite(value) for value in found.values())
    metrics, arrays = run.agent.audit(run.domain, run.held_out, generator(0, "audit"))
    assert all(isinstance(value, float) for value in metrics.values())
    assert all(isinstance(array, np.ndarray) for array in arrays.values())


# Saving -----------------------------------------------------------------------------------------


def test_a_state_is_restored_exactly_and_goes_on_alike(case, cfg, tmp_path):
    run = practised(case, cfg, tmp_path / "one")
    take(run.folder, Start().record(cfg))  # as `train` does before anything is saved
    run.save()
    saved = run.folder.checkpoints / "last.safetensors"
    other = Run(cfg, tmp_path / "one", Start(), CPU, case.domain(cfg), {})
    other.open(saved, show=False, tensorboard=False)
    OPEN.append(other)
    assert same(other.agent.state_dict(), run.agent.state_dict()) == []
    if run.agent.collects == "dataset":
        source(batch_of([other.agent]), [other])
    for one in (run, other):
        one.agent.update(1)
        one.agent.begin_task(1)
    left, right = other.agent.state_dict(), run.agent.state_dict()
    assert same(left, right) == []


def test_without_replay_a_state_is_part_of_the_whole(run):
    whole, part = (run.agent.state_dict(with_replay=flag) for flag in (True, False))
    small, large = checkpoint.layout(part), checkpoint.layout(whole)
    assert small.keys() < large.keys() or run.agent.collects == "dataset"
    assert all(large[name] == kind for name, kind in small.items())


# Capabilities -----------------------------------------------------------------------------------


def test_capabilities_do_what_they_say(run):
    can, obs = run.agent.capabilities(), observed(run)
    action, _ = run.agent.act(obs, None, explore=False, generator=generator(2, "act"))
    if can.predict:
        assert can.predict(obs, action).shape == obs.shape
        assert not can.predict(obs, action).requires_grad
    if can.review:
        assert can.review(obs, action, obs).shape == (5,)
    if can.generate:
        assert can.generate(7, generator(0, "dream")).shape == (7, obs.shape[1] + action.shape[1])
    if can.imagine:
        space, _ = spaces(run.domain, 0)
        kept = can.remember(None, {}, generator(0, "remember")) if can.remember else None
        told = can.imagine(obs, action[:4], 2, generator(0, "imagine"), kept)
        assert told.obs is None or len(told.obs) == 5
        assert told.obs is None or space.kind == "image" or told.obs.shape == obs.shape
        assert told.reward is None or told.reward.shape == (4,)
        told_of_records = (told.value, told.disagreement, told.surprise)
        assert all(row is None or row.shape == (5,) for row in told_of_records)
    if can.fit:
        assert can.probe, "what is fitted alone can be asked about"
    if can.value:
        assert can.value(obs, action[:4], generator(0, "value")).shape == (4,)


def test_kept_heads_act_as_the_task_was_acted(case, cfg, tmp_path):
    run = practised(case, cfg, tmp_path)
    heads, obs = run.agent.capabilities().heads, observed(run)
    if heads is None:
        pytest.skip("it acts all tasks alike")
    how = {"explore": False}
    before, _ = run.agent.act(obs, None, generator=generator(2, "act"), **how)
    saved = heads.save()
    run.agent.update(1)
    kept = run.agent.capabilities().heads.load(saved)
    after, _ = run.agent.act(obs, None, generator=generator(2, "act"), heads=kept, **how)
    assert after.shape == before.shape
    assert checkpoint.pack(saved) == checkpoint.pack({**saved}), "it can be stored"


def test_an_agent_that_starts_from_anothers_parts_acts_like_it(case, cfg, run):
    transfer = run.agent.capabilities().transfer
    if transfer is None:
        pytest.skip("it starts from nothing")
    state = run.agent.state_dict(with_replay=False)
    wanted, held = checkpoint.layout(transfer.template(True)), checkpoint.layout(state)
    assert all(held[name] == kind for name, kind in wanted.items())
    other = registry.build_agent(registry.for_acting(cfg), case.domain(cfg), Streams(9, CPU), CPU)
    other.begin_task(0)
    fresh = other.capabilities().transfer
    fresh.check(cfg, Path("there"))
    fresh.load_world_model(state["world_model"])
    fresh.load_heads(state)
    obs = observed(run)
    for agent in (run.agent, other):
        agent.capabilities().transfer.finish_schedules()
    mine, theirs = (
        agent.act(obs, None, explore=False, generator=generator(2, "act"))[0]
        for agent in (run.agent, other)
    )
    assert torch.equal(mine, theirs)


# Runs -------------------------------------------------------------------------------------------


def assert_alike(one: Path, other: Path) -> None:
    """The same metrics and the same agent after every task."""
    assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    for path in sorted((one / "checkpoints").glob("task-*.safetensors")):
        assert path.read_bytes() == (other / "checkpoints" / path.name).read_bytes()


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(case, cfg, done, tmp_path):
    assert_alike(done, train(case, cfg, tmp_path / "again"))
    other = train(case, config.merge(cfg, {"seed": cfg.seed + 1}), tmp_path / "other")
    assert (done / "metrics.jsonl").read_bytes() != (other / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("saves", [2, 3])
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(saves, case, cfg, done, tmp_path):
    real, seen = Run.save, []

    def save(self):
        real(self)
        seen.append(1)
        if len(seen) == saves:
            self.folder.stop.touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "save", save)
        with pytest.raises(RunInterrupted):
            train(case, cfg, tmp_path)
    assert_alike(done, train(case, cfg, tmp_path))


def test_seeds_of_a_batch_end_as_they_do_alone(case, cfg, done, tmp_path, monkeypatch):
    seeds = (cfg.seed, cfg.seed + 4)
    cfgs = [config.merge(cfg, {"seed": seed}) for seed in seeds]
    how = {"tensorboard": False, "progress": False, "domain": case.domain(cfg)}
    for name in ("together", "one-by-one"):
        if name == "one-by-one":  # computed together, sums may be rounded differently
            monkeypatch.setattr(loop, "batch_of", OneByOne)
        folders = [tmp_path / name / str(seed) for seed in seeds]
        training.train_seeds(cfgs, folders, tmp_path / name, **how)
    assert_alike(done, tmp_path / "one-by-one" / str(cfg.seed))
    alone, together = (
        [
            (row["stage"], row["env_steps"], row["updates"])
            for row in read_metrics(out / "metrics.jsonl")
        ]
        for out in (done, tmp_path / "together" / str(cfg.seed))
    )
    assert alone == together
