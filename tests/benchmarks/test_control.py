import pytest

from tests.benchmarks import control
from tests.benchmarks.measure import Effort, table


def test_both_forms_of_a_task_are_measured():
    line = next(control.measure(("cheetah-run",), copies=2, effort=Effort(1, 0.01)))
    assert line.row.unit == "env steps/s" and line.row.reference > 0 and line.row.fast > 0
    assert line.row.name == "cheetah-run, 2 copies, 1 thread"


@pytest.mark.slow
def test_batched_bodies_are_faster(capsys):
    lines = list(control.measure())
    with capsys.disabled():
        print(f"\n{table(lines)}")
    assert all(line.row.ratio > 2 for line in lines if line.row.name.startswith("cheetah"))
