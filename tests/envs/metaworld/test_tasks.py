import pytest

from lib.algos.decision_transformer.presets import CW10, MT40
from lib.core.errors import UserError
from lib.envs.metaworld.tasks import NAMES, resolve


def test_there_are_the_benchmarks_fifty_tasks_and_the_papers_are_among_them():
    assert len(set(NAMES)) == 50
    assert set(MT40) | set(CW10) == set(NAMES) and not set(MT40) & set(CW10)


def test_a_task_is_known_with_and_without_its_version_and_a_second_time():
    found = resolve(["door-close-v3", "reach", "reach-again", {"name": "mine", "task": "push"}])
    assert [task.name for task in found] == ["door-close", "reach", "reach-again", "mine"]
    assert [task.task for task in found] == ["door-close", "reach", "reach", "push"]


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([], "no tasks given; name at least one, for example door-close"),
        (["door-clos"], "unknown Meta-World task 'door-clos'.*did you mean 'door-close'"),
        (["reach-v2"], "task 'reach-v2' is of an older Meta-World.*version 3: 'reach'"),
        (["hammer-v1"], "older Meta-World.*'hammer'"),
        (["reach", "reach-v3"], "'reach' is listed twice"),
        ([{"name": "x", "goal": 3}], "unknown key of a Meta-World task 'goal'"),
        ([{}], "has no `task`, such as door-close"),
        ([7], "task 7 is none; give a name such as door-close"),
    ],
)
def test_what_is_no_task_is_refused_in_one_line(entries, told):
    with pytest.raises(UserError, match=told) as error:
        resolve(entries)
    assert "\n" not in str(error.value)
