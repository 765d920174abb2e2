"""Several seeds trained together: every folder ends up as if its run had been alone.

How a batch of seeds computes for all its agents at once is none of the runner's business, and may
round differently; where bytes are compared with those of single runs, `OneByOne` stands in for it.
"""

import json
import math
import os
import random
import signal
from pathlib import Path

import pytest
import torch
import yaml

from lib.algos.tdmpc import agent as tdmpc_agent
from lib.algos.tdmpc.settings import TdmpcRun
from lib.core import config
from lib.core.errors import NonFiniteError, RunInterrupted, UserError
from lib.engine import seed_batch
from lib.engine.seed_batch import OneByOne
from lib.runner import checkpoint, evaluate, loop, saved, training
from lib.runner.film import Film
from lib.runner.record import read_metrics
from lib.runner.run import Run
from lib.runner.run_folder import RunFolder
from tests import killing
from tests.run_folders import assert_same_run, summary
from tests.tiny import control, flat, tiny


def positions(out):
    return saved.standing(RunFolder(out)).positions


STEPS = 56  # of a task; saved and evaluated every 28
SEEDS = (3, 0, 5)


@pytest.fixture
def looping(monkeypatch) -> None:
    monkeypatch.setattr(loop, "batch_of", OneByOne)


def train(cfgs: list[TdmpcRun], out: Path, **kwargs) -> list[Path]:
    """Seed s goes to `<out>/<s>`."""
    folders = [out / str(cfg.seed) for cfg in cfgs]
    return training.train_seeds(cfgs, folders, out, tensorboard=False, progress=False, **kwargs)


def alone(cfg: TdmpcRun, out: Path, **kwargs) -> Path:
    training.train(cfg, out, tensorboard=False, progress=False, **kwargs)
    return out


def seeded(cfg: TdmpcRun, *seeds: int) -> list[TdmpcRun]:
    return [config.merge(cfg, {"seed": seed}) for seed in seeds or SEEDS]


@pytest.fixture(scope="module")
def cfg() -> TdmpcRun:
    return tiny("drago", budget__env_steps_per_task=STEPS)


@pytest.fixture(scope="module")
def done(cfg, tmp_path_factory) -> Path:
    """Three seeds that nobody interrupted."""
    out = tmp_path_factory.mktemp("together") / "whole"
    assert train(seeded(cfg), out) == [out / str(seed) / "summary.json" for seed in SEEDS]
    return out


@pytest.fixture(scope="module")
def singles(cfg, tmp_path_factory) -> Path:
    """The same seeds, one after the other."""
    out = tmp_path_factory.mktemp("singles")
    for one in seeded(cfg):
        alone(one, out / str(one.seed))
    return out


# As if alone -----------------------------------------------------------------------------------


def test_every_seed_draws_what_it_would_alone_and_ends_in_the_same_bytes(
    cfg, singles, looping, tmp_path
):
    train(seeded(cfg), tmp_path)
    assert_same_seeds(singles, tmp_path)


def test_so_does_every_seed_of_a_body(looping, tmp_path):
    cfgs = seeded(control("drago", budget__env_steps_per_task=4 * STEPS), 3, 0)
    train(cfgs, tmp_path / "together")
    for one in cfgs:
        assert_same_run(alone(one, tmp_path / str(one.seed)), tmp_path / "together" / str(one.seed))


def test_computed_together_a_seed_starts_as_it_does_alone(done, singles):
    for seed in SEEDS:
        mine, theirs = (read_metrics(out / str(seed) / "metrics.jsonl") for out in (done, singles))
        assert [(r["stage"], r["env_steps"], r["updates"]) for r in mine] == [
            (r["stage"], r["env_steps"], r["updates"]) for r in theirs
        ]
        assert mine[0] == theirs[0]  # the evaluation before the first update
        assert mine[1]["values"] == pytest.approx(theirs[1]["values"], rel=1e-3, abs=1e-5)


def test_a_seeds_folder_looks_like_that_of_a_single_run(done, singles):
    for seed in SEEDS:
        mine, theirs = (
            {str(p.relative_to(out / str(seed))) for p in (out / str(seed)).rglob("*")}
            for out in (done, singles)
        )
        assert mine == theirs
        held = yaml.safe_load((done / str(seed) / "config.yaml").read_text())
        assert held["seed"] == seed
        told = summary(done / str(seed))
        assert told["seeds"] == [seed] and told["config"]["seed"] == seed
        assert told["seeds_together"] == 3 and told["status"] == "complete"
        assert (
            json.loads((done / str(seed) / "progress.json").read_text())["env_steps"] == 2 * STEPS
        )
    assert {path.name for path in done.iterdir()} == {".lock", "progress.json", *map(str, SEEDS)}


def test_progress_tells_of_all_seeds_as_one_piece_of_work(done):
    told = json.loads((done / "progress.json").read_text())
    assert told["seeds"] == list(SEEDS) and told["phase"] == "done"
    assert told["env_steps"] == told["env_steps_total"] == 3 * 2 * STEPS
    assert told["updates"] == sum(summary(done / str(seed))["updates"] for seed in SEEDS)
    finals = [summary(done / str(seed))["final_return"]["room-2"] for seed in SEEDS]
    assert told["last_return"] == pytest.approx(sum(finals) / 3)


def test_runs_that_differ_in_more_than_their_seed_are_refused(cfg, tmp_path):
    other = config.set_dotted(cfg, {"seed": 1, "vae.width": 19})
    with pytest.raises(UserError, match="more than their seed .*vae.width is 17 there, 19 here"):
        train([cfg, other], tmp_path)
    with pytest.raises(UserError, match=r"seeds \[0, 0\] hold one twice"):
        train([cfg, cfg], tmp_path)
    assert not list(tmp_path.iterdir())


# Broken physics, broken numbers ----------------------------------------------------------------


def test_a_seed_whose_physics_break_stays_in_step(looping, tmp_path, monkeypatch):
    tasks = ["cheetah-run", "cheetah-jump"]
    cfgs = seeded(control("drago", tasks=tasks, budget__env_steps_per_task=4 * STEPS), 0, 1)
    broken = []
    real = evaluate.play_batch

    def spoil(batch, envs, count, draws, *, explore, **kwargs):
        played = real(batch, envs, count, draws, explore=explore, **kwargs)
        # What is played again is one agent's alone, and stays sound.
        for agent, env in zip(getattr(batch, "agents", ()), envs, strict=False):
            if agent.cfg.seed == 1 and explore and count > 1 and agent.steps == 28:
                env._broken[1] = True
                broken.append(agent)
        return played

    monkeypatch.setattr(evaluate, "play_batch", spoil)
    train(cfgs, tmp_path / "together")
    for one in cfgs:
        assert_same_run(alone(one, tmp_path / str(one.seed)), tmp_path / "together" / str(one.seed))
    dropped = [summary(tmp_path / "together" / str(seed))["dropped_episodes"] for seed in (0, 1)]
    assert dropped == [0, 2] and len(broken) == 4  # learner in one task, reviewer in the other
    steps = [summary(tmp_path / "together" / str(seed))["env_steps"] for seed in (0, 1)]
    assert steps == [2 * STEPS * 4] * 2


def spoil_seed(monkeypatch, seed: int, after: int) -> None:
    """Makes a seed's stored rewards no numbers after so many updates of its batch."""
    real, calls = seed_batch.SeedBatch.update, []

    def update(self, n):
        real(self, n)
        calls.append(n)
        for agent in self.agents:
            if agent.cfg.seed == seed and len(calls) >= after:
                agent.learner.buffer.reward[:] = math.nan

    monkeypatch.setattr(seed_batch.SeedBatch, "update", update)


def test_a_seed_that_breaks_is_named_and_the_others_go_on(cfg, tmp_path, monkeypatch):
    spoil_seed(monkeypatch, 0, after=4)
    message = r"^seed 0: non-finite learner/.*The other seeds \(3, 5\) are complete$"
    with pytest.raises(NonFiniteError, match=message) as error:
        train(seeded(cfg), tmp_path)
    assert "\n" not in str(error.value)
    for seed in (3, 5):
        told = summary(tmp_path / str(seed))
        assert told["status"] == "complete" and told["seeds_together"] == 2
        assert not (tmp_path / str(seed) / "checkpoints" / "nonfinite.safetensors").exists()
    state, _ = checkpoint.load(tmp_path / "0" / "checkpoints" / "nonfinite.safetensors")
    assert state["agent"]["learner"]["buffer"]["reward"].isnan().any()
    kept, _ = checkpoint.load(tmp_path / "0" / "checkpoints" / "last.safetensors")
    numbers = [v for v in flat(kept).values() if hasattr(v, "isfinite") and v.is_floating_point()]
    assert all(v.isfinite().all() for v in numbers)


# Saving and going on ---------------------------------------------------------------------------


def assert_same_seeds(one: Path, other: Path, seeds=SEEDS) -> None:
    for seed in seeds:
        assert_same_run(one / str(seed), other / str(seed))
        assert not list((other / str(seed) / "checkpoints").glob("*previous*"))
        assert not list((other / str(seed) / "checkpoints").glob(".*partial"))


def start(cfg: TdmpcRun, out: Path, *args) -> object:
    child = killing.processes().Process(
        target=killing.train,
        args=(config.to_dict(cfg), str(out), *args),
        kwargs={"seeds": SEEDS},
    )
    child.start()
    return child


@pytest.mark.parametrize("seed", range(2))
def test_seeds_killed_again_and_again_end_up_the_same(seed, done, cfg, tmp_path):
    # every process dies before or after one of the calls that reach the disk or do work
    draws = random.Random(seed)

    def killed(kills):
        return start(cfg, tmp_path, draws.randint(60, 150) if kills else draws.randint(1, 60))

    killing.until_done(killed)
    assert_same_seeds(done, tmp_path)


@pytest.mark.parametrize("number", [2, 6])
def test_a_kill_while_a_seeds_checkpoint_is_half_written_loses_nothing(number, done, cfg, tmp_path):
    child = start(cfg, tmp_path, number, True)
    child.join(killing.PATIENCE)
    assert child.exitcode == -9
    train(seeded(cfg), tmp_path)
    assert_same_seeds(done, tmp_path)


class Killed(BaseException):
    """What no handler catches."""


@pytest.mark.parametrize("number", [2, 5, 7])
def test_a_kill_between_the_saves_of_two_seeds_takes_all_to_a_moment_they_share(
    number, done, cfg, tmp_path, monkeypatch
):
    real, saves = Run.save, []

    def save(self):
        real(self)
        saves.append(self)
        if len(saves) == number:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", save)
        with pytest.raises(Killed):
            train(seeded(cfg), tmp_path)
    standing = [positions(tmp_path / str(seed)) for seed in SEEDS]
    assert len({max(found) for found in standing}) == (1 if number < 3 else 2)
    restored = []
    with monkeypatch.context() as patch:
        noted = tdmpc_agent.ContinualAgent.load_state_dict
        patch.setattr(
            tdmpc_agent.ContinualAgent,
            "load_state_dict",
            lambda self, state: (
                restored.append((state["task"], state["steps"])) or noted(self, state)
            ),
        )
        train(seeded(cfg), tmp_path)
    assert len(set(restored)) <= 1
    assert_same_seeds(done, tmp_path)


def test_a_stop_file_saves_every_seed_and_says_how_to_resume(done, cfg, tmp_path, monkeypatch):
    real, calls = seed_batch.SeedBatch.update, []
    with monkeypatch.context() as patch:

        def update(self, n):
            real(self, n)
            calls.append(n)
            if len(calls) == 3:
                (tmp_path / "5" / "stop").touch()  # that of any seed will do
                (tmp_path / "stop").touch()

        patch.setattr(seed_batch.SeedBatch, "update", update)
        with pytest.raises(RunInterrupted) as error:
            train(seeded(cfg), tmp_path)
    assert "of task 'room-1' in each of seeds 3, 0, 5, saved" in str(error.value)
    assert str(error.value).endswith(f"resume with: python -m lib resume {tmp_path}")
    assert not list(tmp_path.rglob("stop"))
    assert len({tuple(positions(tmp_path / str(seed))) for seed in SEEDS}) == 1
    train(seeded(cfg), tmp_path)
    assert_same_seeds(done, tmp_path)


def test_ctrl_c_saves_every_seed(done, cfg, tmp_path, monkeypatch):
    real, calls = evaluate.play_batch, []
    with monkeypatch.context() as patch:

        def play_batch(*args, **kwargs):
            calls.append(1)
            if len(calls) == 5:
                os.kill(os.getpid(), signal.SIGINT)
            return real(*args, **kwargs)

        patch.setattr(evaluate, "play_batch", play_batch)
        with pytest.raises(RunInterrupted, match="in each of seeds 3, 0, 5, saved"):
            train(seeded(cfg), tmp_path)
    train(seeded(cfg), tmp_path)
    assert_same_seeds(done, tmp_path)


def test_finished_seeds_are_kept_and_the_others_train(cfg, singles, tmp_path, looping):
    alone(seeded(cfg, 0)[0], tmp_path / "0")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "0").rglob("*") if p.name != ".lock"}
    train(seeded(cfg), tmp_path)
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "0").rglob("*") if p.name != ".lock"}
    assert before == after
    told = json.loads((tmp_path / "progress.json").read_text())
    assert told["env_steps"] == told["env_steps_total"] == 3 * 2 * STEPS
    assert_same_seeds(singles, tmp_path)


def stopped(cfg: TdmpcRun, out: Path, seeds, number: int, monkeypatch) -> None:
    """Seeds that somebody stopped after so many collections and evaluations."""
    real, calls = evaluate.play_batch, []
    with monkeypatch.context() as patch:

        def play_batch(*args, **kwargs):
            calls.append(1)
            if len(calls) == number:
                (out / "stop").touch()
            return real(*args, **kwargs)

        patch.setattr(evaluate, "play_batch", play_batch)
        with pytest.raises(RunInterrupted):
            train(seeded(cfg, *seeds), out)


def test_a_seed_added_later_follows_and_ends_up_the_same(
    cfg, singles, tmp_path, looping, monkeypatch
):
    stopped(cfg, tmp_path, (3, 0), 7, monkeypatch)
    groups, real = [], training.TrainingLoop

    class Noted(real):
        def __init__(self, runs, *args):
            groups.append([run.cfg.seed for run in runs])
            super().__init__(runs, *args)

    monkeypatch.setattr(training, "TrainingLoop", Noted)
    train(seeded(cfg), tmp_path)
    assert groups == [[3, 0], [5]]
    assert_same_seeds(singles, tmp_path)


def test_a_seed_that_went_on_alone_is_no_obstacle(cfg, singles, tmp_path, looping, monkeypatch):
    stopped(cfg, tmp_path, SEEDS, 4, monkeypatch)
    (one,) = seeded(cfg, 0)
    stopped(one, tmp_path, (0,), 3, monkeypatch)
    assert len({max(positions(tmp_path / str(seed))) for seed in SEEDS}) == 2
    train(seeded(cfg), tmp_path)
    assert_same_seeds(singles, tmp_path)


def test_a_seed_begun_together_can_be_finished_alone(cfg, singles, tmp_path, looping, monkeypatch):
    stopped(cfg, tmp_path, SEEDS, 7, monkeypatch)
    alone(seeded(cfg, 5)[0], tmp_path / "5")
    assert_same_run(singles / "5", tmp_path / "5")


def test_a_checkpoint_that_does_not_say_its_place_is_refused(cfg, tmp_path, monkeypatch):
    stopped(cfg, tmp_path, (0,), 3, monkeypatch)
    path = tmp_path / "0" / "checkpoints" / "last.safetensors"
    state, meta = checkpoint.load(path)
    meta.pop("position")
    checkpoint.save(path, state, meta)
    path.with_name("best.safetensors").unlink(missing_ok=True)
    with pytest.raises(UserError, match="meta lacks position, and there is no checkpoint to go on"):
        train(seeded(cfg, 0), tmp_path)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_seeds_on_an_accelerator_stop_go_on_and_end_well(cfg, tmp_path, monkeypatch):
    cfg = config.merge(cfg, {"device": "cuda"})
    stopped(cfg, tmp_path, SEEDS, 7, monkeypatch)
    train(seeded(cfg), tmp_path)
    for seed in SEEDS:
        told = summary(tmp_path / str(seed))
        assert told["status"] == "complete" and told["hardware"]["device"].startswith("cuda")
        assert told["seeds_together"] == 3


# What a run builds on, and what it leaves besides ----------------------------------------------


def test_every_seed_loads_from_the_run_of_its_own_number(done, tmp_path):
    cfg = tiny("tdmpc", tasks=["room-1to2"], learning__lr=0.0, vae__lr=0.0)
    place = str(done / "{seed}")
    train(seeded(cfg, 0, 5), tmp_path, load_mode="world-model", load_from=place)
    for seed in (0, 5):
        held = yaml.safe_load((tmp_path / str(seed) / "config.yaml").read_text())
        assert held["load_from"] == str(done / str(seed))
        path = Path("checkpoints") / "task-1.safetensors"
        mine, _ = checkpoint.load(tmp_path / str(seed) / path)
        theirs, _ = checkpoint.load(done / str(seed) / "checkpoints" / "task-2.safetensors")
        names = mine["world_model"]["dynamics"]
        assert all(names[n].equal(theirs["world_model"]["dynamics"][n]) for n in names)


@pytest.fixture(scope="module")
def jumpers(tmp_path_factory) -> Path:
    """Two seeds of a cheetah that learnt to jump."""
    out = tmp_path_factory.mktemp("jumpers")
    train(seeded(control("tdmpc", tasks=["jump"], **SHORT), 0, 1), out)
    return out


SHORT = {"budget__env_steps_per_task": 112, "budget__eval_every": 56, "budget__pre_rollout": 3}


@pytest.mark.parametrize("place", ["0", "{seed}"])
def test_somebody_acts_first_for_every_seed_as_alone(place, jumpers, looping, tmp_path):
    cfgs = seeded(control("tdmpc", tasks=["jump2run"], **SHORT), 0, 1)
    train(cfgs, tmp_path / "together", pre_rollout=str(jumpers / place))
    for one in cfgs:
        path = jumpers / place.replace("{seed}", str(one.seed))
        single = alone(one, tmp_path / str(one.seed), pre_rollout=str(path))
        mine, theirs = (
            o / "metrics.jsonl" for o in (tmp_path / "together" / str(one.seed), single)
        )
        assert mine.read_bytes() == theirs.read_bytes()


def test_every_seed_is_filmed_as_a_single_run_is(cfg, tmp_path, monkeypatch):
    films = []
    monkeypatch.setattr(
        Film,
        "shoot",
        lambda self, folder, domain, task, label, poses, episodes, predict: films.append(
            (str(folder.relative_to(tmp_path)), label, len(poses))
        ),
    )
    train(seeded(cfg, 0, 1), tmp_path, video="final")
    assert films == [
        (f"{seed}/videos", f"{task + 1}-room-{task + 1}-0000056", 8)
        for task in (0, 1)
        for seed in (0, 1)
    ]


def test_tensorboard_and_wandb_record_every_seed(tmp_path):
    cfg = tiny("tdmpc", tasks=["room-1"], budget__env_steps_per_task=28)
    cfgs, folders = seeded(cfg, 0, 1), [tmp_path / "0", tmp_path / "1"]
    training.train_seeds(cfgs, folders, tmp_path, wandb="offline", progress=False)
    ids = [(folder / "wandb-id.txt").read_text() for folder in folders]
    assert len(set(ids)) == 2
    for folder, name in zip(folders, ids, strict=True):
        assert [p.name for p in folder.glob("wandb/offline-run-*/*.wandb")] == [f"run-{name}.wandb"]
        assert len(list(folder.glob("tensorboard/events*"))) == 1
