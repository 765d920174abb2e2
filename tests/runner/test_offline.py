"""A family that learns from files, registered by a test: trained, evaluated, killed, gone on with.

Two tasks with spaces of their own, 60 updates each; looked at every 20, saved every 15.
"""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.algos import registry
from lib.core import config
from lib.core.errors import RunInterrupted, UserError
from lib.core.spaces import ActionSpace, ObsSpace
from lib.runner import checkpoint, dataset, evaluate, training
from lib.runner.record import read_metrics
from tests import cloning, killing
from tests.cloning import SPACES, ClonerRun, World
from tests.run_folders import assert_same_run, summary
from tests.tiny import tiny


def train(cfg: ClonerRun, out: Path, world=None, **how) -> Path:
    training.train(cfg, out, tensorboard=False, progress=False, domain=world or World(), **how)
    return out


@pytest.fixture(scope="module")
def cfg(tmp_path_factory) -> ClonerRun:
    folder = tmp_path_factory.mktemp("experience")
    for task in SPACES:
        cloning.experience(folder, task)
    return ClonerRun(dataset=str(folder))


@pytest.fixture(scope="module")
def done(cfg, tmp_path_factory) -> Path:
    return train(cfg, tmp_path_factory.mktemp("offline") / "whole")


# Learning ---------------------------------------------------------------------------------------


def test_it_learns_both_tasks_without_a_step_in_them(done):
    told = summary(done)
    assert told["status"] == "complete" and told["tasks"] == ["pick", "reach"]
    assert (told["env_steps"], told["decisions"], told["updates"]) == (0, 0, 120)
    (first, _), (again, last) = told["return_matrix"]
    assert min(first, again, last) > 0.7 * cloning.STEPS  # the first task's heads still act it


def test_evaluations_and_reports_count_updates(done):
    curves = summary(done)["curves"]
    for task in SPACES:
        assert curves[task]["task_updates"] == [0, 20, 40, 60]
        returns = curves[task]["return"]
        assert len(returns) == 4 and returns[-1] > returns[0]
    rows = read_metrics(done / "metrics.jsonl")
    reported = [row["task_updates"] for row in rows if row["stage"] == "train"]
    assert reported == [25, 50, 60] * 2
    assert [row["updates"] for row in rows if row["stage"] == "train"][3:] == [85, 110, 120]
    assert {row["env_steps"] for row in rows} == {0}


def test_progress_counts_updates(done):
    told = json.loads((done / "progress.json").read_text())
    assert (told["updates"], told["updates_total"], told["phase"]) == (120, 120, "done")
    assert told["env_steps"] == told["env_steps_total"] == 0


def test_seeds_trained_together_end_as_if_alone(cfg, done, tmp_path):
    cfgs = [config.merge(cfg, {"seed": seed}) for seed in (0, 3)]
    folders = [tmp_path / str(seed) for seed in (0, 3)]
    how = {"tensorboard": False, "progress": False, "domain": World()}
    training.train_seeds(cfgs, folders, tmp_path, **how)
    assert_same_run(done, folders[0])
    assert summary(folders[1])["return_matrix"] != summary(done)["return_matrix"]


# Going on ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_killed_again_and_again_ends_up_the_same(seed, cfg, done, tmp_path):
    draws = random.Random(seed)

    def killed(kills):
        at = draws.randint(60, 120) if kills else draws.randint(1, 40)
        args = (config.to_dict(cfg), str(tmp_path), at, False, (), "tests.cloning")
        child = killing.processes().Process(target=killing.train, args=args)
        child.start()
        return child

    killing.until_done(killed)
    assert_same_run(done, tmp_path)


def stopped(cfg: ClonerRun, out: Path, monkeypatch, number: int = 2) -> None:
    """A run that was asked to stop when it had been evaluated so many times."""
    real, calls = evaluate.play_batch, []

    def spy(*args, **kwargs):
        calls.append(1)
        if len(calls) == number:
            (out / "stop").touch()
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "play_batch", spy)
        with pytest.raises(RunInterrupted, match="stopped at 20 updates of task 'pick'"):
            train(cfg, out)


def test_a_run_that_was_stopped_goes_on_as_if_never_interrupted(cfg, done, tmp_path, monkeypatch):
    stopped(cfg, tmp_path, monkeypatch)
    train(cfg, tmp_path)
    assert_same_run(done, tmp_path)


def test_a_run_does_not_go_on_with_another_file(cfg, tmp_path, monkeypatch):
    folder = tmp_path / "experience"
    for task in SPACES:
        cloning.experience(folder, task)
    mine = config.merge(cfg, {"dataset": str(folder)})
    stopped(mine, tmp_path / "run", monkeypatch)
    cloning.experience(folder, "pick", seed=1)
    with pytest.raises(UserError, match="is not the file that this run began to learn from"):
        train(mine, tmp_path / "run")


def test_a_checkpoint_holds_no_experience(done):
    state, meta = checkpoint.load(done / "checkpoints" / "last.safetensors")
    assert set(state["agent"]) == {"learner", "task", "updates", "means"}
    assert meta["position"] == [2, 0, 0]


# What is refused --------------------------------------------------------------------------------


def test_a_run_without_a_folder_of_files_is_refused(cfg, tmp_path):
    with pytest.raises(UserError, match="learn from files: name their folder in `dataset`"):
        train(config.merge(cfg, {"dataset": ""}), tmp_path)


def test_tasks_that_differ_are_refused_where_the_family_wants_them_alike(tmp_path):
    with pytest.raises(UserError, match="task 'reach' shows or takes another kind of numbers"):
        train(tiny("tdmpc"), tmp_path)


def altered(path: Path, **changes) -> None:
    """Replaces arrays of a task; None removes them."""
    for name, array in changes.items():
        (path / f"{name}.npy").unlink(missing_ok=True)
        if array is not None:
            np.save(path / f"{name}.npy", array)


ZEROS = np.zeros((40, 7), np.float32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"obs": None}, "it lacks obs"),
        ({"extra": ZEROS}, "it has extra, allowed are"),
        ({"reward": ZEROS[:, 0]}, "reward is .*, wanted"),
        ({"reward": ZEROS[:, :6]}, r"obs is float32 \(40, 8, 2\), wanted float32 \(40, 7, 2\)"),
        ({"reward": ZEROS.astype(np.float64)}, "reward is float64"),
        ({"reward": ZEROS * np.nan}, "reward has numbers that are not finite"),
        ({"action": np.zeros((40, 7, 2), np.float32)}, r"wanted float32 \(40, 7, 3\)"),
        ({"length": np.zeros(40, np.int64)}, "length is from 0 to 0, wanted from 1 to 7"),
        ({"length": np.full(40, 8)}, "length is from 8 to 8"),
        ({"success": np.zeros(40)}, "success is float64"),
    ],
)
def test_a_file_that_does_not_fit_its_task_is_refused(changes, message, tmp_path):
    path = cloning.experience(tmp_path, "pick")
    altered(path, **changes)
    with pytest.raises(UserError, match=message) as error:
        dataset.read(tmp_path, "pick", *SPACES["pick"])
    assert "\n" not in str(error.value)


def test_a_file_that_executes_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    path = cloning.experience(tmp_path, "pick")
    np.save(path / "reward.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="is no file of an array"):
        dataset.read(tmp_path, "pick", *SPACES["pick"])
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"something else" * 9])
def test_a_file_that_holds_something_else_is_refused(content, tmp_path):
    (cloning.experience(tmp_path, "pick") / "reward.npy").write_bytes(content)
    with pytest.raises(UserError, match="is no file of an array") as error:
        dataset.read(tmp_path, "pick", *SPACES["pick"])
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="no experience of task 'reach'"):
        dataset.read(tmp_path, "reach", *SPACES["reach"])


def test_a_file_that_was_cut_short_is_refused(tmp_path):
    path = cloning.experience(tmp_path, "pick") / "obs.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="is no file of an array"):
        dataset.read(tmp_path, "pick", *SPACES["pick"])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("pick.npz", "data import npz"),
        ("pick.pkl", "would execute what is in it.*numpy.savez.*data import npz"),
        ("pick.parquet", "data import lerobot"),
        ("pick.hdf5", "data import minari"),
    ],
)
def test_experience_in_another_form_is_told_what_makes_it_readable(name, told, tmp_path):
    (tmp_path / name).write_bytes(b"whatever")
    with pytest.raises(UserError, match=f"{name}' is of another layout .*{told}") as error:
        dataset.read(tmp_path, "pick", *SPACES["pick"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ('{"layout": 2}', "is of layout 2, and layout 1 can be read here"),
        ("{}", "cannot be read .*write it again"),
        ("[", "cannot be read .*write it again"),
    ],
)
def test_experience_of_another_version_is_refused(about, told, tmp_path):
    (cloning.experience(tmp_path, "pick") / "about.json").write_text(about)
    with pytest.raises(UserError, match=told) as error:
        dataset.read(tmp_path, "pick", *SPACES["pick"])
    assert "\n" not in str(error.value)


def test_what_is_written_is_read_again_as_it_is_needed(tmp_path):
    path = cloning.experience(tmp_path, "reach", episodes=5)
    found = dataset.read(tmp_path, "reach", ObsSpace("vector", (5,)), ActionSpace(2, False))
    assert found.episodes.obs.shape == (5, 8, 5) and found.episodes.length is None
    assert torch.equal(found.episodes.reward, torch.ones(5, 7))
    assert path.name == "reach" and found.checksum > 0
    found.episodes.obs[:] = 7  # in memory alone: the file stays as it is
    again = dataset.read(tmp_path, "reach", ObsSpace("vector", (5,)), ActionSpace(2, False))
    assert again.checksum == found.checksum and not (again.episodes.obs == 7).all()


def test_of_several_folders_the_first_that_has_a_task_counts(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    cloning.experience(one, "pick", episodes=3)
    for task in ("pick", "reach"):
        cloning.experience(other, task, episodes=5)
    both = f"{one},{other}"
    assert len(dataset.read(both, "pick", *SPACES["pick"]).episodes.reward) == 3
    assert len(dataset.read(both, "reach", *SPACES["reach"]).episodes.reward) == 5
    assert dataset.path_of(both, "lift") == one / "lift"


def test_experience_is_replaced_whole(tmp_path):
    cloning.experience(tmp_path, "reach", episodes=5)
    path = cloning.experience(tmp_path, "reach", episodes=3)
    assert dataset.array(tmp_path, "reach", "obs").shape[0] == 3
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_the_family_is_known_by_its_name(cfg):
    assert registry.from_dict(config.to_dict(cfg)) == cfg
