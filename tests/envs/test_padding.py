import pytest
import torch

from lib.core.config import EnvConfig, merge
from lib.core.errors import UserError
from lib.envs import api, padding, worlds
from lib.envs.padding import PaddedDomain
from lib.envs.pendulum.batch import PendulumBatch

SMALL = {"domain": "pendulum", "episode_length": 14, "action_repeat": 2}
WIDE = {"name": "wide", "task": "target", "actions": 5}


def env(**changes) -> EnvConfig:
    return merge(EnvConfig(), SMALL | changes)


def test_the_union_is_as_wide_as_the_widest_task_or_as_asked():
    assert padding.width({"a": 3, "b": 7}, 0, "env.min_actions") == 7
    assert padding.width({"a": 3, "b": 7}, 11, "env.min_actions") == 11
    with pytest.raises(UserError, match=r"env.min_actions 5 is too small: task 'b' has 7 numbers"):
        padding.width({"a": 3, "b": 7}, 5, "env.min_actions")


def test_a_stream_whose_tasks_are_alike_is_left_alone():
    assert not isinstance(worlds.build(env(), ["source-a", "target"]), PaddedDomain)
    assert isinstance(worlds.build(env(), ["source-a", "source-b"]), PaddedDomain)


def test_tasks_that_differ_share_the_largest_action_and_execute_their_first_numbers(generator):
    world = worlds.build(env(), ["source-a", WIDE, "source-b"])
    assert world.actions.size == 5 and world.obs_dim == 3
    assert {api.spaces(world, task)[1] for task in range(3)} == {world.actions}
    action = world.actions.random(3, generator)
    for task, own in ((0, 1), (1, 5), (2, 2)):
        padded, plain = world.make(task), PendulumBatch(world.tasks[task], 7)
        assert padded.actions.size == 5
        for made in (padded, plain):
            made.reset(3, torch.Generator().manual_seed(1))
        seen, reward = padded.step(action)
        bare, paid = plain.step(action[:, :own])
        assert torch.equal(seen, bare) and torch.equal(reward, paid)
    with pytest.raises(ValueError, match="5 numbers are due"):
        padded.step(action[:, :2])


def test_a_least_number_pads_a_stream_of_one_task_too(generator):
    world = worlds.build(env(min_actions=8, min_numbers=11), ["target"])
    assert world.actions.size == 8 and world.obs_space.shape == (11,) and world.obs_dim == 11
    made = world.make(0)
    first = made.reset(3, generator)
    seen, _ = made.step(world.actions.random(3, generator))
    for obs in (first, seen, made.restart(torch.tensor([True, False, True]), generator)):
        assert obs.shape == (3, 11) and not obs[:, 3:].any() and obs[:, :3].all()
    assert world.pose_of(first, made.pose()[0]).shape == (3, 1)
    assert world.new_held_out()["obs"].shape == (1, 4, 8, 11)
    assert world.make_for_evaluation(0).actions.size == 8


def test_what_is_kept_of_an_action_is_masked_only_where_asked(generator):
    action = torch.rand(2, 5, generator=generator) + 1
    for mask, kept in ((False, 5), (True, 2)):
        world = worlds.build(env(mask_padding=mask), [WIDE, "source-b"])
        found = world.make(1).executed(action)
        assert torch.equal(found[:, :kept], action[:, :kept]) and not found[:, kept:].any()
        assert world.make(0).executed(action) is action


def test_padded_episodes_go_on_from_a_saved_state(generator):
    world = worlds.build(env(min_actions=3, min_numbers=5), ["source-b"])
    made, other = world.make(0), world.make(0)
    made.reset(2, generator)
    made.step(world.actions.random(2, generator))
    saved = made.state_dict()
    assert saved["obs"].shape == (2, 5)
    other.load_state_dict({name: part.clone() for name, part in saved.items()})
    action = world.actions.random(2, generator)
    assert torch.equal(made.step(action)[0], other.step(action)[0])
    assert made.episode_length == 7 and made.ended.tolist() == [False, False]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"min_actions": 1}, "env.min_actions 1 is too small: task 'source-b' has 2"),
        ({"domain": "grid", "min_actions": 4}, "env.min_actions 4: the tasks of grid are not"),
        ({"domain": "minigrid", "min_numbers": 4}, "env.min_numbers 4: the tasks of minigrid"),
        ({"domain": "walker", "mask_padding": True}, "env.mask_padding True: .*dmc, pendulum"),
    ],
)
def test_padding_that_cannot_be_is_refused_before_a_world_is_built(changes, told):
    tasks = {"grid": ["room-1"], "minigrid": ["doorkey-5x5"], "walker": ["run"]}
    entries = tasks.get(changes.get("domain", ""), ["source-a", "source-b"])
    with pytest.raises(UserError, match=told):
        worlds.resolve(env(**changes), entries)


def test_what_only_building_finds_is_refused_as_well():
    with pytest.raises(UserError, match="'min_actions': got -1, wanted at least 0"):
        env(min_actions=-1)
    with pytest.raises(UserError, match="env.min_numbers 2 is too small: task 'target' has 3"):
        worlds.build(env(min_numbers=2), ["target"])
    cart = env(domain="gymnasium", action_repeat=1, min_actions=4)
    with pytest.raises(UserError, match="env.min_actions 4 pads actions that are numbers.*2 disc"):
        worlds.build(cart, ["CartPole-v1"])
    with pytest.raises(UserError, match="'cartpole-v1' has a vector of 4 and 2 discrete.*pendulum"):
        worlds.build(env(domain="gymnasium", action_repeat=1), ["CartPole-v1", "Pendulum-v1"])


def test_bodies_of_the_suite_that_differ_make_a_stream():
    papers = merge(EnvConfig(), {"domain": "dmc", "observation": "pixels", "image_size": 32})
    world = worlds.build(papers, ["walker_run", "cup_catch"])
    assert world.actions.size == 6 and world.make(1).plan.task.actions == 2
    assert worlds.build(merge(papers, {"min_actions": 8}), ["cup_catch"]).actions.size == 8


def test_gymnasiums_bodies_make_a_stream_of_padded_numbers(generator):
    pytest.importorskip("mujoco", reason="gymnasium's bodies need mujoco")
    bodies = ["InvertedPendulum-v5", "Hopper-v5"]
    world = worlds.build(env(domain="gymnasium", action_repeat=1, min_actions=8), bodies)
    assert world.obs_space.shape == (11,) and world.actions.size == 8
    for task, own in ((0, 4), (1, 11)):
        made = world.make(task)
        seen = made.reset(2, generator)
        assert seen.shape == (2, 11) and not seen[:, own:].any() and seen[:, :own].any()
        assert made.step(world.actions.random(2, generator))[0].shape == (2, 11)
        made.close()
    # The pendulum's own bounds are +-3: an action of 1 is its 3.
    assert world.make(0).recipe.act(torch.ones(1).numpy()).tolist() == [3]
