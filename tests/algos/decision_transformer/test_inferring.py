import numpy as np
import pytest
import torch

from lib.algos import registry
from lib.algos.decision_transformer.agent import SequenceAgent
from lib.algos.decision_transformer.inferring import look_at, taken_for, windows
from lib.core.seeding import Streams
from lib.replay.buffer import Episodes
from tests.sequence_tiny import episodes, tiny, world

STEPS = 7


def agent() -> SequenceAgent:
    run = tiny("dt-hide-lora", modulators__hide_lora__windows=60)
    one = registry.build_agent(run, world(run), Streams(0), torch.device("cpu"))
    one.begin_task(0)
    return one


def of_task(task: int, seed: int) -> Episodes:
    """Episodes told by where their observations lie."""
    found = episodes(9, STEPS, seed=seed)
    return found._replace(obs=found.obs + 4 * task)


def test_tasks_that_look_different_are_told_by_statistics_without_learning_any():
    one = agent()
    before = {name: p.detach().clone() for name, p in one.model.named_parameters()}
    look_at(one, [of_task(task, seed=task) for task in range(2)])
    assert all(torch.equal(p, before[name]) for name, p in one.model.named_parameters())
    assert one.modulator.known.tolist() == [True, True]
    found = taken_for(one, [of_task(task, seed=10 + task) for task in range(2)], (1, STEPS))
    assert set(found) == {1, STEPS}
    for matrix in found.values():
        np.testing.assert_allclose(matrix.sum(1), 1)
        assert np.diag(matrix).min() > 0.9


def test_windows_are_those_of_the_task_at_hand():
    one = agent()
    for part in one.parts[0]:
        one.store("learner", episodes(5, STEPS, part.actions.size))
    drawn = windows(one, 11)
    assert drawn.state.shape == (11, one.cfg.model.context, one.cfg.model.slots)


@pytest.mark.parametrize("step", [1, STEPS])
def test_rows_are_tasks_and_columns_what_they_are_taken_for(step):
    one = agent()
    look_at(one, [of_task(0, 0), of_task(1, 1)])
    swapped = taken_for(one, [of_task(1, 10), of_task(0, 11)], (step,))[step]
    assert swapped[0, 1] > 0.9 and swapped[1, 0] > 0.9
