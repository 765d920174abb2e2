"""The tasks as dm_control environments: one copy, stepped by dm_control.

They are what the batched tasks are checked against, and what the speed is measured against:
beginnings, observations, and what rewards ask of a motion come from the simulator, not from
`planar`.

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

from lib.envs.control import bodies
from lib.envs.control.rewards import Reward
from lib.envs.control.tasks import ControlTask


class Physics(mujoco.Physics):
    """The simulator, which tells a reward what a `Motion` does, of one copy."""

    def height(self, *parts: str) -> np.ndarray:
        """() height of a part's origin over the floor, or the mean of several parts' [m]."""
        return np.mean([self.named.data.xpos[part, "z"] for part in parts])

    def speed(self) -> np.ndarray:
        """() velocity of the centre of mass along x [m/s]."""
        return self.named.data.sensordata["torso_subtreelinvel"][0]

    def angular_momentum(self) -> np.ndarray:
        """() about the centre of mass, around y [kg m^2/s]."""
        return self.named.data.subtree_angmom["torso", "y"]

    def upright(self, part: str) -> np.ndarray:
        """() cosine of the angle between a part's z axis and the world's."""
        return self.named.data.xmat[part, "zz"]


class Task(base.Task):
    """A task with the suite's beginnings and observations, and a reward of `tasks.TASKS`."""

    def __init__(self, reward: Reward, seed: int | np.random.RandomState | None = None):
        super().__init__(random=seed)
        self.reward = reward

    def get_reward(self, physics: Physics) -> float:
        """From 0 to 1."""
        return float(self.reward(physics))


class Cheetah(Task):
    """The suite's cheetah."""

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


class Walker(Task):
    """The suite's walker."""

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


BODIES = {"cheetah": Cheetah, "walker": Walker}


def environment(task: ControlTask, seed: int | None, time_limit: float) -> control.Environment:
    """One task as a dm_env environment; see `suite.load`."""
    body = bodies.load(task.domain)
    physics = Physics.from_model(wrapper.MjModel(body.model))
    made = BODIES[task.domain](task.reward, seed)
    return control.Environment(physics, made, time_limit, n_sub_steps=body.substeps)
