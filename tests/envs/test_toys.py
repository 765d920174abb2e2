from itertools import product

import pytest
import torch

from lib.envs.toys import Clock, LinearQuadratic, point_mass


def play(env, choose, n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """First observations (n, L) and returns (n,) of acting by `choose(obs, step)`."""
    first = obs = env.reset(n, torch.Generator().manual_seed(seed))
    earned = torch.zeros(n)
    for step in range(env.episode_length):
        obs, reward = env.step(choose(obs, step))
        earned += reward
    return first, earned


def test_riccati_of_one_number_and_two_steps_by_hand():
    # F = G = Q = R = 1. Last step: gain 0, P_1 = 1. First step: K = 1/(1+1) = .5,
    # P_0 = 1 + 1 (1 - .5) = 1.5: from x = .8 the best is u = -.4 and costs 1.5 * .64 = .96,
    # namely .64 + .16 now and .16 after.
    one = torch.ones(1, 1)
    env = LinearQuadratic(one, one, one, one, start_radius=1.0, episode_length=2)
    start = torch.tensor([[0.8]])
    assert env.gains.flatten().tolist() == [0.5, 0.0]
    assert env.best_action(start, 0).item() == pytest.approx(-0.4)
    assert env.best_return(start).item() == pytest.approx(-0.96)
    assert env.optimum() == pytest.approx(-1.5 / 3)


def test_the_optimal_feedback_earns_the_best_return():
    env = point_mass()
    first, earned = play(env, env.best_action, 101)
    assert first.shape == (101, 4) and env.actions.size == 2 and not env.actions.discrete
    assert earned.tolist() == pytest.approx(env.best_return(first).tolist(), rel=1e-4)


def test_no_disturbed_feedback_earns_more():
    env, noise = point_mass(), torch.Generator().manual_seed(1)
    for scale in (0.01, 0.1, 1.0):
        first, earned = play(
            env,
            lambda obs, step, s=scale: (
                env.best_action(obs, step) + s * torch.randn(len(obs), 2, generator=noise)
            ),
            101,
        )
        assert (earned <= env.best_return(first) + 1e-5).all()


def test_the_optimal_force_never_reaches_the_clip():
    # the force is linear in the start, so over a box of starts it is largest in a corner
    env = point_mass()
    obs = torch.tensor(list(product((-1.0, 1.0), repeat=4))) * env.start_radius
    for step in range(env.episode_length):
        action = env.best_action(obs, step)
        assert action.abs().max() < 0.95
        obs = env.predict(obs, action)


def test_the_mean_optimum_is_exact():
    # sixteen starts at +-radius/sqrt(3) have the same second moments as the uniform box
    env = point_mass()
    starts = torch.tensor(list(product((-1.0, 1.0), repeat=4))) * env.start_radius / 3**0.5
    assert env.optimum() == pytest.approx(env.best_return(starts).mean().item(), rel=1e-6)


def test_forces_beyond_the_box_are_clipped():
    env = point_mass()
    env.reset(5, torch.Generator().manual_seed(0))
    state = env.state
    far = env.step(torch.full((5, 2), 9.0))
    env.state = state
    edge = env.step(torch.ones(5, 2))
    assert all(torch.equal(a, b) for a, b in zip(far, edge, strict=True))


def test_starts_lie_in_the_box_and_follow_the_generator():
    env = point_mass()
    first, second = (env.reset(1009, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert 0.19 < first.abs().max() <= 0.2


def test_the_clock_pays_one_for_naming_the_hour_and_moves_on():
    env = Clock(hours=5, episode_length=7)
    obs = env.reset(1, torch.Generator().manual_seed(0))
    hour = int(env.hour)
    right, wrong = torch.eye(5)[[hour]], torch.eye(5)[[(hour + 1) % 5]]
    stayed, nothing = env.step(wrong)
    moved, one = env.step(right)
    assert nothing.item() == 0 and torch.equal(stayed, obs)
    assert one.item() == 1 and int(env.hour) == (hour + 1) % 5
    assert torch.equal(moved, env.faces[env.hour])


def test_the_clocks_best_return_is_the_episode_length_and_chance_earns_a_fifth():
    env, random = Clock(hours=5, episode_length=7), torch.Generator().manual_seed(1)
    _, best = play(env, env.best_action, 11)
    assert best.tolist() == [7.0] * 11 and env.optimum() == 7
    _, chance = play(env, lambda obs, step: env.actions.random(len(obs), random), 4099)
    assert chance.mean().item() == pytest.approx(7 / 5, abs=0.07)


@pytest.mark.parametrize("env", [Clock(), point_mass()], ids=["clock", "point-mass"])
def test_the_true_model_predicts_every_step(env):
    random = torch.Generator().manual_seed(2)
    obs = env.reset(101, random)
    for _ in range(env.episode_length):
        action = env.actions.random(101, random)
        expected = env.predict(obs, action), env.reward(obs, action)
        obs, reward = env.step(action)
        assert torch.allclose(obs, expected[0]) and torch.allclose(reward, expected[1])


@pytest.mark.parametrize("env", [Clock(), point_mass()], ids=["clock", "point-mass"])
def test_a_toy_reads_nothing_back(env, generator, no_host_reads):
    action = env.actions.random(13, generator)
    with no_host_reads():
        env.reset(13, generator)
        obs, reward = env.step(action)
    assert obs.shape == (13, env.obs_dim) and reward.shape == (13,)
