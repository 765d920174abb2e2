import numpy as np
import pytest

from lib.envs.pixels.fields import VIEW, field, to_bytes, view, wander


def test_a_view_at_whole_texels_is_a_part_of_the_texture_and_wraps_around():
    texture = np.random.default_rng(0).random((70, 70, 2)).astype(np.float32)
    seen = view(texture, VIEW, np.array([31.5, 31.5 + 69]), 1.0)
    expected = np.roll(texture, 1, axis=1)[:64, :64]  # 69 columns on is 1 back
    np.testing.assert_allclose(seen, expected, atol=1e-5)


def test_between_texels_a_view_is_bilinear():
    # rows 0 and 1 of a texture, and columns 0 and 1, a quarter and a half on:
    # (3/4)(1/2)(0 + 4) + (1/4)(1/2)(8 + 12) = 1.5 + 2.5
    texture = np.zeros((5, 5, 1), np.float32)
    texture[:2, :2, 0] = [[0, 4], [8, 12]]
    assert view(texture, 1, np.array([0.25, 0.5]), 1.0)[0, 0, 0] == pytest.approx(4.0)


def test_sizes_show_the_same_part_of_a_texture():
    ramp = np.broadcast_to(np.arange(256, dtype=np.float32)[:, None, None], (256, 256, 1))
    spans = []
    for size in (32, 64, 128):
        rows = view(ramp, size, np.array([128.0, 128.0]), 1.0)[:, 0, 0]
        spans.append((rows[-1] - rows[0]) * size / (size - 1))
    np.testing.assert_allclose(spans, 64, rtol=1e-5)


@pytest.mark.parametrize("slope", [1.0, 1.25, 2.0])
def test_amplitudes_of_a_field_fall_with_frequency_as_asked(slope):
    noise = field(np.random.default_rng(0), 128, 3, slope)
    assert noise.shape == (128, 128, 3)
    np.testing.assert_allclose(noise.mean((0, 1)), 0, atol=1e-4)
    np.testing.assert_allclose(noise.std((0, 1)), 1, rtol=1e-4)
    amplitude = np.abs(np.fft.fft2(noise, axes=(0, 1))).mean(-1)
    frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128)[None])
    ring = (frequency > 0.03) & (frequency < 0.45)
    found = np.polyfit(np.log(frequency[ring]), np.log(amplitude[ring]), 1)[0]
    assert found == pytest.approx(-slope, abs=0.1)


def test_a_velocity_settles_at_its_deviation():
    rng, velocity = np.random.default_rng(0), np.zeros(20_000)
    for _ in range(30):
        velocity = wander(rng, velocity, 0.6, 1.2)
    assert velocity.std() == pytest.approx(1.2, rel=0.03)
    later = wander(rng, velocity, 0.6, 1.2)
    assert np.corrcoef(velocity, later)[0, 1] == pytest.approx(0.6, abs=0.03)


def test_brightness_is_cut_to_bytes():
    assert to_bytes(np.array([-0.5, 0.0, 0.5, 1.0, 3.0])).tolist() == [0, 0, 128, 255, 255]
