"""Evaluation episodes as videos in the runs' folders, where this machine can draw."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lib.core.errors import UserError
from lib.core.storage import StorageError
from lib.envs.api import Domain, Predict, Scene
from lib.replay.buffer import Episodes
from lib.runner import open_loop

SEGMENT = 25  # decisions that the model imagines before it starts from the truth again
NOTE = f"blue: imagined by the world model, {SEGMENT} decisions at a time"


class Scenes:
    """One renderer for all runs of a process, made when a task is first drawn."""

    scene: tuple[int, Scene] | None = None

    def of(self, domain: Domain, task: int) -> Scene:
        """Returns what draws a task; the renderer of another one is given back.

        Raises:
            UserError: the world, or this machine, cannot draw.
        """
        if self.scene is None or self.scene[0] != task:
            self.close()
            self.scene = task, domain.scene(task)
        return self.scene[1]

    def close(self) -> None:
        """Gives the renderer back."""
        if self.scene:
            self.scene[1].close()
            self.scene = None


def first_episode(
    poses: Sequence[np.ndarray], episodes: Episodes
) -> tuple[Sequence[np.ndarray], np.ndarray]:
    """Returns the poses and the rewards of the first of some episodes, up to its own end.

    Args:
        poses: T+1 of it; it may have ended before others did.
    """
    reward = episodes.reward[0].cpu().numpy()
    if episodes.length is None:
        return poses, reward
    steps = int(episodes.length[0])
    return poses[: steps + 1], reward[:steps]


class Film:
    """Writes `videos/<label>.mp4`, and `<label>-imagined.mp4` with what the model expected.

    What cannot be drawn here is said once, and the runs go on.

    Args:
        when: "" never, "final" when a task ends, "every" at every evaluation.
        scenes: draws the poses.
    """

    def __init__(self, when: str, scenes: Scenes | None = None):
        self.when, self.scenes = when, scenes or Scenes()

    def wanted(self, final: bool) -> bool:
        """Whether the evaluation at hand is filmed."""
        return self.when == "every" or (self.when == "final" and final)

    def shoot(
        self,
        folder: Path,
        domain: Domain,
        task: int,
        label: str,
        poses: Sequence[np.ndarray],
        episodes: Episodes,
        predict: Predict | None,
    ) -> None:
        """Draws the first episode.

        Args:
            folder: where the videos go.
            poses: T+1 of it.
            predict: the world model, one step; None where it does not go from one observation to
                the next, and so has no film of its own.
        """
        from lib.plotting import video

        obs, action = episodes.obs[0], episodes.action[0]
        name, repeat = domain.tasks[task].name, domain.action_repeat
        poses, reward = first_episode(poses, episodes)
        try:
            scene = self.scenes.of(domain, task)
            video.write_mp4(
                folder / f"{label}.mp4",
                (scene.frame(pose) for pose in poses),
                captions=video.captions(name, reward, repeat),
            )
            if predict is None:
                return
            segments = open_loop.restarted(predict, obs, action, SEGMENT)
            ghosts = [
                ghost
                for start, segment in enumerate(segments)
                for ghost in domain.pose_of(segment, poses[start * SEGMENT])[1:]
            ]
            video.write_mp4(
                folder / f"{label}-imagined.mp4",
                open_loop.imagined_versus_real(scene, poses, [poses[0], *ghosts]),
                captions=video.captions(name, reward, repeat, NOTE),
            )
        except StorageError:
            raise
        except UserError as error:  # a world or a machine that cannot be drawn
            self.when = ""
            print(f"no videos: {error}", file=sys.stderr)

    def close(self) -> None:
        """Gives the renderer back."""
        self.scenes.close()
