"""Shows evaluation episodes in a window while a run goes on, where there is a screen.

Episodes are played as a batch and as fast as they can be; the window shows the first one
afterwards, from its poses. So nothing that is learnt depends on it.
"""

import os
import sys
from collections.abc import Sequence

import numpy as np

from lib.core.errors import UserError, unknown
from lib.envs.api import Domain
from lib.replay.buffer import Episodes
from lib.runner.film import Scenes, first_episode

RENDER = ("", "human")  # values of the parameter; "" for no window
PER_SECOND = 8  # decisions shown; Minigrid's own window shows 10
SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")  # one of these names a screen on Linux


def check_screen(render: str) -> None:
    """Raises UserError for an unknown value, or where a window is asked for and there is no screen.

    Windows and macOS have one; on Linux the environment tells.
    """
    if render not in RENDER:
        raise unknown("render", render, RENDER[1:], "or nothing, for no window")
    if render and sys.platform == "linux" and not any(os.environ.get(name) for name in SCREENS):
        raise UserError(
            "render 'human' opens a window, and this machine has no screen (DISPLAY and "
            "WAYLAND_DISPLAY are empty); leave it out and take '-p video=every', or put "
            "'xvfb-run' before the command"
        )


class Window:
    """Shows episodes; closed by its button or Escape, once and for the rest of the run.

    Args:
        render: "human", or "" for no window.
        scenes: draws the poses.
    """

    def __init__(self, render: str, scenes: Scenes):
        self.wanted, self.scenes, self.size = render == "human", scenes, (0, 0)

    def show(
        self, domain: Domain, task: int, poses: Sequence[np.ndarray], episodes: Episodes
    ) -> None:
        """Shows the first episode, as fast as PER_SECOND says.

        A world that cannot be drawn, or a screen that cannot be opened, is told once; the run goes
        on without.

        Args:
            poses: T+1 of it.
        """
        if not self.wanted:
            return
        from lib.plotting import video

        poses, reward = first_episode(poses, episodes)
        captions = video.captions(domain.tasks[task].name, reward, domain.action_repeat)
        try:
            scene = self.scenes.of(domain, task)
            for pose, caption in zip(poses, captions, strict=True):
                self._draw(scene.frame(pose), caption)
                if not self.pump():
                    return
        except (UserError, OSError, RuntimeError) as error:
            self._end(f"no window: {error}")

    def pump(self) -> bool:
        """Answers the window system, so that the window stays alive; returns whether it is open."""
        if not self.wanted or self.size == (0, 0):
            return self.wanted
        pygame = _pygame()
        for event in pygame.event.get():
            escaped = event.type == pygame.KEYDOWN and event.key == pygame.K_ESCAPE
            if event.type == pygame.QUIT or escaped:
                self._end("window closed: the run goes on without it")
        return self.wanted

    def close(self) -> None:
        """Gives the screen back."""
        if self.size != (0, 0):
            _pygame().display.quit()
            self.size = (0, 0)

    def _draw(self, frame: np.ndarray, caption: str) -> None:
        pygame = _pygame()
        size = frame.shape[1], frame.shape[0]
        if self.size != size:
            pygame.display.init()
            pygame.display.set_mode(size)
            self.size = size
            self.clock = pygame.time.Clock()
        picture = pygame.surfarray.make_surface(np.ascontiguousarray(frame.swapaxes(0, 1)))
        pygame.display.get_surface().blit(picture, (0, 0))
        pygame.display.set_caption(caption)
        pygame.display.flip()
        self.clock.tick(PER_SECOND)

    def _end(self, told: str) -> None:
        self.close()
        self.wanted = False
        print(told, file=sys.stderr)


def _pygame():
    """Imports pygame without its greeting; only runs with a window need it."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    import pygame

    return pygame
