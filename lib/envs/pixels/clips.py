"""Films of the user's, as backgrounds: decoded once, kept as bytes, shown in order and looped.

Letters: T frames of a clip, S its height and width.
"""

import copy
import hashlib
import os
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lib.core.errors import UserError
from lib.core.paths import OUTPUTS
from lib.core.storage import told_to_the_user
from lib.envs.pixels.resizing import resized
from lib.envs.pixels.splits import check_split

CACHE = OUTPUTS / "backgrounds"
FILMS = (".mp4", ".avi", ".mov", ".webm", ".gif")  # what ffmpeg is asked to decode
SUFFIXES = (*FILMS, ".npz")
TEST_SHARE = 0.2  # of a folder that has no subfolders train/ and test/
PATIENCE = 600  # [s] for 1000 frames of any film


class Undecodable(Exception):
    """Why a file holds no clip."""


class VideoFolder:
    """Clips of a folder: a `BackgroundSource`.

    A clip is shown from a random frame on, one frame a decision, and begins again at its end. Its
    frames keep no proportions: height and width become `size`. What is decoded is kept in `CACHE`
    and mapped into memory, so processes share it.

    | The folder has | training shows | evaluation shows |
    |---|---|---|
    | subfolders `train` and `test` | all below `train` | all below `test` |
    | files, at any depth | 80 % by the hash of their names | the other 20 %, at least one |

    Args:
        path: the folder.
        split: "train" or "test".
        size: S [pixels].
        max_clips: of more files, these are chosen by the hash of their names.
        max_frames: the first ones of a file.

    Raises:
        UserError: no such folder, nothing in it for this split, or nothing that can be decoded.
    """

    def __init__(
        self, path: str | Path, split: str, size: int, max_clips: int = 100, max_frames: int = 1000
    ):
        check_split(split)
        self.path, self.split, self.size = Path(path), split, size
        self.clips: list[np.ndarray] = []  # each (T, S, S, 3) uint8
        self.failed: dict[str, str] = {}  # name of a file to what is wrong with it
        for file in files(self.path, split):
            if len(self.clips) == max_clips:
                break
            try:
                self.clips.append(_cached(file, size, max_frames))
            except Undecodable as error:
                self.failed[file.name] = str(error)
        if not self.clips:
            name, reason = next(iter(self.failed.items()))
            raise UserError(
                f"none of the {len(self.failed)} {split} videos in '{path}' can be decoded "
                f"({name}: {reason}); put in files that a player shows, of {', '.join(SUFFIXES)}"
            )
        self._clip, self._at = self.clips[0], 0

    def reset(self, rng: np.random.Generator) -> None:
        """Begins a random clip at a random frame."""
        self._clip = self.clips[int(rng.integers(len(self.clips)))]
        self._at = int(rng.integers(len(self._clip)))

    def next(self) -> np.ndarray:
        """Returns its next frame, (S, S, 3) uint8."""
        frame = np.array(self._clip[self._at])
        self._at = (self._at + 1) % len(self._clip)
        return frame

    def another(self) -> "VideoFolder":
        """Returns a source of the same clips, which are not read again."""
        return copy.copy(self)

    def notes(self, frames: int) -> Iterator[str]:
        """Says what a user may not expect of these clips.

        Args:
            frames: that an episode shows.
        """
        if self.failed:
            name, reason = next(iter(self.failed.items()))
            yield (
                f"{len(self.failed)} {self.split} videos of '{self.path}' cannot be decoded and "
                f"are left out, for example {name}: {reason}"
            )
        short = [len(clip) for clip in self.clips if len(clip) < frames]
        if short:
            yield (
                f"{len(short)} of {len(self.clips)} {self.split} videos in '{self.path}' are "
                f"shorter than an episode of {frames} frames and loop (the shortest has "
                f"{min(short)})"
            )


def files(folder: Path, split: str) -> list[Path]:
    """Returns the video files of one split, in the order of the hashes of their names.

    Raises:
        UserError: no such folder, or nothing in it for this split.
    """
    if not folder.is_dir():
        raise UserError(f"background folder '{folder}' does not exist; name a folder of videos")
    divided = [(folder / name).is_dir() for name in ("train", "test")]
    found = _videos(folder / split if all(divided) else folder)
    if not found:
        inside = f"'{folder / split}'" if all(divided) else f"'{folder}'"
        raise UserError(f"{inside} holds no videos; put files in it, of {', '.join(SUFFIXES)}")
    if all(divided):
        return found
    if len(found) < 2:
        raise UserError(
            f"background folder '{folder}' holds one video, and training and evaluation need one "
            "each; add another"
        )
    held_out = max(1, round(TEST_SHARE * len(found)))
    return found[:held_out] if split == "test" else found[held_out:]


def _videos(folder: Path) -> list[Path]:
    found = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES]
    return sorted((path for path in found if path.is_file()), key=_rank)


def _rank(path: Path) -> tuple[str, str]:
    return hashlib.sha256(path.name.encode()).hexdigest(), str(path)


def _cached(file: Path, size: int, max_frames: int) -> np.ndarray:
    """A file's frames (T, S, S, 3), decoded unless that was done before."""
    told = file.stat()
    what = (str(file.resolve()), told.st_size, told.st_mtime_ns, size, max_frames)
    digest = hashlib.sha256(repr(what).encode()).hexdigest()[:20]
    kept, failed = CACHE / f"{digest}-{size}.npy", CACHE / f"{digest}-{size}.failed"
    if failed.exists():
        raise Undecodable(failed.read_text())
    if not kept.exists():
        read: Callable = _film if file.suffix.lower() in FILMS else _archive
        try:
            frames = read(file, size, max_frames)
        except Undecodable as error:
            with _written(failed, 0) as opened:
                opened.write(str(error).encode())
            raise
        with _written(kept, frames.nbytes) as opened:
            np.save(opened, frames)
    return np.load(kept, mmap_mode="r")


@contextmanager
def _written(path: Path, needed: int) -> Iterator[BinaryIO]:
    """Opens a file that takes its name when it is whole, whoever else writes the same one."""
    with told_to_the_user(path, needed):
        CACHE.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=CACHE, suffix=".partial")
        try:
            with os.fdopen(handle, "wb") as opened:
                yield opened
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise


def _film(file: Path, size: int, max_frames: int) -> np.ndarray:
    """Decodes a film with the ffmpeg that imageio-ffmpeg brings."""
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise UserError(
            "decoding videos needs imageio-ffmpeg: pip install imageio-ffmpeg==0.8.1; "
            "arrays in .npz files need nothing"
        ) from error
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-i", str(file)]
    command += ["-an", "-frames:v", str(max_frames), "-vf", f"scale={size}:{size}:flags=bilinear"]
    command += ["-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise Undecodable(f"no end within {PATIENCE} s") from error
    frames = len(done.stdout) // (size * size * 3)
    if not frames:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise Undecodable(said[-1][:150] if said else "no frames in it")
    whole = done.stdout[: frames * size * size * 3]
    return np.frombuffer(whole, np.uint8).reshape(frames, size, size, 3)


def _archive(file: Path, size: int, max_frames: int) -> np.ndarray:
    """Reads the first array of frames (T, H, W, 3) uint8 of an .npz file."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = [archive[name] for name in archive.files]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise Undecodable(str(error)[:150]) from error
    for array in arrays:
        if array.ndim == 4 and array.shape[-1] == 3 and array.dtype == np.uint8 and array.size:
            return np.stack([resized(frame, size) for frame in array[:max_frames]])
    shapes = ", ".join(f"{array.shape} {array.dtype}" for array in arrays) or "nothing"
    raise Undecodable(f"it holds {shapes}; wanted frames (T, H, W, 3) uint8")
