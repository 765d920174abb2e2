"""Observations of every world become one vector: named parts have slots of their own.

Source: L2M's release (ml-jku/L2M): sizes are the largest over 28 tasks of dm_control's suite; 39
numbers of a Meta-World observation, which have no names, take the first 39 slots.
"""

from itertools import accumulate

from lib.core.errors import UserError, unknown
from lib.core.spaces import ObsSpace

SIZES = {
    # Parts of dm_control's observations, in the order of their slots, to how many numbers fit.
    "orientations": 14,
    "velocity": 27,
    "position": 8,
    "touch": 5,
    "target_position": 2,
    "dist_to_target": 1,
    "joint_angles": 21,
    "upright": 1,
    "target": 3,
    "head_height": 1,
    "extremities": 12,
    "torso_vertical": 3,
    "com_velocity": 3,
    "arm_pos": 16,
    "arm_vel": 8,
    "hand_pos": 4,
    "object_pos": 4,
    "object_vel": 3,
    "target_pos": 4,
    "orientation": 2,
    "to_target": 2,
    "joints": 14,
    "body_velocities": 45,
    "height": 1,
}
OFFSETS = dict(zip(SIZES, accumulate(SIZES.values(), initial=0), strict=False))
ALL = sum(SIZES.values())  # 204


def layout(space: ObsSpace, slots: int, task: str) -> tuple[int, ...]:
    """Returns the slot of every number of an observation, in order.

    Args:
        space: what a task shows; one with `parts` is scattered by their names, any other takes the
            first slots.
        slots: how many the model has.
        task: its name, for messages.

    Raises:
        UserError: no vector, an unknown part, or more numbers than the model has slots for.
    """
    if space.kind != "vector":
        raise UserError(
            f"task '{task}' shows {space.kind}; a decision transformer here reads vectors: name a "
            "task with an observation of numbers"
        )
    found: list[int] = []
    for name, size in space.parts:
        if name not in SIZES:
            raise unknown(f"part of the observation of task '{task}'", name, SIZES)
        if size > SIZES[name]:
            raise UserError(
                f"task '{task}' shows {size} numbers of '{name}', and there are slots for "
                f"{SIZES[name]}; name a task that shows fewer"
            )
        found += range(OFFSETS[name], OFFSETS[name] + size)
    found = found or list(range(space.shape[0]))
    if max(found) >= slots:
        raise UserError(
            f"task '{task}' shows {len(found)} numbers and needs {max(found) + 1} slots, but the "
            f"model has {slots}; raise model.slots"
        )
    return tuple(found)
