"""Controllers of some of the suite's tasks that know the body: data without training.

They earn 0.8 to 1 of what an episode of 1,000 steps can pay (tests say of each how much). Gains are
ours, found by hand. The other tasks need agents that were trained.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

LINK = 0.12  # length of each link of the reacher [m]
GRAVITY = 58.9  # twice the pendulum's gravity over its length: energy is ω² over it, plus cos θ
POLE = 29.4  # the same of the cart's pole, which is 1 m long and hangs by its end
NEAR = 0.4  # so close to upright a pendulum is held there [rad] ...
SLOW = 6.0  # ... if it turns no faster [rad/s]


def _wrapped(angle: float) -> float:
    """Returns an angle from -π to π."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def point_mass_easy(physics: Any) -> np.ndarray:
    """Drives the point to the middle and brakes."""
    return -10 * physics.data.qpos[:2] - 2 * physics.data.qvel[:2]


def pendulum_swingup(physics: Any) -> np.ndarray:
    """Pumps energy until the pendulum has that of standing upright, and holds it there."""
    angle, speed = _wrapped(physics.data.qpos[0]), physics.data.qvel[0]
    if abs(angle) < NEAR and abs(speed) < SLOW:
        return np.array([-20 * angle - 4 * speed])
    energy = speed**2 / GRAVITY + np.cos(angle)
    return np.array([5 * (1 - energy) * (np.sign(speed) or 1.0)])


def reacher(physics: Any) -> np.ndarray:
    """Pulls the finger to the target through the transposed Jacobian, and brakes the joints."""
    first, second = physics.data.qpos[0], physics.data.qpos[:2].sum()
    near = LINK * np.array([-np.sin(first), np.cos(first)])
    far = LINK * np.array([-np.sin(second), np.cos(second)])
    jacobian = np.stack((near + far, far), 1)  # (2 coordinates, 2 joints)
    return 60 * jacobian.T @ physics.finger_to_target() - 0.15 * physics.data.qvel[:2]


def cartpole_balance(physics: Any) -> np.ndarray:
    """Feeds back the state of cart and pole linearly."""
    (place, angle), (velocity, turning) = physics.data.qpos, physics.data.qvel
    return np.array([0.6 * place + 0.9 * velocity + 9 * _wrapped(angle) + 2 * turning])


def cartpole_swingup(physics: Any) -> np.ndarray:
    """Pumps energy with the cart, which stays near the middle, and balances above."""
    (place, angle), (velocity, turning) = physics.data.qpos, physics.data.qvel
    if np.cos(angle) > 0.9 and abs(turning) < 5:
        return cartpole_balance(physics)
    energy = turning**2 / POLE + np.cos(angle) - 1  # 0 where the pole stands upright
    return np.array([energy * turning * np.cos(angle) - 0.4 * place - 0.4 * velocity])


CONTROLLERS: dict[str, Callable[[Any], np.ndarray]] = {
    # Tasks by the names of `lib.envs.pixels.tasks`, to what returns an action from the physics.
    "point_mass_easy": point_mass_easy,
    "pendulum_swingup": pendulum_swingup,
    "reacher_easy": reacher,
    "reacher_hard": reacher,
    "cartpole_balance": cartpole_balance,
    "cartpole_swingup": cartpole_swingup,
}
