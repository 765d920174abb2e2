import pytest

from lib.core.errors import UserError
from tests.benchmarks import sources
from tests.benchmarks.measure import Effort


def test_pendulums_and_bodies_are_measured():
    try:
        sources.check_installed()
    except UserError as error:
        pytest.skip(str(error))
    lines = list(sources.measure(Effort(1, 0.0)))
    assert [(line.row.name, line.row.unit) for line in lines] == [
        ("pendulum, 64 copies beside 1", "env steps/s"),
        ("bullet HalfCheetah, numbers", "env steps/s"),
        ("bullet HalfCheetah, pixels", "frames/s"),
    ]
    assert all(line.row.reference > 0 and line.row.fast > 0 for line in lines)


def test_without_pybullet_pendulums_are_measured_and_a_line_says_so(monkeypatch, capsys):
    def missing():
        raise UserError("pybullet not installed")

    monkeypatch.setattr(sources, "check_installed", missing)
    (line,) = sources.measure(Effort(1, 0.0))
    assert line.row.fast > 0 and line.row.name.startswith("pendulum")
    assert "no rows of PyBullet: pybullet not installed" in capsys.readouterr().err
