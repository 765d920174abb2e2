"""Pictures of the planar bodies, and of an imagined body beside the real one.

The view is the suite's `side` camera, which follows the body. Colours are paler than the suite's
and its stars are gone, so that two bodies are told apart, figures print well and videos are small.
"""

import copy
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from lib.core.errors import UserError
from lib.envs import gl
from lib.envs.control import bodies

if TYPE_CHECKING:
    import mujoco

CAMERA = "side"
GHOST = (0.0, 0.447, 0.698, 0.5)  # lib.plotting.charts.BLUE, translucent
SLIM = 0.97  # of the real body's thickness: a ghost in the very same pose hides inside it
SKY, TILES = (226, 234, 241), ((176, 186, 196), (196, 205, 213))  # 8-bit colours
FLOOR = 10.0  # [m] half its width
GEOMS = 200  # room for two bodies of about ten


class Scene:
    """Draws a cheetah or a walker from its joint positions.

    Where we differ from the suite's pictures: no shadows, reflections or smoothed edges, without
    which a picture takes a seventh of the time; a plain sky; a floor without end, as running
    backwards leaves the suite's after 2 m; and DRAGO's distant ball is not shown.

    Args:
        domain: "cheetah" or "walker".
        size: height and width [pixels].

    Raises:
        UserError: an unknown domain, a size below 1, or nothing can draw on this machine.
    """

    def __init__(self, domain: str, size: tuple[int, int] = (384, 384)):
        self._context = None
        if min(size) < 1:
            raise UserError(f"a picture of {size[0]}x{size[1]} pixels has nothing to show")
        gl.choose_gl()  # before the simulator is imported, which looks at the choice
        import mujoco

        self.domain, self.size = domain, size
        self.model = _dressed(bodies.load(domain).model, size)
        self._data = mujoco.MjData(self.model), mujoco.MjData(self.model)  # the body, the ghost
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = self.model.camera(CAMERA).id
        self._options, self._untouched = mujoco.MjvOption(), mujoco.MjvPerturb()
        self._geoms = mujoco.MjvScene(self.model, GEOMS)
        for flag in ("SHADOW", "REFLECTION", "HAZE"):
            self._geoms.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0
        self._area = mujoco.MjrRect(0, 0, size[1], size[0])
        self._pixels = np.empty((*size, 3), np.uint8)
        self._context, self._renderer = gl.open_renderer(self.model, *size)
        gl.close_at_exit(self)

    def frame(self, pose: np.ndarray, ghost: np.ndarray | None = None) -> np.ndarray:
        """One picture, a new array.

        Args:
            pose: (Q,) joint positions of the body.
            ghost: (Q,) of a second body in the same world, drawn blue and translucent where the
                real one does not cover it. One that is not finite, as dreams may end, is left out.

        Returns:
            (height, width, 3) uint8.

        Raises:
            UserError: the pose is not finite, or the scene is closed.
            ValueError: another number of joints.
        """
        import mujoco

        if self._context is None:
            raise UserError("this scene is closed; make a new one to draw")
        real, imagined = self._data
        if not self._place(real, pose):
            raise UserError(f"a pose of the {self.domain} is not finite, so it cannot be drawn")
        mujoco.mj_comPos(self.model, real)  # the camera follows the centre of mass
        mujoco.mj_camlight(self.model, real)
        # The endless floor is put below where the camera was, so tell where it is first.
        mujoco.mjv_updateCamera(self.model, real, self._camera, self._geoms)
        every = mujoco.mjtCatBit.mjCAT_ALL.value
        look = self._options, self._untouched
        mujoco.mjv_updateScene(self.model, real, *look, self._camera, every, self._geoms)
        if ghost is not None and self._place(imagined, ghost):
            first, moving = self._geoms.ngeom, mujoco.mjtCatBit.mjCAT_DYNAMIC.value
            mujoco.mjv_addGeoms(self.model, imagined, *look, moving, self._geoms)
            for geom in self._geoms.geoms[first : self._geoms.ngeom]:
                geom.matid, geom.rgba[:], geom.transparent = -1, GHOST, 1
                geom.size[:] *= SLIM
        self._context.make_current()
        mujoco.mjr_render(self._area, self._geoms, self._renderer)
        mujoco.mjr_readPixels(self._pixels, None, self._area, self._renderer)
        return np.ascontiguousarray(self._pixels[::-1])  # OpenGL counts rows from below

    def _place(self, data: "mujoco.MjData", pose: np.ndarray) -> bool:
        """Puts every part where the joints say; False if they say nothing finite."""
        import mujoco

        pose = np.asarray(pose, dtype=np.float64)
        if pose.shape != (self.model.nq,):
            raise ValueError(f"pose {pose.shape}; the {self.domain} has ({self.model.nq},) joints")
        if not np.isfinite(pose).all():
            return False
        data.qpos[:] = pose
        mujoco.mj_kinematics(self.model, data)
        return True

    def close(self) -> None:
        """Gives the renderer back; may be repeated."""
        if self._context is not None:
            self._context.make_current()  # or another scene's pictures would be freed
            self._renderer.free()
            self._context.free()
            self._context = None

    def __enter__(self) -> "Scene":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with suppress(Exception):  # nobody is left to be told
            self.close()


def _dressed(model: "mujoco.MjModel", size: tuple[int, int]) -> "mujoco.MjModel":
    """A copy of a body's model that is quick to draw and easy to look at."""
    import mujoco

    model = copy.copy(model)
    model.vis.quality.offsamples = 0
    model.vis.global_.offheight, model.vis.global_.offwidth = size
    model.light_active[:] = 0  # the headlight alone, which lights every tile alike
    model.vis.headlight.ambient[:] = 0.5
    model.vis.headlight.diffuse[:] = 0.6
    model.mat_specular[:] = 0.1
    model.mat("grid").emission[:] = 0.45  # the floor meets that light at a flat angle
    for number in range(model.ntex):
        start = model.tex_adr[number]
        shape = model.tex_height[number], model.tex_width[number], model.tex_nchannel[number]
        texture = model.tex_data[start : start + np.prod(shape)].reshape(shape)
        if model.tex_type[number] == mujoco.mjtTexture.mjTEXTURE_SKYBOX.value:
            texture[:] = SKY
        else:
            half = len(texture) // 2
            texture[:] = TILES[0]
            texture[:half, :half] = texture[half:, half:] = TILES[1]
    for number in np.flatnonzero(model.geom_bodyid == 0):  # what does not move
        if model.geom_type[number] == mujoco.mjtGeom.mjGEOM_PLANE.value:
            back = model.geom_pos[number, 1] + model.geom_size[number, 1]
            model.geom_size[number, :2] = 0, FLOOR  # 0: without end
            model.geom_pos[number, :2] = 0, back - FLOOR  # and up to below the camera
        else:
            model.geom_rgba[number, 3] = 0
    return model
