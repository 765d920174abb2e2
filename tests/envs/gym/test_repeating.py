from gymnasium import Env, spaces

from lib.core.config import EnvConfig, merge
from lib.envs import worlds
from lib.envs.gym.repeating import Repeated


class Paying(Env):
    """Pays 1, 2, 3, ... and ends after five steps."""

    observation_space, action_space = spaces.Discrete(9), spaces.Discrete(2)

    def reset(self, **_):
        self.steps = 0
        return 0, {}

    def step(self, action):
        self.steps += 1
        return self.steps, float(self.steps), self.steps == 5, False, {"at": self.steps}


def test_a_decision_sums_its_steps_and_stops_where_the_episode_ends():
    env = Repeated(Paying(), 3)
    env.reset()
    assert env.step(0) == (3, 1 + 2 + 3.0, False, False, {"at": 3})
    assert env.step(0) == (5, 4 + 5.0, True, False, {"at": 5})


def test_a_registered_environment_may_decide_every_other_step(generator):
    settings = {"domain": "gymnasium", "episode_length": 10}
    once, twice = (
        worlds.build(merge(EnvConfig(), settings | {"action_repeat": times}), ["Pendulum-v1"])
        for times in (1, 2)
    )
    assert (twice.episode_length, twice.action_repeat) == (5, 2)
    envs = [world.make(0) for world in (once, twice)]
    for env in envs:
        env.reset(1, generator.manual_seed(0))
    action = once.actions.random(1, generator)
    for _ in range(5):
        paid = sum(envs[0].step(action)[1] for _ in range(2))
        _, reward = envs[1].step(action)
        assert abs(float(reward - paid)) < 1e-5
    assert envs[0].ended.all() and envs[1].ended.all()
