import errno
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from lib.core.errors import UserError
from lib.plotting import video

HEIGHT, WIDTH = 48, 70


def slides(count: int) -> list[np.ndarray]:
    """Pictures of one grey each, a little brighter every time."""
    return [np.full((HEIGHT, WIDTH, 3), 40 + 10 * number, np.uint8) for number in range(count)]


def noise(count: int) -> list[np.ndarray]:
    draws = np.random.default_rng(0)
    return [draws.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8) for _ in range(count)]


def decoded(path: Path, height: int = HEIGHT) -> np.ndarray:
    """(frames, height, width, 3) uint8 by ffmpeg's own reading."""
    encoder = imageio_ffmpeg.get_ffmpeg_exe()
    command = [encoder, "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, WIDTH, 3)


def ink(bar: np.ndarray) -> np.ndarray:
    """(height, width) where a bar is written on."""
    return bar.mean(-1) < 128


def test_a_film_comes_back_picture_by_picture(tmp_path):
    path, pictures = tmp_path / "a.mp4", slides(7)
    video.write_mp4(path, pictures, fps=5)
    back = decoded(path)
    assert back.shape == (7, HEIGHT, WIDTH, 3)
    assert np.abs(back.astype(int) - np.array(pictures)).mean() < 4
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(path))
    assert (frames, seconds) == (7, pytest.approx(7 / 5, abs=0.01))
    assert list(tmp_path.iterdir()) == [path]


def test_browsers_can_play_it_before_it_is_all_there(tmp_path):
    path = tmp_path / "a.mp4"
    video.write_mp4(path, slides(3))
    probe = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", str(path)]
    said = subprocess.run(probe, capture_output=True, text=True).stderr
    assert "h264" in said and "yuv420p" in said and f"{WIDTH}x{HEIGHT}" in said and "15 fps" in said
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # the table of contents comes first


def test_the_same_pictures_give_the_same_bytes(tmp_path):
    for name in "ab":
        video.write_mp4(tmp_path / name, noise(5))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_generator_and_an_array_will_do_and_the_folder_is_made(tmp_path):
    path = tmp_path / "videos" / "a.mp4"
    video.write_mp4(path, (picture for picture in slides(3)))
    once = path.read_bytes()
    video.write_mp4(str(path), np.array(slides(3)))
    assert path.read_bytes() == once


def test_captions_tell_task_time_and_return_so_far():
    # decisions pay 1.5, 2 and -0.25 and last two env steps each
    assert video.captions("walker-walk", [1.5, 2.0, -0.25], every=2) == [
        "walker-walk   env step 0   return 0.0",
        "walker-walk   env step 2   return 1.5",
        "walker-walk   env step 4   return 3.5",
        "walker-walk   env step 6   return 3.2",
    ]
    assert video.captions("room-1", [], note="blue: imagined") == [
        "room-1   env step 0   return 0.0\nblue: imagined"
    ]


def test_captions_stand_in_a_bar_above_the_picture(tmp_path):
    path, pictures = tmp_path / "a.mp4", slides(3)
    video.write_mp4(path, pictures, captions=["one", "two", "three"])
    back = decoded(path, height=HEIGHT + 26)  # text of 15, 5 around it, 1 to be even
    assert np.abs(back[:, 26:].astype(int) - np.array(pictures)).mean() < 4
    assert all(ink(bar).any() for bar in back[:, :26])
    assert (back[0, :26] != back[2, :26]).any()


def test_text_shrinks_until_the_longest_line_fits():
    texts = ["short", "cheetah-jump-and-run-backwards   env step 1000   return 1000.0"]
    sizes = [video._font(texts, width).size for width in (1000, 384 - 2 * video.MARGIN, 50)]
    assert sizes[0] == max(video.SIZES) > sizes[1] > min(video.SIZES) == sizes[2]


def test_a_line_that_cannot_fit_is_cut_and_shows_it():
    font = video._font(["i"], 500)
    assert video._cut("fits", 500, font) == "fits"
    cut = video._cut("w" * 100, 100, font)
    assert cut.endswith("…") and 3 < len(cut) < 20
    assert font.getlength(cut) <= 100


def test_every_bar_has_the_height_of_the_one_with_most_lines():
    font = video._font(["one"], 500)
    one, two = (video._bar(text, 2, 200, font) for text in ("one", "one\ntwo"))
    assert one.shape == two.shape and one.shape[0] % 2 == 0
    assert (one[:20] == two[:20]).all()
    assert not ink(one[20:]).any() and ink(two[20:]).any()


@pytest.mark.parametrize(
    ("pictures", "options", "message"),
    [
        ([], {}, "no pictures for '.*a.mp4'"),
        ([], {"captions": []}, "no pictures"),
        ([np.zeros((4, 5, 3), np.uint8)], {}, "4x5 pixels; h264 needs an even height and width"),
        ([np.zeros((0, 4, 3), np.uint8)], {}, "0x4 pixels"),
        ([np.zeros((4, 4), np.uint8)], {}, r"picture 0 is uint8 \(4, 4\); .*height, width, 3"),
        ([np.zeros((4, 4, 4), np.uint8)], {}, r"picture 0 is uint8 \(4, 4, 4\)"),
        ([np.zeros((4, 4, 3))], {}, "picture 0 is float64"),
        (
            [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)],
            {},
            "picture 1 has 4x6 pixels and the first 4x4",
        ),
        (slides(3), {"captions": ["one", "two"]}, "2 captions and more pictures"),
        (slides(2), {"captions": ["one", "two", "three"]}, "2 pictures and more captions"),
        (slides(1), {"fps": 0}, "fps 0"),
        (slides(1), {"fps": float("nan")}, "fps nan"),
    ],
)
def test_what_makes_no_film_is_refused_in_one_line(tmp_path, pictures, options, message):
    with pytest.raises(UserError, match=message) as caught:
        video.write_mp4(tmp_path / "a.mp4", pictures, **options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_film_that_is_broken_off_leaves_the_old_one(tmp_path, error):
    path = tmp_path / "a.mp4"
    path.write_text("old")

    def broken_off():
        yield from slides(3)
        raise error

    with pytest.raises(error):
        video.write_mp4(path, broken_off())
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_missing_encoder_is_named(tmp_path, monkeypatch):
    def missing():
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
    with pytest.raises(UserError, match="pip install imageio-ffmpeg"):
        video.write_mp4(tmp_path / "a.mp4", slides(1))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # an import of it fails
    with pytest.raises(UserError, match="pip install imageio-ffmpeg"):
        video.write_mp4(tmp_path / "a.mp4", slides(1))


def test_an_encoder_that_does_not_start_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="nowhere' does not start: No such file"):
        video.write_mp4(tmp_path / "a.mp4", slides(1))
    assert list(tmp_path.iterdir()) == []


def failing_encoder(folder: Path, words: str, status: int) -> str:
    program = folder / "ffmpeg"
    program.write_text(f"#!/bin/sh\necho '{words}' >&2\nexit {status}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("Error writing trailer: No space left on device", "disk full: .*a.mp4"),
        ("av_interleaved_write_frame(): File too large", "disk full: .*a.mp4"),
        ("first line\nUnknown encoder libx264", "ffmpeg could not write .*: Unknown encoder"),
        ("", "ffmpeg could not write .*: exit status 3"),
    ],
)
def test_an_encoder_that_fails_says_why_and_keeps_the_old_film(
    tmp_path, monkeypatch, words, message
):
    path = tmp_path / "films" / "a.mp4"
    path.parent.mkdir()
    path.write_text("old")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", failing_encoder(tmp_path, words, 3))
    with pytest.raises(UserError, match=message):
        video.write_mp4(path, noise(100))  # more than a pipe holds, so it breaks
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]


def test_a_film_that_the_system_cuts_off_is_a_full_disk(tmp_path):
    path = tmp_path / "a.mp4"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # a real, partial write
    try:
        with pytest.raises(UserError, match="disk full"):
            video.write_mp4(path, noise(60))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_at_the_last_moment_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="disk full"):
        video.write_mp4(tmp_path / "a.mp4", slides(2))
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_folder_is_the_users_to_mend(tmp_path):
    (tmp_path / "run").write_text("not a folder")
    with pytest.raises(UserError, match="cannot write"):
        video.write_mp4(tmp_path / "run" / "a.mp4", slides(1))


def test_an_embedded_film_lives_in_the_page(tmp_path):
    path = tmp_path / "a.mp4"
    video.write_mp4(path, slides(3))
    page = video.embed(path, width=200)._repr_html_()
    path.unlink()
    assert "<video controls" in page and 'width="200"' in page
    assert "data:video/mp4;base64,AAAA" in page


def test_a_film_that_is_not_there_cannot_be_embedded(tmp_path):
    with pytest.raises(UserError, match="no film '.*a.mp4'"):
        video.embed(tmp_path / "a.mp4")
