import itertools
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest

from lib.core.errors import UserError
from lib.envs.pixels import clips
from lib.envs.pixels.clips import VideoFolder, files


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(clips, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "videos"
    made.mkdir()
    return made


def archive(path, frames: int = 4, value: int = 0, side: int = 8):
    """Frame t is all `value + t`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    film = np.arange(value, value + frames, dtype=np.uint8)[:, None, None, None]
    np.savez(path, film * np.ones((1, side, side, 3), np.uint8))


def encode(path, colour: str = "red", frames: int = 12):
    source = f"color=c={colour}:size=48x32:rate=10"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", source]
    subprocess.run([*command, "-frames:v", str(frames), str(path)], check=True, timeout=300)


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mov", ".webm", ".gif"])
def test_films_are_decoded_to_squares_of_bytes(folder, suffix):
    for name in ("train", "test"):
        (folder / name).mkdir()
        encode(folder / name / f"clip{suffix}")
    (clip,) = VideoFolder(folder, "train", 16).clips
    assert clip.shape == (12, 16, 16, 3) and clip.dtype == np.uint8
    assert (clip[..., 0] > 230).all() and (clip[..., 1:] < 25).all()


def test_a_clip_is_shown_in_order_from_a_random_frame_and_loops(folder):
    for name in ("train/a.npz", "test/b.npz"):
        archive(folder / name, frames=4)
    source, starts = VideoFolder(folder, "train", 8), set()
    for seed in range(30):
        source.reset(np.random.default_rng(seed))
        shown = [int(source.next()[0, 0, 0]) for _ in range(6)]
        assert all((b - a) % 4 == 1 for a, b in itertools.pairwise(shown))
        starts.add(shown[0])
    assert starts == {0, 1, 2, 3}


def test_a_folder_without_subfolders_is_divided_by_the_names_alone(folder):
    for number in range(20):
        archive(folder / f"{number}.npz", value=number)
    train, test = files(folder, "train"), files(folder, "test")
    assert len(train) == 16 and len(test) == 4 and not set(train) & set(test)
    assert [path.name for path in test] == [path.name for path in files(folder, "test")]


def test_even_two_files_are_divided(folder):
    archive(folder / "a.npz")
    archive(folder / "b.npz")
    assert {*files(folder, "train"), *files(folder, "test")} == set(folder.iterdir())


def test_at_most_so_many_clips_and_frames_are_kept(folder):
    for number in range(6):
        archive(folder / "train" / f"{number}.npz", frames=9)
    archive(folder / "test" / "0.npz")
    source = VideoFolder(folder, "train", 8, max_clips=3, max_frames=5)
    assert [len(clip) for clip in source.clips] == [5, 5, 5]


def test_a_file_is_decoded_once_and_again_when_it_changes(folder, monkeypatch):
    archive(folder / "a.npz")
    archive(folder / "b.npz")
    first = VideoFolder(folder, "train", 8).clips[0].copy()
    with monkeypatch.context() as patch:
        patch.setattr(clips, "_archive", None)
        assert (VideoFolder(folder, "train", 8).clips[0] == first).all()
    archive(files(folder, "train")[0], frames=7)
    assert len(VideoFolder(folder, "train", 8).clips[0]) == 7


def test_what_cannot_be_decoded_is_left_out_and_told_of(folder):
    archive(folder / "train" / "good.npz")
    (folder / "train" / "broken.mp4").write_bytes(b"no film")
    archive(folder / "test" / "good.npz")
    source = VideoFolder(folder, "train", 8)
    assert len(source.clips) == 1
    told = list(source.notes(3))
    assert len(told) == 1 and "1 train videos" in told[0] and "broken.mp4" in told[0]


def test_a_clip_shorter_than_an_episode_is_told_of(folder):
    for name in ("train/a.npz", "train/b.npz", "test/c.npz"):
        archive(folder / name, frames=4)
    source = VideoFolder(folder, "train", 8)
    assert list(source.notes(4)) == []
    (told,) = source.notes(501)
    assert "2 of 2 train videos" in told and "shorter than an episode of 501 frames" in told


def test_another_source_shows_the_same_clips_by_itself(folder):
    for name in ("train/a.npz", "test/b.npz"):
        archive(folder / name, frames=4)
    first = VideoFolder(folder, "train", 8)
    second = first.another()
    for source in (first, second):
        source.reset(np.random.default_rng(0))
    expected = first.next()
    first.next()
    assert (second.next() == expected).all() and second.clips is first.clips


def test_what_failed_once_is_not_tried_again(folder, monkeypatch):
    (folder / "train").mkdir()
    (folder / "train" / "broken.mp4").write_bytes(b"no film")
    archive(folder / "train" / "good.npz")
    archive(folder / "test" / "good.npz")
    reason = VideoFolder(folder, "train", 8).failed
    monkeypatch.setattr(clips, "_film", None)
    assert reason and VideoFolder(folder, "train", 8).failed == reason


@pytest.mark.parametrize("content", [b"no film", b""])
def test_a_folder_of_broken_files_is_refused(folder, content):
    for split in ("train", "test"):
        (folder / split).mkdir()
        (folder / split / "x.mp4").write_bytes(content)
    with pytest.raises(UserError, match=r"none of the 1 train videos in .*x\.mp4: .*\.npz") as said:
        VideoFolder(folder, "train", 8)
    assert "\n" not in str(said.value)


def test_an_archive_of_other_arrays_says_what_it_holds(folder):
    for name in ("a", "b"):
        np.savez(folder / f"{name}.npz", x=np.zeros((3, 4)))
    with pytest.raises(UserError, match=r"\(3, 4\) float64; wanted frames"):
        VideoFolder(folder, "train", 8)


def test_empty_missing_and_single_file_folders_are_refused(folder):
    with pytest.raises(UserError, match="holds no videos; put files in it, of .mp4"):
        VideoFolder(folder, "train", 8)
    with pytest.raises(UserError, match="nowhere' does not exist"):
        VideoFolder(folder / "nowhere", "train", 8)
    archive(folder / "only.npz")
    with pytest.raises(UserError, match="holds one video, and training and evaluation need one"):
        VideoFolder(folder, "train", 8)
    (folder / "train").mkdir()
    (folder / "test").mkdir()
    with pytest.raises(UserError, match="videos/test' holds no videos"):
        VideoFolder(folder, "test", 8)
