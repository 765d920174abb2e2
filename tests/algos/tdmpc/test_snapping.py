"""Imagined observations are rounded to those that exist, and searches look ahead on these."""

import pytest
import torch

from lib.algos.tdmpc import value as imagined
from lib.algos.tdmpc.snapping import Snapped, indices, nearest
from lib.core.errors import UserError
from lib.envs.grid.table import GridTable
from lib.experiments import run_config
from tests.tiny import in_task, tiny

SIZE = 13


def test_cells_and_headings_by_hand():
    # x = 4.4 of 13 rounds to 4, y = 12.7 to the last, 12, heading 1.6 to 2; all stays inside
    obs = torch.tensor([[2 * 4.4 / 13 - 1, 2 * 12.7 / 13 - 1, 2 * 1.6 / 4 - 1], [-1.3, 1.4, 1.0]])
    assert indices(obs, SIZE).tolist() == [[4, 12, 2], [0, 12, 3]]
    wanted = torch.tensor([[8 / 13 - 1, 24 / 13 - 1, 0.0], [-1.0, 24 / 13 - 1, 0.5]])
    assert torch.allclose(nearest(obs, SIZE), wanted)


def test_every_observation_of_the_grid_stays_as_it_is():
    table = GridTable.build(SIZE)
    rounded = nearest(table.obs, SIZE)
    assert torch.allclose(rounded, table.obs, atol=1e-6)
    assert torch.equal(table.bin_of(rounded), table.bin_of(table.obs))


def test_small_errors_do_not_add_up():
    # a model that moves by .4 of a cell at each push would leave its cell in the second
    def slides(obs, action):
        return obs + torch.tensor([0.8 / SIZE, 0.0, 0.0])

    start = nearest(torch.zeros(1, 3), SIZE)
    latents = Snapped(slides, SIZE).unroll(start, torch.zeros(6, 1, 3))
    assert torch.allclose(latents, start.expand(7, 1, 3), atol=1e-6)


@pytest.mark.parametrize("snap", [False, True])
def test_a_search_looks_ahead_on_rounded_observations_where_asked(snap, monkeypatch):
    agent, reached = in_task(tiny(planner__snap=snap, planner__horizon_ramp=0)), []
    original = imagined.trajectory_value

    def noted(model, heads, z, actions, *args, **kwargs):
        reached.append(model.unroll(z, actions[:, 0].transpose(0, 1)))
        return original(model, heads, z, actions, *args, **kwargs)

    monkeypatch.setattr(imagined, "trajectory_value", noted)
    obs = nearest(torch.rand(2, 3) * 2 - 1, agent.grid_size)
    agent.act(obs, None, explore=False)
    latents = torch.cat(reached)
    assert torch.allclose(latents, nearest(latents, agent.grid_size), atol=1e-6) == snap
    expected, _ = agent.capabilities().search.outcomes(
        obs, torch.eye(3)[torch.tensor([[2, 2], [0, 1]])]
    )
    assert torch.allclose(expected, nearest(expected, agent.grid_size), atol=1e-6) == snap


def test_only_worlds_of_cells_can_be_rounded_to():
    given = {"preset": "cheetah-quick", "overrides": {"planner.snap": True}}
    with pytest.raises(UserError, match=r"planner.snap rounds .* to cells, and 'cheetah' has none"):
        run_config.check(run_config.resolve(given))
