import numpy as np
import pytest

from lib.core import metrics

NAN = float("nan")
# Three tasks. Rows: after task 1, 2, 3. Columns: task 1, 2, 3.
MATRIX = np.array(
    [
        [0.8, NAN, NAN],
        [0.6, 0.9, NAN],
        [0.5, 1.0, 0.7],
    ]
)


def test_average_performance_is_the_mean_of_the_last_row():
    # (0.5 + 1.0 + 0.7) / 3
    assert metrics.average_performance(MATRIX) == pytest.approx(2.2 / 3)


def test_forgetting_counts_the_last_task_as_zero():
    # ((0.8 - 0.5) + (0.9 - 1.0) + 0) / 3
    assert metrics.forgetting(MATRIX) == pytest.approx(0.2 / 3)


def test_backward_transfer_leaves_the_last_task_out():
    # ((0.5 - 0.8) + (1.0 - 0.9)) / 2
    assert metrics.backward_transfer(MATRIX) == pytest.approx(-0.1)


def test_backward_transfer_is_minus_forgetting_over_one_task_fewer():
    matrix = np.random.default_rng(0).random((5, 5))
    expected = -metrics.forgetting(matrix) * 5 / 4
    assert metrics.backward_transfer(matrix) == pytest.approx(expected)


def test_backward_transfer_of_one_task_is_undefined_and_forgetting_is_zero():
    assert np.isnan(metrics.backward_transfer([[0.4]]))
    assert metrics.forgetting([[0.4]]) == 0.0


def test_a_matrix_that_is_not_square_is_refused():
    with pytest.raises(ValueError, match=r"\(tasks, tasks\), got \(2, 3\)"):
        metrics.average_performance(np.zeros((2, 3)))


def test_normalised_returns_are_shares_of_the_optimum_and_keep_gaps():
    shares = metrics.normalise([[50.0, NAN], [120.0, -10.0]], [100.0, 200.0])
    np.testing.assert_allclose(shares, [[0.5, NAN], [1.0, 0.0]])


def test_an_unknown_optimum_leaves_the_share_unknown_and_zero_is_refused():
    np.testing.assert_allclose(metrics.normalise([1.0, 1.0], [4.0, NAN]), [0.25, NAN])
    with pytest.raises(ValueError, match="positive"):
        metrics.normalise([1.0, 1.0], [100.0, 0.0])


def test_area_under_a_straight_line_is_its_middle():
    # from 0 to 1 over 10 steps: triangle of area 5, divided by 10
    assert metrics.area_under_curve([0, 10], [0.0, 1.0]) == pytest.approx(0.5)


def test_area_keeps_the_first_and_last_height_outside_the_evaluations():
    # 0.2 on [0, 2], a line 0.2 -> 0.6 on [2, 4], 0.6 on [4, 10]:
    # (0.4 + 0.8 + 3.6) / 10
    assert metrics.area_under_curve([2, 4], [0.2, 0.6], end=10) == pytest.approx(0.48)


def test_area_ignores_what_lies_beyond_the_end():
    # 0.5 on [0, 10], then up to 1 at 20; up to 15 the line reaches 0.75:
    # (5 + 5 * 0.625) / 15
    area = metrics.area_under_curve([0, 10, 20], [0.5, 0.5, 1.0], end=15)
    assert area == pytest.approx(8.125 / 15)


def test_area_of_one_evaluation_is_its_height():
    assert metrics.area_under_curve([0], [0.3]) == 0.3
    assert metrics.area_under_curve([5], [0.3]) == pytest.approx(0.3)


def test_area_agrees_with_a_fine_sum():
    rng = np.random.default_rng(1)
    steps, height = np.array([0.0, 3.0, 5.0, 11.0]), rng.random(4)
    middles = (np.arange(110_000) + 0.5) / 10_000
    slow = np.interp(middles, steps, height).mean()
    assert metrics.area_under_curve(steps, height) == pytest.approx(slow, abs=1e-6)


@pytest.mark.parametrize("steps, height", [([0, 1], [0.0]), ([], []), ([0, 0], [0.1, 0.2])])
def test_curves_that_make_no_sense_are_refused(steps, height):
    with pytest.raises(ValueError):
        metrics.area_under_curve(steps, height)


def test_both_definitions_of_forward_transfer_side_by_side():
    # The run's area is 0.8, the reference's 0.6.
    # Continual World divides by what the reference left to gain: 0.2 / 0.4 = 0.5 (we use this)
    # Continual-Dreamer's script by what the run left to gain:    0.2 / 0.2 = 1.0
    auc, reference = [0.8], [0.6]
    assert metrics.forward_transfer(auc, reference) == pytest.approx([0.5])
    assert metrics.forward_transfer(auc, reference, divide_by="run") == pytest.approx([1.0])
    # They agree only where there is no transfer.
    for divide_by in ("reference", "run"):
        assert metrics.forward_transfer([0.6], [0.6], divide_by) == pytest.approx([0.0])


def test_forward_transfer_is_one_for_a_run_that_is_optimal_from_the_start():
    assert metrics.forward_transfer([1.0], [0.3]) == pytest.approx([1.0])
    assert np.isnan(metrics.forward_transfer([1.0], [0.3], divide_by="run"))


def test_forward_transfer_is_undefined_when_the_reference_left_nothing_to_gain():
    result = metrics.forward_transfer([0.9, 0.5], [1.0, 0.0])
    np.testing.assert_allclose(result, [NAN, 0.5])


def test_what_is_left_of_an_accuracy_is_a_share_of_that_when_the_task_ended():
    accuracy = [[0.8, NAN], [0.6, 0.5]]
    # task 1 after task 2: 0.6 / 0.8
    np.testing.assert_allclose(metrics.since_own_end(accuracy), [[1.0, NAN], [0.75, 1.0]])


def test_what_is_left_of_nothing_is_undefined():
    left = metrics.since_own_end([[0.0, NAN], [0.4, 0.5]])
    np.testing.assert_allclose(left, [[NAN, NAN], [NAN, 1]])


def test_an_error_that_tripled_is_three_times_what_it_was():
    # task 1: 0.02 when it ended, 0.06 after task 2
    np.testing.assert_allclose(
        metrics.since_own_end([[0.02, NAN], [0.06, 0.5]]), [[1, NAN], [3, 1]]
    )


def test_logarithms_are_subtracted():
    # task 1: 4 nats when it ended, 1.5 after task 2; a score of 0 divides nothing here
    left = metrics.since_own_end([[4.0, NAN], [1.5, 0.0]], ratio=False)
    np.testing.assert_allclose(left, [[0, NAN], [-2.5, 0]])


def test_what_is_left_works_on_several_runs_at_once():
    accuracy = np.array([[[0.8, NAN], [0.6, 0.5]], [[1.0, NAN], [0.9, 0.5]]])
    assert metrics.since_own_end(accuracy)[:, 1, 0] == pytest.approx([0.75, 0.9])


def test_interquartile_mean_drops_a_quarter_on_each_side():
    # sorted: 0 1 2 3 4 5 6 100 -> drop 0, 1 and 6, 100 -> (2 + 3 + 4 + 5) / 4
    estimate = metrics.interval([100, 2, 0, 4, 6, 3, 5, 1], reps=50)
    assert estimate.point == pytest.approx(3.5)
    assert metrics.interval([100, 2, 0, 4, 6, 3, 5, 1], "mean", reps=50).point == 121 / 8


@pytest.mark.parametrize("seeds", [1, 2, 3, 4, 5, 8, 11])
def test_our_interquartile_mean_is_rliables(seeds):
    from rliable.metrics import aggregate_iqm

    scores = np.random.default_rng(seeds).random((seeds, 3))
    assert metrics.interval(scores, reps=5).point == pytest.approx(aggregate_iqm(scores))
    columns = [aggregate_iqm(scores[:, [column]]) for column in range(3)]
    assert metrics.interquartile_mean(scores) == pytest.approx(columns)


def test_three_seeds_give_their_range():
    estimate = metrics.interval([0.7, 0.9, 0.8])
    assert (estimate.point, estimate.low, estimate.high) == pytest.approx((0.8, 0.7, 0.9))
    assert estimate.text() == "0.80 [0.70, 0.90]"


def test_numbers_that_span_decades_are_averaged_by_their_logarithms():
    # sqrt(2 * 0.5) = 1: doubling once and halving once is no change; cube root of 1e-3
    assert metrics.interval([2.0, 0.5], log=True).point == pytest.approx(1.0)
    estimate = metrics.interval([1e-3, 1e-2, 1e-4], log=True)
    assert (estimate.point, estimate.low, estimate.high) == pytest.approx((1e-3, 1e-4, 1e-2))
    assert estimate.text(".3g") == "0.001 [0.0001, 0.01]"


def test_a_perfect_error_has_a_floor_and_a_negative_one_is_refused():
    assert metrics.interval([0.0, 0.0], log=True).point == pytest.approx(metrics.SMALLEST)
    with pytest.raises(ValueError, match="0 or more, got -1"):
        metrics.interval([1.0, -1.0], log=True)


@pytest.mark.parametrize(
    "scores, text", [([0.7], "0.70 (1 seed, no interval)"), ([0.7, 0.9], "0.80 (2 seeds, no in")]
)
def test_too_few_seeds_have_no_interval_and_say_so(scores, text):
    estimate = metrics.interval(scores)
    assert not estimate.has_interval
    assert estimate.text().startswith(text)


def test_intervals_repeat_and_leave_the_global_generator_alone():
    scores = np.random.default_rng(0).random((6, 4))
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    first, second = metrics.interval(scores, reps=100), metrics.interval(scores, reps=100)
    assert first == second
    assert np.random.random() == expected
    assert first.low < first.point < first.high


def test_equal_seeds_have_an_interval_of_no_width():
    estimate = metrics.interval([0.5, 0.5, 0.5, 0.5])
    assert (estimate.low, estimate.high) == (0.5, 0.5)


def test_scores_with_gaps_are_refused():
    with pytest.raises(ValueError, match="finite"):
        metrics.interval([0.1, NAN, 0.2])


def test_interval_curves_leave_gaps_where_a_seed_has_none():
    point, low, high = metrics.interval_curve([[1.0, 2.0], [1.0, NAN], [4.0, 2.0]], reps=100)
    np.testing.assert_allclose(point, [2.0, NAN])
    np.testing.assert_allclose([low[0], high[0]], [1.0, 4.0])
    assert np.isnan([low[1], high[1]]).all()


def test_interval_curves_agree_with_intervals_point_by_point():
    curves = np.random.default_rng(2).random((8, 3))
    point, low, high = metrics.interval_curve(curves, reps=4000)
    for column in range(3):
        single = metrics.interval(curves[:, column], reps=4000)
        assert point[column] == pytest.approx(single.point)
        # another stream of resamples, hence the tolerance
        assert (low[column], high[column]) == pytest.approx((single.low, single.high), abs=0.03)


def test_interval_curves_average_logarithms_point_by_point():
    curves = 10 ** np.random.default_rng(3).normal(size=(3, 2))
    point, low, high = metrics.interval_curve(curves, reps=200, log=True)
    for column in range(2):
        single = metrics.interval(curves[:, column], log=True)
        ends = (point[column], low[column], high[column])
        assert ends == pytest.approx((single.point, single.low, single.high))


def test_interval_curves_of_two_seeds_have_points_only():
    point, low, high = metrics.interval_curve([[0.0, 1.0], [1.0, 1.0]])
    assert point.tolist() == [0.5, 1.0]
    assert np.isnan(low).all() and np.isnan(high).all()


def test_a_probe_worked_out_on_paper():
    # Two samples, one feature: x = 1, 3 becomes -1, 1; y = 0, 4 becomes -2, 2. X'X / n = 1 and
    # X'Y / n = 2, so the weight is 2 / (1 + ridge) = 1 at ridge 1, which predicts 1 and 3.
    # Errors 1 + 1 against a spread of 4 + 4: R^2 = 1 - 2/8.
    x, y = [[1.0], [3.0]], [[0.0], [4.0]]
    assert metrics.linear_probe(x, y, x, y, ridge=1.0) == pytest.approx([0.75])
    # Asked about x = 2, which stands for 0 and so for y = 2, and x = 3 for 3: targets 2 and 4
    # have a spread of 1 + 1 and leave errors 0 + 1.
    assert metrics.linear_probe(x, y, [[2.0], [3.0]], [[2.0], [4.0]], ridge=1.0) == pytest.approx(
        [0.5]
    )


def test_a_probe_finds_what_is_linear_and_nothing_else():
    rng = np.random.default_rng(0)
    x, asked = rng.standard_normal((400, 5)), rng.standard_normal((300, 5))
    mix = rng.standard_normal((5, 2))

    def both(z):
        return np.column_stack((z @ mix + 3, z[:, 0] ** 2))

    r2 = metrics.linear_probe(x, both(x), asked, both(asked))
    assert r2.shape == (3,) and (r2[:2] > 0.999).all() and r2[2] < 0.05


def test_a_probe_does_not_mind_units_or_constant_features():
    rng = np.random.default_rng(1)
    x, asked = rng.standard_normal((100, 3)), rng.standard_normal((50, 3))
    y, wanted = x[:, :1] + 0.3 * x[:, 1:2] ** 2, asked[:, :1]
    plain = metrics.linear_probe(x, y, asked, wanted)
    scaled, wider = (
        np.column_stack((1e3 * z[:, :1], z[:, 1:], 7 + 0 * z[:, 0])) for z in (x, asked)
    )
    np.testing.assert_allclose(metrics.linear_probe(scaled, y, wider, wanted), plain)


def test_a_probe_of_a_constant_has_no_number_and_shapes_must_agree():
    x = np.arange(6.0).reshape(3, 2)
    assert np.isnan(metrics.linear_probe(x, x[:, :1], x, np.ones((3, 1)))).all()
    with pytest.raises(ValueError, match="disagree"):
        metrics.linear_probe(x, x[:2], x, x)
    with pytest.raises(ValueError, match="disagree"):
        metrics.linear_probe(x, x, x[:, :1], x)
