"""What each task pays per env step, from 0 to 1, as functions of the body's motion.

Every reward takes a `Motion` over states of any leading shape (...) and returns (...) float64; the
same functions pay dm_control's environments, whose physics answers the same questions.
Heights are of body-frame origins [m], speeds of the centre of mass [m/s]. Stock tasks are
dm_control's; the others are those that TD-MPC2 and DRAGO train on.
"""

from collections.abc import Callable

import numpy as np

from lib.envs.control.planar import Motion

Reward = Callable[[Motion], np.ndarray]

INF = float("inf")


def tolerance(
    x: np.ndarray,
    bounds: tuple[float, float] = (0.0, 0.0),
    margin: float = 0.0,
    sigmoid: str = "gaussian",
    value_at_margin: float = 0.1,
) -> np.ndarray:
    """1 within bounds, falling off with the distance outside them.

    Args:
        x: any shape.
        bounds: lowest and highest x that earn 1; may be infinite.
        margin: distance at which the value is `value_at_margin`; 0 for a sharp edge.
        sigmoid: "gaussian", v^((d/m)^2), or "linear", max(0, 1 - (1 - v) d/m).
        value_at_margin: v.

    Returns:
        x's shape, float64, from 0 to 1.

    Raises:
        ValueError: bounds in the wrong order, a negative margin, another sigmoid, or a value
            outside (0, 1), where a linear slope may end at 0.

    Source: dm_control's `rewards.tolerance`, of which these are the two shapes in use.
    """
    low, high = bounds
    if low > high or margin < 0:
        raise ValueError(f"bounds {bounds} or margin {margin} are no tolerance")
    if margin == 0:
        return ((low <= x) & (x <= high)).astype(np.float64)
    distance = np.maximum(np.maximum(low - x, x - high), 0.0)
    if sigmoid == "linear" and 0 <= value_at_margin < 1:
        return np.maximum(1.0 - distance * ((1 - value_at_margin) / margin), 0.0)
    if sigmoid == "gaussian" and 0 < value_at_margin < 1:
        return np.exp(distance**2 * (np.log(value_at_margin) / margin**2))
    raise ValueError(f"sigmoid {sigmoid!r} with value {value_at_margin} at the margin: not known")


def above(x: np.ndarray, bound: float, margin: float) -> np.ndarray:
    """1 from a bound upwards, a Gaussian slope below it."""
    return tolerance(x, (bound, INF), margin)


def below(x: np.ndarray, bound: float, margin: float) -> np.ndarray:
    """1 up to a bound, a Gaussian slope above it."""
    return tolerance(x, (-INF, bound), margin)


def beyond(x: np.ndarray, target: float, margin: float, value: float = 0.0) -> np.ndarray:
    """1 from a target on, in the direction of its sign; a linear slope before it."""
    bounds = (target, INF) if target > 0 else (-INF, target)
    return tolerance(x, bounds, margin, "linear", value)


# Cheetah -----------------------------------------------------------------------------------------

FEET = ("bfoot", "ffoot")
LIE_HEIGHT = 0.25


def cheetah_run(motion: Motion, speed: float) -> np.ndarray:
    """Run at a speed, backwards if it is negative."""
    return beyond(motion.speed(), speed, abs(speed))


def cheetah_stand(motion: Motion, foot: str) -> np.ndarray:
    """Keep torso and one foot high, and stand still; named after the foot on the floor."""
    raised = above(motion.height("torso", foot), 1.2, 0.6)
    still = tolerance(motion.speed(), (-0.5, 0.5), 0.5, "linear", 0.0)
    return (5 * raised + still) / 6


def cheetah_jump(motion: Motion) -> np.ndarray:
    """Mean of standing on the front and on the back foot: both must be off the floor."""
    return (cheetah_stand(motion, "bfoot") + cheetah_stand(motion, "ffoot")) / 2


def cheetah_jump_and_run(motion: Motion, speed: float) -> np.ndarray:
    """Three quarters of the jump's height and of the running speed, half each."""
    raised = sum(above(motion.height("torso", foot), 0.9, 0.45) for foot in FEET) / 2
    return (raised + beyond(motion.speed(), speed, abs(speed))) / 2


def _upended(motion: Motion, foot: str) -> np.ndarray:
    """One foot high and, less important, the torso too."""
    return (
        3 * above(motion.height(foot), 1.2, 0.6) + 2 * above(motion.height("torso"), 1.2, 0.6)
    ) / 5


def cheetah_run_upended(motion: Motion, foot: str) -> np.ndarray:
    """Run on one foot with the other in the air."""
    return _upended(motion, foot) * (5 * beyond(motion.speed(), 6.0, 6.0) + 1) / 6


def _low(height: np.ndarray) -> np.ndarray:
    return tolerance(height, (-INF, LIE_HEIGHT), LIE_HEIGHT, "linear", 0.0)


def cheetah_lie_down(motion: Motion) -> np.ndarray:
    """Torso on the floor, feet too."""
    return (3 * _low(motion.height("torso")) + _low(motion.height(*FEET))) / 4


def cheetah_legs_up(motion: Motion) -> np.ndarray:
    """Torso on the floor and the back foot in the air."""
    down = below(motion.height("torso"), LIE_HEIGHT, LIE_HEIGHT / 2)
    return (5 * down + _upended(motion, "bfoot")) / 6


def cheetah_flip(motion: Motion, speed: float) -> np.ndarray:
    """Turn head over heels while running; backwards if the speed is negative."""
    spin = beyond(motion.angular_momentum(), 8.0 if speed > 0 else -8.0, 8.0)
    return (2 * spin + beyond(motion.speed(), speed, abs(speed))) / 3


# Walker ------------------------------------------------------------------------------------------
# "Thigh" and "feet" below are means over left and right, as in the published yoga tasks; only the
# arabesque tells one foot from the other.

THIGHS = ("left_thigh", "right_thigh")
SOLES = ("left_foot", "right_foot")
YOGA_LOW, YOGA_HIGH, YOGA_FEET = 0.08, 1.0, 1.1


def walker_stand(motion: Motion) -> np.ndarray:
    """Torso high and upright."""
    tall = above(motion.height("torso"), 1.2, 0.6)
    return (3 * tall + (1 + motion.upright("torso")) / 2) / 4


def walker_move(motion: Motion, speed: float) -> np.ndarray:
    """Stand while moving at a speed, backwards if it is negative."""
    return walker_stand(motion) * (5 * beyond(motion.speed(), speed, abs(speed) / 2, 0.5) + 1) / 6


def _head_down(motion: Motion) -> np.ndarray:
    return (1 - motion.upright("torso")) / 2


def _yoga_low(height: np.ndarray) -> np.ndarray:
    return below(height, YOGA_LOW, YOGA_LOW / 2)


def walker_arabesque(motion: Motion) -> np.ndarray:
    """Stand on the left foot, the right one high, the head down."""
    tall = above(motion.height("torso"), YOGA_HIGH, YOGA_HIGH / 2)
    left_down = below(motion.height("left_foot"), YOGA_LOW, YOGA_HIGH / 2)
    right_up = above(motion.height("right_foot"), YOGA_HIGH, YOGA_HIGH / 2)
    return (3 * tall + left_down + right_up + _head_down(motion)) / 6


def walker_lie_down(motion: Motion) -> np.ndarray:
    """Torso and thighs on the floor. Feet do not count."""
    torso, thigh = _yoga_low(motion.height("torso")), _yoga_low(motion.height(*THIGHS))
    return (3 * torso + thigh + _head_down(motion)) / 5


def walker_legs_up(motion: Motion) -> np.ndarray:
    """Torso and thighs on the floor, feet in the air."""
    torso, thigh = _yoga_low(motion.height("torso")), _yoga_low(motion.height(*THIGHS))
    feet = above(motion.height(*SOLES), YOGA_FEET, YOGA_FEET / 2)
    return (3 * torso + 2 * feet + thigh + _head_down(motion)) / 7


def walker_headstand(motion: Motion) -> np.ndarray:
    """Feet and thighs in the air."""
    feet = above(motion.height(*SOLES), YOGA_FEET, YOGA_FEET / 2)
    thigh = above(motion.height(*THIGHS), YOGA_HIGH, YOGA_HIGH / 2)
    return (3 * feet + 2 * thigh) / 5


def walker_flip(motion: Motion, speed: float) -> np.ndarray:
    """Feet in the air while moving at a speed; a backflip if it is negative."""
    move = beyond(motion.speed(), speed, abs(speed) / 2, 0.5)
    return walker_headstand(motion) * (5 * move + 1) / 6
