import warnings

import pytest
import torch

from lib.algos.tdmpc import precision
from lib.algos.tdmpc.model import Dynamics
from tests.tiny import BOX, changed, continuous, in_task, tiny

L, A, ROWS = 5, 2, 700


def answered(spread: float) -> tuple[Dynamics, tuple[torch.Tensor, ...]]:
    """Dynamics, and transitions that they predict up to an error of this spread."""
    draws = torch.Generator().manual_seed(0)
    dynamics = Dynamics(L, A, 64, draws, crelu=False, bounded=False)
    obs = torch.randn(ROWS, L, generator=draws)
    action = torch.rand(ROWS, A, generator=draws) * 2 - 1
    error = spread * torch.randn(ROWS, L, generator=draws)
    with torch.no_grad():
        return dynamics, (obs, action, dynamics(obs, action) + error)


def test_a_model_as_good_as_published_keeps_its_score():
    single, half = precision.scores(*_flat(answered(0.0063)))  # a mean squared error of 4e-5
    assert single == pytest.approx(10.3, abs=0.3)
    assert single - half < precision.WORTH_A_WARNING


def test_a_model_far_better_does_not():
    single, half = precision.scores(*_flat(answered(1e-4)))
    assert single > 18 and half < 14
    with pytest.warns(UserWarning, match=r"from 18\.\d+ to 1\d\.\d+.*planner.precision single"):
        precision.warn_if_lost(single, half)


def test_a_small_loss_is_no_news():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        precision.warn_if_lost(10.0, 9.8)


def _flat(found):
    dynamics, rows = found
    return dynamics, *rows


@pytest.mark.parametrize("box", [False, True], ids=["discrete", "continuous"])
def test_a_search_in_half_precision_values_candidates_nearly_alike(box):
    cfg, kwargs = (continuous(), {"actions": BOX}) if box else (tiny(), {})
    agent = in_task(cfg, **kwargs)
    agent.update(5)  # last layers start at zero
    seen = {}
    for kind in ("single", "bf16"):
        twin = in_task(changed(cfg, planner__precision=kind), **kwargs)
        twin.load_state_dict(agent.state_dict())
        values = []
        obs = torch.full((4, 3), 0.25)
        twin.act(
            obs,
            None,
            explore=False,
            generator=torch.Generator().manual_seed(1),
            trace=lambda i, candidates, scores, best, to=values: to.append(scores),
        )
        seen[kind] = values[0]
    assert seen["bf16"].dtype == torch.float32
    assert not torch.equal(seen["bf16"], seen["single"])
    assert torch.allclose(seen["bf16"], seen["single"], atol=0.05)


def test_learning_stays_in_single_precision_and_the_report_tells_both_scores():
    agent = in_task(changed(tiny(), planner__precision="bf16"))
    agent.update(2)
    told = agent.report()
    assert {"train/planner/score", "train/planner/score_bf16"} <= told.keys()
    assert all(p.dtype == torch.float32 for p in agent.dynamics.parameters())
