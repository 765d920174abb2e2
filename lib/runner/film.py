"""Evaluation episodes as videos in a run's folder, where this machine can draw."""

import sys
from pathlib import Path

import numpy as np

from lib.envs.api import Domain, Scene
from lib.errors import UserError


class Film:
    """Writes `videos/<label>.mp4`. What cannot be drawn here is said once, and the run goes on.

    Args:
        folder: where the videos go.
        when: "" never, "final" when a task ends, "every" at every evaluation.
    """

    def __init__(self, folder: Path, when: str):
        self.folder, self.when = folder, when
        self.scene: tuple[int, Scene] | None = None

    def wanted(self, final: bool) -> bool:
        """Whether the evaluation at hand is filmed."""
        return self.when == "every" or (self.when == "final" and final)

    def shoot(
        self, domain: Domain, task: int, label: str, poses: list[np.ndarray], reward: np.ndarray
    ) -> None:
        """Draws one episode.

        Args:
            poses: T+1 of them.
            reward: (T,) for the return so far.
        """
        from lib import video

        try:
            scene = self._scene(domain, task)
            captions = video.captions(domain.tasks[task].name, reward, domain.action_repeat)
            frames = (scene.frame(pose) for pose in poses)
            video.write_mp4(self.folder / f"{label}.mp4", frames, captions=captions)
        except UserError as error:
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
