import pytest

from lib.core.errors import UserError
from lib.envs.pendulum.tasks import TASKS, PendulumTask, resolve


def test_the_three_named_tasks_have_the_published_numbers():
    a, b, target = resolve(["source-a", "source-b", "target"])
    assert (a.g, a.l, a.gear, a.goal, a.actions) == (10, 1, 1, 0, 1)
    assert (b.g, b.l, b.gear, b.goal, b.actions) == (7, 1.2, -1, 0.5, 2)
    assert (target.g, target.l, target.gear, target.goal, target.actions) == (10, 1.3, -1.3, 0, 1)


def test_a_mapping_alters_a_named_task_or_begins_from_a_plain_one():
    heavier, other, plain = resolve(
        [
            {"name": "heavier", "task": "target", "g": 12},
            {"name": "source-b", "actions": 3},
            {"name": "mine", "goal": -0.7},
        ]
    )
    assert heavier == PendulumTask("heavier", g=12.0, l=1.3, gear=-1.3)
    assert other == PendulumTask("source-b", g=7.0, l=1.2, gear=-1.0, goal=0.5, actions=3)
    assert plain == PendulumTask("mine", goal=-0.7)
    assert resolve([heavier]) == (heavier,) and TASKS["target"].g == 10


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([], "no tasks given; name at least one, for example source-a"),
        (["sorce-a"], "unknown pendulum task 'sorce-a'; .*did you mean 'source-a'"),
        (["target", "target"], "'target' is listed twice"),
        ([{"name": "x", "task": "targt"}], "unknown pendulum task 'targt'.*'target'"),
        ([{"task": "target"}], "has no `name`"),
        ([{"name": "x", "gaer": 1}], "unknown key of a pendulum task 'gaer'.*'gear'"),
        ([{"name": "x", "g": -1}], "task 'x': g -1 is no pendulum's; give a number of at least 0"),
        ([{"name": "x", "l": 0}], "l 0 is no pendulum's; give a number above 0"),
        ([{"name": "x", "gear": 0.0}], "gear 0.0 .*other than 0"),
        ([{"name": "x", "gear": True}], "gear True .*other than 0"),
        ([{"name": "x", "goal": "up"}], "goal 'up' .*radians"),
        ([{"name": "x", "goal": float("nan")}], "goal nan .*radians"),
        ([{"name": "x", "actions": 0}], "actions 0 .*from 1 to 32"),
        ([{"name": "x", "actions": 1.5}], "actions 1.5 .*whole number"),
    ],
)
def test_what_is_no_pendulum_is_refused_in_one_line(entries, told):
    with pytest.raises(UserError, match=told) as error:
        resolve(entries)
    assert "\n" not in str(error.value)
