import pytest

from tests.benchmarks import control, speed


def test_both_forms_of_a_task_are_measured():
    (row,) = control.measure(("cheetah-run",), copies=2)[:1]
    assert row.unit == "env steps/s" and row.reference > 0 and row.fast > 0
    assert row.name == "cheetah-run, 2 copies, 1 thread"


@pytest.mark.slow
def test_batched_bodies_are_faster(capsys):
    rows = control.measure()
    speed.write(control.OUT, rows)
    with capsys.disabled():
        print(f"\n{speed.table(rows)}\nwritten to {control.OUT}")
    assert all(row.ratio > 2 for row in rows if row.name.startswith("cheetah"))
