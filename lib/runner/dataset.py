"""Files of experience that a task is learnt from, without a step in its world.

A dataset is a folder with one NumPy file per task, `<task>.npz`, of N episodes that are padded to T
decisions:

| array    | shape            | kind                                        |            |
|:---------|:-----------------|:--------------------------------------------|:-----------|
| obs      | (N, T+1, *shape) | the task's, see `lib.core.spaces.ObsSpace`  |            |
| action   | (N, T, A)        | float32, one-hot where actions are discrete |            |
| reward   | (N, T)           | float32, 0 after an episode's end           |            |
| length   | (N,)             | int64, decisions until the end              | optional   |
| terminal | (N,)             | bool, ended by the world                    | optional   |
| success  | (N,)             | bool, whether the goal was reached          | optional   |

Files are read without executing anything in them, and checked before anything uses them.
"""

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lib.core.errors import UserError
from lib.core.files import atomic_write
from lib.core.paths import ROOT
from lib.core.spaces import ActionSpace, ObsSpace
from lib.core.storage import told_to_the_user
from lib.replay.buffer import Episodes

NEEDED, OPTIONAL = ("obs", "action", "reward"), ("length", "terminal", "success")
KINDS = {"action": "float32", "reward": "float32", "length": "int64"}
KINDS |= {"terminal": "bool", "success": "bool"}


@dataclass(frozen=True)
class Dataset:
    """The episodes of one task, and a checksum of the file that they come from."""

    episodes: Episodes
    checksum: int


def path_of(folder: str | Path, task: str) -> Path:
    """Where the experience of a task lies; a folder counts from the repository's root."""
    return ROOT / folder / f"{task}.npz"


def write(folder: str | Path, task: str, episodes: Episodes) -> Path:
    """Writes a task's episodes; returns the file."""
    path, packed = path_of(folder, task), io.BytesIO()
    named = episodes._asdict()
    arrays = {
        name: named[name].cpu().numpy() for name in NEEDED + OPTIONAL if named[name] is not None
    }
    np.savez_compressed(packed, **arrays)
    with told_to_the_user(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, packed.getvalue())
    return path


def read(folder: str | Path, task: str, obs_space: ObsSpace, actions: ActionSpace) -> Dataset:
    """Reads a task's episodes.

    Args:
        obs_space, actions: what the task shows and takes.

    Raises:
        UserError: no such file, or one that does not hold episodes of this task.
    """
    path = path_of(folder, task)
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"no experience of task '{task}' at '{path}' ({error.strerror}); "
            "name a folder with one .npz per task in `dataset`"
        ) from None
    try:
        with np.load(io.BytesIO(packed), allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except (ValueError, OSError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(f"'{path}' is no file of arrays ({error}); write it again") from None
    if complaint := _complaint(arrays, obs_space, actions):
        raise UserError(f"'{path}' does not hold episodes of task '{task}': {complaint}")
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return Dataset(Episodes(**tensors), zlib.crc32(packed) or 1)


def _complaint(
    arrays: dict[str, np.ndarray], obs_space: ObsSpace, actions: ActionSpace
) -> str | None:
    """What is wrong with the arrays of a file, None where nothing is."""
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
    for name, array in arrays.items():
        if (array.shape, str(array.dtype)) != wanted[name]:
            shape, kind = wanted[name]
            return f"{name} is {array.dtype} {array.shape}, wanted {kind} {shape}"
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return f"{name} has numbers that are not finite"
    length = arrays.get("length", np.array([steps]))
    if length.min() < 1 or length.max() > steps:
        return f"length is from {length.min()} to {length.max()}, wanted from 1 to {steps}"
    return None
