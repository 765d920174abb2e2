import copy

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from minigrid.wrappers import ImgObsWrapper
from PIL import Image

from lib.core.errors import UserError
from lib.envs.gym import custom, minigrid
from lib.envs.gym.reading import describe
from tests.envs.gym.worlds import Counting


class Locked(Counting):
    """Can be neither copied nor made again."""

    def __deepcopy__(self, memo):
        raise TypeError("locked")


PICTURE = spaces.Box(0, 255, (64, 64, 3), np.uint8)


def test_flat_numbers_become_a_vector():
    reading = describe(Counting())
    assert (reading.obs_space.kind, reading.obs_space.shape) == ("vector", (3,))
    stored = reading.read(np.array([1.0, 2.0, 3.0]))
    assert stored.dtype == np.float32 and stored.tolist() == [1, 2, 3]


def test_whole_numbers_become_one_hot_wherever_they_start():
    reading = describe(Counting(spaces.Discrete(3, start=5), spaces.Discrete(7, start=-2)))
    assert reading.obs_space.shape == (3,) and reading.read(6).tolist() == [0, 1, 0]
    assert (reading.actions.size, reading.actions.discrete) == (7, True)
    assert reading.act(np.eye(7, dtype=np.float32)[4]) == 2


@pytest.mark.parametrize("planes", [3, 1])
def test_pictures_are_stored_as_their_nearest_pixels(planes):
    world = Counting(spaces.Box(0, 255, (97, 131, planes), np.uint8))
    reading = describe(world)
    space = reading.obs_space
    assert (space.kind, space.shape, space.dtype) == ("image", (64, 64, 3), torch.uint8)
    seen = np.random.default_rng(0).integers(256, size=(97, 131, planes)).astype(np.uint8)
    full = np.broadcast_to(seen, (97, 131, 3)).copy()
    expected = np.asarray(Image.fromarray(full).resize((64, 64), Image.NEAREST))
    np.testing.assert_array_equal(reading.read(seen), expected)
    domain = custom.custom_domain(lambda: Counting(world.observation_space), episode_length=5)
    env = domain.make(0)
    assert env.reset(2, torch.Generator().manual_seed(0)).dtype == torch.uint8
    assert domain.scene(0).frame(env.pose()[0]).shape == (256, 256, 3)


def test_numbers_of_an_action_are_stretched_to_its_bounds():
    low, high = np.array([-3.0, 0.0]), np.array([1.0, 10.0])
    reading = describe(Counting(action=spaces.Box(low, high, dtype=np.float64)))
    assert (reading.actions.size, reading.actions.discrete) == (2, False)
    for row, expected in (
        ((-1, -1), low),
        ((1, 1), high),
        ((0, 0.5), (-1, 7.5)),
        ((9, -9), (1, 0)),
    ):
        done = reading.act(np.array(row, dtype=np.float32))
        assert done.dtype == np.float64
        np.testing.assert_allclose(done, expected)


@pytest.mark.parametrize("wrapped", [lambda env: env, ImgObsWrapper])
def test_minigrids_view_is_symbols_or_a_picture(wrapped):
    env = wrapped(gymnasium.make("MiniGrid-Empty-5x5-v0", disable_env_checker=True))
    obs = env.reset(seed=0)[0]
    symbols = describe(env)
    assert (symbols.obs_space.kind, symbols.obs_space.classes) == ("symbols", minigrid.CLASSES)
    assert symbols.read(obs).shape == (7, 7, 3)
    assert describe(env, "pixels").obs_space.draw is not None


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (spaces.Text(5), "shows Text.*FlattenObservation"),
        (spaces.Dict({"a": spaces.Discrete(3), "b": spaces.Text(5)}), "shows Text.*FilterObs"),
        (spaces.Tuple([spaces.Discrete(3)]), "shows Tuple.*what works: Box of numbers"),
        (spaces.Box(-np.inf, np.inf, (64, 64, 3)), "pixels need finite bounds, the same for all"),
        (spaces.Box(0, 255, (64, 64, 64), np.uint8), "shows Box"),
        (spaces.Dict({name: PICTURE for name in "ab"}), "with more than one picture"),
        (spaces.Dict(a=PICTURE, b=spaces.Box(0, 1, (65,))), "65 numbers beside a picture, 64 fit"),
        (spaces.Box(0, 255, (7, 7, 3), np.uint8), "may be a table of symbols"),
    ],
)
def test_observations_that_nothing_can_read_are_refused(observation, message):
    with pytest.raises(UserError, match=message):
        describe(Counting(observation))


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (spaces.MultiDiscrete([257]), "257 combinations; .*at most 256.*ActionWrapper"),
        (spaces.MultiBinary(9), "takes actions of MultiBinary.*512 combinations"),
        (spaces.MultiBinary(99), "combinations; what works: Discrete"),
        (spaces.Tuple([spaces.Discrete(2)]), "takes actions of Tuple.*ActionWrapper"),
        (spaces.Box(-np.inf, np.inf, (3,)), "flat Box with finite bounds; .*TransformAction"),
        (spaces.Box(-1, 1, (3, 5)), "flat Box with finite bounds"),
    ],
)
def test_actions_that_nothing_can_give_are_refused(action, message):
    with pytest.raises(UserError, match=message):
        describe(Counting(action=action))


def test_an_observation_that_is_not_offered_is_refused():
    with pytest.raises(UserError, match="counting shows a vector, not pixels; .*AddRender"):
        describe(Counting(), "pixels")
    with pytest.raises(UserError, match="unknown observation 'picture'; known: pixels, state"):
        describe(Counting(), "picture")


def test_ids_instances_factories_and_classes_make_one_stream():
    made = gymnasium.make("CartPole-v1", disable_env_checker=True)
    domain = custom.custom_domain(["CartPole-v1", made, lambda: copy.deepcopy(made)])
    names = [task.name for task in domain.tasks]
    assert names == ["cartpole-v1", "cartpole-v1-2", "cartpole-v1-3"]
    assert domain.episode_length == 500  # CartPole's own
    begun = [domain.make(k).reset(3, torch.Generator().manual_seed(0)) for k in range(3)]
    assert torch.equal(begun[0], begun[1]) and torch.equal(begun[0], begun[2])
    assert custom.custom_domain(Counting).tasks[0].name == "counting"


def test_an_instance_is_copied_and_left_alone():
    mine = Counting()
    mine.reset(seed=0)
    env = custom.custom_domain(mine).make(0)
    env.reset(2, torch.Generator().manual_seed(0))
    env.step(torch.eye(3)[[1, 1]])
    assert mine.steps == 0 and not mine.closed
    assert all(one is not mine for one in env._envs)


def test_an_episodes_limit_is_the_callers_or_the_environments_or_a_thousand():
    assert custom.custom_domain(Counting).episode_length == 1000
    assert custom.custom_domain(Counting, episode_length=13).episode_length == 13
    assert custom.custom_domain("MiniGrid-Empty-5x5-v0").episode_length == 100


def test_an_environment_that_cannot_be_copied_asks_for_a_factory():
    with pytest.raises(UserError, match="locked can be neither copied nor made again.*lambda"):
        custom.custom_domain(Locked())
    assert custom.custom_domain(Locked).tasks[0].name == "locked"


def test_one_that_gymnasium_made_is_made_again_where_copying_fails(monkeypatch):
    made = gymnasium.make("CartPole-v1", disable_env_checker=True)
    monkeypatch.setattr(type(made.unwrapped), "__deepcopy__", Locked.__deepcopy__, raising=False)
    env = custom.custom_domain(made).make(0)
    assert env.reset(2, torch.Generator().manual_seed(0)).shape == (2, 4)


@pytest.mark.parametrize(
    ("world", "message"),
    [
        ("CartPol-v1", "unknown environment 'CartPol-v1'.*did you mean 'CartPole-v1'"),
        ("no_such_module:Thing-v0", "cannot be imported: No module named"),
        (5, "5 of type int is no environment; hand an id"),
        (lambda: 5, "the factory made 5 of type int, not a gymnasium.Env"),
        ([], "no tasks given"),
        (["CartPole-v1", "Acrobot-v1"], "'cartpole-v1' has a vector of 4.*'acrobot-v1' a vector"),
    ],
)
def test_mistakes_are_told(world, message):
    with pytest.raises(UserError, match=message):
        custom.custom_domain(world)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["CartPole-v1", "CartPole-v1"], "'cartpole-v1' is listed twice"),
        ([{"id": "CartPole-v1", "seed": 5}], "unknown task field 'seed'; known: id, name, options"),
        ([{"name": "mine"}], "give an id, or a mapping with name, id, options"),
    ],
)
def test_mistakes_in_a_list_of_ids_are_told(entries, message):
    with pytest.raises(UserError, match=message):
        custom.resolve(entries)


def test_keywords_that_an_environment_does_not_take_are_told():
    task = custom.resolve([{"id": "CartPole-v1", "options": {"gravity": 5}}])[0]
    with pytest.raises(UserError, match="environment 'CartPole-v1' was not made: .*gravity"):
        custom.recipe(task)


def test_a_name_is_fit_for_metrics_and_files():
    assert custom.short_name("module:Space/Big_World-v2") == "space-big-world-v2"


@pytest.mark.parametrize(
    "options",
    [
        {"env_id": "payload:CartPole-v1"},  # of gymnasium's wrappers of older environments
        {"xml_file": "/tmp/model.xml"},
        {"deep": {"er": ["fine", "outputs.evil"]}},
        {"deep": {"../name": 1}},
    ],
)
def test_options_that_name_files_or_modules_are_refused(options):
    with pytest.raises(UserError, match="may name a file or a module.*custom_env.train"):
        custom.resolve([{"id": "CartPole-v1", "options": options}])


@pytest.mark.parametrize("options", [[1], "fast", {1: 2}])
def test_options_that_are_no_keywords_are_refused(options):
    with pytest.raises(UserError, match="is no mapping of keywords"):
        custom.resolve([{"id": "CartPole-v1", "options": options}])


def test_plain_options_reach_the_environment():
    (task,) = custom.resolve([{"id": "CartPole-v1", "options": {"render_mode": "rgb_array"}}])
    assert custom._make(task).render_mode == "rgb_array"
