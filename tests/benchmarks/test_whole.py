import pytest

from tests.benchmarks import whole
from tests.benchmarks.learners import Size
from tests.benchmarks.whole import Rates


def totals(preset):
    cfg = Size(preset, many=8).published()
    return [whole.work(cfg, task) for task in range(len(cfg.tasks))]


def test_the_quick_grid_run_is_counted_as_it_ran():
    found = totals("grid-quick")
    # summary.json of every finished run says so: outputs/published/grid-quick/comparison.json
    assert sum(one.updates for one in found) == 15_150
    assert sum(one.env_steps for one in found) == 25_600
    first, second = found[:2]
    # three eighths of a task at random, the rest planned, half of it by the reviewer from then on
    assert (first.random, first.plans, first.reviewer_plans) == (2_400, 4_000, 0)
    assert (second.random, second.plans, second.reviewer_plans) == (2_400, 2_000, 2_000)
    # nine looks at the task itself, then at each so far: 8 episodes of 50 plans each
    assert first.evaluation == (9 + 1) * 400 and second.evaluation == (9 + 2) * 400


def test_an_env_step_of_a_body_is_a_quarter_of_a_decision():
    first = totals("cheetah-full")[0]
    assert first.env_steps == 2_000_000 and first.random + first.plans == 500_000
    assert first.updates == pytest.approx(495_000, rel=1e-3)


def test_the_hours_of_the_plain_cheetah_are_those_estimated_before():
    # Component timing on an H200 before there was a fast form: 52 ms a plan, 137 ms a reviewer's,
    # 99 ms an update, 257 ms a reviewed one; "about 83 hours" for three tasks, evaluation left out.
    rates = Rates(1 / 0.052, 1 / 0.137, 1 / 0.099, 1 / 0.257, 1 / 0.052, env_steps=1e12)
    cfg = Size("cheetah-full", many=64).published()
    assert whole.hours(cfg, rates, evaluation=False) == pytest.approx(83, rel=0.02)
    assert whole.hours(cfg, rates) > whole.hours(cfg, rates, evaluation=False)


def test_hours_of_one_part_are_its_work_over_its_rate():
    cfg = Size("grid-quick", many=8).published()
    never = 1e15
    rates = Rates(never, never, updates=1.0, reviewed_updates=2.0, evaluation_plans=never,
                  env_steps=never)  # fmt: skip
    # 6,150 updates of the first task at one a second, 9,000 reviewed ones at two
    assert whole.hours(cfg, rates) == pytest.approx((6_150 + 4_500) / 3_600)
