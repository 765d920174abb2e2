"""The same tasks a second time, as dm_control writes them: one copy, named parts, scalars.

They are what the batched tasks are checked against, and what the speed is measured against, so
they share the model with them and nothing else: heights, velocities and angular momentum are
read from the simulator, and the rewards are written out again on dm_control's own `tolerance`.

Importing this module imports dm_control, which picks an OpenGL at once; `suite.load` prepares for
that.
"""

from collections import OrderedDict

import numpy as np
from dm_control import mujoco
from dm_control.mujoco import wrapper
from dm_control.rl import control
from dm_control.suite import base
from dm_control.suite.utils import randomizers
from dm_control.utils.rewards import tolerance

from lib.envs.control import bodies

INF = float("inf")


class Physics(mujoco.Physics):
    """What rewards and observations ask of the simulator."""

    def height(self, part: str) -> float:
        """[m]"""
        return float(self.named.data.xpos[part, "z"])

    def pair_height(self, first: str, second: str) -> float:
        """Mean height of two parts [m]."""
        return 0.5 * (self.height(first) + self.height(second))

    def speed(self) -> float:
        """Of the centre of mass along x [m/s]."""
        return float(self.named.data.sensordata["torso_subtreelinvel"][0])

    def spin(self) -> float:
        """Angular momentum about the centre of mass, around y [kg m^2/s]."""
        return float(self.named.data.subtree_angmom["torso", "y"])

    def upright(self) -> float:
        """Cosine of the torso's angle to the vertical."""
        return float(self.named.data.xmat["torso", "zz"])


class Cheetah(base.Task):
    """Stock start and observation; the reward of one task."""

    def __init__(self, name: str, seed: int | np.random.RandomState | None = None):
        super().__init__(random=seed)
        self.name = name

    def initialize_episode(self, physics: Physics) -> None:
        """Limited joints uniform, then 200 steps to settle."""
        limited = physics.model.jnt_limited == 1
        low, high = physics.model.jnt_range[limited].T
        physics.data.qpos[limited] = self.random.uniform(low, high)
        physics.step(nstep=200)
        physics.data.time = 0
        super().initialize_episode(physics)

    def get_observation(self, physics: Physics) -> OrderedDict:
        """Position without the root's x (8), velocity (9)."""
        return OrderedDict(position=physics.data.qpos[1:].copy(), velocity=physics.data.qvel.copy())

    def get_reward(self, physics: Physics) -> float:
        """From 0 to 1."""
        speed = physics.speed()
        match self.name:
            case "run":
                return _at_least(speed, 10, margin=10)
            case "run-backwards":
                return _at_least(-speed, 8, margin=8)
            case "stand-front":
                return self._stand(physics, "bfoot")
            case "stand-back":
                return self._stand(physics, "ffoot")
            case "jump":
                return 0.5 * (self._stand(physics, "bfoot") + self._stand(physics, "ffoot"))
            case "jump-and-run":
                return 0.5 * (self._leap(physics) + _at_least(speed, 7.5, margin=7.5))
            case "jump-and-run-backwards":
                return 0.5 * (self._leap(physics) + _at_least(-speed, 7.5, margin=7.5))
            case "run-front":
                return self._on_foot(physics, "bfoot") * (5 * _at_least(speed, 6, margin=6) + 1) / 6
            case "run-back":
                return self._on_foot(physics, "ffoot") * (5 * _at_least(speed, 6, margin=6) + 1) / 6
            case "lie-down":
                torso = _at_least(-physics.height("torso"), -0.25, margin=0.25)
                feet = _at_least(-physics.pair_height("bfoot", "ffoot"), -0.25, margin=0.25)
                return (3 * torso + feet) / 4
            case "legs-up":
                torso = tolerance(physics.height("torso"), (-INF, 0.25), margin=0.125)
                return (5 * torso + self._on_foot(physics, "bfoot")) / 6
            case "flip":
                spin = _at_least(physics.spin(), 8, margin=8)
                return (2 * spin + _at_least(speed, 10, margin=10)) / 3
            case "flip-backwards":
                spin = _at_least(-physics.spin(), 8, margin=8)
                return (2 * spin + _at_least(-speed, 8, margin=8)) / 3
        raise ValueError(f"no reward is written for cheetah task {self.name!r}")

    def _stand(self, physics: Physics, foot: str) -> float:
        raised = tolerance(physics.pair_height("torso", foot), (1.2, INF), margin=0.6)
        still = tolerance(physics.speed(), (-0.5, 0.5), 0.5, "linear", value_at_margin=0)
        return (5 * raised + still) / 6

    def _leap(self, physics: Physics) -> float:
        back = tolerance(physics.pair_height("torso", "bfoot"), (0.9, INF), margin=0.45)
        front = tolerance(physics.pair_height("torso", "ffoot"), (0.9, INF), margin=0.45)
        return (back + front) / 2

    def _on_foot(self, physics: Physics, foot: str) -> float:
        raised = tolerance(physics.height(foot), (1.2, INF), margin=0.6)
        torso = tolerance(physics.height("torso"), (1.2, INF), margin=0.6)
        return (3 * raised + 2 * torso) / 5


class Walker(base.Task):
    """Stock start and observation; the reward of one task."""

    def __init__(self, name: str, seed: int | np.random.RandomState | None = None):
        super().__init__(random=seed)
        self.name = name

    def initialize_episode(self, physics: Physics) -> None:
        """Every joint but the slides uniform."""
        randomizers.randomize_limited_and_rotational_joints(physics, self.random)
        super().initialize_episode(physics)

    def get_observation(self, physics: Physics) -> OrderedDict:
        """Cosine and sine of every part (14), torso height (1), velocity (9)."""
        return OrderedDict(
            orientations=physics.named.data.xmat[1:, ["xx", "xz"]].ravel(),
            height=physics.named.data.xpos["torso", "z"],
            velocity=physics.data.qvel.copy(),
        )

    def get_reward(self, physics: Physics) -> float:
        """From 0 to 1."""
        speed = physics.speed()
        match self.name:
            case "stand":
                return self._stand(physics)
            case "walk":
                return self._stand(physics) * self._moving(speed, 1)
            case "run":
                return self._stand(physics) * self._moving(speed, 8)
            case "walk-backwards":
                return self._stand(physics) * self._moving(-speed, 1)
            case "run-backwards":
                return self._stand(physics) * self._moving(-speed, 8)
            case "arabesque":
                torso = tolerance(physics.height("torso"), (1, INF), margin=0.5)
                left = tolerance(physics.height("left_foot"), (-INF, 0.08), margin=0.5)
                right = tolerance(physics.height("right_foot"), (1, INF), margin=0.5)
                return (3 * torso + left + right + self._overturned(physics)) / 6
            case "lie-down":
                torso, thighs = self._floored(physics)
                return (3 * torso + thighs + self._overturned(physics)) / 5
            case "legs-up":
                torso, thighs = self._floored(physics)
                feet = tolerance(
                    physics.pair_height("left_foot", "right_foot"), (1.1, INF), margin=0.55
                )
                return (3 * torso + 2 * feet + thighs + self._overturned(physics)) / 7
            case "headstand":
                return self._headstand(physics)
            case "flip":
                return self._headstand(physics) * self._moving(speed, 6)
            case "backflip":
                return self._headstand(physics) * self._moving(-speed, 6)
        raise ValueError(f"no reward is written for walker task {self.name!r}")

    def _stand(self, physics: Physics) -> float:
        tall = tolerance(physics.height("torso"), (1.2, INF), margin=0.6)
        return (3 * tall + (1 + physics.upright()) / 2) / 4

    def _moving(self, speed: float, target: float) -> float:
        move = tolerance(speed, (target, INF), target / 2, "linear", value_at_margin=0.5)
        return (5 * move + 1) / 6

    def _overturned(self, physics: Physics) -> float:
        return (1 - physics.upright()) / 2

    def _floored(self, physics: Physics) -> tuple[float, float]:
        thigh = physics.pair_height("left_thigh", "right_thigh")
        torso = tolerance(physics.height("torso"), (-INF, 0.08), margin=0.04)
        return torso, tolerance(thigh, (-INF, 0.08), margin=0.04)

    def _headstand(self, physics: Physics) -> float:
        feet = physics.pair_height("left_foot", "right_foot")
        thigh = physics.pair_height("left_thigh", "right_thigh")
        return (
            3 * tolerance(feet, (1.1, INF), margin=0.55)
            + 2 * tolerance(thigh, (1, INF), margin=0.5)
        ) / 5


def _at_least(x: float, bound: float, margin: float) -> float:
    """1 from the bound on, falling in a straight line to 0 at the margin below it."""
    return tolerance(x, (bound, INF), margin, "linear", value_at_margin=0)


def environment(
    domain: str, short: str, seed: int | None, time_limit: float
) -> control.Environment:
    """One task as a dm_env environment; see `suite.load`."""
    body = bodies.load(domain)
    physics = Physics.from_model(wrapper.MjModel(body.model))
    task = {"cheetah": Cheetah, "walker": Walker}[domain](short, seed)
    return control.Environment(physics, task, time_limit, n_sub_steps=body.substeps)
