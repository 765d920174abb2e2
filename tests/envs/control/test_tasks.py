import pytest

from lib.core.errors import UserError
from lib.envs.control.tasks import TASKS, resolve


def names(domain: str, *entries: str) -> list[str]:
    return [task.name for task in resolve(domain, entries)]


def test_every_task_is_registered_under_its_name():
    assert all(task.name == name and not task.after for name, task in TASKS.items())
    assert all(name.startswith(f"{task.domain}-") for name, task in TASKS.items())


def test_short_full_and_underscored_names_mean_the_same():
    assert names("cheetah", "run") == names("cheetah", "cheetah-run") == ["cheetah-run"]
    assert names("cheetah", "run_backwards") == ["cheetah-run-backwards"]
    assert names("walker", "run", "walk", "walker_stand") == [
        "walker-run",
        "walker-walk",
        "walker-stand",
    ]


def test_back_means_running_for_the_cheetah_and_walking_for_the_walker():
    assert names("cheetah", "back") == ["cheetah-run-backwards"]
    assert names("walker", "back") == ["walker-walk-backwards"]
    assert names("cheetah", "jump-and-back") == ["cheetah-jump-and-run-backwards"]


@pytest.mark.parametrize("entry", ["jump2run", "cheetah-jump2run", "cheetah-jump2cheetah-run"])
def test_a_pair_is_the_second_task_after_the_first(entry):
    (task,) = resolve("cheetah", [entry])
    assert (task.name, task.after) == ("cheetah-jump2run", "cheetah-jump")
    assert task.reward is TASKS["cheetah-run"].reward


def test_pairs_know_the_short_names_too():
    jump, back = resolve("cheetah", ["jump2back", "back2run"])
    assert (jump.name, jump.after) == ("cheetah-jump2back", "cheetah-jump")
    assert jump.reward is TASKS["cheetah-run-backwards"].reward
    assert (back.name, back.after) == ("cheetah-back2run", "cheetah-run-backwards")
    (walk,) = resolve("walker", ["back2run"])
    assert walk.after == "walker-walk-backwards"


def test_records_resolve_to_themselves_and_a_task_may_follow_its_own_pair():
    tasks = resolve("cheetah", ["run", "jump2run"])
    assert resolve("cheetah", tasks) == tasks


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["rum"], "unknown task 'rum'; known: .*did you mean 'run'"),
        (["cheetah-jmp"], "unknown task 'cheetah-jmp'.*did you mean 'cheetah-jump'"),
        (["jump2rnu"], "unknown task 'rnu'; known.*did you mean 'run'.*in 'jump2rnu'"),
        (["2run"], "unknown task ''"),
        (["walker-walk"], "'walker-walk' belongs to walker, but the domain is cheetah"),
        (["jump2walker-walk"], "belongs to walker"),
        (["walker-back"], "belongs to walker"),
        ([TASKS["walker-run"]], "belongs to walker"),
        (["run", "cheetah-run"], "task 'cheetah-run' is listed twice"),
        (["back", "run-backwards"], "task 'cheetah-run-backwards' is listed twice"),
        (["jump2jump"], "pairs 'cheetah-jump' with itself"),
        ([{"name": "run"}], "is no name; control tasks are named"),
        ([7], "is no name"),
        ([], "no tasks given; name at least one, for example cheetah-run"),
    ],
)
def test_a_task_that_cannot_be_is_refused_in_one_line(entries, message):
    with pytest.raises(UserError, match=message) as error:
        resolve("cheetah", entries)
    assert "\n" not in str(error.value)


def test_an_unknown_domain_is_refused():
    with pytest.raises(UserError, match="unknown control domain 'cheeta'.*did you mean 'cheetah'"):
        resolve("cheeta", ["run"])
