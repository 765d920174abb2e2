"""The two planar bodies: their models, what is observed of them, and where episodes start.

The models are dm_control's, found without importing dm_control, with one flag set: *no warm
start*. The simulator's solver then begins every step from nothing, so that positions and
velocities alone decide what follows, and batched rollouts, dm_control's stepping and a restored
state agree bit for bit. Against the stock models this moves a result by rounding errors only. The
cheetah stays within 1e-12 of its stock trajectory for a whole episode; the walker within 1e-7 for
100 env steps of flailing, after which its chaos enlarges any difference, as it enlarges one of
1e-14 between two stock walkers.

Letters: n copies, Q joints, L numbers in an observation, B parts.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from lib.core.errors import UserError, unknown
from lib.envs.control.planar import Motion, Planar
from lib.envs.needs import MISSING

if TYPE_CHECKING:
    import mujoco

CONTROL_STEPS = {"cheetah": 1, "walker": 10}  # physics steps of one env step
SETTLING = {"cheetah": 200, "walker": 0}  # physics steps between the draw and the start
DOMAINS = tuple(CONTROL_STEPS)

Observe = Callable[[Motion], np.ndarray]


@dataclass(frozen=True)
class Body:
    """A domain's body. `model` is shared, so copy it before changing it."""

    domain: str
    model: "mujoco.MjModel"
    planar: Planar
    substeps: int  # physics steps of one env step
    settling: int  # physics steps between the draw of a pose and the start
    obs_dim: int  # L

    @property
    def env_step_seconds(self) -> float:
        """Duration of one env step [s]."""
        return self.substeps * self.model.opt.timestep

    def observe(self, motion: Motion) -> np.ndarray:
        """(..., L) float64: what dm_control's task shows of a state.

        Cheetah: joints without the root's x (8), velocities (9). Walker: cosine and sine of
        every part (14), torso height (1), velocities (9).
        """
        if self.domain == "cheetah":
            return np.concatenate((motion.qpos[..., 1:], motion.qvel), axis=-1)
        height = motion.height("torso")[..., None]
        return np.concatenate((motion.orientations(), height, motion.qvel), axis=-1)

    def pose_of(self, obs: np.ndarray, x0: float = 0.0, dt: float = 0.0) -> np.ndarray:
        """Joint positions that look like given observations, for drawing them.

        Args:
            obs: (..., T, L) successive observations; a dream's need not be exact.
            x0: [m] root x of the first.
            dt: [s] between two observations; the root's x, which is not observed, follows its
                velocity by the trapezoid rule.

        Returns:
            (..., T, Q) float64, not finite where the observations are not.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # a dream may leave all bounds
            return self._pose_of(obs, x0, dt)

    def _pose_of(self, obs: np.ndarray, x0: float, dt: float) -> np.ndarray:
        obs = np.asarray(obs, dtype=np.float64)
        joints = self.model.nq
        velocity = obs[..., self.obs_dim - joints :][..., self.planar.root_x]
        steps = np.zeros_like(velocity)
        steps[..., 1:] = (velocity[..., 1:] + velocity[..., :-1]) * (dt / 2)
        qpos = np.empty((*obs.shape[:-1], joints))
        if self.domain == "cheetah":
            qpos[..., 1:] = obs[..., : joints - 1]
        else:
            parts = len(self.planar.parts)
            angle = np.arctan2(obs[..., 1 : 2 * parts : 2], obs[..., 0 : 2 * parts : 2])
            turned = angle @ np.linalg.pinv(self.planar.turn)  # a slide turns nothing, so gets 0
            qpos[...] = (turned + np.pi) % (2 * np.pi) - np.pi
            qpos[..., self.planar.root_z] = obs[..., 2 * parts] - self.planar.ground
        qpos[..., self.planar.root_x] = x0 + np.cumsum(steps, axis=-1)
        return qpos

    def draw(self, uniform: np.ndarray) -> np.ndarray:
        """(n, D) numbers in [0, 1) to the poses (n, Q) that the suite would draw from them.

        Limited joints are uniform within their limits, as is the walker's unlimited root angle
        within a full turn; slides stay at 0. D is `draws`.
        """
        low, high = self._ranges()
        qpos = np.tile(self.model.qpos0, (len(uniform), 1))
        qpos[:, self._drawn()] = low + (high - low) * uniform
        return qpos

    @property
    def draws(self) -> int:
        """D, random numbers that a start needs."""
        return int(self._drawn().sum())

    def _drawn(self) -> np.ndarray:
        limited = self.model.jnt_limited == 1
        return limited | (self.planar.turn[:, 0] != 0) if self.domain == "walker" else limited

    def _ranges(self) -> tuple[np.ndarray, np.ndarray]:
        limited = self.model.jnt_limited[:, None] == 1
        ranges = np.where(limited, self.model.jnt_range, [-np.pi, np.pi])
        return ranges[self._drawn()].T


def load(domain: str) -> Body:
    """Read a body's model from the installed dm_control.

    Raises:
        UserError: an unknown domain, or mujoco or dm_control is not installed.
    """
    if domain not in DOMAINS:
        raise unknown("control domain", domain, DOMAINS)
    model = _spec(domain).compile()
    planar = Planar.of(model)
    observed = model.nq - 1 if domain == "cheetah" else 2 * len(planar.parts) + 1
    return Body(
        domain,
        model,
        planar,
        CONTROL_STEPS[domain],
        SETTLING[domain],
        observed + model.nv,
    )


def _spec(domain: str) -> "mujoco.MjSpec":
    """The suite's model with the flag set and what DRAGO's has besides, which moves nothing."""
    try:
        import mujoco
    except ImportError as error:
        raise UserError(MISSING.format("mujoco")) from error
    spec = mujoco.MjSpec.from_file(str(_suite_folder() / f"{domain}.xml"))
    spec.option.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_WARMSTART)
    if domain == "cheetah":
        spec.worldbody.add_geom(
            name="ball",
            type=mujoco.mjtGeom.mjGEOM_SPHERE,
            size=[0.1, 0, 0],
            pos=[0, 5, 0.05],
            contype=0,
            conaffinity=0,
        )
        spec.worldbody.add_light(name="lamp", pos=[0, 5, 3], diffuse=[0.3, 0.3, 0.3])
    else:
        floor = next(geom for geom in spec.geoms if geom.name == "floor")
        floor.size[0] = 500  # [m] half the length, where the suite's is 250
    return spec


def _suite_folder() -> Path:
    found = importlib.util.find_spec("dm_control")  # finds without importing
    if found is None or not found.submodule_search_locations:
        raise UserError(MISSING.format("dm_control"))
    return Path(next(iter(found.submodule_search_locations))) / "suite"


def uniform_draws(n: int, width: int, generator: torch.Generator) -> np.ndarray:
    """(n, width) float64 in [0, 1), from a generator on any device."""
    drawn = torch.rand(n, width, generator=generator, device=generator.device, dtype=torch.float64)
    return drawn.cpu().numpy()
