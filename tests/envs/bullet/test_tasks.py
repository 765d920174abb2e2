import pytest

from lib.core.errors import UserError
from lib.envs.bullet.tasks import NUMBERS, TASKS, BulletTask, resolve


def test_a_body_is_known_by_its_name_and_by_the_original_id():
    ids = ["HopperBulletEnv-v0", "walker2dbulletenv-v0", "halfcheetah", "Ant"]
    assert [task.name for task in resolve(ids)] == ["Hopper", "Walker2D", "HalfCheetah", "Ant"]
    assert max(task.numbers for task in TASKS.values()) == NUMBERS == 28
    assert max(task.actions for task in TASKS.values()) == 8


def test_a_mapping_gives_a_body_another_name():
    (task,) = resolve([{"name": "target", "task": "HopperBulletEnv-v0"}])
    assert task == BulletTask("target", "Hopper", 3, 15)


@pytest.mark.parametrize(
    ("entries", "goes_on", "told"),
    [
        ([], False, "no tasks given; name at least one, for example Hopper"),
        (["Hoper"], False, "unknown bullet task 'Hoper'.*did you mean 'Hopper'"),
        (["Hopper", "HopperBulletEnv-v0"], False, "'Hopper' is listed twice"),
        ([{"name": "x"}], False, "unknown bullet task 'x'"),
        ([{"name": "x", "body": "Ant"}], False, "unknown key of a bullet task 'body'"),
        ([{}], False, "has no `task`, such as Hopper"),
        ([{"task": "Ant", "gear": 2}], False, "'Ant': gear 2 is no body's; give a number from -1"),
        ([{"task": "Ant", "gear": 0}], False, "'Ant': gear 0 is no body's"),
        ([{"task": "Ant", "gravity": -1}], False, "gravity -1 is no body's; give 0 to 100 m/s"),
        ([{"task": "Ant", "gravity": True}], False, "gravity True is no body's"),
        (["Ant", "InvertedPendulum"], True, "ignore_termination: task 'InvertedPendulum' pays 1"),
    ],
)
def test_what_is_no_body_is_refused_in_one_line(entries, goes_on, told):
    with pytest.raises(UserError, match=told) as error:
        resolve(entries, goes_on)
    assert "\n" not in str(error.value)


def test_a_mapping_changes_what_pulls_and_pushes_a_body():
    light = {"name": "light", "task": "InvertedPendulumSwingup", "gravity": 5, "gear": -0.5}
    (task,) = resolve([light])
    assert (task.name, task.body, task.numbers) == ("light", "InvertedPendulumSwingup", 5)
    assert (task.gravity, task.gear) == (5.0, -0.5)


def test_other_bodies_may_go_on():
    assert len(resolve(["Hopper", "InvertedDoublePendulum"], ignore_termination=True)) == 2
