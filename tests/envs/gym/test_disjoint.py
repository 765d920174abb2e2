import pytest
import torch

from lib.envs.gym import custom
from lib.envs.gym.disjoint import DisjointBatch
from tests.envs.gym.worlds import Counting


@pytest.mark.parametrize("evaluates", [False, True])
def test_no_episode_of_an_evaluation_begins_as_one_of_training(evaluates):
    recipe = custom.custom_domain(Counting, episode_length=7).recipes[0]
    batch = DisjointBatch(recipe, 7, evaluates, "cpu")
    batch.reset(97, torch.Generator().manual_seed(3))
    seeds = batch.state_dict()["seed"]
    assert (seeds % 2 == evaluates).all() and len(seeds.unique()) == 97
