"""A sequence of control tasks on one body: what the runner asks of a `Domain`."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lib.core.spaces import ActionSpace
from lib.envs.api import Intrinsic, Predict, Sample, Scene, World
from lib.envs.control import bodies, tasks
from lib.envs.control.batch import ControlBatch
from lib.envs.control.tasks import ControlTask
from lib.envs.lengths import decisions

if TYPE_CHECKING:
    from lib.core.config import EnvConfig

HELD_OUT = 4000  # transitions kept per task; 640 KB for the cheetah's 17 + 6 + 17 numbers
SMALLEST_ERROR = 1e-12  # a perfect prediction scores -log of this, 27.6
SMALLEST_VARIANCE = 1e-12  # of a body that stands perfectly still


class ControlDomain:
    """Control tasks on one body: a `Domain`.

    What is held out is (tasks, 4000, 2L + A) float32: observation, action and next observation of
    transitions that no learner was trained on; rows that are empty hold NaN.

    Args:
        env: `domain`, `action_repeat` and `episode_length` in env steps, a multiple of the former.
        tasks: of that domain, see `tasks.resolve`.
        device: of observations, rewards and what is held out.
        threads: see `ControlBatch`.

    Raises:
        UserError: an episode that would end within a decision, or what `bodies.load` says.
    """

    grid_size = None
    exact_optimum = False

    def __init__(
        self,
        env: "EnvConfig",
        tasks: tuple[ControlTask, ...],
        device: torch.device | str = "cpu",
        threads: int | None = None,
    ):
        self.tasks = tasks
        self.body = bodies.load(env.domain)
        self.action_repeat = env.action_repeat
        self.episode_length = decisions(env.episode_length, env.action_repeat)
        self.device = torch.device(device)
        self.threads = threads
        self.obs_dim = self.body.obs_dim
        self.actions = ActionSpace(self.body.model.nu, discrete=False)

    def make(self, task_index: int) -> ControlBatch:
        """The batched environment of one task."""
        return ControlBatch(
            self.tasks[task_index],
            self.action_repeat,
            self.episode_length,
            self.device,
            self.threads,
            self.body,
        )

    def optimum(self, task_index: int) -> float:
        """The most that an episode can pay, 1 per env step; no agent quite gets there."""
        return float(self.episode_length * self.action_repeat)

    def scene(self, task_index: int) -> Scene:
        """Draws the body, which looks alike in every task."""
        from lib.envs.control.scene import Scene

        return Scene(self.body.domain)

    def pose_of(self, obs: Tensor, first: np.ndarray) -> np.ndarray:
        """Poses (T + 1, Q) that look like observations (T + 1, L), one decision apart.

        The first is (Q,) as given; the root's x, which is not observed, goes on from there.
        """
        seconds = self.action_repeat * self.body.env_step_seconds
        pose = self.body.pose_of(obs.cpu().numpy(), float(first[self.body.planar.root_x]), seconds)
        pose[0] = first
        return pose

    def new_held_out(self) -> Tensor:
        """(tasks, 4000, 2L + A) float32, nothing held out yet."""
        width = 2 * self.obs_dim + self.actions.size
        return torch.full((len(self.tasks), HELD_OUT, width), torch.nan, device=self.device)

    def record(self, held_out: Tensor, task_index: int, obs: Tensor, action: Tensor) -> None:
        """Nothing: what was trained on would be no test of the model."""

    def hold_out(
        self,
        held_out: Tensor,
        task_index: int,
        obs: Tensor,
        action: Tensor,
        reward: Tensor | None = None,
        length: Tensor | None = None,
    ) -> None:
        """Keep transitions of evaluation episodes, in place of those kept before.

        Args:
            held_out: from `new_held_out`, changed in place.
            task_index: the task that was evaluated.
            obs: (E, T + 1, L) observations of E episodes, the first and the last included.
            action: (E, T, A) what was done between them.

        Of E * T transitions in order, `HELD_OUT` evenly spaced ones stay, or all if they are
        fewer. Reads nothing back from the device.
        """
        parts = (obs[:, :-1], action, obs[:, 1:])
        rows = torch.cat([part.flatten(0, 1) for part in parts], dim=-1)
        kept = min(len(rows), HELD_OUT)
        chosen = torch.arange(kept, device=rows.device) * len(rows) // max(kept, 1)
        held_out[task_index] = torch.nan
        held_out[task_index, :kept] = rows[chosen].to(held_out)

    @torch.no_grad()
    def audit(
        self,
        held_out: Tensor,
        predict: Predict,
        sample: Sample | None = None,
        intrinsic: Intrinsic | None = None,
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Ask a world model for the held-out transitions of every task that has some.

        Args:
            held_out: from `new_held_out`.
            predict: the world model.
            sample, intrinsic: not asked; dreams and rewards of states that cannot be listed
                have no truth to be compared with.

        Returns:
            For every such task `audit/met-<task>/`
            - `mse`: squared error, mean over transitions and the observation's numbers;
            - `neg_log_mse`: mean over transitions of -log of a transition's mean squared error,
              at least 1e-12 [nats];
            - `unexplained`: squared error as a share of the variance of the change in one step,
              both summed over the observation's numbers: 0 is perfect, 1 as good as always
              predicting the mean change;
            - `count`: transitions held out.
            And arrays: `error` (tasks, L) mean squared error of each number, NaN where nothing
            was held out; `held_out` (tasks, 4000, 2L + A) the transitions.
        """
        width, metrics = self.obs_dim, {}
        errors = np.full((len(self.tasks), width), np.nan, dtype=np.float32)
        for index, task in enumerate(self.tasks):
            rows = held_out[index]
            rows = rows[rows.isfinite().all(-1)]
            if not len(rows):
                continue
            obs, action, truth = rows.split((width, self.actions.size, width), dim=-1)
            squared = (predict(obs, action) - truth).double().square()  # (N, L)
            each = squared.mean(0)
            variance = (truth - obs).double().var(0, correction=0).sum()
            score = -squared.mean(-1).clamp_min(SMALLEST_ERROR).log()
            metrics |= {
                f"audit/met-{task.name}/mse": float(each.mean()),
                f"audit/met-{task.name}/neg_log_mse": float(score.mean()),
                f"audit/met-{task.name}/unexplained": float(
                    each.sum() / (variance + SMALLEST_VARIANCE)
                ),
                f"audit/met-{task.name}/count": float(len(rows)),
            }
            errors[index] = each.cpu().numpy()
        return metrics, {"error": errors, "held_out": held_out.float().cpu().numpy()}


def build(
    env: "EnvConfig", entries: Iterable[str | ControlTask], device: torch.device | str = "cpu"
) -> ControlDomain:
    """The body and the tasks that a configuration describes; raises as they do."""
    return ControlDomain(env, tasks.resolve(env.domain, entries), device)


WORLD = World(
    resolve=lambda env, entries: tasks.resolve(env.domain, entries), build=build, repeats=True
)
