"""Whole learning curves: minutes long, so they run only with `-m slow`."""

import json

import pytest

from lib import families
from lib.runner import loop


@pytest.mark.slow
def test_the_quick_preset_learns_the_first_room(tmp_path):
    run = families.resolve({"preset": "grid-quick", "method": "tdmpc", "tasks": ["room-1"]})
    loop.train(run, tmp_path, tensorboard=False, progress=False)
    told = json.loads((tmp_path / "summary.json").read_text())
    assert told["final_return"]["room-1"] >= 0.8 * told["optimum"]["room-1"]
