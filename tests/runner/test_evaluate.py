from types import SimpleNamespace

import numpy as np
import torch

from lib.algos.tdmpc.agent import ContinualAgent
from lib.envs.toys import Clock
from lib.runner.evaluate import play, play_batch, results, returns, unbroken
from tests.tiny import new_agent, tiny

E, HOURS, T = 7, 3, 11


class Knows:
    """Acts by the toy's own best action and notes how it was asked."""

    def __init__(self, env: Clock):
        self.env, self.asked = env, []

    def act(self, obs, memory, **kwargs):
        self.asked.append((memory, kwargs))
        return self.env.best_action(obs, 0), torch.full((len(obs),), len(self.asked))


def test_episodes_hold_every_step_in_order():
    env = Clock(HOURS, T)
    agent = Knows(env)
    episodes = play(agent, env, E, torch.Generator().manual_seed(0), explore=False)
    assert episodes.obs.shape == (E, T + 1, 2) and episodes.action.shape == (E, T, HOURS)
    assert episodes.reward.shape == (E, T)
    for t in range(T):
        assert torch.equal(episodes.action[:, t], env.best_action(episodes.obs[:, t], t))
        moved_on = env.predict(episodes.obs[:, t], episodes.action[:, t])
        assert torch.allclose(episodes.obs[:, t + 1], moved_on)


def test_the_best_agent_earns_the_optimum():
    env = Clock(HOURS, T)
    episodes = play(Knows(env), env, E, torch.Generator().manual_seed(0), explore=False)
    assert returns(episodes).tolist() == [env.optimum()] * E


def test_returns_are_undiscounted_sums_per_episode():
    env = Clock(HOURS, T)
    episodes = play(Knows(env), env, 2, torch.Generator(), explore=False)
    reward = torch.tensor([[1.0, 2.0, 4.0], [0.0, -1.0, 0.5]])
    assert returns(episodes._replace(reward=reward)).tolist() == [7.0, -0.5]


class Passes:
    """A toy whose episodes are at the goal at steps of their own, and may leave it again."""

    obs_dim, episode_length, broken, cell = 1, 3, None, None

    def __init__(self, hits: list[list[bool]]):
        self.hits = torch.tensor(hits)  # (T, E)

    def reset(self, n, generator):
        self.at = -1
        return torch.zeros(n, 1)

    def step(self, action, only=None):
        self.at += 1
        return torch.zeros(len(action), 1), torch.zeros(len(action))

    @property
    def ended(self):
        return torch.full((self.hits.shape[1],), self.at + 1 == len(self.hits))

    terminal = ended

    @property
    def success(self):
        return self.hits[self.at] if self.at >= 0 else torch.zeros(self.hits.shape[1]).bool()


def test_success_in_the_end_and_at_any_step_are_told_apart():
    # Four episodes: never there, passing through, there from the second step on, there at the end.
    hits = [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
    env = Passes([[bool(one) for one in row] for row in hits])
    who = SimpleNamespace(act=lambda obs, memory, **_: (torch.zeros(len(obs), 1), None))
    played = play(who, env, 4, torch.Generator(), explore=False)
    assert played.success.tolist() == [False, False, True, True]
    assert played.reached.tolist() == [False, True, True, True]
    told = results(played)
    assert (told["success"], told["success_any"]) == (0.5, 0.75)


def test_an_agent_is_handed_back_its_memory_and_told_who_acts():
    env = Clock(HOURS, T)
    agent, draws, heads = Knows(env), torch.Generator(), object()
    kwargs = {"role": "reviewer", "act_generator": draws, "heads": heads}
    play(agent, env, E, torch.Generator(), explore=True, **kwargs)
    begun, *later = [memory for memory, _ in agent.asked]
    assert begun is None and [m.tolist() for m in later] == [[n] * E for n in range(1, T)]
    wanted = {"role": "reviewer", "explore": True, "generator": draws, "heads": heads}
    assert all(told == wanted for _, told in agent.asked)


def test_every_seed_of_a_batch_plays_in_its_own_world_with_its_own_numbers():
    envs = [Clock(HOURS, T) for _ in range(2)]

    class Pair:
        def act(self, obs, memory, *, generators, heads, **kwargs):
            assert obs.shape == (2, E, 2) and heads == ["a", "b"]
            moves = [envs[0].actions.random(E, draws) for draws in generators]
            return torch.stack(moves), memory

    def draws(kind: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(10 * kind + seed) for seed in range(2)]

    one, other = play_batch(
        *(Pair(), envs, E, draws(0)), explore=False, act_generators=draws(1), heads=["a", "b"]
    )
    assert one.obs.shape == (E, T + 1, 2) and other.action.shape == (E, T, HOURS)

    class Single:
        def act(self, obs, memory, *, generator, **kwargs):
            return envs[0].actions.random(E, generator), memory

    for seed, mine in enumerate((one, other)):
        start, moves = draws(0)[seed], draws(1)[seed]
        alone = play(Single(), Clock(HOURS, T), E, start, explore=False, act_generator=moves)
        assert all(torch.equal(a, b) for a, b in zip(mine[:3], alone[:3], strict=True))
    assert not torch.equal(one.action, other.action)


def test_the_first_episodes_poses_are_kept_where_somebody_wants_them():
    env, poses = Clock(HOURS, T), []
    env.pose = lambda: env.faces[env.hour].numpy()
    episodes = play(Knows(env), env, E, torch.Generator(), explore=False, poses=poses)
    assert torch.equal(torch.tensor(np.stack(poses)), episodes.obs[0])


def test_episodes_whose_physics_broke_are_left_out():
    env = Clock(HOURS, T)
    episodes = play(Knows(env), env, 3, torch.Generator(), explore=False)
    assert unbroken(episodes, env) is episodes
    env.broken = torch.tensor([False, False, False])
    assert unbroken(episodes, env) is episodes
    env.broken = torch.tensor([False, True, False])
    kept = unbroken(episodes, env)
    assert torch.equal(kept.obs, episodes.obs[[0, 2]]) and kept.reward.shape == (2, T)


def started(env: Clock) -> ContinualAgent:
    cfg = tiny("tdmpc", env__episode_length=T, budget__env_steps_per_task=8 * T)
    agent = new_agent(cfg, actions=env.actions, obs_dim=2)
    agent.begin_task(0)
    return agent


def test_starts_follow_their_generator_and_not_the_actions():
    env = Clock(5, T)
    agent = started(env)
    runs = [play(agent, env, E, torch.Generator().manual_seed(3), explore=True) for _ in range(2)]
    assert torch.equal(runs[0].obs[:, 0], runs[1].obs[:, 0])
    assert not torch.equal(runs[0].action, runs[1].action)


def test_evaluating_with_a_generator_of_its_own_repeats_exactly():
    env = Clock(5, T)
    agent = started(env)
    before = agent.streams.state_dict()
    runs = []
    for _ in range(2):
        draws = torch.Generator().manual_seed(3)
        runs.append(play(agent, env, E, draws, explore=False, act_generator=draws))
    assert all(torch.equal(a, b) for a, b in zip(*(run[:3] for run in runs), strict=True))
    after = agent.streams.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_learner_solves_the_clock_in_seconds():
    env = Clock(hours=3, episode_length=9)
    cfg = tiny(
        "tdmpc",
        env__episode_length=9,
        model__width=32,
        planner__horizon=[2],
        planner__samples=32,
        planner__horizon_ramp=0,
        learning__batch=32,
        learning__seed_steps=72,
        learning__lr=3e-3,
        learning__updates_per_step=0.5,
        budget__env_steps_per_task=1080,
    )
    agent = new_agent(cfg, actions=env.actions, obs_dim=2)
    agent.begin_task(0)
    draws, seen = torch.Generator().manual_seed(0), []
    for _ in range(8):  # 8 rounds of 8 episodes: 576 steps, 288 updates
        agent.store("learner", play(agent, env, 8, draws, explore=True))
        agent.update(agent.pending)
        seen.append(returns(play(agent, env, 23, draws, explore=False)).mean().item())
    assert seen[0] < 5 and max(seen[-3:]) > 0.9 * env.optimum()
