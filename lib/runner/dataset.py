"""Files of experience that a task is learnt from, without a step in its world.

A dataset is a folder with one folder per task. That holds an array of N episodes, padded to T
decisions, in a file `<array>.npy` each, and `about.json`:

| array    | shape            | kind                                        |            |
|:---------|:-----------------|:--------------------------------------------|:-----------|
| obs      | (N, T+1, *shape) | the task's, see `lib.core.spaces.ObsSpace`  |            |
| action   | (N, T, A)        | float32, one-hot where actions are discrete |            |
| reward   | (N, T)           | float32, 0 after an episode's end           |            |
| length   | (N,)             | int64, decisions until the end              | optional   |
| terminal | (N,)             | bool, ended by the world                    | optional   |
| success  | (N,)             | bool, at the goal in the end                | optional   |
| reached  | (N,)             | bool, at the goal at any step               | optional   |

Sizes are the task's own: who learns from many tasks pads what it draws. Arrays are memory-mapped,
so that only what is drawn is read; nothing in them is executed, and they are checked before
anything uses them.
"""

import json
import os
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.core.errors import UserError
from lib.core.files import sync
from lib.core.paths import ROOT
from lib.core.spaces import ActionSpace, ObsSpace
from lib.core.storage import told_to_the_user
from lib.replay.buffer import Episodes

NEEDED, OPTIONAL = ("obs", "action", "reward"), ("length", "terminal", "success", "reached")
KINDS = {"action": "float32", "reward": "float32", "length": "int64"}
KINDS |= {"terminal": "bool", "success": "bool", "reached": "bool"}
ABOUT, LAYOUT = "about.json", 1
SUFFIX = ".npy"
SEPARATOR = ","
OTHERS = {
    # Forms in which a task's experience is found elsewhere, to what is to be done.
    ".npz": "it is one file of arrays: 'python -m lib data import npz' makes a folder of it, of "
    "an earlier version of this workbook it is made again with 'python -m lib data make'",
    ".pkl": "reading it would execute what is in it; where you trust it, load it elsewhere, write "
    "its arrays with numpy.savez, and take that with 'python -m lib data import npz'",
    ".parquet": "take it with 'python -m lib data import lerobot'",
    ".hdf5": "take it with 'python -m lib data import minari'",
}
CHUNK = 256  # episodes that are looked at together


@dataclass(frozen=True)
class Dataset:
    """The episodes of one task, and a checksum of the arrays that they are."""

    episodes: Episodes
    checksum: int


def path_of(folder: str | Path, task: str) -> Path:
    """Where the experience of a task lies, or would.

    Args:
        folder: one, or several separated by commas, of which the first that has the task counts;
            each counts from the repository's root.
    """
    places = [ROOT / place / task for place in str(folder).split(SEPARATOR)]
    return next((place for place in places if (place / ABOUT).is_file()), places[0])


def is_there(folder: str | Path, task: str) -> bool:
    """Says whether there is experience of a task, whatever it holds."""
    return (path_of(folder, task) / ABOUT).is_file()


def write(
    folder: str | Path, task: str, episodes: Episodes, about: Mapping[str, Any] | None = None
) -> Path:
    """Writes a task's episodes in place of any that are there; returns their folder.

    Args:
        about: what else is known of them, for people.
    """
    path = path_of(folder, task)
    partial = path.with_name(f".{task}.partial")
    held = {name: part for name, part in episodes._asdict().items() if part is not None}
    arrays = {name: held[name].cpu().numpy() for name in NEEDED + OPTIONAL if name in held}
    told = {"layout": LAYOUT, "task": task, **(about or {})}
    with told_to_the_user(path, sum(array.nbytes for array in arrays.values())):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, array in arrays.items():
            np.save(partial / (name + SUFFIX), array)
            sync(partial / (name + SUFFIX))
        (partial / ABOUT).write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")
        sync(partial / ABOUT)
        if path.exists():
            shutil.rmtree(path)
        os.replace(partial, path)
        sync(path.parent)
    return path


def missing(folder: str | Path, task: str) -> str:
    """Returns what is to be done about experience of a task in another form; "" without any."""
    path = path_of(folder, task)
    for suffix, advice in OTHERS.items():
        if (other := path.with_name(task + suffix)).is_file():
            return f"'{other}' is of another layout than a folder of arrays; {advice}"
    return ""


def read(folder: str | Path, task: str, obs_space: ObsSpace, actions: ActionSpace) -> Dataset:
    """Reads a task's episodes.

    Args:
        obs_space, actions: what the task shows and takes.

    Raises:
        UserError: none, of another layout, or of another task.
    """
    path = path_of(folder, task)
    about(folder, task)
    arrays = {file.stem: _array(file) for file in sorted(path.glob(f"*{SUFFIX}"))}
    if complaint := _complaint(arrays, obs_space, actions):
        raise UserError(f"'{path}' does not hold episodes of task '{task}': {complaint}")
    checksum = 0
    for array in arrays.values():
        for at in range(0, len(array), CHUNK):
            checksum = zlib.crc32(np.ascontiguousarray(array[at : at + CHUNK]), checksum)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return Dataset(Episodes(**tensors), checksum or 1)


def about(folder: str | Path, task: str) -> dict[str, Any]:
    """Returns what is known of a task's experience.

    Raises:
        UserError: there is none, or it is of another layout.
    """
    path = path_of(folder, task)
    if not path.is_dir() and (told := missing(folder, task)):
        raise UserError(told)
    try:
        found = json.loads((path / ABOUT).read_bytes())
        layout = found["layout"]
    except OSError as error:
        raise UserError(
            f"no experience of task '{task}' at '{path}' ({error.strerror}); "
            "name a folder with a folder of arrays per task in `dataset`"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"'{path / ABOUT}' cannot be read ({error!r}); write it again") from None
    if layout != LAYOUT:
        raise UserError(
            f"'{path}' is of layout {layout}, and layout {LAYOUT} can be read here; make it again, "
            "or read it with the version of this workbook that wrote it"
        )
    return found


def array(folder: str | Path, task: str, name: str) -> np.ndarray:
    """Maps one array of a task, of which nothing is read yet; raises UserError as `read`."""
    return _array(path_of(folder, task) / (name + SUFFIX))


def _array(path: Path) -> np.ndarray:
    try:
        if path.stat().st_size == 0:
            raise ValueError("it is empty")
        return np.load(path, mmap_mode="c", allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise UserError(f"'{path}' is no file of an array ({error}); write it again") from None


def _complaint(
    arrays: dict[str, np.ndarray], obs_space: ObsSpace, actions: ActionSpace
) -> str | None:
    """What is wrong with a task's arrays, None where nothing is."""
    if missing := [name for name in NEEDED if name not in arrays]:
        return f"it lacks {', '.join(missing)}"
    if strange := sorted(set(arrays) - {*NEEDED, *OPTIONAL}):
        return f"it has {', '.join(strange)}, allowed are {', '.join(NEEDED + OPTIONAL)}"
    if arrays["reward"].ndim != 2 or not arrays["reward"].size:
        return f"reward is {arrays['reward'].shape}, wanted (episodes, decisions)"
    count, steps = arrays["reward"].shape
    stored = str(obs_space.dtype).removeprefix("torch.")
    wanted = {
        "obs": ((count, steps + 1, *obs_space.shape), stored),
        "action": ((count, steps, actions.size), KINDS["action"]),
        "reward": ((count, steps), KINDS["reward"]),
    } | {name: ((count,), KINDS[name]) for name in OPTIONAL}
    for name, (shape, kind) in wanted.items():
        array = arrays.get(name)
        if array is None:
            continue
        if (array.shape, str(array.dtype)) != (shape, kind):
            return f"{name} is {array.dtype} {array.shape}, wanted {kind} {shape}"
        if array.dtype.kind == "f" and not _finite(array):
            return f"{name} has numbers that are not finite"
    length = arrays.get("length", np.array([steps]))
    if length.min() < 1 or length.max() > steps:
        return f"length is from {length.min()} to {length.max()}, wanted from 1 to {steps}"
    return None


def _finite(array: np.ndarray) -> bool:
    return all(np.isfinite(array[at : at + CHUNK]).all() for at in range(0, len(array), CHUNK))
