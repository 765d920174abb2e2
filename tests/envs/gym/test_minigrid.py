import numpy as np
import pytest
import torch
from minigrid.wrappers import RGBImgPartialObsWrapper
from PIL import Image

from lib.core.errors import UserError
from lib.envs.gym import minigrid
from lib.envs.gym.batch import GymBatch

OURS = sorted({*minigrid.CONTINUAL, *minigrid.QUICK, *minigrid.SPECIAL})
DRAWN = [*OURS, "playground", "fetch-8x8-n3", "obstructedmaze-1dlhb", "keycorridor-s3r2"]


def batch(name: str, observation: str = "symbols", length: int = 100) -> GymBatch:
    return GymBatch(minigrid.recipe(minigrid.resolve([name])[0], observation), length)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("doorkey-5x5", "doorkey-5x5"),
        ("DoorKey-5x5", "doorkey-5x5"),
        ("MiniGrid-DoorKey-5x5-v0", "doorkey-5x5"),
        ("LavaCrossingS9N1", "lavacrossing-s9n1"),
        ("lava_gap_s5", "lavagap-s5"),
        ("MiniGrid-MultiRoom-N4-S5-v1", "multiroom-n4-s5-v1"),
        ("fourrooms", "fourrooms-random"),
        ("FourRooms-A", "fourrooms-a"),
    ],
)
def test_a_task_may_be_named_in_any_spelling(given, name):
    assert minigrid.resolve([given])[0].name == name


def test_doorkey_9x9_is_the_8x8_that_the_papers_was():
    (task,) = minigrid.resolve(["DoorKey-9x9"])
    assert (task.name, task.env_id) == ("doorkey-8x8", "MiniGrid-DoorKey-8x8-v0")
    env = minigrid.recipe(task, "symbols").make().unwrapped
    assert (env.width, env.height, env.max_steps) == (8, 8, 640)


def test_no_two_tasks_share_a_spelling():
    spellings = [minigrid._spelling(name) for name in (*minigrid.tasks(), *minigrid.ALIASES)]
    assert len(set(spellings)) == len(spellings)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["doorky-5x5"], "unknown minigrid task 'doorky-5x5'.*did you mean 'doorkey-5x5'"),
        (["DoorKey-8x8", "doorkey-9x9"], "'doorkey-8x8' is listed twice"),
        ([], "no tasks given; name at least one, for example doorkey-8x8"),
        ([5], "task 5 is no name"),
    ],
)
def test_mistakes_in_names_are_told(entries, message):
    with pytest.raises(UserError, match=message):
        minigrid.resolve(entries)


def test_an_observation_that_minigrid_lacks_is_refused():
    with pytest.raises(UserError, match="unknown observation of minigrid 'state'; known: pixels"):
        batch("doorkey-5x5", "state")


@pytest.mark.parametrize("name", DRAWN)
def test_pictures_drawn_from_symbols_equal_minigrids_own(name):
    recipe = minigrid.recipe(minigrid.resolve([name])[0], "pixels")
    assert (recipe.obs_space.kind, recipe.obs_space.shape) == ("image", (7, 7, 3))
    env = RGBImgPartialObsWrapper(recipe.make(), tile_size=8)
    symbols, pictures, carried = [], [], 0
    draws = np.random.default_rng(0)
    for seed in range(6):
        env.reset(seed=seed)
        for _ in range(40):
            obs, _, terminated, truncated, _ = env.step(draws.choice(7, p=ODDS))
            carried += env.unwrapped.carrying is not None
            symbols.append(env.unwrapped.gen_obs()["image"])
            pictures.append(Image.fromarray(obs["image"]).resize((64, 64), Image.NEAREST))
            if terminated or truncated:
                break
    drawn = recipe.obs_space.draw(torch.from_numpy(np.stack(symbols)))
    assert drawn.dtype == torch.uint8
    np.testing.assert_array_equal(drawn.numpy(), np.stack([np.asarray(one) for one in pictures]))
    assert carried or name not in ("playground", "fetch-8x8-n3", "doorkey-5x5")


ODDS = (0.15, 0.15, 0.4, 0.2, 0.03, 0.05, 0.02)  # walks, and picks things up more than not


def test_symbols_stay_within_their_classes():
    for name in DRAWN:
        env, draws = batch(name), torch.Generator().manual_seed(0)
        seen = [env.reset(3, draws)]
        for _ in range(50):
            seen.append(env.step(env.actions.random(3, draws))[0])
        for plane, classes in enumerate(minigrid.CLASSES):
            assert torch.stack(seen)[..., plane].max() < classes


def test_the_two_goals_lie_in_the_same_rooms_with_the_same_start():
    envs = []
    for name in minigrid.INTERFERENCE:
        env = batch(name)
        env.reset(3, torch.Generator().manual_seed(len(envs)))
        envs += [copy.unwrapped for copy in env._envs]
        env.reset(3, torch.Generator().manual_seed(7))
        envs += [copy.unwrapped for copy in env._envs]
    for env in envs:
        walls = [[env.grid.get(x, y) for x in range(19)] for y in range(19)]
        found = [[cell is not None and cell.type == "wall" for cell in row] for row in walls]
        assert (tuple(env.agent_pos), env.agent_dir) == ((3, 3), envs[0].agent_dir)
        if env is envs[0]:
            first = found
        assert found == first
    goals = {tuple(np.argwhere(env.grid.encode()[..., 0] == 8)[0].tolist()) for env in envs}
    assert goals == {(15, 15), (15, 3)}


def test_random_four_rooms_differ_from_episode_to_episode():
    env = batch("fourrooms-random")
    env.reset(5, torch.Generator().manual_seed(0))
    assert len({copy.unwrapped.grid.encode().tobytes() for copy in env._envs}) == 5
    assert len(set(env.cell.tolist())) > 1


def go(env: GymBatch, *moves: int) -> torch.Tensor:
    for move in moves:
        reward = env.step(torch.eye(7)[[move] * len(env.ended)])[1]
    return reward


def toward(env: GymBatch, kind: str) -> torch.Tensor:
    """Puts lane 0's agent before a thing and lets it step onto it."""
    real = env._envs[0].unwrapped
    encoded = real.grid.encode()[..., 0]
    x, y = np.argwhere(encoded == {"lava": 9, "goal": 8}[kind])[0]
    for heading, (dx, dy) in enumerate(((1, 0), (0, 1), (-1, 0), (0, -1))):
        if encoded[x - dx, y - dy] == 1:
            real.agent_pos, real.agent_dir = (int(x - dx), int(y - dy)), heading
            return go(env, 2)
    raise AssertionError(f"nowhere to stand before the {kind}")


def test_lava_ends_an_episode_for_good_without_success():
    env = batch("lavagap-s5")
    env.reset(2, torch.Generator().manual_seed(0))
    reward = toward(env, "lava")
    assert (env.ended[0], env.terminal[0], env.success[0], reward[0]) == (True, True, False, 0)


def test_the_goal_pays_as_minigrid_says_and_is_a_success():
    env = batch("lavagap-s5")
    env.reset(2, torch.Generator().manual_seed(0))
    go(env, 0, 0, 0)
    reward = toward(env, "goal")
    # Minigrid: 1 - 0.9 * steps / max_steps, with 4 steps and 4 * 5 * 5 = 100 at most.
    torch.testing.assert_close(reward[0], torch.tensor(1 - 0.9 * 4 / 100))
    assert (env.ended[0], env.terminal[0], env.success[0]) == (True, True, True)
    assert env.cell[0] == 3 * 5 + 3  # the goal lies in the far corner


@pytest.mark.parametrize("length", [100, 200])
def test_a_time_limit_is_never_terminal(length):
    # FourRooms stops by itself after 100 steps, just as we do, or before we would.
    env = batch("fourrooms-a", length=length)
    env.reset(1, torch.Generator().manual_seed(0))
    go(env, *[0] * 99)
    assert not env.ended.any()
    go(env, 0)
    assert env.ended.all() and not env.terminal.any() and not env.success.any()
