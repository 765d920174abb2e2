"""Measures what a continual run achieved, by pure functions of arrays.

A *return matrix* R has one row per task boundary and one column per task: R[k, j] is the
performance on task j after learning tasks 0..k. Entries with j > k are NaN. Performance is the
mean undiscounted return divided by the return that counts as 100 % (see `normalise`): the exact
optimum where it is known, else the most that an episode can pay, which may be out of reach.
Functions that need no such scale say so.

Average performance, forgetting and forward transfer follow Continual World (Wolczyk et al.,
2021, section 4.3). Backward transfer follows GEM (Lopez-Paz & Ranzato, 2017, section 2).

Only NumPy is imported here; the intervals import rliable when they are asked for.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FEWEST_SEEDS = 3  # below this a bootstrap interval says nothing, so none is given
SMALLEST = 1e-12  # what a logarithm takes 0 for, as the audits do

Array = NDArray[np.floating]


def normalise(returns: ArrayLike, optimum: ArrayLike) -> Array:
    """Expresses returns as shares of the return that counts as 100 %.

    Args:
        returns: (..., tasks) mean undiscounted returns [task units]; NaN stays NaN.
        optimum: (tasks,) best mean return of each task, or the most that an episode can pay
            [task units], greater than 0, or NaN where it is unknown, which makes that task's
            shares NaN.

    Returns:
        (..., tasks) in [0, 1]. Values outside are clipped: a short evaluation can beat the mean
        optimum when it happens to draw easy starts.

    Raises:
        ValueError: an optimum is zero or negative.
    """
    returns, optimum = np.asarray(returns, float), np.asarray(optimum, float)
    if (optimum <= 0).any():
        raise ValueError(f"every optimum must be a positive number, got {optimum.tolist()}")
    return np.clip(returns / optimum, 0.0, 1.0)


def _square(matrix: ArrayLike) -> Array:
    matrix = np.asarray(matrix, float)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"a return matrix is (tasks, tasks), got {matrix.shape}")
    return matrix


def average_performance(matrix: ArrayLike) -> float:
    """Averages over tasks the performance after the last task.

    Source: Continual World, P(T) = (1/N) sum_i p_i(T).
    """
    return float(_square(matrix)[-1].mean())


def forgetting(matrix: ArrayLike) -> float:
    """Measures how much performance fell between a task's own end and the end of the run.

    The last task contributes 0 and still counts in the mean. Negative values mean that old
    tasks improved.

    Source: Continual World, F = (1/N) sum_i (p_i(end of task i) - p_i(T)).
    """
    matrix = _square(matrix)
    return float((np.diagonal(matrix) - matrix[-1]).mean())


def backward_transfer(matrix: ArrayLike) -> float:
    """Measures what learning later tasks did to earlier ones: positive helped, negative harmed.

    Source: GEM, BWT = 1/(N-1) sum_{i<N} (R[N, i] - R[i, i]). With one task it is NaN.
    Equal to -forgetting * N / (N - 1).
    """
    matrix = _square(matrix)
    if len(matrix) == 1:
        return float("nan")
    return float((matrix[-1] - np.diagonal(matrix))[:-1].mean())


def area_under_curve(steps: ArrayLike, performance: ArrayLike, end: float | None = None) -> float:
    """Computes the mean height of a learning curve over a task's own interval [0, end].

    Straight lines between evaluations; before the first and after the last evaluation the
    curve keeps that evaluation's height.

    Args:
        steps: (evaluations,) environment steps since the task began, increasing.
        performance: (evaluations,) in [0, 1].
        end: length of the interval [environment steps]; the last evaluation when not given.

    Raises:
        ValueError: shapes disagree, nothing given, or steps do not increase.

    Source: Continual World, AUC_i = (1/D) integral of p_i over the D steps of task i.
    """
    steps, performance = np.asarray(steps, float), np.asarray(performance, float)
    if steps.ndim != 1 or steps.shape != performance.shape or not len(steps):
        raise ValueError(f"steps {steps.shape} and performance {performance.shape} disagree")
    if (np.diff(steps) <= 0).any():
        raise ValueError("steps must increase")
    end = float(steps[-1] if end is None else end)
    if end <= 0:  # one evaluation at step 0: the curve is a point
        return float(performance[0])
    grid = np.unique(np.concatenate([[0.0, end], steps[(steps > 0) & (steps < end)]]))
    return float(np.trapezoid(np.interp(grid, steps, performance), grid) / end)


def forward_transfer(auc: ArrayLike, reference: ArrayLike, divide_by: str = "reference") -> Array:
    """Measures how much faster each task is learnt than by a learner that starts from nothing.

    1 means full performance from the first step, 0 no difference, negative slower.

    Args:
        auc: (tasks,) area under the continual run's curve, performance in [0, 1].
        reference: (tasks,) the same of a run that learns only that task (method `scratch`).
        divide_by: "reference" is Continual World's definition and ours,
            (AUC - AUC_ref) / (1 - AUC_ref). "run" is what Continual-Dreamer's script computes,
            (AUC - AUC_ref) / (1 - AUC), which grows without bound as the run nears 1.

    Returns:
        (tasks,), NaN where the divisor is 0 (nothing left to gain).
    """
    auc, reference = np.asarray(auc, float), np.asarray(reference, float)
    if divide_by not in ("reference", "run"):
        raise ValueError(f"divide_by is 'reference' or 'run', got {divide_by!r}")
    room = 1.0 - (reference if divide_by == "reference" else auc)
    return np.divide(auc - reference, room, out=np.full(room.shape, np.nan), where=room > 0)


def since_own_end(values: ArrayLike, ratio: bool = True) -> Array:
    """Compares each task's number at a moment with the one when the task ended.

    Args:
        values: (..., tasks, tasks), [k, j] says how well the world model predicts, after task k,
            what task j held: an accuracy (more is better), an error or its logarithm; NaN where
            j > k.
        ratio: divide by the number at the task's own end, else subtract it.

    Returns:
        The same shape: 1 (or 0) on the diagonal; below it 0.9 where a tenth of an accuracy has
        been lost, 3 where an error has tripled; NaN where j > k or where a divisor is 0.
    """
    values = np.asarray(values, float)
    at_end = np.broadcast_to(np.diagonal(values, axis1=-2, axis2=-1)[..., None, :], values.shape)
    if not ratio:
        return values - at_end
    return np.divide(values, at_end, out=np.full(values.shape, np.nan), where=at_end > 0)


@dataclass(frozen=True)
class Estimate:
    """A number over seeds with its interval."""

    point: float
    low: float  # NaN when there are too few seeds
    high: float
    seeds: int

    @property
    def has_interval(self) -> bool:
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    def text(self, form: str = ".2f") -> str:
        """For tables: `0.87 [0.84, 0.90]`, or the point and why there is no interval."""
        if not np.isfinite(self.point):
            return "–"
        if self.has_interval:
            return f"{self.point:{form}} [{self.low:{form}}, {self.high:{form}}]"
        return f"{self.point:{form}} ({self.seeds} seed{'s' * (self.seeds != 1)}, no interval)"


def interquartile_mean(values: ArrayLike) -> Array:
    """Mean over the first axis without the lowest and the highest quarter (rounded down).

    The same number as rliable's `aggregate_iqm`, for every column at once and twenty times
    faster, which a bootstrap feels.
    """
    values = np.sort(np.asarray(values, float), axis=0)
    cut = int(0.25 * len(values))
    return values[cut : len(values) - cut].mean(axis=0)


@contextmanager
def _private_numpy_seed(seed: int) -> Iterator[None]:
    """rliable 1.2 resamples with NumPy's global generator and ignores `random_state`, so lend
    it a seeded one and put the caller's back."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


def _bootstrap(
    scores: Array, aggregate: Callable[[Array], Array], confidence: float, reps: int, seed: int
) -> Array:
    """(2, numbers) lower and upper ends for what `aggregate` makes of (seeds, columns)."""
    from rliable import library

    with _private_numpy_seed(seed):
        _, intervals = library.get_interval_estimates(
            {"scores": scores}, aggregate, reps=reps, confidence_interval_size=confidence
        )
    return intervals["scores"]


def interval(
    scores: ArrayLike,
    statistic: str = "iqm",
    confidence: float = 0.95,
    reps: int = 2000,
    seed: int = 0,
    log: bool = False,
) -> Estimate:
    """Interquartile mean (or mean) over seeds and tasks with a stratified-bootstrap interval.

    Args:
        scores: (seeds,) or (seeds, tasks); NaN is not allowed. Seeds are resampled within each
            task, tasks are not.
        statistic: "iqm" drops the lowest and highest quarter (with 3 seeds of one task nothing
            is dropped, so it equals the mean), "mean" drops nothing.
        confidence: share of the percentile interval.
        reps: bootstrap repetitions.
        seed: of the bootstrap; the same scores and seed give the same interval.
        log: average the logarithms, for errors and factors that span decades; with "mean" this
            is the geometric mean. Scores must not be negative; below `SMALLEST` they count as it.

    Returns:
        The estimate. With fewer than `FEWEST_SEEDS` seeds the interval is NaN. With three seeds
        of one task a 95 % interval is simply their range.

    Source: Agarwal et al. 2021, through rliable's `get_interval_estimates`.
    """
    scores = np.asarray(scores, float)
    scores = scores[:, None] if scores.ndim == 1 else scores
    if scores.ndim != 2 or not scores.size or not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite, (seeds,) or (seeds, tasks), got {scores.shape}")
    if statistic not in ("iqm", "mean"):
        raise ValueError(f"statistic is 'iqm' or 'mean', got {statistic!r}")
    scores = _log(scores) if log else scores

    def aggregate(x: Array) -> Array:  # over seeds and tasks together, as (1,)
        flat = x.reshape(-1, 1)
        return interquartile_mean(flat) if statistic == "iqm" else flat.mean(axis=0)

    point = float(aggregate(scores)[0])
    low = high = float("nan")
    if len(scores) >= FEWEST_SEEDS:
        if np.ptp(scores, axis=0).max() == 0:  # equal seeds: nothing to resample
            low = high = point
        else:
            low, high = map(float, _bootstrap(scores, aggregate, confidence, reps, seed)[:, 0])
    ends = np.exp([point, low, high]).tolist() if log else [point, low, high]
    return Estimate(*ends, len(scores))


def _log(values: Array) -> Array:
    if (values < 0).any():
        raise ValueError(f"a logarithm needs values of 0 or more, got {values.min()}")
    return np.log(np.maximum(values, SMALLEST))


def interval_curve(
    curves: ArrayLike,
    confidence: float = 0.95,
    reps: int = 1000,
    seed: int = 0,
    log: bool = False,
) -> tuple[Array, Array, Array]:
    """`interval` (interquartile mean) at every point of a bundle of curves, in one bootstrap.

    Args:
        curves: (seeds, points); a point where any seed is NaN gives NaN.
        log: average the logarithms, see `interval`.

    Returns:
        point, low, high, each (points,). low and high are NaN with too few seeds.
    """
    curves = np.asarray(curves, float)
    if curves.ndim != 2:
        raise ValueError(f"curves must be (seeds, points), got {curves.shape}")
    out = np.full((3, curves.shape[1]), np.nan)
    whole = np.isfinite(curves).all(axis=0)
    scores = curves[:, whole]  # (seeds, whole points)
    scores = _log(scores) if log else scores
    if scores.size:
        out[0, whole] = interquartile_mean(scores)
        if len(scores) >= FEWEST_SEEDS:
            out[1:, whole] = _bootstrap(scores, interquartile_mean, confidence, reps, seed)
    out = np.exp(out) if log else out
    return out[0], out[1], out[2]


def linear_probe(
    train: ArrayLike,
    train_target: ArrayLike,
    test: ArrayLike,
    test_target: ArrayLike,
    ridge: float = 1e-3,
) -> Array:
    """Measures how well a linear function of features gives targets: R^2 on test samples.

    Features are scaled to mean 0 and standard deviation 1 on the training samples; constant ones
    are left out. With X scaled features and Y centred targets of n training samples, the weights
    are (X'X / n + ridge I)^-1 X'Y / n.

    Args:
        train, test: (n, F) and (m, F) features. train_target, test_target: (n, C) and (m, C).
        ridge: penalty on squared weights, in units of a feature's variance.

    Returns:
        (C,) 1 - squared error / squared distance from the test mean, of each coordinate. 1 is
        perfect, 0 as good as that mean, and features that mislead go below. NaN for a coordinate
        that is constant.

    Raises:
        ValueError: shapes disagree.
    """
    x, y, asked, wanted = (
        np.asarray(part, float) for part in (train, train_target, test, test_target)
    )
    rows = len(x) == len(y) and len(asked) == len(wanted)
    if not rows or x.shape[1:] != asked.shape[1:] or y.shape[1:] != wanted.shape[1:]:
        shapes = [part.shape for part in (x, y, asked, wanted)]
        raise ValueError(f"features and targets of training and test disagree: {shapes}")
    mean, deviation, middle = x.mean(0), x.std(0), y.mean(0)
    used = deviation > 0
    x, asked = ((part - mean)[:, used] / deviation[used] for part in (x, asked))
    penalty = ridge * np.eye(x.shape[1])
    weights = np.linalg.solve(x.T @ x / len(x) + penalty, x.T @ (y - middle) / len(x))  # (F, C)
    error = np.square(wanted - middle - asked @ weights).sum(0)
    spread = np.square(wanted - wanted.mean(0)).sum(0)
    return 1 - np.divide(error, spread, out=np.full(len(spread), np.nan), where=spread > 0)
