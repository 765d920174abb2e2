import numpy as np
import pytest
import torch

from lib.core.config import EnvConfig
from lib.core.errors import UserError
from lib.envs import worlds
from lib.envs.api import data_parts, spaces

ENV = EnvConfig(domain="point-mass", episode_length=30)


def test_names_stand_for_tasks_with_and_without_their_world():
    domain = worlds.build(ENV, ["turn_90", "point-mass-line", "pretrain"])
    assert [t.name for t in domain.tasks] == [
        "point-mass-turn-90",
        "point-mass-line",
        "point-mass-pretrain",
    ]
    assert [spaces(domain, i)[1].size for i in range(3)] == [2, 1, 2]
    parts = [[part.name for part in data_parts(domain, i)] for i in range(3)]
    assert parts == [
        ["point-mass-turn-90"],
        ["point-mass-line"],
        ["point-mass-free", "point-mass-line"],
    ]
    assert [part.actions.size for part in data_parts(domain, 2)] == [2, 1]


def test_held_out_episodes_of_one_number_are_padded():
    domain = worlds.build(ENV, ["line", "free"])
    held = domain.new_held_out()
    domain.hold_out(held, 0, torch.ones(2, 31, 8), torch.ones(2, 30, 1), torch.ones(2, 30))
    assert held["action"].shape == (2, 4, 30, 2)
    assert held["action"][0, :2].sum() == 60 and not held["action"][0, :, :, 1].any()


def test_evaluation_is_elsewhere_and_a_task_can_be_drawn():
    domain = worlds.build(ENV, ["free"])
    assert domain.make_for_evaluation(0).evaluates and not domain.make(0).evaluates
    scene, pose = domain.scene(0), np.zeros(8, np.float32)
    pose[4:6] = 1.0, 1.0
    plain = scene.frame(pose)
    assert plain.shape == (256, 256, 3) and plain.dtype == np.uint8
    assert plain[128, 128].tolist() == [200, 60, 50]  # the point, in the middle
    assert plain[43, 213].tolist() == [90, 180, 90]  # the goal, above and to the right
    assert not np.array_equal(scene.frame(pose, ghost=pose + 0.5), plain)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([], "no tasks given"),
        (["turn-45"], "unknown task 'turn-45'"),
        (["free", "point_mass_free"], "'point-mass-free' is listed twice"),
        ([{"name": "x"}], "is none; give a name"),
    ],
)
def test_tasks_that_are_none_are_refused(tasks, message):
    with pytest.raises(UserError, match=message):
        worlds.build(ENV, tasks)


def test_a_decision_is_a_step():
    with pytest.raises(UserError, match="env.action_repeat 2.*use 1"):
        worlds.build(EnvConfig(domain="point-mass", action_repeat=2), ["free"])
