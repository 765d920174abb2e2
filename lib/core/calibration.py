"""Measures whether a signal of trust, such as an ensemble's disagreement, tells where errors are.

Both grow with the number of steps imagined, so that a signal which only counts steps correlates
with the error too. `rank_correlation_by_step` therefore compares states equally many steps ahead.

Letters: H steps ahead, N rollouts, Q quantiles.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating]
QUANTILES = 5  # fifths: few enough that a handful of episodes fills each


def ranks(values: ArrayLike) -> Array:
    """Returns the rank of every value (n,), 1 for the smallest; equal ones share their mean."""
    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[place.reshape(-1)]


def rank_correlation(signal: ArrayLike, error: ArrayLike) -> float:
    """Returns Spearman's correlation of two rows (n,), in [-1, 1].

    NaN where one of them has a single value or none, so that there is no order.
    """
    signal, error = _rows(signal, error)
    if not len(signal):
        return float("nan")
    one, other = (part - part.mean() for part in (ranks(signal), ranks(error)))
    size = np.sqrt((one @ one) * (other @ other))
    return float(one @ other / size) if size > 0 else float("nan")


def rank_correlation_by_step(signal: ArrayLike, error: ArrayLike, there: ArrayLike) -> float:
    """Averages Spearman's correlation over steps, each among the states equally far ahead.

    Args:
        signal, error: (H, N). there: (H, N) bool, which of them count.

    Returns:
        The mean over steps at which both vary, in [-1, 1]; NaN where there is none.
    """
    rows = zip(np.asarray(signal), np.asarray(error), np.asarray(there), strict=True)
    found = [rank_correlation(s[t], e[t]) for s, e, t in rows if t.sum() > 1]
    found = [value for value in found if np.isfinite(value)]
    return float(np.mean(found)) if found else float("nan")


def error_by_quantile(signal: ArrayLike, error: ArrayLike, quantiles: int = QUANTILES) -> Array:
    """Returns the mean error where the signal is lowest, and so on up to where it is highest.

    Args:
        signal, error: (n,).
        quantiles: Q groups, of sizes that differ by one at most.

    Returns:
        (Q,) in the error's unit; NaN in every group if there are fewer values than groups.
    """
    signal, error = _rows(signal, error)
    if len(signal) < quantiles:
        return np.full(quantiles, np.nan)
    ordered = error[np.argsort(signal, kind="stable")]
    return np.array([part.mean() for part in np.array_split(ordered, quantiles)])


def _rows(signal: ArrayLike, error: ArrayLike) -> tuple[Array, Array]:
    """Returns both as rows of numbers.

    Raises:
        ValueError: they are not two rows of one length, or hold what is no finite number.
    """
    one, other = np.asarray(signal, float), np.asarray(error, float)
    if one.ndim != 1 or one.shape != other.shape:
        raise ValueError(f"signal {one.shape} and error {other.shape}: give two rows alike, (n,)")
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise ValueError("signal and error must be finite; leave out what does not count")
    return one, other
