"""One body simulated and drawn by PyBullet, without what the library prints.

The library's first episode in a new simulation differs in its last digits from the same episode
later on, so that every simulation begins with an episode that nobody sees. From then on an episode
follows from its seed and the actions, whatever was played before.
"""

import ctypes
import importlib
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from lib.core.errors import UserError
from lib.envs.bullet.tasks import BulletTask

PACKAGES = ("pybullet", "pybullet_envs_gymnasium")
# The camera of the paper's code.
DISTANCE, FIELD, NEAR, FAR = 2.0, 60.0, 1.0, 25.0  # [m], [degrees], [m], [m]
LIGHT = (0.0, 1.0, 1.0)
WHITE = 255.0


def check_installed() -> None:
    """Raises UserError where PyBullet is missing or cannot be used; imports it."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    here = f"Python {sys.version_info[0]}.{sys.version_info[1]} on {platform.machine()}"
    note = (
        "wheels are for x86-64 Linux and CPython up to 3.11; gymnasium's own bodies such as "
        "Hopper-v5 (env.domain gymnasium) run elsewhere, with returns of their own"
    )
    if missing:
        raise UserError(
            f"{' and '.join(missing)} not installed in this {here}; bullet needs "
            f"'pip install -e .[pybullet]' ({note})"
        )
    try:
        if os.name != "posix":
            raise ImportError("what it prints cannot be held back on this system")
        with quiet():
            importlib.import_module("pybullet")
    except ImportError as error:
        raise UserError(f"pybullet cannot be used in this {here}: {error} ({note})") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Sends to nowhere what C code prints meanwhile."""
    c = ctypes.CDLL(None)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    kept = {number: os.dup(number) for number in (1, 2)}
    try:
        for number in kept:
            _flush(c)
            os.dup2(nowhere, number)
        yield
    finally:
        _flush(c)  # what is still in buffers was meant for nowhere as well
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)
        os.close(nowhere)


def _flush(c: ctypes.CDLL) -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    c.fflush(None)


class Simulation:
    """A body on its own in a simulation.

    Args:
        task: from `tasks.resolve`.

    Raises:
        UserError: PyBullet is missing.
    """

    def __init__(self, task: BulletTask):
        check_installed()
        self.task = task
        module, _, name = task.kind.partition(":")
        with quiet():
            self.env: Any = getattr(importlib.import_module(module), name)()
            self.env.reset(seed=0)

    def begin(self, seed: int) -> np.ndarray:
        """Starts the episode of a seed; returns what is observed, float32."""
        seen = self.env.reset(seed=seed)[0]
        self.env._p.setGravity(0, 0, -self.task.gravity)
        return seen

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool]:
        """One env step: (A,) in [-1, 1] to what is observed, the reward and whether it ended."""
        obs, reward, ended, _, _ = self.env.step(action)
        return obs, float(reward), bool(ended)

    def picture(self, side: int, look_at: str) -> np.ndarray:
        """Draws what is there, (side, side, 3) uint8 on white.

        Args:
            side: height and width [pixels].
            look_at: "link", the first of the body, where the paper's code looks, which of Hopper
                and Walker2D stays on the ground; or "torso", of those that have one.
        """
        bullet = self.env._p
        eye = bullet.computeViewMatrixFromYawPitchRoll(
            self._looked_at(look_at), DISTANCE, 0, 0, 0, 2
        )
        lens = bullet.computeProjectionMatrixFOV(FIELD, 1.0, NEAR, FAR)
        _, _, pixels, _, _ = bullet.getCameraImage(
            side,
            side,
            eye,
            lens,
            shadow=1,
            lightDirection=LIGHT,
            renderer=bullet.ER_TINY_RENDERER,
        )
        drawn = np.asarray(pixels, dtype=np.float32).reshape(side, side, 4)
        cover = drawn[..., 3:] / WHITE
        return (drawn[..., :3] * cover + WHITE * (1 - cover)).round().astype(np.uint8)

    def _looked_at(self, look_at: str) -> Any:
        bullet, body = self.env._p, 1
        if not self.task.walks:
            return bullet.getBasePositionAndOrientation(body)[0]
        if look_at == "torso":
            return tuple(self.env.robot.body_real_xyz)
        return bullet.getLinkState(body, 0)[0]

    def close(self) -> None:
        """Gives the simulation back."""
        self.env.close()
