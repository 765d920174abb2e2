"""Writes films: pictures in, an mp4 out that notebooks and browsers play.

Letters: T decisions of an episode, so T+1 pictures.
"""

import errno
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.core.errors import UserError
from lib.core.files import replacing
from lib.core.storage import told_to_the_user

if TYPE_CHECKING:
    from IPython.display import Video
    from PIL.ImageFont import FreeTypeFont

INSTALL = "pip install imageio-ffmpeg==0.8.1"
PAPER, INK = (255, 255, 255), (40, 40, 40)
SIZES = range(15, 9, -1)  # [pixels] of caption text, the largest first
MARGIN, LEADING = 8, 5  # [pixels] on either side of the text, and between lines
SHARPNESS = 28  # h264's constant rate factor; at its own 23 these plain pictures look the same
NO_ROOM = {
    "No space left on device": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "File too large": errno.EFBIG,
}


def captions(task: str, rewards: Sequence[float], every: int = 1, note: str = "") -> list[str]:
    """Returns a line for each picture of an episode: the task, the time, and the return so far.

    Args:
        task: its name.
        rewards: (T,) of the decisions.
        every: env steps that one decision lasts.
        note: a second line below each, such as "blue: imagined".

    Returns:
        T+1 lines such as "walker-walk   env step 120   return 34.5"; the first is the start.
    """
    earned = np.concatenate(([0.0], np.cumsum(np.asarray(rewards, dtype=float))))
    tail = f"\n{note}" if note else ""
    return [
        f"{task}   env step {decision * every}   return {so_far:.1f}{tail}"
        for decision, so_far in enumerate(earned)
    ]


def write_mp4(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: float = 15,
    captions: Sequence[str] | None = None,
) -> None:
    """Writes a film; the file is complete or not there. The same pictures give the same bytes.

    Args:
        path: the file; its folder is made if need be, but not what that lies in.
        frames: pictures (height, width, 3) uint8, all of one even size. Consumed one by one, so
            that a generator keeps a single picture in memory.
        fps: pictures per second; 15 is DRAGO's.
        captions: one text per picture, shown in a bar above it, as players put their controls
            below; it may have several lines.

    Raises:
        UserError: no pictures, sizes that are odd or differ, not as many captions as pictures, a
            missing encoder, a full disk, or a folder that cannot be written.
    """
    path = Path(path)
    if not (np.isfinite(fps) and fps > 0):
        raise UserError(f"fps {fps}: a film needs a positive number of pictures per second")
    pictures = _checked(frames)
    if captions is not None:
        pictures = _captioned(pictures, list(captions))
    first = next(pictures, None)
    if first is None:
        raise UserError(f"no pictures for '{path}'; a film needs one or more")
    encoder = _encoder()
    with told_to_the_user(path):
        path.parent.mkdir(exist_ok=True)
    with replacing(path) as partial:
        partial.touch()  # a folder that cannot be written says so here
        _encode(encoder, chain([first], pictures), first.shape, fps, partial)


def embed(path: str | Path, width: int | None = None) -> "Video":
    """Embeds a film in a notebook: shown with controls, and kept in the notebook's own file.

    Args:
        path: an mp4. A film of an episode has 100 to 500 kB, and a notebook grows by 4/3 of that.
        width: [pixels] on the page; the film's own if not given.

    Raises:
        UserError: there is no such file.
    """
    from IPython.display import Video

    path = Path(path)
    if not path.is_file():
        raise UserError(f"no film '{path}'; `write_mp4` makes one")
    return Video(
        data=path.read_bytes(),
        embed=True,
        mimetype="video/mp4",
        width=width,
        html_attributes="controls muted loop playsinline",
    )


def _checked(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Passes the same pictures on, and refuses an unfit one."""
    shape = None
    for number, frame in enumerate(frames):
        frame = np.asarray(frame)
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise UserError(
                f"picture {number} is {frame.dtype} {frame.shape}; "
                f"a film takes uint8 (height, width, 3)"
            )
        shape = shape or frame.shape
        if frame.shape != shape:
            raise UserError(
                f"picture {number} has {frame.shape[0]}x{frame.shape[1]} pixels and the first "
                f"{shape[0]}x{shape[1]}; give all of them one size"
            )
        if shape[0] % 2 or shape[1] % 2 or not shape[0] * shape[1]:
            raise UserError(
                f"pictures of {shape[0]}x{shape[1]} pixels; h264 needs an even height and width"
            )
        yield frame


def _captioned(pictures: Iterator[np.ndarray], texts: list[str]) -> Iterator[np.ndarray]:
    """Puts text in a bar above every picture."""
    font, rows = None, max((text.count("\n") for text in texts), default=0) + 1
    for number, (picture, text) in enumerate(zip_longest(pictures, texts)):
        if picture is None or text is None:
            more, fewer = ("captions", "pictures")[:: 1 if picture is None else -1]
            raise UserError(f"{number} {fewer} and more {more}; give one for each")
        font = font or _font(texts, picture.shape[1] - 2 * MARGIN)
        yield np.concatenate((_bar(text, rows, picture.shape[1], font), picture))


def _font(texts: list[str], width: int) -> "FreeTypeFont":
    """Returns the largest font in which every line fits; the smallest if none does."""
    import matplotlib
    from PIL import ImageFont

    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    lines = {line for text in texts for line in text.split("\n")}
    for size in SIZES:
        font = ImageFont.truetype(str(file), size)
        if max(font.getlength(line) for line in lines) <= width:
            break
    return font


def _bar(text: str, rows: int, width: int, font: "FreeTypeFont") -> np.ndarray:
    """Returns (an even height, width, 3) uint8 with rows of text, cut off where they do not fit."""
    from PIL import Image, ImageDraw

    pitch = font.size + LEADING
    height = rows * pitch + LEADING + (rows * pitch + LEADING) % 2
    bar = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(bar)
    for row, line in enumerate(text.split("\n")):
        line = _cut(line, width - 2 * MARGIN, font)
        middle = LEADING + row * pitch + font.size / 2
        draw.text((MARGIN, middle), line, fill=INK, font=font, anchor="lm")
    return np.asarray(bar)


def _cut(line: str, room: int, font: "FreeTypeFont") -> str:
    """Returns the line, or as much of its beginning as fits."""
    if font.getlength(line) <= room:
        return line
    while line and font.getlength(line + "…") > room:
        line = line[:-1]
    return line + "…"


def _encoder() -> str:
    """Returns the ffmpeg program that imageio-ffmpeg brings along."""
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise UserError(f"films need imageio-ffmpeg and its ffmpeg: {INSTALL}") from error


def _encode(
    encoder: str, pictures: Iterator[np.ndarray], shape: tuple, fps: float, path: Path
) -> None:
    """Pipes pictures through ffmpeg into a file.

    imageio's own writer does not look at ffmpeg's exit status, so that on a full disk it leaves
    half a film without a word.

    Raises:
        OSError: no room for the film.
        UserError: ffmpeg cannot be started or fails otherwise.
    """
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{shape[1]}x{shape[0]}", "-r", str(fps))
    code = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", str(SHARPNESS), "-threads", "1")
    file = ("-movflags", "+faststart", "-bitexact", "-f", "mp4", str(path))
    command = [encoder, "-y", "-v", "error", *raw, "-i", "-", "-an", *code, *file]
    with tempfile.TemporaryFile() as words:
        process = _started(command, words)
        try:
            with suppress(BrokenPipeError):  # it gave up; its words say why
                for picture in pictures:
                    process.stdin.write(np.ascontiguousarray(picture))
            with suppress(BrokenPipeError):
                process.stdin.close()
            status = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()
        words.seek(0)
        said = words.read().decode(errors="replace").strip()
    if not status:
        return
    if status == -signal.SIGXFSZ:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    for phrase, number in NO_ROOM.items():
        if phrase in said:
            raise OSError(number, phrase)
    last = said.splitlines()[-1] if said else f"exit status {status}"
    raise UserError(f"ffmpeg could not write '{path}': {last}")


def _started(command: list[str], words: Any) -> subprocess.Popen:
    try:
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=subprocess.DEVNULL, stderr=words)
    except (FileNotFoundError, PermissionError) as error:
        raise UserError(
            f"ffmpeg '{command[0]}' does not start: {error.strerror}; {INSTALL}"
        ) from error
