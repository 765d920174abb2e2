"""A whole run, tiny: what it leaves behind, and that nothing which happens on the way changes it.

Two tasks of 84 steps: rounds of 2 episodes of 7 steps, evaluations and saves every 28 steps.
"""

import errno
import fcntl
import json
import math
import os
import random
import shutil
import time
from pathlib import Path

import pytest
import torch
import yaml

from lib.algos.tdmpc import agent
from lib.algos.tdmpc.settings import TdmpcRun
from lib.core import config
from lib.core.errors import NonFiniteError, RunInterrupted, UserError
from lib.core.storage import StorageError
from lib.engine import machine, seed_batch
from lib.runner import checkpoint, loop, run_folder, training
from lib.runner.record import describe, read_metrics
from tests import killing
from tests.run_folders import assert_same_run, summary
from tests.tiny import changed, flat, same, tiny

STEPS = 84
TASKS = ("room-1", "room-2")


def train(cfg: TdmpcRun, out: Path, **kwargs) -> Path:
    return training.train(cfg, out, tensorboard=False, progress=False, **kwargs)


@pytest.fixture(scope="module")
def cfg() -> TdmpcRun:
    return tiny("drago")


@pytest.fixture(scope="module")
def done(cfg, tmp_path_factory) -> Path:
    """A run that nobody interrupted."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert train(cfg, out) == out / "summary.json"
    return out


# What a run leaves behind ----------------------------------------------------------------------


def test_a_run_fills_its_folder(done):
    names = {str(p.relative_to(done)) for p in done.rglob("*") if p.is_file()}
    assert names >= {
        "config.yaml",
        "metrics.jsonl",
        "timing.jsonl",
        "progress.json",
        "summary.json",
        "audits/task-1.npz",
        "audits/task-2.npz",
        "checkpoints/last.safetensors",
        "checkpoints/best.safetensors",
        "checkpoints/task-1.safetensors",
        "checkpoints/task-2.safetensors",
    }
    assert not [name for name in names if "partial" in name]


def test_the_summary_tells_the_run(done, cfg):
    told = summary(done)
    assert (told["status"], told["method"], told["seeds"]) == ("complete", "drago", [0])
    assert told["name"] == "drago-grid-quick" and told["tasks"] == list(TASKS)
    assert told["env_steps"] == told["decisions"] == 2 * STEPS
    # task 1: 5 of 6 rounds follow the warm-up... the first round fills it: 6 * 14 learner steps;
    # task 2: 3 rounds of 14 learner steps, the reviewer's bring no updates; 3 updates in 2 steps
    assert told["updates"] == (6 * 14 + 3 * 14) * 3 // 2
    assert told["optimum"].keys() == set(TASKS) and all(v > 0 for v in told["optimum"].values())
    (first, second) = told["return_matrix"]
    assert first[1] is None and all(math.isfinite(v) for v in (first[0], *second))
    assert told["final_return"] == {t: told["curves"][t]["return"][-1] for t in TASKS}
    for task in TASKS:
        assert told["curves"][task]["task_env_steps"] == [0, 28, 56, 84]
    assert len(told["audit"]) == 2 and "audit/all/accuracy" in told["audit"][0]
    assert told["config"] == config.to_dict(cfg)
    assert {"commit", "versions", "hardware", "wall_clock_s", "preset"} <= told.keys()


def test_metrics_come_in_order_with_headers_and_known_names(done):
    records = read_metrics(done / "metrics.jsonl")
    assert {r["stage"] for r in records} == {"train", "eval", "audit"}
    steps = [r["env_steps"] for r in records]
    assert steps == sorted(steps) and steps[-1] == 2 * STEPS
    for record in records:
        assert record["task"] == TASKS[record["task_index"]]
        assert record["env_steps"] == record["task_index"] * STEPS + record["task_env_steps"]
        assert record["decisions"] == record["env_steps"] and "nonfinite" not in record
        for name in record["values"]:
            describe(name)
    assert not any("time" in key or "second" in key for r in records for key in flat(r))


def test_evaluations_come_when_due_and_finals_at_the_end_of_each_task(done):
    evals = [r for r in read_metrics(done / "metrics.jsonl") if r["stage"] == "eval"]
    regular = [r for r in evals if any(n.startswith("eval/") for n in r["values"])]
    assert [(r["task_index"], r["task_env_steps"]) for r in regular] == [
        (task, step) for task in range(2) for step in (0, 28, 56, 84)
    ]
    finals = [sorted(r["values"]) for r in evals if r not in regular]
    assert finals == [
        ["eval_final/room-1/return"],
        ["eval_final/room-1/return", "eval_final/room-2/return"],
    ]


def test_the_reviewer_appears_with_the_second_task(done):
    for record in read_metrics(done / "metrics.jsonl"):
        if record["stage"] == "train":
            seen = any(name.startswith("train/reviewer/return") for name in record["values"])
            assert seen == (record["task_index"] == 1)


def test_the_configuration_is_written_beside_the_results(done, cfg):
    held = yaml.safe_load((done / "config.yaml").read_text())
    assert {held.pop(key) for key in ("load_mode", "load_from", "pre_rollout")} == {""}
    assert config.from_dict(TdmpcRun, held) == cfg


def test_progress_can_be_read_from_outside(done):
    told = json.loads((done / "progress.json").read_text())
    assert told["phase"] == "done" and told["tasks"] == 2
    assert told["env_steps"] == told["env_steps_total"] == 2 * STEPS
    assert {"task", "task_index", "decisions", "updates", "env_steps_per_s", "eta_s"} <= told.keys()


def test_a_task_checkpoint_holds_what_transfer_needs_and_no_replay(done):
    state, meta = checkpoint.load(done / "checkpoints" / "task-1.safetensors")
    assert state.keys() == {"world_model", "learner", "reviewer"} and meta["finished"] == "room-1"
    assert state["world_model"].keys() == {"dynamics", "vae", "threshold"}
    assert not any("buffer" in name for name in flat(state))


def test_the_best_checkpoint_has_the_highest_score(done):
    best = checkpoint.load_meta(done / "checkpoints" / "best.safetensors")["score"]
    assert best >= checkpoint.load_meta(done / "checkpoints" / "last.safetensors")["score"]


def test_a_complete_run_is_not_trained_again(done, cfg, monkeypatch):
    before = {p: p.stat().st_mtime_ns for p in done.rglob("*") if p.name != ".lock"}
    monkeypatch.setattr(training, "Run", lambda *a: pytest.fail("trained again"))
    monkeypatch.setattr(machine, "choose_device", lambda name: pytest.fail("may not be here"))
    assert train(cfg, done) == done / "summary.json"
    assert before == {p: p.stat().st_mtime_ns for p in done.rglob("*") if p.name != ".lock"}


def test_the_same_settings_give_the_same_run_and_another_seed_does_not(done, tmp_path):
    train(tiny("drago"), tmp_path / "again")
    assert_same_run(done, tmp_path / "again")
    train(tiny("drago", seed=1), tmp_path / "other")
    metrics = [(p / "metrics.jsonl").read_bytes() for p in (done, tmp_path / "other")]
    assert metrics[0] != metrics[1]


def test_how_often_a_run_saves_and_evaluates_changes_nothing_it_learns(done, cfg, tmp_path):
    rare = changed(cfg, budget__checkpoint_every=10_000, budget__eval_every=84)
    train(rare, tmp_path)
    for name in ("task-1.safetensors", "task-2.safetensors"):
        states = [checkpoint.load(out / "checkpoints" / name)[0] for out in (done, tmp_path)]
        assert same(*states) == []


def test_how_often_a_run_looks_whether_to_stop_or_save_changes_nothing_it_learns(
    done, cfg, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "CHUNK_SECONDS", 0.0)  # after every update
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    train(cfg, tmp_path)
    assert_same_run(done, tmp_path)


# Interruptions ---------------------------------------------------------------------------------


def after_updates(monkeypatch, number: int, happen) -> None:
    """Calls `happen` once, after the given call of the batch's update."""
    original, seen = seed_batch.SeedBatch.update, []

    def update(self, n):
        original(self, n)
        seen.append(n)
        if len(seen) == number:
            happen()

    monkeypatch.setattr(seed_batch.SeedBatch, "update", update)


@pytest.mark.parametrize("number", [1, 4, 9])
def test_a_stopped_run_says_how_to_resume_and_ends_up_the_same(
    number, done, cfg, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        after_updates(patch, number, (tmp_path / "stop").touch)
        with pytest.raises(RunInterrupted, match="saved; resume with: python -m lib resume") as e:
            train(cfg, tmp_path)
    assert "\n" not in str(e.value) and not (tmp_path / "stop").exists()
    assert not (tmp_path / "summary.json").exists() or summary(tmp_path)["status"] == "running"
    train(cfg, tmp_path)
    assert_same_run(done, tmp_path)


def test_a_stop_asked_for_before_the_start_is_obeyed_at_once(cfg, done, tmp_path):
    (tmp_path / "stop").touch()
    with pytest.raises(RunInterrupted, match="stopped at 0 env steps of task 'room-1'"):
        train(cfg, tmp_path)
    train(cfg, tmp_path)
    assert_same_run(done, tmp_path)


def start(cfg: TdmpcRun, out: Path, *args) -> object:
    child = killing.processes().Process(
        target=killing.train, args=(config.to_dict(cfg), str(out), *args)
    )
    child.start()
    return child


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_run_killed_again_and_again_ends_up_the_same(seed, done, cfg, tmp_path):
    # every process dies before or after one of the calls that reach the disk or do work
    draws = random.Random(seed)

    def killed(kills):
        return start(cfg, tmp_path, draws.randint(30, 90) if kills else draws.randint(1, 20))

    killing.until_done(killed)
    assert_same_run(done, tmp_path)


@pytest.mark.parametrize("number", [1, 2, 4, 5])
def test_a_run_killed_while_a_checkpoint_is_half_written_ends_up_the_same(
    number, done, cfg, tmp_path
):
    child = start(cfg, tmp_path, number, True)
    child.join(killing.PATIENCE)
    assert child.exitcode == -9
    partial = list((tmp_path / "checkpoints").glob(".*.partial"))
    assert len(partial) == 1 and partial[0].stat().st_size > 0
    train(cfg, tmp_path)
    assert_same_run(done, tmp_path)
    assert not list((tmp_path / "checkpoints").glob(".*.partial"))


def written(out: Path) -> tuple[int, int]:
    """When metrics were last written, and how much."""
    path = out / "metrics.jsonl"
    return (path.stat().st_mtime_ns, path.stat().st_size) if path.exists() else (0, 0)


def test_a_run_killed_from_outside_at_any_time_ends_up_the_same(done, cfg, tmp_path):
    draws = random.Random(7)
    for _ in range(4):
        before = written(tmp_path)
        child = start(cfg, tmp_path)
        while child.is_alive() and written(tmp_path) == before:
            time.sleep(0.01)
        time.sleep(draws.uniform(0, 0.3))  # it is anywhere by then
        child.kill()
        child.join(killing.PATIENCE)
    train(cfg, tmp_path)
    assert_same_run(done, tmp_path)


def test_a_full_disk_loses_nothing_already_written(done, cfg, tmp_path, monkeypatch):
    original, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match="disk full"):
            train(cfg, tmp_path)
    checkpoint.load(tmp_path / "checkpoints" / "last.safetensors")
    train(cfg, tmp_path)
    assert_same_run(done, tmp_path)


def test_a_folder_that_goes_while_the_run_goes_on_is_not_made_again(cfg, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        after_updates(patch, 5, lambda: shutil.rmtree(out))
        with pytest.raises(StorageError, match=r"there is no folder .*run'|has been removed"):
            train(cfg, out)
    assert not out.exists()


def test_metrics_that_lost_their_end_are_refused(cfg, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        after_updates(patch, 5, (tmp_path / "stop").touch)
        with pytest.raises(RunInterrupted):
            train(cfg, tmp_path)
    (tmp_path / "metrics.jsonl").write_bytes(b"")
    with pytest.raises(UserError, match="metrics.jsonl' has 0 bytes, last.safetensors expects"):
        train(cfg, tmp_path)


# Losses that break -----------------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_the_run_and_says_where(cfg, tmp_path, monkeypatch):
    def spoil():
        agent = spoiled[0]
        agent.learner.buffer.reward[:] = math.nan

    spoiled = []
    original = agent.ContinualAgent.begin_task
    monkeypatch.setattr(
        agent.ContinualAgent,
        "begin_task",
        lambda self, index: spoiled.append(self) or original(self, index),
    )
    after_updates(monkeypatch, 6, spoil)
    with pytest.raises(
        NonFiniteError, match="non-finite learner/.* in task 1 near update"
    ) as error:
        train(cfg, tmp_path)
    assert "\n" not in str(error.value)
    state, _ = checkpoint.load(tmp_path / "checkpoints" / "nonfinite.safetensors")
    assert state["agent"]["learner"]["buffer"]["reward"].isnan().any()
    kept, _ = checkpoint.load(tmp_path / "checkpoints" / "last.safetensors")
    leaves = [v for v in flat(kept).values() if isinstance(v, torch.Tensor)]
    assert all(v.isfinite().all() for v in leaves if v.is_floating_point())
    assert len(read_metrics(tmp_path / "metrics.jsonl")) > 0


# Folders and locks -----------------------------------------------------------------------------


def test_a_folder_with_a_different_run_is_refused(done, tmp_path):
    with pytest.raises(UserError, match="already holds a different run.*seed is 0 there, 1 here"):
        train(tiny("drago", seed=1), done)
    with pytest.raises(UserError, match="different run.*load_mode is '' there"):
        train(tiny("drago"), done, load_mode="agent", load_from=str(done))


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just: text\n", "{unfinished"])
def test_a_folder_with_somebody_elses_configuration_is_refused(text, cfg, tmp_path):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match="config.yaml' is not the configuration of") as error:
        train(cfg, tmp_path)
    assert "\n" not in str(error.value) and (tmp_path / "config.yaml").read_text() == text


def test_a_folder_where_somebody_trains_is_refused(cfg, tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder.time, "sleep", lambda seconds: None)
    with open(tmp_path / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="is being trained by another process"):
            train(cfg, tmp_path)
    assert not (tmp_path / "config.yaml").exists()


def test_a_checkpoint_of_another_configuration_is_refused(done, cfg, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    source = done / "checkpoints" / "last.safetensors"
    (tmp_path / "checkpoints" / "last.safetensors").write_bytes(source.read_bytes())
    with pytest.raises(UserError, match="holds a different run.*vae.width is 17 there, 19"):
        train(changed(cfg, vae__width=19), tmp_path)


# Starting from another run ---------------------------------------------------------------------

TRANSFER = {"tasks": ["room-1to2"]}


def loaded(out: Path, **kwargs) -> tuple[dict, dict]:
    """The first and the newest checkpoint of a transfer run, learning rate zero."""
    cfg = tiny("tdmpc", **TRANSFER, learning__lr=0.0, vae__lr=0.0)
    train(cfg, out, **kwargs)
    state, _ = checkpoint.load(out / "checkpoints" / "task-1.safetensors")
    return state


@pytest.mark.parametrize("place", ["", "checkpoints", "checkpoints/task-2.safetensors"])
def test_world_model_mode_takes_dynamics_generator_and_threshold_alone(place, done, tmp_path):
    wanted, _ = checkpoint.load(done / "checkpoints" / "task-2.safetensors")
    got = loaded(tmp_path, load_mode="world-model", load_from=str(done / place))
    for part in ("dynamics", "vae"):
        assert same(got["world_model"][part], wanted["world_model"][part]) == []
    heads = [state["learner"]["heads"]["policy_net.0.weight"] for state in (got, wanted)]
    assert not torch.equal(*heads)


def test_agent_mode_takes_the_heads_as_well(done, tmp_path):
    wanted, _ = checkpoint.load(done / "checkpoints" / "task-2.safetensors")
    got = loaded(tmp_path, load_mode="agent", load_from=str(done))
    online = [n for n in wanted["learner"]["heads"] if not n.startswith("target")]
    for name in online:
        assert torch.equal(got["learner"]["heads"][name], wanted["learner"]["heads"][name])
    assert same(got["world_model"]["dynamics"], wanted["world_model"]["dynamics"]) == []


def test_a_periodic_checkpoint_can_be_loaded_too(done, tmp_path):
    path = done / "checkpoints" / "last.safetensors"
    wanted, _ = checkpoint.load(path)
    got = loaded(tmp_path, load_mode="world-model", load_from=str(path))
    model = wanted["agent"]["world_model"]
    assert same(got["world_model"]["dynamics"], model["dynamics"]) == []


def test_a_reviewing_method_reviews_from_the_first_task_on_a_loaded_model(done, tmp_path):
    cfg = tiny("drago", **TRANSFER)
    train(cfg, tmp_path, load_mode="world-model", load_from=str(done))
    records = read_metrics(tmp_path / "metrics.jsonl")
    first = next(r for r in records if r["stage"] == "train")
    threshold = checkpoint.load(done / "checkpoints" / "task-2.safetensors")[0]["world_model"]
    assert first["values"]["train/reviewer/threshold"] == threshold["threshold"].item()
    assert "train/rehearsal/loss" in records[-3]["values"] or any(
        "train/rehearsal/loss" in r["values"] for r in records
    )


def test_a_killed_transfer_run_resumes_like_any_other(done, tmp_path, monkeypatch):
    cfg, how = tiny("drago", **TRANSFER), {"load_mode": "agent", "load_from": str(done)}
    train(cfg, tmp_path / "whole", **how)
    with monkeypatch.context() as patch:
        after_updates(patch, 2, (tmp_path / "broken" / "stop").touch)
        with pytest.raises(RunInterrupted):
            train(cfg, tmp_path / "broken", **how)
    train(cfg, tmp_path / "broken", **how)
    metrics = [(tmp_path / n / "metrics.jsonl").read_bytes() for n in ("whole", "broken")]
    assert metrics[0] == metrics[1]


def test_the_source_of_a_transfer_is_left_untouched(done, tmp_path):
    before = {p: p.read_bytes() for p in done.rglob("*.safetensors")}
    loaded(tmp_path, load_mode="world-model", load_from=str(done))
    assert before == {p: p.read_bytes() for p in done.rglob("*.safetensors")}


@pytest.mark.parametrize(
    ("method", "changes", "kwargs", "message"),
    [
        ("tdmpc", {}, {"load_mode": "wolrd-model", "load_from": "x"}, "did you mean 'world-model'"),
        ("tdmpc", {}, {"load_mode": "agent"}, "go together"),
        ("tdmpc", {}, {"load_from": "x"}, "go together"),
        ("scratch", {}, {"load_mode": "agent", "load_from": "RUN"}, "starts every task from noth"),
        (
            "tdmpc",
            {"model__width": 17},
            {"load_mode": "world-model", "load_from": "RUN"},
            "another l",
        ),
        (
            "tdmpc",
            {"vae__code": 7},
            {"load_mode": "world-model", "load_from": "RUN"},
            "another layo",
        ),
        ("tdmpc", {}, {"load_mode": "agent", "load_from": "nowhere"}, "no checkpoint 'nowhere'"),
        ("tdmpc", {}, {"load_mode": "agent", "load_from": "EMPTY"}, "no checkpoint in '"),
        (
            "tdmpc",
            {},
            {"load_mode": "agent", "load_from": "FOREIGN"},
            "is not a checkpoint of this",
        ),
        ("tdmpc", {}, {"load_mode": "agent", "load_from": "OTHER"}, "another layout"),
        ("tdmpc", {}, {"load_mode": "agent", "load_from": "CUT"}, "truncated"),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_one_line(
    method, changes, kwargs, message, done, tmp_path
):
    places = {"RUN": done, "EMPTY": tmp_path / "empty"}
    places |= {name: tmp_path / f"{name}.safetensors" for name in ("FOREIGN", "OTHER", "CUT")}
    places["EMPTY"].mkdir()
    places["FOREIGN"].write_bytes(b"something else entirely" * 9)
    checkpoint.save(places["OTHER"], {"weights": torch.zeros(3)})
    whole = (done / "checkpoints" / "task-1.safetensors").read_bytes()
    places["CUT"].write_bytes(whole[: len(whole) - 100])
    if "load_from" in kwargs:
        kwargs = kwargs | {"load_from": str(places.get(kwargs["load_from"], kwargs["load_from"]))}
    with pytest.raises(UserError, match=message) as error:
        train(tiny(method, **TRANSFER, **changes), tmp_path / "out", **kwargs)
    assert "\n" not in str(error.value)


def test_after_a_refused_load_the_folder_can_be_used_with_the_right_one(done, tmp_path):
    cfg = tiny("tdmpc", **TRANSFER)
    with pytest.raises(UserError):
        train(cfg, tmp_path, load_mode="agent", load_from="nowhere")
    train(cfg, tmp_path, load_mode="agent", load_from=str(done))


# Streams of tasks ------------------------------------------------------------------------------


def test_one_task_is_a_run_too(tmp_path):
    train(tiny("tdmpc", tasks=["room-3"], budget__env_steps_per_task=28), tmp_path)
    assert summary(tmp_path)["return_matrix"] != [] and summary(tmp_path)["tasks"] == ["room-3"]


def test_a_task_of_ones_own_is_learnt_under_its_name(tmp_path):
    mine = {"name": "mine", "start": [1, 1], "goal": [2, 3]}
    train(tiny("tdmpc", tasks=[mine], budget__env_steps_per_task=28), tmp_path)
    told = summary(tmp_path)
    assert told["tasks"] == ["mine"] and told["config"]["tasks"] == [mine]
    assert "mine" in told["curves"]
