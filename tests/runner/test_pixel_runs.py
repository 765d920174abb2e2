"""Whole runs of agents that see dm_control as pictures: they resume to the same bytes.

Two tasks of 88 env steps in episodes of 11 decisions of 2, two at a time, 32 x 32 pixels: one
before generated clips, one before films in a folder.
"""

import numpy as np
import pytest

from lib.core import config
from lib.core.errors import UserError
from lib.envs.pixels import clips
from lib.runner import training
from tests import dreamer_killing, killing
from tests.dreamer_tiny import tiny
from tests.run_folders import assert_same_run, summary

pytestmark = pytest.mark.usefixtures("needs_gl")
METHODS = ("dreamer", "dreamer-pro", "tpc", "dreamer-redundancy")


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A folder of films whose decoded clips are kept beside them."""
    pytest.importorskip("dm_control", reason="needs mujoco and dm_control")
    folder = tmp_path_factory.mktemp("films")
    for split in ("train", "test"):
        (folder / split).mkdir()
        for name in "ab":
            draws = np.random.default_rng(ord(name) + len(split))
            film = draws.integers(0, 256, (13, 32, 32, 3), dtype=np.uint8)
            np.savez(folder / split / f"{name}.npz", film)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "CACHE", folder / "cache")
        yield folder


def stream(method: str, films, **changes):
    """A run of one agent on the two tasks."""
    world = {
        "env__domain": "dmc",
        "env__observation": "pixels",
        "env__image_size": 32,
        "env__render_quality": "fast",
        "env__action_repeat": 2,
        "env__episode_length": 22,
        "tasks": [
            {"name": "drifting", "task": "point_mass_easy", "background": "procedural:natural"},
            {"name": "filmed", "task": "point_mass_easy", "background": f"folder:{films}"},
        ],
    }
    aim = {"latent__kind": "gaussian", "objective__discount_head": False, "replay__slack": 0}
    return tiny(method, **{**world, **aim, **changes})


def train(cfg, out):
    training.train(cfg, out, tensorboard=False, progress=False)
    return out


@pytest.mark.parametrize("method", METHODS)
def test_every_agent_learns_from_pictures_and_counts_env_steps(method, films, tmp_path):
    told = summary(train(stream(method, films), tmp_path))
    assert told["status"] == "complete" and told["tasks"] == ["drifting", "filmed"]
    assert told["env_steps"] == 2 * told["decisions"] == 2 * 88


def test_a_run_killed_within_episodes_before_moving_clips_ends_up_the_same(films, tmp_path):
    cfg = stream("dreamer-pro", films)
    train(cfg, tmp_path / "whole")
    for number in (17, 52, 0):
        child = killing.processes().Process(
            target=dreamer_killing.train,
            args=(config.to_dict(cfg), str(tmp_path / "broken"), number),
        )
        child.start()
        child.join(killing.PATIENCE)
        assert child.exitcode == (-9 if number else 0)
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


def test_a_world_model_of_another_objective_is_refused(films, tmp_path):
    done = train(stream("tpc", films), tmp_path / "tpc")
    cfg = stream("dreamer-pro", films)
    with pytest.raises(UserError, match="objective 'contrast'.* 'prototypes'.* set objective.rep"):
        training.train(
            cfg,
            tmp_path / "pro",
            tensorboard=False,
            progress=False,
            load_mode="world-model",
            load_from=str(done),
        )
