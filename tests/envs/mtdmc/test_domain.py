import importlib.util

import pytest
import torch

from lib.algos.decision_transformer.agent import SequenceAgent
from lib.algos.decision_transformer.presets import DMC10, MT40
from lib.core.config import EnvConfig, merge
from lib.core.errors import UserError
from lib.core.seeding import Streams, generator
from lib.envs import api, worlds
from lib.envs.metaworld.simulation import INSTALL, PACKAGE
from lib.experiments import run_config
from lib.runner import evaluate

SMALL = {"domain": "mtdmc", "episode_length": 12}


def env(**changes) -> EnvConfig:
    return merge(EnvConfig(), SMALL | changes)


@pytest.fixture(scope="module")
def both():
    """Skips where one of the two worlds is missing."""
    pytest.importorskip("dm_control")
    if importlib.util.find_spec(PACKAGE) is None:
        pytest.skip(f"{PACKAGE} not installed: {INSTALL}")


def test_the_papers_fifty_tasks_of_pre_training_are_known_without_either_world():
    (task,) = worlds.resolve(env(), [{"name": "all", "turns": [*MT40, *DMC10]}])
    assert len(task.turns) == 50 and task.turns[0] == "assembly" and task.turns[-1] == "walker_run"


@pytest.mark.parametrize(
    ("entries", "changes", "told"),
    [
        (["reech"], {}, "unknown task of mtdmc 'reech'.*did you mean 'reach'"),
        (["reach", "reach-v3"], {}, "'reach' is listed twice"),
        ([], {}, "no tasks given"),
        (["reach"], {"action_repeat": 2}, "env.action_repeat 2: a step of mtdmc is a decision"),
    ],
)
def test_what_is_no_stream_is_refused_in_one_line(entries, changes, told):
    with pytest.raises(UserError, match=told) as error:
        worlds.resolve(env(**changes), entries)
    assert "\n" not in str(error.value)


def test_tasks_of_both_are_seen_and_acted_in_alike_and_their_files_are_not(both):
    draws = generator(0, "env")
    world = worlds.build(env(episode_length=400), ["reach", "walker-walk", "pendulum-swingup"])
    assert world.obs_dim == 39 and world.actions.size == 6 and world.episode_length == 400
    lengths = []
    for task, own in enumerate(((39, 4), (24, 6), (3, 1))):
        (part,) = api.data_parts(world, task)
        assert (part.obs_space.shape[0], part.actions.size) == own
        made = world.make(task)
        seen = made.reset(2, draws)
        assert seen.shape == (2, 39) and not seen[:, own[0] :].any() and seen[:, : own[0]].any()
        assert made.step(torch.zeros(2, 6))[0].shape == (2, 39)
        lengths.append(made.episode_length)
    assert lengths == [200, 400, 400]


def test_an_agent_acts_tasks_in_turn_with_the_numbers_and_slots_of_each(both):
    # Copies 0 and 2 are of the arm, 1 and 3 of the pendulum, whose action has one number.
    run = run_config.resolve(
        {
            "preset": "mt40-dmc10-full",
            "method": "dt-full",
            "device": "cpu",
            "tasks": [{"name": "all", "turns": ["reach", "pendulum-swingup"]}],
            "overrides": {
                "env.episode_length": 4,
                "model.layers": 1,
                "model.heads": 2,
                "model.width": 14,
                "data.reward_scale": [200.0, 100.0],
            },
        }
    )
    world = worlds.build(run.env, run.tasks)
    agent = SequenceAgent(run, world, Streams(0), "cpu")
    agent.begin_task(0)
    agent.targets[0] = torch.tensor([9.0, 8.0])
    obs = torch.arange(4 * 39.0).view(4, 39) + 1
    action, memory = agent.act(obs, None)
    assert action.shape == (4, 4) and not action[1::2, 1:].any() and action[::2].all()
    assert memory.to_go[:, -1].tolist() == [9, 8, 9, 8]
    assert memory.scale.tolist() == [200, 100, 200, 100]
    assert torch.equal(memory.state[0, -1, :39], obs[0]) and not memory.state[0, -1, 39:].any()
    shown = memory.state[1, -1].nonzero()[:, 0].tolist()  # a pendulum's orientation and velocity
    assert shown == [14, 140, 141] and memory.state[1, -1, [140, 141, 14]].tolist() == [40, 41, 42]
    assert memory.action[1, -1].tolist()[1:] == [32] * 5  # bins of 0
    played = evaluate.play(
        agent, world.make_for_evaluation(0), 2, generator(0, "env"), explore=False
    )
    assert played.reward.shape == (4, 4) and played.action.shape == (4, 4, 4)
