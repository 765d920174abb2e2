"""Evaluation episodes as videos in the runs' folders, where this machine can draw."""

import sys
from pathlib import Path

import numpy as np

from lib.core.errors import UserError
from lib.core.storage import StorageError
from lib.envs.api import Domain, Predict, Scene
from lib.replay.buffer import Episodes
from lib.runner import open_loop

SEGMENT = 25  # decisions that the model imagines before it starts from the truth again
NOTE = f"blue: imagined by the world model, {SEGMENT} decisions at a time"


class Film:
    """Writes `videos/<label>.mp4`, and `<label>-imagined.mp4` with what the model expected.

    One renderer serves all runs of a process. What cannot be drawn here is said once, and the
    runs go on.

    Args:
        when: "" never, "final" when a task ends, "every" at every evaluation.
    """

    def __init__(self, when: str):
        self.when = when
        self.scene: tuple[int, Scene] | None = None

    def wanted(self, final: bool) -> bool:
        """Whether the evaluation at hand is filmed."""
        return self.when == "every" or (self.when == "final" and final)

    def shoot(
        self,
        folder: Path,
        domain: Domain,
        task: int,
        label: str,
        poses: list[np.ndarray],
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

        obs, action, reward = episodes.obs[0], episodes.action[0], episodes.reward[0]
        name, repeat = domain.tasks[task].name, domain.action_repeat
        reward = reward.cpu().numpy()
        if episodes.length is not None:  # it may have ended before others did
            steps = int(episodes.length[0])
            poses, reward = poses[: steps + 1], reward[:steps]
        try:
            scene = self._scene(domain, task)
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

    def _scene(self, domain: Domain, task: int) -> Scene:
        if self.scene is None or self.scene[0] != task:
            self.close()
            self.scene = task, domain.scene(task)
        return self.scene[1]

    def close(self) -> None:
        """Gives the renderer back."""
        if self.scene:
            self.scene[1].close()
            self.scene = None
