"""What the stream of the point does to a model, at the size and budget of the quick preset."""

import pytest
import torch

from lib.algos import registry
from lib.algos.decision_transformer.agent import SequenceAgent
from lib.core.seeding import Streams, generator
from lib.envs import worlds
from lib.envs.api import data_parts
from lib.experiments import data, run_config
from lib.runner import dataset, evaluate

CPU = torch.device("cpu")
EPISODES = 100


def agent(method: str) -> SequenceAgent:
    run = run_config.resolve({"preset": "point-mass-quick", "method": method, "device": "cpu"})
    return registry.build_agent(run, worlds.build(run.env, run.tasks), Streams(0), CPU)


def learn(one: SequenceAgent, task: int, folder) -> None:
    one.begin_task(task)
    for part in data_parts(one.domain, task):
        one.store("learner", dataset.read(folder, *part).episodes)
    one.update(one.cfg.budget.updates_of(task))


def success(one: SequenceAgent, task: int) -> float:
    """Of the same episodes each time."""
    env = one.domain.make_for_evaluation(task)
    draws = generator(0, f"test/{task}")
    played = evaluate.play(one, env, EPISODES, draws, explore=False, heads={"task": task})
    return float(played.success.float().mean())


@pytest.mark.slow
def test_full_tuning_forgets_and_an_oracles_sets_do_not(tmp_path):
    list(data.make("point-mass", tmp_path))
    first = agent("dt-full")
    learn(first, 0, tmp_path)
    pretrained = first.state_dict(with_replay=False)["world_model"]
    pretrained = {"model": {n: p.detach().clone() for n, p in pretrained["model"].items()}}
    tasks, forgotten, average = range(1, 5), {}, {}
    for method in ("dt-full", "dt-lora"):
        one = agent(method)
        one.begin_task(0)
        one.capabilities().transfer.load_world_model(pretrained)
        learnt = {}
        for task in tasks:
            learn(one, task, tmp_path)
            learnt[task] = success(one, task)
        ended = {task: success(one, task) for task in tasks}
        average[method] = sum(ended.values()) / 4
        forgotten[method] = [learnt[task] - ended[task] for task in tasks]
    assert sum(forgotten["dt-full"]) / 3 >= 0.4  # the last task has nothing to be forgotten by
    assert forgotten["dt-lora"] == [0.0] * 4
    assert average["dt-lora"] > average["dt-full"] + 0.1
