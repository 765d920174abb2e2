"""Whether a signal of trust tells where errors are."""

import numpy as np
import pytest
from scipy import stats

from lib.core.calibration import (
    error_by_quantile,
    rank_correlation,
    rank_correlation_by_step,
    ranks,
)


def test_ranks_by_hand():
    # 2 is the smallest, the two 5s share places 2 and 3, 9 comes last
    assert ranks([5.0, 2.0, 9.0, 5.0]).tolist() == [2.5, 1.0, 4.0, 2.5]


def test_rank_correlation_by_hand():
    # ranks 1 2 3 4 and 1 3 2 4: 1 - 6 (0 + 1 + 1 + 0) / (4 * 15) = 0.8
    assert rank_correlation([0.1, 0.2, 0.3, 9.0], [1.0, 5.0, 4.0, 6.0]) == pytest.approx(0.8)
    assert rank_correlation([1, 2, 3], [30, 20, 10]) == pytest.approx(-1.0)
    assert np.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))
    assert np.isnan(rank_correlation([1], [1])) and np.isnan(rank_correlation([], []))


def test_rank_correlation_by_a_slow_loop():
    draws = np.random.default_rng(0)
    one, other = draws.integers(0, 7, 41), draws.normal(size=41)  # with ties

    def place(row, value):
        return np.mean([1 + k for k, x in enumerate(sorted(row)) if x == value])

    slow = np.corrcoef([place(one, x) for x in one], [place(other, x) for x in other])[0, 1]
    assert rank_correlation(one, other) == pytest.approx(slow)
    assert rank_correlation(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)


def test_a_signal_that_only_counts_steps_is_found_out():
    # Over all states it orders the errors well, among those of one step it is turned round.
    signal = np.array([[1.0, 2.0, 3.0], [11.0, 12.0, 13.0]])
    error = np.array([[3.0, 2.0, 1.0], [13.0, 12.0, 11.0]])
    assert rank_correlation(signal.ravel(), error.ravel()) == pytest.approx(1 - 6 * 16 / 210)
    assert rank_correlation_by_step(signal, error, np.ones((2, 3), bool)) == pytest.approx(-1.0)


def test_steps_count_alike_and_what_is_not_there_does_not():
    # Row 0 agrees (1), row 1 without its last is turned round (-1), row 2 has one state alone.
    signal = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 99.0], [1.0, 2.0, 3.0]])
    error = np.array([[4.0, 5.0, 6.0], [9.0, 8.0, 99.0], [1.0, np.nan, 3.0]])
    there = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0]], bool)
    assert rank_correlation_by_step(signal, error, there) == pytest.approx(0.0)
    assert np.isnan(rank_correlation_by_step(signal, error, np.zeros((3, 3), bool)))


def test_error_by_quantile_by_hand():
    # signal orders the errors 1 2 | 6 8: halves of mean 1.5 and 7; thirds of 2, 1 and 1 values
    signal, error = [0.4, 0.1, 0.9, 0.2], [6.0, 1.0, 8.0, 2.0]
    assert error_by_quantile(signal, error, 2).tolist() == [1.5, 7.0]
    assert error_by_quantile(signal, error, 3).tolist() == [1.5, 6.0, 8.0]
    assert np.isnan(error_by_quantile(signal, error, 5)).all()


def test_error_by_quantile_by_a_slow_loop():
    draws = np.random.default_rng(1)
    signal, error = draws.normal(size=43), draws.normal(size=43) ** 2
    pairs, sizes, found = sorted(zip(signal, error, strict=True)), [9, 9, 9, 8, 8], []
    for size in sizes:
        found.append(sum(wrong for _, wrong in pairs[:size]) / size)
        pairs = pairs[size:]
    np.testing.assert_allclose(error_by_quantile(signal, error), found)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="give two rows alike"):
        rank_correlation([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="must be finite"):
        error_by_quantile([1.0, np.nan], [1.0, 2.0])
