"""Sequence models in whole runs: pre-trained, taken through a stream, killed, gone on with."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.algos.decision_transformer.presets import METHODS
from lib.core import config
from lib.core.errors import UserError
from lib.runner import checkpoint, training, warm_start
from lib.runner.record import describe, read_metrics
from tests import killing, sequence_tiny
from tests.run_folders import assert_same_run, summary
from tests.sequence_tiny import tiny

NAMES = ["point-mass-pretrain", "point-mass-turn-0", "point-mass-turn-90"]


def train(cfg, out: Path, **how) -> Path:
    training.train(cfg, out, tensorboard=False, progress=False, **how)
    return out


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    return sequence_tiny.files(tmp_path_factory.mktemp("experience"))


@pytest.fixture(scope="module")
def runs(files, tmp_path_factory) -> dict[str, Path]:
    """A finished run of every method."""
    base = tmp_path_factory.mktemp("runs")
    return {method: train(tiny(method, files), base / method) for method in METHODS}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_goes_through_the_stream_and_says_what_is_left(method, runs):
    told = summary(runs[method])
    assert told["status"] == "complete" and told["tasks"] == NAMES and told["updates"] == 12
    matrix = told["return_matrix"]
    assert [[value is not None for value in row] for row in matrix] == np.tri(3).astype(
        bool
    ).tolist()
    rows = read_metrics(runs[method] / "metrics.jsonl")
    names = {name for row in rows for name in row["values"]}
    assert all(describe(name) for name in names)
    assert {"train/pretraining/action", "train/policy/action"} <= names
    assert "monitor/point-mass-pretrain/success" in names
    assert {f"eval_final/point-mass-turn-0/success{end}" for end in ("", "_any")} <= names
    inferred = {name for name in names if "inferred" in name}
    assert bool(inferred) == (method in ("dt-hide-lora", "dt-hide-lora-head"))


def test_pre_training_is_the_same_for_all_methods(runs):
    models = [
        checkpoint.load(out / "checkpoints" / "task-1.safetensors")[0]["world_model"]["model"]
        for out in runs.values()
    ]
    for model in models[1:]:
        assert all(torch.equal(model[name], value) for name, value in models[0].items())


@pytest.mark.parametrize("method", ["dt-lora", "dt-hide-lora-oracle"])
def test_an_oracle_forgets_nothing(method, runs):
    told = summary(runs[method])["return_matrix"]
    states = [
        checkpoint.load(runs[method] / "checkpoints" / f"task-{n}.safetensors")[0] for n in (2, 3)
    ]
    sets = [
        {n: x for n, x in s["learner"]["modulator"].items() if n.startswith("sets.0.")}
        for s in states
    ]
    assert sets[0] and all(torch.equal(sets[1][name], value) for name, value in sets[0].items())
    # Evaluations are the same episodes every time, so that not even their returns differ.
    assert told[1][1] == told[2][1] and told[0][0] == told[1][0] == told[2][0]
    watched = summary(runs[method])["monitor"]["point-mass-turn-0"]["return"]
    assert watched[-1] == told[2][1] and len(set(watched[-3:])) == 1


@pytest.mark.parametrize("method", ["dt-hide-lora"])
def test_a_run_killed_again_and_again_ends_up_the_same(method, files, runs, tmp_path):
    cfg, draws = tiny(method, files), random.Random(1)

    def killed(kills):
        args = (config.to_dict(cfg), str(tmp_path), draws.randint(40, 160))
        child = killing.processes().Process(target=killing.train, args=args)
        child.start()
        return child

    killing.until_done(killed)
    assert_same_run(runs[method], tmp_path)


# Starting from another run's model ---------------------------------------------------------------


def stream(method: str, files: Path, **changes):
    rest = {"tasks": NAMES[1:], "pretrain__tasks": 0, "inherits": True}
    return tiny(method, files, **(rest | changes))


def test_a_stream_begins_with_the_model_that_another_run_pre_trained(files, runs, tmp_path):
    source = runs["dt-full"] / "checkpoints" / "task-1.safetensors"
    base = checkpoint.load(source)[0]["world_model"]["model"]
    how = {"load_mode": "world-model", "load_from": str(source)}
    out = train(stream("dt-lora", files), tmp_path, **how)
    told = summary(out)
    assert told["tasks"] == NAMES[1:] and told["updates"] == 8
    ended = checkpoint.load(out / "checkpoints" / "task-2.safetensors")[0]
    mine = ended["world_model"]["model"]
    assert all(torch.equal(mine[name], value) for name, value in base.items())
    whole = checkpoint.load(runs["dt-lora"] / "checkpoints" / "task-3.safetensors")[0]
    assert ended["learner"]["base"] == whole["learner"]["base"] != ""


def test_a_model_of_another_layout_is_refused_before_anything_is_trained(files, runs, tmp_path):
    how = {"load_mode": "world-model", "load_from": str(runs["dt-full"])}
    with pytest.raises(UserError, match=r"another layout \(model.bins 7 there, 11 here\)"):
        train(stream("dt-lora", files, model__bins=11), tmp_path, **how)


def test_a_trained_agent_acts_as_it_did(runs):
    for method in ("dt-hide-lora", "dt-l2m"):
        path = runs[method] / "checkpoints" / "task-3.safetensors"
        agent = warm_start.trained_agent(path, torch.device("cpu"))
        assert agent.act(torch.rand(5, 8), None)[0].shape == (5, 2)
        assert agent.modulator.task == 1


def test_modules_whose_model_was_altered_are_refused(runs, tmp_path):
    path = tmp_path / "altered.safetensors"
    state, meta = checkpoint.load(runs["dt-lora"] / "checkpoints" / "task-3.safetensors")
    state["world_model"]["model"]["head.bias"] += 1
    checkpoint.save(path, state, meta)
    with pytest.raises(UserError, match="these modules were trained on the model .*at hand is"):
        warm_start.trained_agent(path, torch.device("cpu"))


# What is refused ---------------------------------------------------------------------------------


def test_a_missing_file_is_told_with_the_command_that_makes_it(files, tmp_path):
    folder = tmp_path / "experience"
    shutil.copytree(files, folder)
    shutil.rmtree(folder / "point-mass-turn-90")  # of the last task: nothing is trained before
    told = (
        "no experience of task 'point-mass-turn-90' at .*turn-90'; make it with "
        "'python -m lib data make point-mass'"
    )
    with pytest.raises(UserError, match=told) as error:
        train(tiny("dt-full", folder), tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action": np.full((11, 30, 2), 1.5, np.float32)}, "holds 1.5 .*outside the bins"),
        ({"action": np.zeros((11, 30, 1), np.float32)}, r"wanted float32 \(11, 30, 2\)"),
        ({"obs": np.full((11, 31, 8), np.nan, np.float32)}, "obs has numbers that are not finite"),
        ({"obs": np.zeros((11, 31, 9), np.float32)}, r"wanted float32 \(11, 31, 8\)"),
    ],
)
def test_a_file_that_cannot_be_learnt_from_is_refused(changes, message, files, tmp_path):
    folder = tmp_path / "experience"
    shutil.copytree(files, folder)
    for name, array in changes.items():
        np.save(folder / "point-mass-free" / f"{name}.npy", array)
    with pytest.raises(UserError, match=message) as error:
        train(tiny("dt-full", folder), tmp_path / "run")
    assert "\n" not in str(error.value)


def test_a_run_does_not_go_on_with_other_files_of_a_mixture(files, tmp_path):
    folder = tmp_path / "experience"
    shutil.copytree(files, folder)
    cfg = tiny("dt-full", folder)

    class Stop(Exception):
        pass

    with pytest.MonkeyPatch.context() as patch:
        real = training.TrainingLoop._update

        def update(loop, due):
            real(loop, due)
            loop._save()
            raise Stop

        patch.setattr(training.TrainingLoop, "_update", update)
        with pytest.raises(Stop):
            train(cfg, tmp_path / "run")
    shutil.rmtree(folder / "point-mass-free")
    shutil.copytree(folder / "point-mass-turn-0", folder / "point-mass-free")
    with pytest.raises(UserError, match="free', .*line' is not the file that this run"):
        train(cfg, tmp_path / "run")
