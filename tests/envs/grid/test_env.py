import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from minigrid.core.constants import COLORS

from lib.core.errors import UserError
from lib.envs.grid.env import ENV_ID, FourRooms, task_reward
from lib.envs.grid.rooms import LISTED_TASKS

LEFT, RIGHT, FORWARD = range(3)
RIGHTWARDS, DOWNWARDS, LEFTWARDS, UPWARDS = range(4)


def trajectory(env: FourRooms, seed: int, steps: int = 53) -> list[tuple]:
    choose = np.random.default_rng(seed)
    history = [tuple(env.reset(seed=seed)[0])]
    for _ in range(steps):
        obs, reward, *_ = env.step(int(choose.integers(3)))
        history.append((*obs, reward))
    return history


@pytest.mark.filterwarnings("ignore:The system font:UserWarning")  # Minigrid's window asks for it
@pytest.mark.parametrize("size", [27, 13, 9])
@pytest.mark.parametrize("reward", ["dense", "sparse"])
def test_the_registered_environment_passes_gymnasiums_checker(size, reward, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")  # the checker opens a window too
    env = gymnasium.make(ENV_ID, size=size, reward=reward, render_mode="rgb_array")
    assert isinstance(env.unwrapped, FourRooms)
    check_env(env.unwrapped)


def test_there_are_three_actions_and_three_numbers_to_observe():
    env = FourRooms()
    assert env.action_space == gymnasium.spaces.Discrete(3)
    assert env.observation_space.shape == (3,) and env.observation_space.dtype == np.float32


def test_the_observation_is_the_scaled_position_and_heading():
    env = FourRooms(start=(1, 1))
    env.reset(seed=0)
    env.put_agent((8, 12), UPWARDS)
    # 2 * 8 / 27 - 1, 2 * 12 / 27 - 1, 2 * 3 / 4 - 1
    assert env.gen_obs() == pytest.approx([-11 / 27, -3 / 27, 0.5])
    assert env.gen_obs().dtype == np.float32


def test_turning_and_walking_follow_minigrids_headings():
    env = FourRooms(put_blocks=False)
    env.reset(seed=0)
    env.put_agent((5, 5), RIGHTWARDS)
    for action in (FORWARD, RIGHT, FORWARD, FORWARD, LEFT, LEFT, FORWARD):
        env.step(action)
    # right to (6, 5), down twice to (6, 7), turned to face up, back to (6, 6)
    assert tuple(env.agent_pos) == (6, 6) and env.agent_dir == UPWARDS


@pytest.mark.parametrize("name", LISTED_TASKS)
def test_the_same_seed_gives_the_same_trajectory_in_every_task(name):
    task = LISTED_TASKS[name]
    first, second = (FourRooms(start=task.start, goal=task.goal) for _ in range(2))
    assert trajectory(first, seed=3) == trajectory(second, seed=3)


def test_reset_draws_every_heading_and_forgets_the_previous_episode():
    env = FourRooms()
    env.reset(seed=0)
    headings = set()
    for _ in range(40):
        env.step(FORWARD)
        obs, _ = env.reset()
        assert tuple(env.agent_pos) == (1, 1) and env.step_count == 0
        headings.add(float(obs[2]))
    assert headings == {-1.0, -0.5, 0.0, 0.5}


# Goal (8, 12), radius 12.
#   (4, 12) -> (5, 12): distance 4 -> 3, so 1 - 3/12 = .75
#   (5, 8)  -> (5, 9):  distance 5 -> sqrt(9 + 9), so 1 - 4.243/12 = .6464
@pytest.mark.parametrize(
    ("before", "after", "dense"),
    [
        ((4, 12), (5, 12), 0.75),
        ((5, 8), (5, 9), 0.646447),
        ((5, 12), (4, 12), 0.0),  # away
        ((5, 12), (5, 12), 0.0),  # turning in place
        ((7, 12), (8, 12), 3.0),  # onto the goal
        ((8, 12), (8, 12), 3.0),  # turning on the goal
        ((8, 12), (8, 11), 0.0),  # leaving it
        ((13, 12), (12, 12), 0.6666667),  # into the room through the opening
        ((12, 13), (12, 12), 0.6666667),
        ((14, 12), (13, 12), 0.0),  # in the opening: on neither side of the wall
        ((25, 12), (24, 12), 0.0),  # closer, but in room 2
        ((8, 20), (8, 19), 0.0),  # closer, but in room 3
        ((1, 2), (1, 3), 0.0498),  # 1 - sqrt(49 + 81)/12
        ((1, 1), (2, 1), 0.0),  # closer, but sqrt(36 + 121) is beyond the radius
    ],
)
def test_dense_reward_by_hand(before, after, dense):
    assert task_reward(before, after, goal=(8, 12), size=27) == pytest.approx(dense, abs=1e-4)


def test_dense_reward_counts_the_horizontal_opening_as_the_goals_room():
    # goal (8, 12) lies left of the wall, (12, 13) too, and 13 - 13 = 0 has no sign to disagree
    # distance sqrt(16 + 1), so 1 - 4.123/12
    assert task_reward((13, 13), (12, 13), (8, 12), 27) == pytest.approx(0.6564, abs=1e-4)


def test_sparse_reward_is_one_for_every_step_that_ends_on_the_goal():
    before = np.array([(7, 12), (8, 12), (8, 12), (4, 12)])
    after = np.array([(8, 12), (8, 12), (8, 11), (5, 12)])
    assert task_reward(before, after, (8, 12), 27, "sparse").tolist() == [1, 1, 0, 0]


def test_the_radius_shrinks_with_the_grid():
    # at 13 a room is 5 cells wide: distance 2 -> 1, so 1 - 1/5
    assert task_reward((2, 5), (3, 5), (4, 5), 13) == pytest.approx(0.8)


def test_an_episode_is_truncated_after_its_steps_and_never_terminates_even_on_the_goal():
    env = FourRooms(size=13, start=(4, 4), goal=(4, 5), max_steps=7)
    env.reset(seed=0)
    env.put_agent((4, 4), DOWNWARDS)
    ends = [env.step(FORWARD if step == 0 else LEFT)[1:4] for step in range(7)]
    assert [reward for reward, _, _ in ends] == [3.0] * 7
    assert not any(terminated for _, terminated, _ in ends)
    assert [truncated for *_, truncated in ends] == [False] * 6 + [True]


def test_blocks_and_walls_stop_the_agent_and_all_drawn_goals_let_it_pass():
    env = FourRooms()
    env.reset(seed=0)
    for target in (*env.blocks, (0, 5), (13, 5)):
        env.put_agent((target[0] + 1, target[1]), LEFTWARDS)
        env.step(FORWARD)
        assert tuple(env.agent_pos) == (target[0] + 1, target[1])
    for goal in env.goals:
        env.put_agent((goal[0] + 1, goal[1]), LEFTWARDS)
        env.step(FORWARD)
        assert tuple(env.agent_pos) == goal


def test_without_blocks_their_cells_are_free():
    env = FourRooms(put_blocks=False)
    env.reset(seed=0)
    env.put_agent((7, 6), LEFTWARDS)
    env.step(FORWARD)
    assert tuple(env.agent_pos) == (6, 6)


def test_the_picture_shows_walls_blocks_every_goal_and_the_agent():
    tile = 8
    env = FourRooms(render_mode="rgb_array", tile_size=tile)
    env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (27 * tile, 27 * tile, 3) and picture.dtype == np.uint8

    def shows(cell: tuple[int, int], color: str) -> bool:
        x, y = cell[0] * tile, cell[1] * tile
        pixels = picture[y : y + tile, x : x + tile].reshape(-1, 3).astype(int)
        return bool((abs(pixels - COLORS[color]).sum(1) < 20).any())

    assert all(shows(goal, "green") for goal in [(8, 12), (17, 12), (12, 19), (18, 15)])
    assert all(shows(block, "purple") for block in env.blocks)
    assert shows((0, 0), "grey") and shows((13, 5), "grey") and not shows((13, 12), "grey")
    assert shows((1, 1), "red")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": (13, 5)}, r"start \(13, 5\) is on a wall"),
        ({"goal": (6, 6)}, r"goal \(6, 6\) is on a block .* put_blocks false"),
        (
            {"goal": (27, 3)},
            r"goal \(27, 3\) lies outside the 27x27 grid; use x and y from 1 to 25",
        ),
        ({"start": (-1, 3)}, r"start \(-1, 3\) lies outside"),
        ({"goals": ((0, 0),)}, r"goal \(0, 0\) is on a wall"),
        ({"size": 14}, "grid size 14"),
        ({"reward": "danse"}, "unknown reward 'danse'.*did you mean 'dense'"),
    ],
)
def test_a_world_that_cannot_be_is_refused_in_one_line(settings, message):
    with pytest.raises(UserError, match=message) as error:
        FourRooms(**settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("action", [3, -1])
def test_an_action_beyond_the_three_is_refused(action):
    env = FourRooms()
    env.reset(seed=0)
    with pytest.raises(ValueError, match="0 left, 1 right, 2 forward"):
        env.step(action)
