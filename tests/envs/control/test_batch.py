import os

import numpy as np
import pytest
import torch

pytest.importorskip("mujoco", reason="needs mujoco and dm_control")
pytest.importorskip("dm_control", reason="needs mujoco and dm_control")

from lib.envs.control import suite
from lib.envs.control.batch import ControlBatch
from lib.envs.control.tasks import TASKS

REPEATS = {"cheetah": 4, "walker": 2}


def batch(name: str = "walker-run", repeat: int = 2, threads: int | None = 0, **more):
    return ControlBatch(TASKS[name], repeat, 500, threads=threads, **more)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def flat(observation) -> np.ndarray:
    return np.concatenate([np.ravel(part) for part in observation.values()])


def same_states(first: ControlBatch, second: ControlBatch, rows=slice(None)) -> bool:
    pairs = zip(first.state(), second.state(), strict=True)
    return all(np.array_equal(one[rows], other[rows]) for one, other in pairs)


# Against dm_control ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_a_random_episode_is_dm_controls_bit_for_bit(name, loaded):
    task, repeat, copies = TASKS[name], 3, 2
    env = suite.load(name, seed=11)
    step = env.reset()
    ours = ControlBatch(task, repeat, 500, threads=0, body=loaded[task.domain])
    uniform = np.random.RandomState(11).random_sample((1, ours.body.draws))
    obs = ours.start(ours.body.draw(np.repeat(uniform, copies, axis=0)))
    np.testing.assert_allclose(obs[1], flat(step.observation), rtol=1e-6, atol=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(67):
        action, reward = rng.uniform(-1, 1, 6), 0.0
        for _ in range(repeat):
            step = env.step(action)
            reward += step.reward
        obs, paid = ours.step(torch.tensor(action).expand(copies, 6))
        for mine, theirs in zip(
            ours.state(), (env.physics.data.qpos, env.physics.data.qvel), strict=True
        ):
            np.testing.assert_array_equal(mine, np.tile(theirs, (copies, 1)))
        assert paid[1].item() == pytest.approx(reward, abs=1e-6)
        np.testing.assert_allclose(obs[1], flat(step.observation), rtol=1e-6, atol=1e-6)
    exact = ours.body.observe(ours.body.planar.motion(*ours.state()))[0]
    np.testing.assert_allclose(exact, flat(step.observation), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("stock", "steps", "close"),
    [
        ("cheetah-run", 500, 1e-11),
        ("walker-stand", 100, 1e-6),
        ("walker-walk", 100, 1e-6),
        ("walker-run", 100, 1e-6),
    ],
)
def test_an_episode_stays_close_to_the_stock_suites(stock, steps, close):
    # The stock solver starts from the last step's solution, ours from nothing; both stop at the
    # same tolerance. A flailing walker enlarges the difference, as any other, about tenfold in 25
    # steps.
    suite.load(stock)  # prepares the import of dm_control
    from dm_control import suite as stock_suite

    domain, short = stock.split("-")
    env = stock_suite.load(domain, short, task_kwargs={"random": 5})
    env.reset()
    ours = batch(stock, repeat=1)
    uniform = np.random.RandomState(5).random_sample((1, ours.body.draws))
    ours.start(ours.body.draw(uniform))
    np.testing.assert_allclose(ours.pose()[0], env.physics.data.qpos, rtol=0, atol=1e-12)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        action = rng.uniform(-1, 1, 6)
        step = env.step(action)
        _, paid = ours.step(torch.tensor(action)[None])
        np.testing.assert_allclose(ours.pose()[0], env.physics.data.qpos, rtol=0, atol=close)
        assert paid.item() == pytest.approx(step.reward, abs=1e-6)


# Starts ------------------------------------------------------------------------------------------


def test_the_walker_starts_with_every_angle_uniform_and_at_rest(loaded):
    ours = batch("walker-walk", body=loaded["walker"])
    ours.reset(4001, seeded())
    qpos, qvel = ours.state()
    assert not qvel.any() and not qpos[:, :2].any()
    low, high = np.full(7, -np.pi), np.full(7, np.pi)
    low[1:], high[1:] = ours.body.model.jnt_range[3:].T
    spread = (qpos[:, 2:] - low) / (high - low)
    assert spread.min() >= 0 and spread.max() < 1
    # Ten bins of about 400 each, standard deviation 19: within five of them.
    for column in spread.T:
        assert abs(np.histogram(column, 10, (0, 1))[0] - 400.1).max() < 95


def test_the_cheetah_starts_settled_on_the_floor(loaded):
    ours = batch("cheetah-run", body=loaded["cheetah"])
    ours.reset(211, seeded())
    motion = ours.body.planar.motion(*ours.state())
    reference = suite.load("cheetah-run", seed=0)
    theirs = np.array(
        [(reference.reset(), reference.physics.data.qpos[1:].copy())[1] for _ in range(53)]
    )
    heights, angles = motion.height("torso"), ours.pose()[:, 2]
    assert np.abs(ours.state()[1]).max() < 2 and np.abs(heights).max() < 1
    # Two samples of one distribution: means within four standard errors, spreads alike.
    error = 4 * theirs[:, 1].std() * np.sqrt(1 / 53 + 1 / 211)
    assert angles.mean() == pytest.approx(theirs[:, 1].mean(), abs=error)
    assert 0.6 < angles.std() / theirs[:, 1].std() < 1.6


def test_one_seed_is_one_trajectory_however_many_threads_step_it():
    seen = []
    for threads in (0, 2, 3, None):
        ours, draws = batch("cheetah-jump", 4, threads), seeded(7)
        path = [ours.reset(67, draws)]
        for _ in range(3):
            path += ours.step(ours.actions.random(67, draws))
        seen.append([part.numpy() for part in path])
    for other in seen[1:]:
        for one, same in zip(seen[0], other, strict=True):
            np.testing.assert_array_equal(one, same)
    other = batch("cheetah-jump", 4)
    assert not np.array_equal(other.reset(67, seeded(8)).numpy(), seen[0][0])


def test_a_copy_does_not_know_how_many_others_there_are():
    few, many = batch(), batch()
    few.reset(3, seeded()), many.reset(19, seeded())
    assert all(np.array_equal(a, b[:3]) for a, b in zip(few.state(), many.state(), strict=True))
    action = torch.rand(19, 6, generator=seeded(1)) * 2 - 1
    for _ in range(5):
        few.step(action[:3]), many.step(action)
    assert all(np.array_equal(a, b[:3]) for a, b in zip(few.state(), many.state(), strict=True))


# The protocol ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("domain", "width"), [("cheetah", 17), ("walker", 24)])
def test_shapes_types_and_lengths_are_those_of_a_vector_env(domain, width):
    ours = batch(f"{domain}-run", REPEATS[domain])
    assert (ours.obs_dim, ours.actions.size, ours.actions.discrete) == (width, 6, False)
    assert (ours.episode_length, ours.action_repeat) == (500, REPEATS[domain])
    obs = ours.reset(5, seeded())
    assert obs.shape == (5, width) and obs.dtype == torch.float32
    obs, reward = ours.step(ours.actions.random(5, seeded()))
    assert obs.shape == (5, width) and obs.dtype == torch.float32
    assert reward.shape == (5,) and reward.dtype == torch.float32
    assert ours.pose().shape == (5, 9) and ours.pose().dtype == np.float64
    assert ours.broken.shape == (5,) and ours.broken.dtype == torch.bool and not ours.broken.any()


def test_what_is_returned_is_not_overwritten_by_the_next_step():
    ours = batch()
    first = ours.reset(3, seeded())
    pose, kept = ours.pose(), first.clone()
    second, _ = ours.step(torch.ones(3, 6))
    third, _ = ours.step(torch.ones(3, 6))
    assert torch.equal(first, kept) and not torch.equal(second, third)
    assert not np.array_equal(pose, ours.pose())


def test_an_action_is_held_and_its_rewards_add_up():
    long, short = batch("walker-walk", 3), batch("walker-walk", 1)
    long.reset(5, seeded()), short.reset(5, seeded())
    action = torch.rand(5, 6, generator=seeded(1)) * 2 - 1
    obs, reward = long.step(action)
    parts = [short.step(action) for _ in range(3)]
    assert same_states(long, short)
    torch.testing.assert_close(obs, parts[-1][0], rtol=0, atol=1e-6)
    torch.testing.assert_close(reward, sum(part[1] for part in parts), rtol=0, atol=1e-6)


def test_actions_beyond_one_count_as_one():
    first, second = batch(), batch()
    first.reset(3, seeded()), second.reset(3, seeded())
    first.step(torch.full((3, 6), 40.0)), second.step(torch.ones(3, 6, dtype=torch.float64))
    assert same_states(first, second)


def test_a_saved_state_continues_the_same_trajectory():
    ours, other = batch(), batch()
    ours.reset(5, seeded())
    ours.step(torch.ones(5, 6))
    saved = ours.state()
    other.set_state(*saved)
    assert torch.equal(ours.observe(), other.observe())
    for batches in (ours, other):
        batches.step(-torch.ones(5, 6))
    assert same_states(ours, other)
    ours.set_state(*saved)
    assert np.array_equal(ours.pose(), saved[0])


# Broken physics ----------------------------------------------------------------------------------


def break_by_nan(ours, action):
    qpos, qvel = ours.state()
    qpos[1, 4] = np.nan
    ours.set_state(qpos, qvel)


def break_by_infinity(ours, action):
    qpos, qvel = ours.state()
    qvel[1, 0] = np.inf
    ours.set_state(qpos, qvel)


def break_by_speed(ours, action):
    qpos, qvel = ours.state()
    qvel[1] = 1e8
    ours.set_state(qpos, qvel)


def break_by_action(ours, action):
    action[1, 2] = np.nan


WAYS = [break_by_nan, break_by_infinity, break_by_speed, break_by_action]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "repeat"), [("cheetah-run", 1), ("cheetah-jump", 4), ("walker-run", 2)]
)
@pytest.mark.parametrize("threads", [0, 2])
def test_a_broken_copy_stops_alone(way, name, repeat, threads, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    ours, sound = batch(name, repeat, threads), batch(name, repeat, threads)
    ours.reset(5, seeded()), sound.reset(5, seeded())
    others = [0, 2, 3, 4]
    before = ours.state()
    action = torch.rand(5, 6, generator=seeded(1)) * 2 - 1
    way(ours, action)
    for _ in range(4):
        obs, reward = ours.step(action)
        expected, paid = sound.step(action.nan_to_num())
        assert ours.broken.tolist() == [False, True, False, False, False]
        assert reward[1] == 0 and obs.isfinite().all() and reward.isfinite().all()
        assert same_states(ours, sound, others)
        assert torch.equal(obs[others], expected[others])
        assert torch.equal(reward[others], paid[others])
    np.testing.assert_array_equal(ours.pose()[1], before[0][1])  # where it last was well
    assert not sound.broken.any()
    assert not os.listdir(tmp_path) and capfd.readouterr() == ("", "")  # no log, no message
    ours.reset(5, seeded()), sound.reset(5, seeded())
    assert not ours.broken.any() and same_states(ours, sound)


def test_all_copies_may_break():
    ours = batch()
    ours.reset(3, seeded())
    ours.step(torch.full((3, 6), torch.nan))
    obs, reward = ours.step(torch.ones(3, 6))
    assert ours.broken.all() and obs.isfinite().all() and not reward.any()


def test_a_broken_copy_may_be_given_a_sound_state():
    ours = batch()
    ours.reset(3, seeded())
    saved = ours.state()
    ours.step(torch.full((3, 6), torch.nan))
    ours.set_state(*saved)
    assert not ours.broken.any()
    _, reward = ours.step(torch.ones(3, 6))
    assert (reward > 0).all()


def test_a_warning_handler_that_somebody_set_is_given_back():
    import mujoco

    before, told = mujoco.get_mju_user_warning(), []
    mujoco.set_mju_user_warning(told.append)
    try:
        ours = batch()
        ours.reset(3, seeded())
        ours.step(torch.full((3, 6), torch.nan))
        assert mujoco.get_mju_user_warning() == told.append and not told
    finally:
        mujoco.set_mju_user_warning(before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_generator_actions_and_results_may_live_on_an_accelerator():
    ours = batch(device="cuda")
    draws = torch.Generator("cuda").manual_seed(0)
    obs = ours.reset(5, draws)
    obs, reward = ours.step(ours.actions.random(5, draws, "cuda"))
    assert {obs.device.type, reward.device.type, ours.broken.device.type} == {"cuda"}
