import pytest

from lib.envs import gl
from tests.benchmarks import pixels
from tests.benchmarks.measure import Effort, table


def test_every_look_is_measured_beside_dm_control(needs_gl, monkeypatch):
    monkeypatch.setattr(pixels, "cores", lambda: 2)
    lines = list(pixels.measure(Effort(1, 0.0)))
    assert [line.row.name for line in lines] == [
        "pixels of walker_run, full, 1 copy",
        "pixels of walker_run, full, natural background, 1 copy",
        "pixels of walker_run, fast, 1 copy",
        "pixels of walker_run, fast, natural background, 1 copy",
        "pixels of walker_run, full, 4 copies, 2 processes",
        "pixels of walker_run, fast, 4 copies, 2 processes",
    ]
    for line in lines:
        assert line.row.unit == "frames/s" and line.row.reference > 0 and line.row.fast > 0


def test_where_nothing_can_draw_a_line_says_so(monkeypatch, capsys):
    monkeypatch.setenv(gl.CHOICE, "off")
    assert list(pixels.measure(Effort(1, 0.0))) == []
    assert "no rows of pixels: drawing is switched off" in capsys.readouterr().err


@pytest.mark.slow
def test_fast_pictures_are_faster(needs_gl, capsys):
    lines = list(pixels.measure(Effort()))
    with capsys.disabled():
        print(f"\n{table(lines)}")
    assert all(line.row.ratio > 2 for line in lines if ", fast," in line.row.name)
