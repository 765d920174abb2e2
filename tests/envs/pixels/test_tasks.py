import pytest

from lib.core.errors import UserError
from lib.envs.pixels.tasks import TASKS, SuiteTask, resolve


def test_the_table_is_the_suites(dm_control):
    assert {(task.domain, task.task) for task in TASKS.values()} == set(dm_control.ALL_TASKS)


def test_two_tasks_also_come_with_a_threshold():
    extra = [task.name for task in TASKS.values() if task.threshold]
    assert extra == ["cheetah_run_sparse", "walker_run_sparse"]
    assert TASKS["cartpole_swingup_sparse"].threshold == 0  # which the suite itself has


@pytest.mark.parametrize(
    ("entry", "domain", "task"),
    [
        ("walker_run", "walker", "run"),
        ("walker-run", "walker", "run"),
        ("cup_catch", "ball_in_cup", "catch"),
        ("ball_in_cup_catch", "ball_in_cup", "catch"),
        ("cartpole_swingup_sparse", "cartpole", "swingup_sparse"),
        ("humanoid_cmu_run", "humanoid_CMU", "run"),
        ("point-mass-easy", "point_mass", "easy"),
        ("swimmer_swimmer6", "swimmer", "swimmer6"),
    ],
)
def test_names_are_those_of_the_papers(entry, domain, task):
    (found,) = resolve([entry])
    assert (found.domain, found.task) == (domain, task)


def test_the_quadruped_is_seen_by_camera_2_and_all_others_by_0():
    assert {task.domain for task in TASKS.values() if task.camera} == {"quadruped"}
    assert TASKS["quadruped_run"].camera == 2


def test_a_record_is_taken_as_it_is():
    mine = SuiteTask("mine", "walker", "run", 6)
    assert resolve([mine, "walker_stand"])[0] is mine


def test_a_task_may_have_a_name_and_a_background_of_its_own():
    rain = {"name": "wet", "task": "walker-walk", "background": "procedural:rain"}
    found = resolve(["walker_walk", rain, {"name": "walker_run"}])
    assert [task.name for task in found] == ["walker_walk", "wet", "walker_run"]
    assert [task.task for task in found] == ["walk", "walk", "run"]
    assert [task.background for task in found] == ["", "procedural:rain", ""]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"name": "wet", "task": "walker_rum"}], "did you mean 'walker_run'"),
        ([{"task": "walker_run", "background": "procedural:snow"}], "procedural background 'snow'"),
        ([{"task": "walker_run", "colour": "red"}], "unknown key of a dmc task 'colour'"),
        ([{"task": 3}], "task is a text, but 3 arrived"),
        ([{"background": "plain"}], "has no `task`"),
        (["walker_rum"], "unknown dmc task 'walker_rum'.*did you mean 'walker_run'.*DOMAIN_TASK"),
        (["cup"], "unknown dmc task 'cup'"),
        (["atari_pong"], "'atari_pong' is a game of Atari; dmc has .* such as walker_run"),
        ([{"name": "mine", "task": "Atari-Pong"}], "'Atari-Pong' is a game of Atari"),
        ([], "no tasks given; name at least one, for example walker_run"),
        (["walker_run", "walker-run"], "'walker_run' is listed twice"),
        ([3], "task 3 is no name; dmc tasks are named"),
    ],
)
def test_what_is_no_stream_of_tasks_is_refused(entries, message):
    with pytest.raises(UserError, match=message) as said:
        resolve(entries)
    assert "\n" not in str(said.value)
