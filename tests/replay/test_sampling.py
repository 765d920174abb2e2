import numpy as np
import pytest
import torch

from lib.core.errors import UserError
from lib.replay import sampling
from lib.replay.sampling import Sampler, Table, cut


def table_of(*lengths: int, returned: tuple = (), priority: tuple = ()) -> Table:
    """Episodes whose records lie at 100 e + t."""
    table = Table()
    for e, length in enumerate(lengths):
        place = table.enter(
            length=length,
            task=0,
            returned=returned[e] if returned else 0.0,
            key=0.0,
            priority=priority[e] if priority else 0.0,
        )
        table.slots[place] = 100 * e + np.arange(length + 1)
    return table


def chances(sampler: Sampler, table: Table, each: int = 360) -> list[float]:
    """How often each episode is chosen over a fine and even grid of draws."""
    grid = (np.arange(each) + 0.5) / each
    draws = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1).reshape(-1, 2)
    return (np.bincount(sampler.choose(table, draws), minlength=len(table)) / each**2).tolist()


@pytest.fixture
def given(monkeypatch):
    """Makes the sampler use prepared draws, one block for each batch."""

    def use(*blocks: list) -> None:
        left = [np.array(block, float) for block in blocks]

        def uniform(generator: torch.Generator, *shape: int) -> np.ndarray:
            block = left.pop(0).reshape(-1, 4)
            assert len(block) <= shape[0] and shape[1] == 4, shape
            return np.concatenate((block, np.zeros((shape[0] - len(block), 4))))

        monkeypatch.setattr(sampling, "uniform", uniform)

    return use


# Episodes ---------------------------------------------------------------------------------------


def test_uniform_sampling_takes_all_episodes_alike():
    found = chances(Sampler("uniform", 0.5, 2, "zero"), table_of(3, 30, 300))
    assert found == pytest.approx([1 / 3] * 3, abs=1e-9)


def test_recent_sampling_mixes_a_triangle_with_all_alike():
    # floor(3 sqrt(U)): U below 1/9, below 4/9, above: chances 1/9, 3/9, 5/9
    table = table_of(5, 5, 5)
    found = chances(Sampler("recent", 1.0, 2, "zero"), table)
    assert found == pytest.approx([1 / 9, 3 / 9, 5 / 9], abs=0.003)
    found = chances(Sampler("recent", 0.5, 2, "zero"), table)
    assert found == pytest.approx([2 / 9, 3 / 9, 4 / 9], abs=0.003)


def test_reward_sampling_is_a_softmax_of_returns():
    table = table_of(5, 5, 5, returned=(700.0, 700 + np.log(2), 700 + np.log(3)))
    found = chances(Sampler("reward", 0.5, 2, "zero"), table)
    assert found == pytest.approx([1 / 6, 2 / 6, 3 / 6], abs=0.003)


def test_uncertainty_sampling_is_proportional_to_the_priority():
    sampler = Sampler("uncertainty", 0.5, 2, "zero")
    assert chances(sampler, table_of(5, 5, 5, priority=(1, 0, 3))) == pytest.approx([0.25, 0, 0.75])


def test_without_any_uncertainty_all_episodes_are_alike():
    found = chances(Sampler("uncertainty", 0.5, 2, "zero"), table_of(5, 5))
    assert found == pytest.approx([0.5, 0.5])


def test_weights_follow_the_table():
    sampler, table = Sampler("reward", 0.5, 2, "zero"), table_of(5, returned=(1.0,))
    assert chances(sampler, table) == [1.0]
    table.enter(length=5, task=0, returned=1.0, key=0.0, priority=0.0)
    assert chances(sampler, table) == pytest.approx([0.5, 0.5])


# Pieces -----------------------------------------------------------------------------------------


def test_a_piece_is_shortened_and_leans_towards_the_end():
    # 4 records, T=5, at least 2: min(4, 5) - floor(.6 * 2) = 3, spare 1,
    #   start floor(.9 * (1 + 2 + 1)) = 3, but at most 1
    # 7 records: min(7, 5) - 0 = 5, spare 2, start floor(.5 * (2 + 2 + 1)) = 2
    # 7 records: 5 - 1 = 4, spare 3, start floor(.3 * (3 + 2 + 1)) = 1
    draws = np.array([[0.6, 0.9], [0.0, 0.5], [0.5, 0.3]])
    start, count = cut(np.array([4, 7, 7]), draws, 5, 2)
    assert start.tolist() == [1, 2, 1] and count.tolist() == [3, 5, 4]


@pytest.mark.parametrize("length", [1, 2, 7, 50])
@pytest.mark.parametrize("min_length", [1, 5, 13])
def test_pieces_lie_within_their_episodes_and_can_be_anywhere(length, min_length):
    draws = torch.Generator().manual_seed(0)
    records = torch.randint(min_length + 1, 90, (4000,), generator=draws).numpy()
    start, count = cut(records, torch.rand(4000, 2, generator=draws).numpy(), length, min_length)
    assert start.min() == 0 and (start + count <= records).all()
    assert (start + count == records).any()
    assert count.min() >= min(length, min_length) and count.max() == min(length, records.max())


# Sequences --------------------------------------------------------------------------------------


def test_pieces_are_laid_end_to_end_and_the_rest_begins_the_next_batch(given):
    # Episodes of 3 and 6 actions. First batch, a row of 5: 1 2 3 of the first, then 2..6 of the
    # second, of which 2 and 3 fit. Second batch: 4 5 6 left over, then the piece 0 1 2 of the
    # first (4 - 1 = 3 records, start floor(0) = 0), of which two fit.
    table, sampler = table_of(3, 6), Sampler("uniform", 0.5, 2, "carry")
    given([[0, 0.0, 0.6, 0.9], [0, 0.5, 0.0, 0.5]], [[0, 0.0, 0.6, 0.0]])
    rows = sampler.draw(table, 1, 5, torch.Generator())
    assert rows.index[:, 0].tolist() == [1, 2, 3, 102, 103]
    assert rows.place[:, 0].tolist() == [table.order[0]] * 3 + [table.order[1]] * 2
    assert rows.first[:, 0].tolist() == [True, False, False, True, False]
    rows = sampler.draw(table, 1, 5, torch.Generator())
    assert rows.index[:, 0].tolist() == [104, 105, 106, 0, 1]
    assert rows.place[:, 0].tolist() == [table.order[1]] * 3 + [table.order[0]] * 2
    assert rows.first[:, 0].tolist() == [False, False, False, True, False]
    assert sampler.state_dict(table) == {"left": [0, 2, 1]}


def test_rows_of_a_batch_follow_each_other(given):
    # The same episodes as two rows of 4. The second piece has min(7, 4) = 4 records from
    # floor(.5 * (3 + 2 + 1)) = 3 on; 3 + 4 records leave room for one of a third piece.
    table, draws = table_of(3, 6), [[0, 0.0, 0.6, 0.9], [0, 0.5, 0.0, 0.5], [0, 0.0, 0.0, 0.0]]
    for row_start, second in (("carry", False), ("zero", True)):
        sampler = Sampler("uniform", 0.5, 2, row_start)
        given(draws)
        rows = sampler.draw(table, 2, 4, torch.Generator())
        assert rows.index.T.tolist() == [[1, 2, 3, 103], [104, 105, 106, 0]]
        assert rows.first[:, 0].tolist() == [True, False, False, True]
        assert rows.first[:, 1].tolist() == [second, False, False, True]


def test_every_row_starts_afresh_by_default():
    table, draws = table_of(40, 50, 60), torch.Generator().manual_seed(0)
    sampler = Sampler("uniform", 0.5, 5, "zero")
    for _ in range(20):
        assert sampler.draw(table, 3, 11, draws).first[0].all()


def test_carried_rows_start_within_pieces_mostly():
    table, draws = table_of(40, 50, 60), torch.Generator().manual_seed(0)
    sampler = Sampler("uniform", 0.5, 5, "carry")
    rows = [sampler.draw(table, 3, 11, draws) for _ in range(50)]
    assert np.mean([row.first[0] for row in rows]) < 0.5


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (3, 2), (2, 7), (5, 50), (1, 311)])
def test_only_piece_starts_and_row_starts_break_the_order(batch, length):
    table, draws = table_of(5, 17, 90), torch.Generator().manual_seed(0)
    sampler, last = Sampler("uniform", 0.5, 5, "carry"), None
    for _ in range(30):
        rows = sampler.draw(table, batch, length, draws)
        assert rows.index.shape == rows.first.shape == (length, batch)
        flat, first = rows.index.T.flatten(), rows.first.T.flatten()
        if last is not None:
            flat, first = np.append(last, flat), np.append(False, first)
        assert (np.diff(flat)[~first[1:]] == 1).all()
        last = flat[-1]


def test_what_is_left_of_an_episode_that_left_is_dropped(given):
    table, sampler = table_of(3, 6), Sampler("uniform", 0.5, 2, "carry")
    given([[0, 0.0, 0.6, 0.9], [0, 0.5, 0.0, 0.5]], [[0, 0.0, 0.0, 0.0]], [])
    sampler.draw(table, 1, 5, torch.Generator())
    assert sampler.state_dict(table) == {"left": [1, 4, 3]}
    table.leave([1])
    assert sampler.state_dict(table) == {"left": None}
    rows = sampler.draw(table, 1, 4, torch.Generator())
    assert rows.index[:, 0].tolist() == [0, 1, 2, 3] and rows.first[0, 0]


def test_another_episode_at_the_same_place_is_not_mistaken_for_it(given):
    table, sampler = table_of(3, 6), Sampler("uniform", 0.5, 2, "carry")
    given([[0, 0.0, 0.6, 0.9], [0, 0.5, 0.0, 0.5]])
    sampler.draw(table, 1, 5, torch.Generator())
    table.leave([1])
    place = table.enter(length=6, task=0, returned=0.0, key=0.0, priority=0.0)
    assert place == sampler.left[0] and sampler.state_dict(table) == {"left": None}


def test_a_batch_smaller_than_what_is_left_takes_only_that(given):
    table, sampler = table_of(9), Sampler("uniform", 0.5, 1, "carry")
    given([], [])
    sampler.left = (0, 0, 2, 7)  # place, arrival, start, records
    for wanted in ([[2, 3, 4]], [[5, 6, 7]]):
        rows = sampler.draw(table, 1, 3, torch.Generator())
        assert rows.index.T.tolist() == wanted and not rows.first.any()
    assert sampler.left == (0, 0, 8, 1)


# Table ------------------------------------------------------------------------------------------


def test_places_are_used_again_and_the_order_stays_that_of_arrival():
    table = table_of(*range(1, 131))
    table.leave([0, 64, 129])
    kept = [n for n in range(1, 131) if n not in (1, 65, 130)]
    assert table.column("length").tolist() == kept and len(table) == 127
    for length in (7, 8, 9, 10):
        table.enter(length=length, task=2, returned=0.5, key=0.0, priority=0.0)
    assert table.column("length").tolist() == [*kept, 7, 8, 9, 10]
    assert table.column("arrival").tolist() == [*(n - 1 for n in kept), 130, 131, 132, 133]
    assert len(set(table.order.tolist())) == 131


# Errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampling": "unifrom"}, "unknown sampling 'unifrom'.*did you mean 'uniform'"),
        ({"row_start": "one"}, "unknown row start 'one'; known: carry, zero"),
        ({"recent_share": 1.5}, "recent share 1.5 is no share"),
    ],
)
def test_settings_out_of_range_are_named(change, message):
    settings = {"sampling": "uniform", "recent_share": 0.5, "slack": 5, "row_start": "zero"}
    with pytest.raises(UserError, match=message):
        Sampler(**(settings | change))
