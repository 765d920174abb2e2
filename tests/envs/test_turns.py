import pytest
import torch

from lib.core.config import EnvConfig, merge
from lib.core.errors import UserError
from lib.envs import worlds
from lib.envs.pendulum.batch import PendulumBatch
from lib.envs.pendulum.tasks import TASKS
from lib.envs.turns import layout

SMALL = {"domain": "pendulum", "episode_length": 6, "action_repeat": 2}
LIGHT = {"name": "light", "task": "target", "g": 2}
SOURCES = {"name": "sources", "turns": ["source-a", LIGHT, "source-b"]}
T, A = 3, 2  # decisions of an episode, numbers in the union's actions


def env(**changes) -> EnvConfig:
    return merge(EnvConfig(), SMALL | changes)


def world(*entries, **changes):
    return worlds.build(env(**changes), entries or (SOURCES, "target"))


def test_a_mixture_is_one_task_of_the_stream():
    ours = world()
    assert [task.name for task in ours.tasks] == ["sources", "target"]
    assert ours.tasks[0].turns == ("source-a", "light", "source-b") and ours.tasks[0].after == ""
    assert [task.name for task in worlds.resolve(env(), [SOURCES, "target"])] == [
        "sources",
        "target",
    ]
    assert ours.actions.size == A and ours.make(1).name == "target"
    assert ours.new_held_out()["obs"].shape[:2] == (2, 4)
    assert ours.optimum(0) == ours.optimum(1) == 3


def test_without_mixtures_nothing_is_put_around_a_domain():
    domain = worlds.build(env(), ["target"])
    assert layout(["target"]).around(domain) is domain


def test_one_copy_goes_through_the_constituents_in_order(generator):
    made = world().make(0)
    made.reset(1, generator)
    whose = []
    for _ in range(7):
        whose.append(made.task.turns[made._turn[0]])
        for _ in range(T):
            assert not made.ended.any()
            made.step(made.actions.random(1, generator))
        assert made.ended.all()
        made.restart(made.ended, generator)
    names = ["source-a", "light", "source-b"]
    assert whose == [names[i % 3] for i in range(7)]
    assert made.played() == {
        "source-a/env_steps": 3 * 2 * T,
        "source-a/episodes": 3,
        "light/env_steps": 2 * 2 * T,
        "light/episodes": 2,
        "source-b/env_steps": 2 * 2 * T,
        "source-b/episodes": 2,
    }


def test_copies_move_as_their_constituents_would_alone(generator):
    made = world().make(0)
    obs = made.reset(5, generator)
    assert made._turn.tolist() == [0, 1, 2, 0, 1]
    tasks = [TASKS["source-a"], made.envs[1].task, TASKS["source-b"]]
    alone = [PendulumBatch(tasks[turn], T) for turn in made._turn]
    for copy, single in enumerate(alone):
        single.reset(1, generator)
        state = made.envs[made._turn[copy]].state_dict()["state"][copy : copy + 1]
        single.load_state_dict(single.state_dict() | {"state": state})
    for _ in range(T):
        action = made.actions.random(5, generator)
        obs, reward = made.step(action)
        for copy, single in enumerate(alone):
            own = action[copy : copy + 1, : single.actions.size]
            seen, paid = single.step(own)
            assert torch.equal(obs[copy], seen[0]) and reward[copy] == paid[0]


def test_copies_that_wait_stand_still_and_the_rest_go_on(generator):
    made = world().make(0)
    before = made.reset(4, generator)
    only = torch.tensor([True, False, True, False])
    after, reward = made.step(made.actions.random(4, generator), only=only)
    assert torch.equal(after[~only], before[~only]) and not reward[~only].any()
    assert (after[only] != before[only]).any(1).all() and reward[only].all()
    again = made.restart(~only, generator)
    assert torch.equal(again[only], after[only])
    assert made._turn.tolist() == [0, 2, 2, 1]


def test_a_restart_draws_as_much_whichever_copies_are_meant():
    draws = [torch.Generator().manual_seed(3) for _ in range(2)]
    for generator, chosen in zip(draws, ([True, False], [False, False]), strict=True):
        made = world().make(0)
        made.reset(2, generator)
        made.restart(torch.tensor(chosen), generator)
    assert torch.equal(*(generator.get_state() for generator in draws))


def test_evaluation_begins_as_many_episodes_of_every_constituent(generator):
    made = world().make_for_evaluation(0)
    assert made.reset(2, generator).shape == (6, 3)
    assert made._turn.tolist() == [0, 1, 2, 0, 1, 2] and made._place.tolist() == [0, 0, 0, 1, 1, 1]
    obs, reward = made.step(made.actions.random(6, generator))
    assert obs.shape == (6, 3) and reward.all() and made.pose().shape == (6, 1)
    assert [len(inner.pose()) for inner in made.envs] == [2, 2, 2]
    made.restart(torch.ones(6, dtype=torch.bool), generator)
    assert made._turn.tolist() == [0, 1, 2, 0, 1, 2]


def test_a_saved_mixture_goes_on_bit_for_bit(generator):
    ours = world(mask_padding=True)
    made, other = ours.make(0), ours.make(0)
    made.reset(2, generator)
    for _ in range(4):
        made.step(made.actions.random(2, generator))
        made.restart(made.ended, generator)
    saved = {name: part.clone() for name, part in made.state_dict().items()}
    assert all(len(part) == 2 for part in saved.values())
    other.load_state_dict(saved)
    draws = [torch.Generator().manual_seed(9) for _ in range(2)]
    for _ in range(2 * T):
        action = made.actions.random(2, generator)
        for mine, theirs in zip(made.step(action), other.step(action), strict=True):
            assert torch.equal(mine, theirs)
        seen = [one.restart(one.ended, g) for one, g in zip((made, other), draws, strict=True)]
        assert torch.equal(*seen)
    assert made.played() == other.played()


def test_every_copy_keeps_of_its_action_what_its_task_executes(generator):
    made = world(mask_padding=True).make(0)
    made.reset(3, generator)
    action = torch.ones(3, A)
    assert made.executed(action).tolist() == [[1, 0], [1, 0], [1, 1]]
    assert action.all()


def test_a_mixture_of_the_first_task_is_drawn_as_its_first_constituent():
    ours = world()
    assert ours.scene(0).frame(torch.zeros(1).numpy()).shape == (256, 256, 3)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([{"name": "all", "turns": []}], r"task 'all': turns \[\] name no tasks; list one or more"),
        ([{"name": "all", "turns": "target"}], "turns 'target' name no tasks"),
        ([{"turns": ["target"]}], "have no `name`"),
        ([{"name": 3, "turns": ["target"]}], "task name 3 is no text"),
        ([{"name": "all", "turns": ["target", SOURCES]}], "task 'all': turns within turns"),
        ([{"name": "all", "turns": [["target"]]}], "task 'all': turns within turns"),
        ([{"name": "all", "turns": ["target", "target"]}], "'target' is listed twice"),
        ([SOURCES, "source-a"], "'source-a' is listed twice"),
        ([{"name": "target", "turns": ["target"]}], "'target' is listed twice"),
        ([SOURCES, {"name": "sources", "turns": ["target"]}], "'sources' is listed twice"),
        ([{"name": "all", "turns": ["targt"]}], "unknown pendulum task 'targt'.*'target'"),
        ([{"name": "a/b", "turns": ["target"]}], "task name 'a/b'"),
        ([{"name": "all", "turns": ["target"], "g": 3}], "unknown key of tasks in turn 'g'"),
        ([{"name": "all", "turns": [None]}], "unknown pendulum task None"),
    ],
)
def test_turns_that_cannot_be_are_refused_in_one_line(entries, told):
    with pytest.raises(UserError, match=told) as error:
        worlds.resolve(env(), entries)
    assert "\n" not in str(error.value)


def test_worlds_whose_episodes_all_last_as_long_take_no_turns():
    with pytest.raises(UserError, match="grid plays one task at a time; .*minigrid"):
        worlds.resolve(env(domain="grid"), [{"name": "rooms", "turns": ["room-1", "room-2"]}])
