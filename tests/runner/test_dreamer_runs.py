"""Whole runs of tiny Dreamers: what they leave behind, and that nothing on the way changes it.

Two tasks of 88 steps in episodes of at most 11, two at a time; 24 random steps; saved every 10.
"""

import json
import math
from pathlib import Path

import pytest
import torch

from lib.algos.dreamer.presets import METHODS
from lib.core import config
from lib.core.errors import NonFiniteError, RunInterrupted, UserError
from lib.engine.seed_batch import SeedBatch
from lib.envs.gym import minihack
from lib.runner import checkpoint, training
from lib.runner.record import read_metrics
from tests import dreamer_killing, killing
from tests.dreamer_tiny import TASKS, of_seed, tiny
from tests.run_folders import assert_same_run, summary
from tests.tiny import flat, same
from tests.tiny import tiny as tdmpc

STEPS = 88
BRIEF = {"tasks": ["empty-5x5"], "budget__env_steps_per_task": 32}
SEEDS = (3, 0, 5)


def train(cfg, out: Path, **kwargs) -> Path:
    training.train(cfg, out, tensorboard=False, progress=False, **kwargs)
    return out


@pytest.fixture(scope="module")
def cfg():
    """What has the most to remember: two actors, carried latents, a reservoir."""
    return tiny("continual-dreamer-p2e", replay__row_start="carry")


@pytest.fixture(scope="module")
def done(cfg, tmp_path_factory) -> Path:
    """A run that nobody interrupted."""
    return train(cfg, tmp_path_factory.mktemp("dreamers") / "whole")


# What a run leaves behind ------------------------------------------------------------------------


def test_a_run_fills_its_folder_and_its_summary(done, cfg):
    names = {str(p.relative_to(done)) for p in done.rglob("*") if p.is_file()}
    assert names >= {
        "config.yaml",
        "metrics.jsonl",
        "summary.json",
        "audits/task-1.npz",
        "audits/task-2.npz",
        "checkpoints/last.safetensors",
        "checkpoints/task-1.safetensors",
        "checkpoints/task-2.safetensors",
    }
    told = summary(done)
    assert (told["status"], told["method"], told["seeds"]) == ("complete", cfg.method_name, [0])
    assert told["tasks"] == TASKS and told["env_steps"] == told["decisions"] == 2 * STEPS
    # task 1: after 24 random steps, the last 2 of which count, (88 - 22) / 4 = 16.5 updates and 2
    # before them; task 2: 88 / 4 = 22 more, with the half that was left over
    assert told["updates"] == 18 + 22
    assert told["config"] == config.to_dict(cfg)
    assert told["curves"][TASKS[0]]["task_env_steps"] == [0, 44, 88]


def test_every_task_is_watched_all_the_time(done):
    records = read_metrics(done / "metrics.jsonl")
    assert {r["stage"] for r in records} == {"train", "eval", "monitor", "probe", "audit"}
    monitored = [r for r in records if r["stage"] == "monitor"]
    for task in TASKS:
        seen = [r["env_steps"] for r in monitored if f"monitor/{task}/return" in r["values"]]
        assert seen == [0, 44, 88, 88, 132, 176]
    trained = [r for r in records if r["stage"] == "train"]
    assert all("train/replay/share-1" in r["values"] for r in trained)
    assert {"train/behaviour/entropy", "train/exploration/reward", "train/ensemble/ensemble"} <= (
        trained[-1]["values"].keys()
    )
    assert trained[1]["values"]["train/replay/share-1"] == 1.0
    assert 0 < trained[-1]["values"]["train/replay/share-2"] < 1.0
    values = [v for r in records for v in r["values"].values()]
    assert all(math.isfinite(v) for v in values)


def test_reports_come_as_often_as_was_asked(done):
    trained = [r for r in read_metrics(done / "metrics.jsonl") if r["stage"] == "train"]
    first = [r["task_env_steps"] for r in trained if r["task_index"] == 0]
    assert first == [20, 40, 60, 80, 88]


def test_a_task_checkpoint_holds_networks_and_no_replay(done):
    state, meta = checkpoint.load(done / "checkpoints" / "task-1.safetensors")
    assert meta["finished"] == TASKS[0] and state.keys() == {"world_model", "learner"}
    assert state["learner"].keys() == {"actor", "critic", "explorer", "explorer_critic", "ensemble"}
    whole, _ = checkpoint.load(done / "checkpoints" / "last.safetensors")
    replay = whole["agent"]["replay"]
    assert replay["table"]["length"].sum() <= 66
    assert len(replay["records"]["reward"]) == (replay["table"]["length"] + 1).sum()


def test_episodes_under_way_when_a_task_ends_are_stored_as_cut(done):
    """All steps of the first task arrive in the replay, the last ones as unfinished episodes."""
    told = [r for r in read_metrics(done / "metrics.jsonl") if r["stage"] == "train"]
    assert told[-1]["values"]["train/replay/discarded"] <= 2


def test_what_is_played_is_stored_to_the_last_step(tmp_path):
    cfg = tiny(replay__capacity=1000, replay__min_length=1)
    state, _ = checkpoint.load(train(cfg, tmp_path) / "checkpoints" / "last.safetensors")
    table = state["agent"]["replay"]["table"]
    for task in (0, 1):
        assert table["length"][table["task"] == task].sum() == STEPS
    assert state["unfinished"] is None


def test_budgets_are_exact_whatever_an_update_asks_for(tmp_path):
    cfg = tiny(
        budget__env_steps_per_task=90, update__env_steps_per_update=8, budget__lengths=[1, 2]
    )
    told = summary(train(cfg, tmp_path))
    assert told["env_steps"] == 90 + 180
    assert told["curves"][TASKS[1]]["task_env_steps"][-1] == 180


def test_the_same_settings_give_the_same_run(done, cfg, tmp_path):
    assert_same_run(done, train(cfg, tmp_path / "again"))


def test_how_often_a_run_is_saved_and_evaluated_changes_nothing_it_learns(done, cfg, tmp_path):
    rare = {"checkpoint_every": 10_000, "eval_every": 88, "report_every": 0, "eval_episodes": 3}
    train(config.merge(cfg, {"budget": rare}), tmp_path)
    for name in ("task-1.safetensors", "task-2.safetensors"):
        states = [checkpoint.load(out / "checkpoints" / name)[0] for out in (done, tmp_path)]
        assert same(*states) == []


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_over_a_task_and_stays_finite(method, tmp_path):
    cfg = tiny(method, **BRIEF, budget__eval_episodes=1)
    told = summary(train(cfg, tmp_path))
    assert told["status"] == "complete" and told["updates"] == 2 + 2
    for record in read_metrics(tmp_path / "metrics.jsonl"):
        assert all(math.isfinite(value) for value in record["values"].values())
        assert "nonfinite" not in record


def test_from_scratch_every_task_begins_at_random(tmp_path):
    told = summary(train(tiny("scratch"), tmp_path))
    assert told["updates"] == 2 * 18


def test_a_run_is_filmed(tmp_path):
    train(tiny(**BRIEF), tmp_path, video="final")
    assert [path.stem for path in (tmp_path / "videos").iterdir()] == ["1-empty-5x5-0000032"]


def test_worlds_that_are_registered_elsewhere_are_learnt_too(tmp_path):
    world = {"env__domain": "gymnasium", "env__observation": "state", "tasks": ["Pendulum-v1"]}
    cfg = tiny(**world, budget__env_steps_per_task=32, latent__kind="gaussian")
    told = summary(train(cfg, tmp_path))
    assert told["tasks"] == ["pendulum-v1"] and told["status"] == "complete"


# Interruptions -----------------------------------------------------------------------------------


def after_updates(monkeypatch, number: int, happen) -> None:
    """Calls `happen` once, after the given call of the batch's update."""
    original, seen = SeedBatch.update, []

    def update(self, n):
        original(self, n)
        seen.append(n)
        if len(seen) == number:
            happen()

    monkeypatch.setattr(SeedBatch, "update", update)


@pytest.mark.parametrize("number", [1, 8, 26])
def test_a_stopped_run_says_how_to_resume_and_ends_up_the_same(
    number, done, cfg, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        after_updates(patch, number, (tmp_path / "stop").touch)
        with pytest.raises(RunInterrupted, match="saved; resume with: python -m lib resume"):
            train(cfg, tmp_path)
    state, _ = checkpoint.load(tmp_path / "checkpoints" / "last.safetensors")
    assert state["unfinished"]["length"] != [0, 0], "stopped within an episode"
    train(cfg, tmp_path)
    assert_same_run(done, tmp_path)


def killed(cfg, out: Path, *steps: int, seeds: tuple[int, ...] = ()) -> None:
    """Trains in processes that die before these steps of their worlds, the last one lives on."""
    for number in (*steps, 0):
        child = killing.processes().Process(
            target=dreamer_killing.train, args=(config.to_dict(cfg), str(out), number, seeds)
        )
        child.start()
        child.join(killing.PATIENCE)
        assert child.exitcode == (-9 if number else 0)


def test_a_run_killed_again_and_again_within_episodes_ends_up_the_same(done, cfg, tmp_path):
    killed(cfg, tmp_path, 5, 41, 57)
    assert_same_run(done, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "dreamer-coverage", "boundary__carry": "nothing"},
        {"method": "dreamer-uncertainty", "replay__retention": "random-evict"},
        {
            "method": "dreamer-visits",
            "env__observation": "pixels",
            "boundary__reset_optimizers": True,
        },
    ],
    ids=lambda changes: changes["method"],
)
def test_so_does_one_of_every_other_kind(changes, tmp_path):
    cfg = tiny(**changes)
    train(cfg, tmp_path / "whole")
    killed(cfg, tmp_path / "broken", 95)
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


# Several seeds -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def together(cfg, tmp_path_factory) -> Path:
    """Three seeds that nobody interrupted."""
    out = tmp_path_factory.mktemp("seeds")
    cfgs = [of_seed(cfg, seed) for seed in SEEDS]
    folders = [out / str(seed) for seed in SEEDS]
    training.train_seeds(cfgs, folders, out, tensorboard=False, progress=False)
    return out


def test_computed_together_a_seed_starts_as_it_does_alone(together, done):
    mine, theirs = (read_metrics(out / "metrics.jsonl") for out in (together / "0", done))
    assert [(r["stage"], r["env_steps"], r["updates"]) for r in mine] == [
        (r["stage"], r["env_steps"], r["updates"]) for r in theirs
    ]
    trained = [[r for r in found if r["stage"] == "train"] for found in (mine, theirs)]
    assert mine[0] == theirs[0]  # the evaluation before the first update
    for one, other in zip(trained[0][:2], trained[1][:2], strict=True):
        assert one["values"] == pytest.approx(other["values"], rel=1e-3, abs=1e-4)


def test_every_seed_learns_something_else(together):
    metrics = {(together / str(seed) / "metrics.jsonl").read_bytes() for seed in SEEDS}
    assert len(metrics) == 3


def test_seeds_killed_within_episodes_end_up_the_same(together, cfg, tmp_path):
    killed(cfg, tmp_path, 211, seeds=SEEDS)
    for seed in SEEDS:
        assert_same_run(together / str(seed), tmp_path / str(seed))


# Starting from another run -----------------------------------------------------------------------

STILL = {"update__model_lr": 0.0, "update__actor_lr": 0.0, "update__critic_lr": 0.0}
STILL |= {"update__decay": 0.0, "explore__lr": 0.0}


def begun(done: Path, out: Path, mode: str) -> dict:
    """What a run that learns nothing has in the end."""
    cfg = tiny("continual-dreamer-p2e", **BRIEF, **STILL)
    train(cfg, out, load_mode=mode, load_from=str(done))
    return checkpoint.load(out / "checkpoints" / "task-1.safetensors")[0]


def test_world_model_mode_takes_the_world_model_alone(done, tmp_path):
    wanted, _ = checkpoint.load(done / "checkpoints" / "task-2.safetensors")
    got = begun(done, tmp_path, "world-model")
    assert same(got["world_model"], wanted["world_model"]) == []
    for name, held in wanted["learner"].items():
        assert same(got["learner"][name], held), name


def test_agent_mode_takes_everything(done, tmp_path):
    wanted, _ = checkpoint.load(done / "checkpoints" / "task-2.safetensors")
    assert same(begun(done, tmp_path, "agent"), wanted) == []


@pytest.mark.parametrize(
    ("changes", "mode", "message"),
    [
        ({"latent__deter": 7}, "world-model", "another layout"),
        ({"latent__variables": 3}, "world-model", "another layout"),
        ({"network__head_width": 19}, "agent", "another layout"),
        ({"method": "dreamer-p2e"}, "agent", ""),
        ({"method": "scratch"}, "agent", "'scratch' starts every task from nothing"),
        ({"env__observation": "pixels"}, "world-model", "another world.*observation"),
        (
            {"env__domain": "gymnasium", "env__observation": "state", "tasks": ["CartPole-v1"]},
            "world-model",
            "another world than this run's.*env.domain is 'minigrid' there, 'gymnasium' here",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(changes, mode, message, done, tmp_path):
    given = BRIEF | changes
    cfg, how = tiny(**given), {"load_mode": mode, "load_from": str(done)}
    if not message:
        train(cfg, tmp_path, **how)
        return
    with pytest.raises(UserError, match=message) as error:
        train(cfg, tmp_path, **how)
    assert "\n" not in str(error.value)


def test_actions_of_another_size_are_refused(tmp_path):
    world = {"env__domain": "gymnasium", "env__observation": "state"}
    short = {"budget__env_steps_per_task": 32}
    source = train(tiny(**world, **short, tasks=["CartPole-v1"]), tmp_path / "source")
    with pytest.raises(UserError, match="another layout") as error:
        train(
            tiny(**world, **short, tasks=["Acrobot-v1"]),
            tmp_path / "out",
            load_mode="world-model",
            load_from=str(source),
        )
    assert "\n" not in str(error.value)


def test_an_explorer_cannot_be_taken_from_who_has_none(tmp_path):
    source = train(tiny("dreamer", **BRIEF), tmp_path / "source")
    how = {"load_from": str(source)}
    with pytest.raises(UserError, match="another layout|lacks"):
        train(tiny("dreamer-p2e", **BRIEF), tmp_path / "agent", load_mode="agent", **how)
    train(tiny("dreamer-p2e", **BRIEF), tmp_path / "model", load_mode="world-model", **how)


def test_a_run_of_another_family_is_refused(tmp_path):
    source = tmp_path / "source"
    training.train(
        tdmpc("tdmpc", tasks=["room-1"], budget__env_steps_per_task=28),
        source,
        tensorboard=False,
        progress=False,
    )
    with pytest.raises(UserError, match="another world than this run's") as error:
        train(tiny(), tmp_path / "out", load_mode="world-model", load_from=str(source))
    assert "\n" not in str(error.value)


# What goes wrong ---------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_the_run_and_says_where(cfg, tmp_path, monkeypatch):
    def spoil():
        spoiled[0].agents[0].replay.records.reward[:] = math.nan

    spoiled = []
    original = SeedBatch._restack
    monkeypatch.setattr(SeedBatch, "_restack", lambda self: spoiled.append(self) or original(self))
    after_updates(monkeypatch, 6, spoil)
    with pytest.raises(NonFiniteError, match="non-finite .*model/reward.* in task 1 near update"):
        train(cfg, tmp_path)
    state, _ = checkpoint.load(tmp_path / "checkpoints" / "nonfinite.safetensors")
    assert state["agent"]["replay"]["records"]["reward"].isnan().any()
    kept, _ = checkpoint.load(tmp_path / "checkpoints" / "last.safetensors")
    leaves = [v for v in flat(kept).values() if isinstance(v, torch.Tensor)]
    assert all(v.isfinite().all() for v in leaves if v.is_floating_point())


def test_a_checkpoint_of_other_settings_is_refused(done, cfg, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    source = done / "checkpoints" / "last.safetensors"
    (tmp_path / "checkpoints" / "last.safetensors").write_bytes(source.read_bytes())
    with pytest.raises(UserError, match="holds a different run.*deter is 5 there, 7 here"):
        train(config.merge(cfg, {"latent": {"deter": 7}}), tmp_path)


def test_without_minihack_its_runs_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(minihack, "NEEDED", ("a_package_that_is_not_there",))
    minihack.package.cache_clear()
    try:
        with pytest.raises(UserError, match="MiniHack is not installed"):
            train(tiny(env__domain="minihack", tasks=["river-narrow"]), tmp_path)
    finally:
        minihack.package.cache_clear()


def test_a_run_whose_episodes_are_all_too_short_goes_on_without_learning(tmp_path):
    cfg = tiny(tasks=["empty-5x5"], replay__min_length=11, budget__env_steps_per_task=44)
    told = summary(train(config.merge(cfg, {"env": {"episode_length": 11}}), tmp_path))
    assert told["status"] == "complete"
    text = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(text[-1])["env_steps"] == 44
