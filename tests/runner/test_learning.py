"""Whole learning curves: minutes long, so they run only with `-m slow`."""

import json

import pytest

from lib.experiments import run_config
from lib.runner import training


@pytest.mark.slow
def test_the_quick_preset_learns_the_first_room(tmp_path):
    run = run_config.resolve({"preset": "grid-quick", "method": "tdmpc", "tasks": ["room-1"]})
    training.train(run, tmp_path, tensorboard=False, progress=False)
    told = json.loads((tmp_path / "summary.json").read_text())
    assert told["final_return"]["room-1"] >= 0.8 * told["optimum"]["room-1"]
