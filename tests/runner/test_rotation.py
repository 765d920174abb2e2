"""The last checkpoint and the best one, through kills and damage."""

import errno
import math
import os
from pathlib import Path

import torch

from lib.core.files import partial_path
from lib.runner.checkpoint import load, save
from lib.runner.rotation import Rotation


def test_rotation_keeps_the_last_and_the_best(tmp_path: Path):
    rotation = Rotation(tmp_path)
    assert rotation.kept() == []
    for step, score in enumerate([0.0, 2.0, None, math.nan, 1.0, 2.0]):
        rotation.save({"step": step}, {"env_steps": step}, score)
    assert rotation.kept() == [rotation.last]
    assert load(rotation.last)[0] == {"step": 5}
    assert load(rotation.best) == ({"step": 1}, {"env_steps": 1, "score": 2.0})
    assert sorted(os.listdir(tmp_path)) == ["best.safetensors", "last.safetensors"]


def test_the_best_score_survives_a_restart(tmp_path: Path):
    Rotation(tmp_path).save({"step": 1}, {}, -3.0)
    Rotation(tmp_path).save({"step": 2}, {}, -4.0)
    assert load(tmp_path / "best.safetensors")[0] == {"step": 1}


def test_a_kill_between_last_and_best_is_made_good(tmp_path: Path):
    rotation = Rotation(tmp_path)
    rotation.save({"step": 1}, {}, 1.0)
    save(rotation.last, {"step": 2}, {"score": 2.0})  # and killed before best was linked
    partial = partial_path(rotation.best)
    partial.write_text("left over")
    rotation.save({"step": 3}, {}, 0.0)
    assert load(rotation.best)[0] == {"step": 2}
    assert not partial.exists()


def test_best_is_copied_where_links_are_impossible(tmp_path: Path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    rotation = Rotation(tmp_path)
    rotation.save({"x": torch.ones(3)}, {}, 1.0)
    assert rotation.best.read_bytes() == rotation.last.read_bytes()


def test_what_a_checkpoint_replaces_stays_until_every_run_has_saved(tmp_path: Path):
    rotation = Rotation(tmp_path)
    rotation.save({"step": 1}, {}, 1.0)
    rotation.write({"step": 2}, {}, 2.0)
    assert rotation.kept() == [rotation.previous, rotation.last]
    assert [load(path)[0]["step"] for path in rotation.kept()] == [1, 2]
    assert load(rotation.best)[0] == {"step": 1}  # the new one may have to be given up
    rotation.settle()
    assert rotation.kept() == [rotation.last] and load(rotation.best)[0] == {"step": 2}


def test_a_run_can_go_back_to_what_was_replaced(tmp_path: Path):
    rotation = Rotation(tmp_path)
    rotation.save({"step": 1}, {}, 1.0)
    rotation.write({"step": 2}, {}, 2.0)
    rotation.resume(rotation.previous)
    assert rotation.kept() == [rotation.last] and load(rotation.last)[0] == {"step": 1}
    assert load(rotation.best)[0] == {"step": 1}
    rotation.write({"step": 3}, {}, 0.0)
    rotation.resume(rotation.last)
    assert rotation.kept() == [rotation.last] and load(rotation.last)[0] == {"step": 3}


def test_a_damaged_best_is_replaced(tmp_path: Path):
    rotation = Rotation(tmp_path)
    rotation.save({"step": 1}, {}, 5.0)
    save(rotation.last, {"step": 2}, {"score": 1.0})
    rotation.best.unlink()
    rotation.best.write_text("damaged")
    rotation.save({"step": 3}, {}, 0.5)
    assert load(rotation.best)[0] == {"step": 2}
