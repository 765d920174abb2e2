import copy
import itertools

import pytest
import torch

from lib.algos.tdmpc import counts
from lib.algos.tdmpc.settings import ReviewerConfig
from lib.core.errors import UserError
from lib.engine.seeds import stack_as_views
from lib.envs.grid.table import GridTable

SIZE = 27


def position(x: float, y: float, heading: float, size: int = SIZE) -> torch.Tensor:
    """(1, 3): an observation, or a prediction between cells."""
    return torch.tensor([[2 * x / size - 1, 2 * y / size - 1, 2 * heading / 4 - 1]])


def built(kind: str, obs_dim: int = 5, seed: int = 0) -> counts.CountBonus:
    init, noise = (torch.Generator().manual_seed(seed + i) for i in range(2))
    return counts.build(ReviewerConfig(count_bonus=kind), obs_dim, SIZE, init, noise)


def factor(rule: counts.CountBonus, latent: torch.Tensor) -> torch.Tensor:
    """What a rule makes of positive rewards where it is now."""
    return rule.rate(rule.live(), latent)


# Exact counts on the grid ----------------------------------------------------------------------


def test_the_grid_bonus_by_hand():
    # never: .99999^-.5 - 1/99999 = 1.000005 - .00001; three times: 3.99999^-.5 - .00001
    ring = counts.GridCounts(SIZE, "cpu")
    here, there = position(3, 5, 1), position(3, 5, 2)
    assert factor(ring, here).item() == pytest.approx(1.000005 - 1 / 99999, abs=1e-6)
    for _ in range(3):
        ring.visit(here)
    assert factor(ring, here).item() == pytest.approx(0.5 - 1 / 99999, abs=1e-5)
    assert factor(ring, there).item() == pytest.approx(1.0, abs=1e-5)


def test_the_bonus_falls_with_every_visit_and_vanishes():
    ring, spot, seen = counts.GridCounts(SIZE, "cpu"), position(3, 5, 1), []
    for _ in range(100):
        seen.append(factor(ring, spot).item())
        ring.visit(spot)
    assert all(a > b for a, b in itertools.pairwise(seen))
    ring.table.fill_(1e10)
    assert factor(ring, spot).item() == pytest.approx(0, abs=1e-4)


def test_several_copies_on_one_cell_count_several_times():
    ring = counts.GridCounts(SIZE, "cpu")
    ring.visit(position(3, 5, 1).expand(7, 3))
    assert ring.table.sum() == 7 and ring.table.max() == 7


@pytest.mark.parametrize("size", [9, 13, 27])
def test_every_state_of_the_grid_has_a_count_of_its_own(size):
    # truncating instead of rounding puts cells 2, 3, 6 and 9 of 27 onto 1, 2, 5 and 8
    obs = GridTable.build(size).obs
    index = counts.GridCounts(size, "cpu").index(obs)
    assert len(index.unique()) == len(obs)


@pytest.mark.parametrize("cell", [2, 3, 6, 9])
def test_cells_that_truncation_would_merge_keep_their_own_place(cell):
    ring = counts.GridCounts(SIZE, "cpu")
    x = ((position(cell, 1, 0)[0, 0] + 1) * 13.5).item()
    assert int(x) == cell - 1  # the trap: a hair below the whole number
    expected = (1 * SIZE + cell) * 4
    assert ring.index(position(cell, 1, 0)).item() == expected
    assert ring.index(position(1, cell, 0)).item() == (cell * SIZE + 1) * 4


@pytest.mark.parametrize(
    "prediction",
    [[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0], [99.0, -99.0, 3.0], [float("nan"), 0.0, float("inf")]],
    ids=["saturated tanh", "lower corner", "unbounded", "not finite"],
)
def test_any_prediction_falls_into_the_table(prediction):
    ring = counts.GridCounts(SIZE, "cpu")
    index = ring.index(torch.tensor([prediction]))
    assert 0 <= index.item() < SIZE * SIZE * 4
    assert factor(ring, torch.tensor([prediction])).isfinite().all()


def test_a_saturated_prediction_counts_for_the_last_cell():
    # (1 + 1) * 13.5 = 27 is one beyond the table and belongs to 26, heading 4 to 3
    index = counts.GridCounts(SIZE, "cpu").index(torch.tensor([[1.0, 1.0, 1.0]]))
    assert index.item() == (26 * SIZE + 26) * 4 + 3


def test_predictions_between_cells_count_for_the_nearest():
    ring = counts.GridCounts(SIZE, "cpu")
    ring.visit(position(3, 5, 1))
    assert factor(ring, position(3.4, 4.6, 1.3)).item() == pytest.approx(2**-0.5, abs=1e-4)
    assert factor(ring, position(3.6, 5.0, 1.0)).item() == pytest.approx(1.0, abs=1e-4)


# Counts for continuous states ------------------------------------------------------------------


def trained(kind: str, visits: int = 60) -> tuple[counts.CountBonus, torch.Tensor]:
    """A rule after many visits near one state, and that state."""
    rule, spot = built(kind), torch.full((1, 5), 0.8)
    for _ in range(visits):
        rule.visit(spot)
    return rule, spot


def test_a_classifier_step_is_one_of_cross_entropy_on_the_state_and_a_normal_draw():
    rule, spot = built("bounded"), torch.full((1, 5), 0.8)
    slow = copy.deepcopy(rule)
    draw = torch.randn((1, 5), generator=torch.Generator().manual_seed(1))
    p = [torch.sigmoid(slow.net(x)) for x in (spot, draw)]
    (-(p[0].log() + (1 - p[1]).log()) / 2).sum().backward()
    torch.optim.Adam(slow.net.parameters(), lr=1e-3).step()
    rule.visit(spot)
    for fast, reference in zip(rule.net.parameters(), slow.net.parameters(), strict=True):
        assert torch.allclose(fast, reference, atol=1e-6)


def set_chances(rule: counts.DiscriminatorCounts, before: float, now: float) -> None:
    """Makes the classifier answer `now` everywhere, and `before` before its last step."""

    def logit(p: float) -> float:
        return float(torch.logit(torch.tensor(p, dtype=torch.float64)))

    with torch.no_grad():
        for p in [*rule.net.parameters(), *rule.before.values()]:
            p.zero_()
        rule.net[-1].bias.fill_(logit(now))
        rule.before["2.bias"].fill_(logit(before))


def test_the_bounded_bonus_by_hand():
    # p from .5 to .6: N = .5 * .4 / .1 = 2, b = 3^-.5
    rule = built("bounded")
    set_chances(rule, 0.5, 0.6)
    assert factor(rule, torch.zeros(1, 5)).item() == pytest.approx(3**-0.5, abs=1e-4)


def test_the_legacy_bonus_by_hand():
    # p from .5 to .6: N = .5 / .1 = 5, b = 5^-.5; p falling: N = 0, b = 10^4
    rule = built("legacy")
    set_chances(rule, 0.5, 0.6)
    assert factor(rule, torch.zeros(1, 5)).item() == pytest.approx(5**-0.5, abs=1e-4)
    set_chances(rule, 0.6, 0.5)
    assert factor(rule, torch.zeros(1, 5)).item() == pytest.approx(1e4, rel=1e-3)


def test_the_bounded_bonus_vanishes_where_the_chance_did_not_rise():
    rule = built("bounded")
    for before, now in ((0.6, 0.5), (0.5, 0.5)):
        set_chances(rule, before, now)
        assert factor(rule, torch.zeros(1, 5)).item() == pytest.approx(1e-4, rel=1e-3)


@pytest.mark.parametrize("kind", ["grid", "bounded", "coin-flip"])
def test_bonuses_stay_between_zero_and_one(kind, draws):
    rule = built(kind, obs_dim=3)
    for _ in range(20):
        rule.visit(torch.rand(2, 3, generator=draws) * 2 - 1)
    bonus = factor(rule, 4 * torch.randn(11, 13, 3, generator=draws))
    assert bonus.shape == (11, 13)
    assert (bonus >= 0).all() and (bonus <= 1).all() and bonus.isfinite().all()


def test_the_legacy_bonus_is_ten_thousand_for_many_states(draws):
    # the finding that made "bounded" the default
    rule = built("legacy", obs_dim=17)
    for _ in range(50):
        rule.visit(torch.randn(1, 17, generator=draws))
    bonus = factor(rule, torch.randn(499, 17, generator=draws))
    assert (bonus > 9000).float().mean() > 0.1


def test_coin_flips_give_states_never_seen_about_one_and_states_seen_often_little(draws):
    elsewhere = torch.randn(499, 5, generator=draws)
    assert 0.7 < factor(built("coin-flip"), elsewhere).mean() <= 1
    rule, spot = trained("coin-flip", visits=300)
    assert factor(rule, spot).item() < 0.4
    assert factor(rule, elsewhere).mean() > 0.7


@pytest.mark.parametrize("kind", ["grid", "bounded", "legacy", "coin-flip"])
def test_a_restored_rule_goes_on_exactly_alike(kind):
    rule, other = built(kind, 3, seed=0), built(kind, 3, seed=7)
    spot = torch.tensor([[0.2, -0.5, 0.0], [0.1, 0.3, -1.0]])
    rule.visit(spot)
    rule.visit(spot)
    other.load_state_dict(copy.deepcopy(rule.state_dict()))
    if kind != "grid":
        other.noise.set_state(rule.noise.get_state())
    for each in (rule, other):
        each.visit(spot)
    assert torch.equal(factor(rule, spot), factor(other, spot))


@pytest.mark.parametrize("kind", ["grid", "bounded", "legacy", "coin-flip"])
def test_a_visit_changes_the_tensors_that_were_handed_out(kind):
    # a recorded plan reads them where they were when it was recorded
    rule, spot = built(kind, 3), torch.tensor([[0.2, -0.5, 0.0]])
    held = rule.live()
    before = rule.rate(held, spot).item()
    for _ in range(5):
        rule.visit(spot)
    assert rule.rate(held, spot).item() == factor(rule, spot).item() != before


@pytest.mark.parametrize("kind", ["grid", "bounded", "legacy", "coin-flip"])
def test_a_restored_rule_keeps_its_tensors_in_place(kind):
    rule, other = built(kind, 3, seed=0), built(kind, 3, seed=7)
    held, spot = other.live(), torch.tensor([[0.2, -0.5, 0.0]])
    rule.visit(spot)
    other.load_state_dict(copy.deepcopy(rule.state_dict()))
    assert torch.equal(other.rate(held, spot), factor(rule, spot))


@pytest.mark.parametrize("kind", ["grid", "bounded", "legacy", "coin-flip"])
def test_a_rule_rates_by_the_tensors_it_is_given_and_no_others(kind, draws):
    # one seed's rule rates for all seeds, with the tensors of each
    rule, other = built(kind, 3, seed=0), built(kind, 3, seed=7)
    rule.visit(torch.tensor([[0.2, -0.5, 0.0]]))
    other.visit(torch.tensor([[-0.8, 0.1, 0.5]]))
    latents = torch.rand(2, 13, 3, generator=draws) * 2 - 1
    latents[1, 0] = torch.tensor([0.2, -0.5, 0.0])
    both = torch.vmap(rule.rate)(stack_as_views([rule.live(), other.live()]), latents)
    # a chance's rise is a small difference, so rounding shows in the fifth digit
    assert torch.allclose(both[0], factor(rule, latents[0]), rtol=1e-3)
    assert torch.allclose(both[1], factor(other, latents[1]), rtol=1e-3)
    assert not torch.allclose(both[1], factor(rule, latents[1]), rtol=1e-3)


@pytest.mark.parametrize("kind", ["grid", "bounded", "legacy", "coin-flip"])
def test_a_bonus_needs_no_gradient(kind):
    rule = built(kind, 3)
    with torch.no_grad():  # acting happens without gradients; counting must still learn
        rule.visit(torch.zeros(2, 3))
    assert not factor(rule, torch.zeros(2, 3)).requires_grad


def test_none_means_no_rule_and_the_grid_rule_needs_a_grid():
    draws = torch.Generator()
    assert counts.build(ReviewerConfig(count_bonus="none"), 3, SIZE, draws, draws) is None
    with pytest.raises(UserError, match="count_bonus 'grid' needs a grid world.*'bounded'"):
        counts.build(ReviewerConfig(), 17, None, draws, draws)
