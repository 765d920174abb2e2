from types import SimpleNamespace

import pytest
import torch

from lib.core.errors import UserError
from lib.envs.grid.domain import build, resolve
from lib.envs.grid.env import FourRooms
from lib.envs.grid.rooms import CONTINUAL, LISTED_TASKS, GridTask

MINE = {"name": "mine", "start": [2, 3], "goal": [4, 5]}


def env_config(**changes) -> SimpleNamespace:
    settings = {"size": 13, "episode_length": 50, "reward": "dense"}
    return SimpleNamespace(**{**settings, "put_blocks": True, **changes})


def test_names_keep_their_order_and_are_scaled_to_the_grid():
    tasks = resolve(["room-2", "room-1"], size=13)
    assert tasks == (GridTask("room-2", (11, 1), (8, 5)), GridTask("room-1", (1, 1), (4, 5)))


def test_mappings_hold_coordinates_of_the_actual_grid():
    assert resolve([MINE, "room-1"], size=13)[0] == GridTask("mine", (2, 3), (4, 5))


def test_resolved_tasks_resolve_to_themselves():
    tasks = resolve(CONTINUAL)
    assert resolve(tasks) == tasks == tuple(LISTED_TASKS[name] for name in CONTINUAL)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["rom-1"], "unknown task 'rom-1'; known: .*did you mean 'room-1'"),
        ([7], "unknown task 7"),
        ([{**MINE, "gaol": [1, 1]}], "unknown task field 'gaol'.*did you mean 'goal'"),
        ([{"name": "mine", "start": [2, 3]}], "lacks goal"),
        ([{**MINE, "start": [2]}], r"task 'mine': \[2\] is no cell; give two whole numbers"),
        ([{**MINE, "goal": [2.5, 3]}], "is no cell"),
        ([{**MINE, "goal": "4,5"}], "is no cell"),
        ([{**MINE, "goal": [13, 5]}], r"task 'mine': goal \(13, 5\) lies outside the 13x13 grid"),
        ([{**MINE, "goal": [4, -1]}], "lies outside"),
        ([{**MINE, "start": [6, 2]}], r"task 'mine': start \(6, 2\) is on a wall"),
        ([{**MINE, "start": [3, 3]}], r"start \(3, 3\) is on a block"),
        (["room-1", "room-2", "room-1"], "task 'room-1' is listed twice"),
        ([], "no tasks given"),
    ],
)
def test_a_task_that_cannot_be_is_refused_in_one_line(entries, message):
    with pytest.raises(UserError, match=message) as error:
        resolve(entries, size=13)
    assert "\n" not in str(error.value)


def test_a_block_is_no_obstacle_where_blocks_are_left_out():
    assert resolve([{**MINE, "start": [3, 3]}], size=13, put_blocks=False)[0].start == (3, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward": "dens"}, "unknown reward 'dens'.*did you mean 'dense'"),
        ({"size": 12}, "grid size 12"),
        ({"episode_length": 0}, "episode_length 0"),
    ],
)
def test_a_world_that_cannot_be_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        build(env_config(**changes), CONTINUAL)


def test_a_domain_carries_what_the_learner_asks_for(generator):
    domain = build(env_config(), CONTINUAL)
    assert (domain.obs_dim, domain.episode_length, domain.actions.size) == (3, 50, 3)
    assert domain.actions.discrete and domain.actions.warmup == (0.2, 0.2, 0.6)
    assert [task.name for task in domain.tasks] == list(CONTINUAL)
    assert domain.new_held_out().shape == (4, 404 * 3) and domain.new_held_out().dtype == torch.bool
    batch = domain.make(2)
    assert batch.reset(7, generator).shape == (7, 3) and batch.episode_length == 50


def test_the_optimum_is_the_mean_over_the_four_first_headings():
    domain = build(env_config(size=27, episode_length=100), CONTINUAL)
    optima = [domain.optimum(index) for index in range(4)]
    assert optima == pytest.approx([250.87, 247.03, 253.27, 250.43], abs=0.01)


def test_the_optimum_of_the_small_grid_is_known():
    domain = build(env_config(), CONTINUAL)
    optima = [domain.optimum(index) for index in range(4)]
    assert optima == pytest.approx([129.94, 129.94, 132.92, 129.94], abs=0.01)


def test_the_real_environment_of_a_task_draws_the_goals_of_all_tasks():
    domain = build(env_config(), ["room-1", MINE])
    env = domain.make_real(1, render_mode="rgb_array", tile_size=8)
    assert isinstance(env, FourRooms)
    assert (env.start, env.goal, env.goals) == ((2, 3), (4, 5), ((4, 5), (4, 5)))
    assert (env.width, env.max_steps, env.reward_kind) == (13, 50, "dense")
    assert env.blocks == domain.table.blocks
