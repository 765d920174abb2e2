"""Two processes learn one run, started as torchrun starts them, and end as one process does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lib.core import config
from lib.core.errors import UserError
from lib.core.paths import ROOT
from lib.engine import ranks
from lib.runner import checkpoint, training
from tests import sequence_tiny
from tests.run_folders import summary
from tests.sequence_tiny import tiny
from tests.tiny import tiny as tiny_tdmpc

TOLERANCE = 1e-5  # of weights: sums of two halves round otherwise than sums over all rows


def together(cfg, folder: Path, out: Path, *kill_at: int) -> subprocess.CompletedProcess:
    """Starts two processes on this machine, which find each other at a free port."""
    described = folder / "run.json"
    described.write_text(json.dumps(config.to_dict(cfg)))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "-m", "tests.several"]
    command += [str(described), str(out), *map(str, kill_at)]
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=900)


def weights(out: Path, task: int = 3) -> dict[str, torch.Tensor]:
    """What a run has learnt after a task: the model, and what modulates it."""
    state, _ = checkpoint.load(out / "checkpoints" / f"task-{task}.safetensors")
    parts = state["world_model"]["model"] | state["learner"]["modulator"]
    return {name: value for name, value in parts.items() if value.is_floating_point()}


@pytest.mark.parametrize(
    ("method", "changes"),
    # Features of a window are held apart from those of the other windows of its own share, which
    # are not those of a whole batch: that part of the loss is left out.
    [("dt-full", {}), ("dt-hide-lora", {"modulators__hide_lora__contrast": 0.0})],
)
def test_two_processes_killed_and_resumed_learn_what_one_does(method, changes, tmp_path):
    # Batches of 8 windows are two of 4, with as many padded steps in each as it happens: the mean
    # over all is weighted by what counts. Nothing is dropped out, which each would do otherwise.
    files = sequence_tiny.files(tmp_path / "files")
    cfg = tiny(method, files, model__dropout=0.0, data__reward_scale=[1.0], **changes)
    training.train(cfg, tmp_path / "one", tensorboard=False, progress=False)
    killed = together(cfg, tmp_path, tmp_path / "two", 4)
    assert killed.returncode != 0 and not (tmp_path / "two" / "summary.json").exists()
    done = together(cfg, tmp_path, tmp_path / "two")
    assert done.returncode == 0, done.stderr[-3000:]
    assert summary(tmp_path / "two")["status"] == "complete"
    before, one, two = (weights(tmp_path / n, t) for n, t in (("one", 1), ("one", 3), ("two", 3)))
    assert before.keys() == one.keys() == two.keys()
    assert furthest(one, two) < TOLERANCE < furthest(one, before) / 100


def furthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest difference of two sets of weights."""
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def as_of_two(monkeypatch) -> None:
    """Lets this process take itself for the first of two."""
    for name, value in zip(ranks.NEEDED, ("0", "2", "localhost", "1"), strict=True):
        monkeypatch.setenv(name, value)


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch):
    as_of_two(monkeypatch)
    for name in ("tune.batch", "pretrain.batch"):
        with pytest.raises(UserError, match=f"{name} 7 cannot be shared by 2 processes") as error:
            tiny("dt-full", **{name.replace(".", "__"): 7})
        assert "\n" not in str(error.value)


def test_families_of_one_process_and_several_seeds_are_refused(monkeypatch, tmp_path):
    as_of_two(monkeypatch)
    with pytest.raises(UserError, match="family 'tdmpc' learn in one process"):
        training.train(tiny_tdmpc("tdmpc"), tmp_path)
    cfgs = [config.merge(tiny("dt-full"), {"seed": seed}) for seed in (0, 1)]
    with pytest.raises(UserError, match="2 processes learn one run, and 2 seeds were asked for"):
        training.train_seeds(cfgs, [tmp_path / "0", tmp_path / "1"], tmp_path)


def test_a_process_alone_leads_and_meets_nobody():
    assert (ranks.size(), ranks.number(), ranks.group("cpu")) == (1, 0, None)
    ranks.dismiss()
