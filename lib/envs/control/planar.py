"""Where the parts of a planar body are and how they move, for many states at once.

A planar body slides along x and z and turns about y. Every part's world angle is then a sum of
joint angles, and every position is a constant plus a fixed linear map of the cosines and sines of
those angles. With u = (cos, sin) of all angles, and du its rate of change, heights are u H and
the speed of the centre of mass is du C: a few small products replace the simulator's kinematics,
which its batched rollout leaves one step behind.

Letters: B parts (bodies without the world), Q joints; (...) any leading shape.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import mujoco


@dataclass(frozen=True)
class Planar:
    """Constants of one body. Columns of u are B cosines, then B sines."""

    parts: tuple[str, ...]  # B names, parents before children
    root_x: int  # the joint that slides along x
    root_z: int
    turn: np.ndarray  # (Q, B) +-1 where a joint turns a part, else 0
    ground: float  # [m] height of the root part's origin at rest in the model
    heights: np.ndarray  # (2B, B) u to heights over the root part's [m]
    centre_x: np.ndarray  # (2B,) u to the centre of mass' x, from the root part's [m]
    offsets: np.ndarray  # (2B, 2B) u to each part's centre: x, z from the centre of mass [m]
    mass: np.ndarray  # (B,) [kg]
    inertia: np.ndarray  # (B,) about y through the part's own centre [kg m^2]

    @classmethod
    def of(cls, model: "mujoco.MjModel") -> "Planar":
        """Read the constants from a model.

        Raises:
            ValueError: the model is not one planar body rooted in the world: a joint other than
                slides along x or z and turns about y, a part turned within its parent, several
                turns or several roots.
        """
        parts = model.nbody - 1
        turn = np.zeros((model.nq, parts))
        anchor = np.zeros((parts, 2))  # where each part turns, in its own frame
        slides = {}
        for joint in range(model.njnt):
            part = model.jnt_bodyid[joint] - 1
            axis = model.jnt_axis[joint]
            kind = model.jnt_type[joint]
            if kind == SLIDE and part == 0 and tuple(axis) in SLIDES:
                slides[SLIDES[tuple(axis)]] = joint
            elif kind == HINGE and abs(axis[1]) == 1 and not turn[:, part].any():
                turn[joint, part] = axis[1]
                anchor[part] = model.jnt_pos[joint][[0, 2]]
            else:
                raise ValueError(f"joint {model.joint(joint).name!r} does not fit a planar body")
        parent = model.body_parentid[1:] - 1
        straight = np.array_equal(model.body_quat[1:], np.tile([1.0, 0, 0, 0], (parts, 1)))
        if set(slides) != {"x", "z"} or (parent[1:] < 0).any() or not straight:
            raise ValueError("the model is not one planar body with a sliding root")

        place = model.body_pos[1:][:, [0, 2]]
        eye = np.eye(parts)
        # arms[b, a] is the vector fixed in part a that adds to the place of part b's origin.
        arms = np.zeros((parts, parts, 2))
        arms[0, 0] = -anchor[0]
        for part in range(1, parts):
            turn[:, part] += turn[:, parent[part]]
            arms[part] = arms[parent[part]]
            arms[part] += eye[parent[part], :, None] * (place[part] + anchor[part])
            arms[part] -= eye[part, :, None] * anchor[part]
        mass = model.body_mass[1:].copy()
        to_centre = arms + eye[:, :, None] * model.body_ipos[1:][:, None, [0, 2]]
        whole = np.einsum("b,bad->ad", mass / mass.sum(), to_centre)
        x, z = _project(to_centre - whole)
        return cls(
            parts=tuple(model.body(part + 1).name for part in range(parts)),
            root_x=slides["x"],
            root_z=slides["z"],
            turn=turn,
            ground=float(model.body_pos[1][2] + anchor[0, 1]),
            heights=_project(arms)[1],
            centre_x=_project(whole[None])[0][:, 0],
            offsets=np.concatenate((x, z), axis=1),
            mass=mass,
            inertia=_about_y(model),
        )

    def motion(self, qpos: np.ndarray, qvel: np.ndarray) -> "Motion":
        """Look at states qpos (..., Q) [m, rad] and qvel (..., Q) [m/s, rad/s]."""
        return Motion(self, qpos, qvel)


class Motion:
    """What can be told about given states. Nothing is computed before it is asked for."""

    def __init__(self, planar: Planar, qpos: np.ndarray, qvel: np.ndarray):
        self.planar, self.qpos, self.qvel = planar, qpos, qvel

    @cached_property
    def u(self) -> np.ndarray:
        """(..., 2B) cosines and sines of the parts' world angles."""
        parts = len(self.planar.parts)
        angle = self.qpos @ self.planar.turn
        u = np.empty((*angle.shape[:-1], 2 * parts))
        np.cos(angle, out=u[..., :parts])
        np.sin(angle, out=u[..., parts:])
        return u

    @cached_property
    def spins(self) -> np.ndarray:
        """(..., B) angular velocity of each part [rad/s]."""
        return self.qvel @ self.planar.turn

    @cached_property
    def du(self) -> np.ndarray:
        """(..., 2B) rate of change of u [1/s]."""
        parts = len(self.planar.parts)
        du = np.empty_like(self.u)
        np.multiply(self.u[..., parts:], -self.spins, out=du[..., :parts])
        np.multiply(self.u[..., :parts], self.spins, out=du[..., parts:])
        return du

    def last(self) -> "Motion":
        """The last of (..., T) states, without computing anything twice."""
        last = Motion(self.planar, self.qpos[..., -1, :], self.qvel[..., -1, :])
        if "u" in self.__dict__:
            last.u = self.u[..., -1, :]
        return last

    def height(self, *parts: str) -> np.ndarray:
        """(...) height of a part's origin over the floor, or the mean of several parts' [m]."""
        columns = [self.planar.parts.index(part) for part in parts]
        height = self.qpos[..., self.planar.root_z] + self.planar.ground
        if columns == [0] and not self.planar.heights[:, 0].any():
            return height  # the root part's origin is where it turns
        return height + self.u @ self.planar.heights[:, columns].mean(1)

    def upright(self, part: str) -> np.ndarray:
        """(...) cosine of the angle between a part's z axis and the world's."""
        return self.u[..., self.planar.parts.index(part)]

    def speed(self) -> np.ndarray:
        """(...) velocity of the centre of mass along x [m/s]."""
        return self.qvel[..., self.planar.root_x] + self.du @ self.planar.centre_x

    def angular_momentum(self) -> np.ndarray:
        """(...) of the whole body about its centre of mass, around y [kg m^2/s]."""
        parts = len(self.planar.parts)
        arm = self.u @ self.planar.offsets  # (..., 2B) x, then z
        pace = self.du @ self.planar.offsets
        orbit = arm[..., parts:] * pace[..., :parts] - arm[..., :parts] * pace[..., parts:]
        return orbit @ self.planar.mass + self.spins @ self.planar.inertia

    def orientations(self) -> np.ndarray:
        """(..., 2B) cosine and sine of each part's angle in turn, as the walker's observation."""
        parts = len(self.planar.parts)
        pairs = self.u.reshape(*self.u.shape[:-1], 2, parts).swapaxes(-1, -2)
        return pairs.reshape(self.u.shape)


SLIDE, HINGE = 2, 3  # mujoco.mjtJoint, spelt out so that mujoco is not needed here
SLIDES = {(1.0, 0.0, 0.0): "x", (0.0, 0.0, 1.0): "z"}


def _project(arms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P, B, 2) sums of turned vectors to the maps from u to their x and z, each (2B, P).

    A vector (x, z) turned about y by an angle is (x cos + z sin, z cos - x sin).
    """
    along_x, along_z = arms[..., 0].T, arms[..., 1].T
    return np.concatenate((along_x, along_z)), np.concatenate((along_z, -along_x))


def _about_y(model: "mujoco.MjModel") -> np.ndarray:
    """(B,) inertia about the world's y, which planar motion leaves alone."""
    w, x, y, z = model.body_iquat[1:].T
    # Second row of the rotation from the principal axes to the part's frame.
    row = np.stack((2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)), axis=1)
    return (row**2 * model.body_inertia[1:]).sum(1)
