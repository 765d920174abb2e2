"""The door for one's own environments; what an environment shows is in tests/envs/gym/test_own."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from lib.analysis import results
from lib.core.errors import UserError
from lib.envs.gym.custom import custom_domain
from lib.experiments import custom_env, runs
from tests.envs.gym.worlds import Counting, Sampling

# The debug preset, smaller still.
SMALL = {
    "budget.env_steps_per_task": 48,
    "budget.eval_every": 24,
    "budget.eval_episodes": 1,
    "budget.report_every": 24,
    "budget.checkpoint_every": 24,
    "update.prefill": 24,
}
LENGTH = 6


def train(env, settings=SMALL, **kwargs):
    return custom_env.train(
        env, settings, episode_length=LENGTH, progress=False, device="cpu", **kwargs
    )


class Sketch(gymnasium.Env):
    """A picture that grows brighter."""

    observation_space = spaces.Box(0, 255, (64, 64, 3), np.uint8)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros((64, 64, 3), np.uint8), {}

    def step(self, action):
        self.steps += 1
        return np.full((64, 64, 3), 20 * self.steps, np.uint8), 0.0, False, False, {}


# What it learns in --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("world", "kind", "discrete"),
    [
        (Counting(), "vector", True),
        (Counting(action=spaces.Box(-2, 2, (2,), np.float32)), "vector", False),
        (Counting(spaces.Discrete(3)), "vector", True),
        (Sketch(), "image", True),
        (Counting, "vector", True),  # a function that makes one
        (
            Sampling(spaces.Dict(a=spaces.Box(0, 255, (40, 40), np.uint8), b=spaces.Discrete(3))),
            "image",
            True,
        ),
        (Sampling(spaces.Box(0.0, 1.0, (4, 40, 40))), "image", True),
        (
            Sampling(spaces.Dict(a=spaces.Box(-1.0, 1.0, (2,)), b=spaces.MultiBinary(3))),
            "vector",
            True,
        ),
        (Sampling(action=spaces.MultiDiscrete([3, 5])), "vector", True),
    ],
    ids=[
        "vector",
        "continuous",
        "discrete observation",
        "picture",
        "factory",
        "dictionary",
        "frames",
        "numbers",
        "choices",
    ],
)
def test_any_environment_is_learnt_in_and_played(world, kind, discrete, tmp_path):
    trained = train(world, out_dir=tmp_path)
    assert trained.domain.obs_space.kind == kind and trained.agent.actions.discrete == discrete
    assert trained.folder == tmp_path and results.load_run(tmp_path).summary["env_steps"] == 48
    played = trained.play(episodes=3)
    assert played.obs.shape[:2] == (3, int(played.length.max()) + 1)
    assert (played.length <= LENGTH).all() and torch.isfinite(played.reward).all()


def test_an_id_that_gymnasium_knows_is_enough(tmp_path):
    trained = train("CartPole-v1", out_dir=tmp_path)
    assert trained.domain.tasks[0].name == "cartpole-v1" and trained.agent.actions.size == 2


def test_several_environments_are_tasks_in_turn(tmp_path):
    trained = train([Counting(), Counting()], out_dir=tmp_path)
    run = results.load_run(tmp_path)
    assert run.tasks == ("counting", "counting-2") and run.summary["env_steps"] == 2 * 48
    assert trained.agent.task == 1
    assert len(trained.play(2, task=0).reward) == 2


def test_the_agent_of_every_task_can_be_had_again(tmp_path):
    trained = train([Counting(), Counting()], out_dir=tmp_path)
    config = custom_env.configure(trained.domain, SMALL, device="cpu")
    first, last = (
        custom_env.agent_of(config, tmp_path, trained.domain, torch.device("cpu"), after)
        for after in (1, 0)
    )
    now = trained.agent.module("model").state_dict()
    assert all(torch.equal(v, now[n]) for n, v in last.module("model").state_dict().items())
    then = first.module("model").state_dict()
    assert not torch.equal(then["rssm.cell.weight"], now["rssm.cell.weight"])


def test_the_same_call_again_does_not_train_again(tmp_path):
    first = train(Counting(), out_dir=tmp_path)
    before = (tmp_path / "metrics.jsonl").stat().st_mtime_ns
    again = train(Counting(), out_dir=tmp_path)
    assert (tmp_path / "metrics.jsonl").stat().st_mtime_ns == before
    assert torch.equal(first.play(2).action, again.play(2).action)


def test_without_a_folder_a_new_one_is_made():
    trained = train(Counting())
    assert (trained.folder / "summary.json").is_file()


# Settings -----------------------------------------------------------------------------------


@pytest.fixture
def domain():
    return custom_domain(Counting(), LENGTH, device="cpu")


def test_a_preset_settings_or_a_whole_configuration_do(domain):
    preset = custom_env.configure(domain, "debug", seed=3)
    assert (preset.seed, preset.env.domain, preset.tasks) == (3, "custom", ("counting",))
    assert preset.objective.reward == "identity"  # rewards of any size
    changed = custom_env.configure(domain, {"update.model_lr": 0.5})
    assert changed.update.model_lr == 0.5 and changed.update.batch == preset.update.batch
    larger = custom_env.configure(domain, {"preset": "minigrid3-quick"})
    assert larger.latent.deter > preset.latent.deter
    assert custom_env.configure(domain, preset, seed=3) == preset


def test_what_a_preset_says_of_minigrid_alone_is_left_out(domain):
    run = custom_env.configure(
        domain, {"preset": "minigrid3-quick", "budget.env_steps_per_task": 8_000}
    )
    assert run.explore.bonus == "none" and run.objective.reward_scale == 1.0
    assert run.budget.steps_of(0) == 8_000
    curious = custom_env.configure(domain, "debug", method="dreamer-p2e")
    assert curious.explore.bonus == "plan2explore"


def test_the_replay_holds_an_episode_however_long(domain):
    long = custom_domain(Counting(), 20_000, device="cpu")
    changes = {"replay.capacity": 100, "budget.env_steps_per_task": 40_000}
    assert custom_env.configure(long, changes).replay.capacity >= 20_000
    assert custom_env.configure(domain, changes).replay.capacity == 100


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("debgu", "unknown preset 'debgu'.*did you mean 'debug'"),
        ("grid-quick", "unknown preset 'grid-quick'"),  # another family's
        ({"update.model_rate": 1.0}, "unknown setting 'update.model_rate'.*'update.model_lr'"),
        ({"update.prefill": 5_000}, "leave nothing of the first task's 600"),
        (7, "config 7 of type int: give a preset such as 'debug'"),
    ],
)
def test_a_wrong_configuration_is_said_in_one_line(config, said, domain):
    with pytest.raises(UserError, match=said) as caught:
        custom_env.configure(domain, config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ("CartPol-v1", "unknown environment 'CartPol-v1'.*did you mean 'CartPole-v1'"),
        (42, "42 of type int is no environment"),
        (Counting(spaces.Text(5)), "counting shows Text.*FlattenObservation"),
        (Counting(action=spaces.MultiBinary(9)), "takes actions of MultiBinary"),
        ([], "no tasks given"),
    ],
)
def test_a_wrong_environment_is_said_before_anything_is_written(env, said, tmp_path):
    with pytest.raises(UserError, match=said):
        train(env, out_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unknown_observation_is_said(tmp_path):
    with pytest.raises(UserError, match="unknown observation 'pixel'.*did you mean 'pixels'"):
        train(Counting(), observation="pixel")


def test_a_folder_that_holds_another_run_is_kept(tmp_path):
    train(Counting(), out_dir=tmp_path)
    with pytest.raises(UserError):
        train(Counting(), SMALL | {"update.model_lr": 0.5}, out_dir=tmp_path)


@pytest.mark.parametrize(
    "settings", [{"seed": 5}, {"env.observation": "pixels"}, {"env": {"domain": "grid"}}], ids=str
)
def test_what_the_environment_or_an_argument_says_is_no_setting(domain, settings):
    with pytest.raises(UserError, match="is not set there; seed, device, method"):
        custom_env.configure(domain, settings)


def test_a_run_on_what_was_handed_over_is_refused_before_it_starts(tmp_path):
    given = {"preset": "debug", "tasks": ["x"], "device": "cpu"}
    given |= {"overrides": {"env.domain": "custom", "env.observation": "state"}}
    with pytest.raises(UserError, match="were handed over from a notebook"):
        runs.prepare(given, tmp_path)
