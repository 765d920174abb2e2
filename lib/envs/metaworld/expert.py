"""The benchmark's scripted experts, which hold still once they have succeeded.

Many of them leave what they have done: at the last of 200 steps two thirds are successes, and of
experts that hold still nine tenths. Source: measured over all fifty tasks, four episodes each.
"""

import importlib
import warnings

import numpy as np

from lib.core.errors import UserError
from lib.envs.metaworld.simulation import PACKAGE, check_installed
from lib.envs.metaworld.tasks import ACTIONS, VERSION

GRIPPER = 3  # number of an action that opens and closes it; the others move it


class Expert:
    """Acts n copies of one task.

    Args:
        task: one of `tasks.NAMES`.
        holds: whether to hold still after the first success.

    Raises:
        UserError: Meta-World is missing or another version.
    """

    def __init__(self, task: str, holds: bool = True):
        check_installed()
        known = importlib.import_module(f"{PACKAGE}.policies").ENV_POLICY_MAP
        if task + VERSION not in known:
            raise UserError(f"Meta-World has no scripted expert of '{task}'; name another task")
        self._policy, self.holds = known[task + VERSION](), holds

    def act(self, obs: np.ndarray, last: np.ndarray, solved: np.ndarray) -> np.ndarray:
        """Returns what to do next, (n, 4) in [-1, 1].

        Args:
            obs: (n, 39). last: (n, 4) what was done last, 0 at a start.
            solved: (n,) bool, whether there was a success; those copies stand still, their grippers
                as they are.
        """
        action = np.zeros((len(obs), ACTIONS), np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that its actions are cut, which is meant
            for copy, seen in enumerate(obs.astype(np.float64)):
                if self.holds and solved[copy]:
                    action[copy, GRIPPER] = last[copy, GRIPPER]
                else:
                    action[copy] = np.clip(self._policy.get_action(seen), -1, 1)
        return action
