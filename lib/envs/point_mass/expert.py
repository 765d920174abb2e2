"""A controller that knows how a task's push is turned, for making files of experience."""

import math

import torch
from torch import Tensor

from lib.envs.point_mass.tasks import PointTask

REACH, BRAKE = 1.0, 0.6  # push for the way that is left, and against velocity, as both are shown


def act(task: PointTask, obs: Tensor) -> Tensor:
    """Returns the actions (n, A) that bring points (n, 8) to rest at their goals.

    A push is proportional to what is left and is braked by the velocity; it is turned back by as
    much as the task turns it, and each of its numbers is clipped to [-1, 1].
    """
    push = (REACH * obs[:, 6:8] - BRAKE * obs[:, 2:4]).clamp(-1, 1)
    angle = math.radians(task.turn)
    turn = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]],
        device=obs.device,
    )
    return (push @ turn)[:, : task.axes].clamp(-1, 1)
