"""Draws the suite's tasks, one OpenGL context for any number of copies of a task."""

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from lib.core.errors import UserError
from lib.envs import gl

if TYPE_CHECKING:
    import mujoco

GEOMS = 2000  # most things in a picture; the suite's humanoids have about 100


class Renderer:
    """Pictures of one model, whichever of its copies is drawn.

    "full" is what dm_control draws, byte by byte. "fast" leaves out shadows, reflections and
    multisampling: several times as many frames per second from a CPU, on which a pixel differs by
    a few levels on average, more where a body stands on bright ground.

    dm_control remembers which OpenGL context it used last and does not notice this one, so do not
    call its `physics.render` in the same process as well.

    Args:
        model: decides sizes, meshes and textures; its offscreen buffer is made to fit.
        size: height and width [pixels].
        camera: number of the model's camera.
        quality: "full" or "fast".
        name: of the OpenGL, see `gl.open_renderer`.

    Raises:
        UserError: nothing can draw here, or the model has no such camera.
    """

    def __init__(
        self, model: "mujoco.MjModel", size: int, camera: int, quality: str, name: str = ""
    ):
        self._context = None
        import mujoco

        if not 0 <= camera < model.ncam:
            raise UserError(
                f"env.camera {camera}: this body has cameras 0 to {model.ncam - 1}; "
                "use one of these, or -1 for the papers'"
            )
        model.vis.global_.offwidth = model.vis.global_.offheight = size
        if quality == "fast":
            model.vis.quality.offsamples = 0
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = camera
        self._options, self._untouched = mujoco.MjvOption(), mujoco.MjvPerturb()
        self._options.flags[mujoco.mjtVisFlag.mjVIS_RANGEFINDER] = 0  # as dm_control
        self._geoms = mujoco.MjvScene(model, GEOMS)
        if quality == "fast":
            for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
                self._geoms.flags[flag] = 0
        self._area = mujoco.MjrRect(0, 0, size, size)
        self._pixels = np.empty((size, size, 3), np.uint8)
        self._context, self._renderer = gl.open_renderer(model, size, size, name)
        gl.close_at_exit(self)

    def draw(self, model: "mujoco.MjModel", data: "mujoco.MjData") -> np.ndarray:
        """Returns a picture of one copy, a new array (size, size, 3) uint8."""
        import mujoco

        self._context.make_current()
        for terrain in range(model.nhfield):  # each copy has its own; the renderer keeps the last
            mujoco.mjr_uploadHField(model, self._renderer, terrain)
        every = mujoco.mjtCatBit.mjCAT_ALL.value
        look = self._options, self._untouched, self._camera, every
        mujoco.mjv_updateScene(model, data, *look, self._geoms)
        mujoco.mjr_render(self._area, self._geoms, self._renderer)
        mujoco.mjr_readPixels(self._pixels, None, self._area, self._renderer)
        return np.ascontiguousarray(self._pixels[::-1])  # OpenGL counts rows from below

    def close(self) -> None:
        """Gives the renderer back; may be repeated."""
        if self._context is not None:
            self._context.make_current()  # or another renderer's pictures would be freed
            self._renderer.free()
            self._context.free()
            self._context = None

    def __del__(self) -> None:
        with suppress(Exception):  # nobody is left to be told
            self.close()
