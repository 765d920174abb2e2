"""Which OpenGL can draw on this machine without a window, found out before anything is drawn.

The simulator and its renderer read two environment variables when they are first imported, and a
missing or broken driver may end the whole process. So each kind of OpenGL is first tried in a
process of its own, once, and only then used here.
"""

import atexit
import importlib
import importlib.util
import os
import platform
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from lib.core.errors import UserError, unknown
from lib.envs.needs import INSTALL

CHOICE, DRIVER = "MUJOCO_GL", "PYOPENGL_PLATFORM"  # read by MuJoCo and by PyOpenGL
HEADLESS = ("egl", "osmesa")
AUTOMATIC = ("", "on", "enable", "enabled", "true", "1")  # MuJoCo's words for no choice
OFF = ("off", "disable", "disabled", "false", "0")
PACKAGES = "apt-get install libegl1 libgl1-mesa-dri libosmesa6"
FONT = 100  # [%] of the text that nobody draws
PATIENCE = 60  # [s] a cold start of a software renderer takes a few

# Everything that drawing needs, down to the shaders and the offscreen buffer. On failure it says
# why and leaves at once, as bindings half set up complain when they are taken down.
PROBE = """
import ctypes.util, importlib, os, sys
name = sys.argv[1]
try:
    import mujoco
    context = importlib.import_module(f"mujoco.{name}").GLContext(16, 16)
    context.make_current()
    renderer = mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), 100)
    renderer.free()
    context.free()
except BaseException as error:
    library = {"egl": "EGL", "osmesa": "OSMesa"}.get(name)
    missing = library and ctypes.util.find_library(library) is None
    print(f"lib{library} is not installed" if missing else f"{type(error).__name__}: {error}")
    sys.stdout.flush()
    os._exit(1)
"""


def choose_gl() -> str:
    """The kind of OpenGL to draw with: EGL where it works, else OSMesa.

    A choice that the user made with MUJOCO_GL is respected. Without one, MUJOCO_GL (and
    PYOPENGL_PLATFORM) are set to what was found, so that dm_control and processes started later
    use the same; they take effect where dm_control is imported afterwards.

    Returns:
        "egl" or "osmesa"; "glfw" if the user asked for it or on Windows; "cgl" on macOS.

    Raises:
        UserError: nothing works here, MuJoCo is missing, or MUJOCO_GL is unknown, switched off or
            names what does not work.
    """
    if importlib.util.find_spec("mujoco") is None:
        raise UserError(f"drawing needs mujoco, which is not installed: {INSTALL}")
    wanted = os.environ.get(CHOICE, "").strip().lower()
    if wanted in OFF:
        raise UserError(f"drawing is switched off by {CHOICE}={wanted}; unset {CHOICE} to draw")
    known = (*_native(), "glfw")
    if wanted not in (*AUTOMATIC, *known):
        raise unknown(CHOICE, wanted, known, f"or unset {CHOICE} to take what works")
    tried = {}
    for name in _native() if wanted in AUTOMATIC else (wanted,):
        tried[name] = fault(name)
        if not tried[name]:
            if wanted in AUTOMATIC and name in HEADLESS:
                os.environ[CHOICE] = name
                os.environ.setdefault(DRIVER, name)
            return name
    reasons = "; ".join(f"{name}: {reason}" for name, reason in tried.items())
    other = f", or unset {CHOICE}" if wanted not in AUTOMATIC else ""
    raise UserError(
        f"nothing here can draw without a window ({reasons}); "
        f"on Debian or Ubuntu: {PACKAGES}{other}"
    )


def _native() -> tuple[str, ...]:
    """What to try on this operating system, the best first."""
    return {"Darwin": ("cgl",), "Windows": ("glfw",)}.get(platform.system(), HEADLESS)


@lru_cache(maxsize=8)
def fault(name: str) -> str:
    """Why a kind of OpenGL cannot draw here, in a few words; empty if it can.

    Tried once per process, in another process: about a second.
    """
    settings = {**os.environ, CHOICE: name}
    command = [sys.executable, "-c", PROBE, name]
    try:
        tried = subprocess.run(
            command, env=settings, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {PATIENCE} s"
    except OSError as error:
        return f"could not be tried, {error.strerror}"
    if tried.returncode < 0:
        return f"crashed with {signal.Signals(-tried.returncode).name}"
    if tried.returncode > 0:
        reason = " ".join(tried.stdout.split()).split(". ")[0][:100]
        return reason or f"exit status {tried.returncode}"
    return ""


def open_renderer(model: Any, height: int, width: int, name: str = "") -> tuple[Any, Any]:
    """An OpenGL context, made current in this thread, and MuJoCo's renderer of a model in it.

    Args:
        model: a `mujoco.MjModel`.
        height, width: [pixels] of the pictures, which are drawn into memory.
        name: what `choose_gl` found in the process that started this one; left out, it is asked.

    Raises:
        UserError: nothing can draw here.
    """
    name = name or choose_gl()
    loaded = sys.modules.get("OpenGL.platform")
    if loaded and name in HEADLESS and name not in type(loaded.PLATFORM).__name__.lower():
        raise UserError(
            f"OpenGL was imported in this process for another use than {name}; "
            f"start again with {DRIVER}={name}, or let lib draw first"
        )
    import mujoco

    try:
        context = importlib.import_module(f"mujoco.{name}").GLContext(width, height)
        context.make_current()
        renderer = mujoco.MjrContext(model, FONT)
    except Exception as error:  # whatever a driver's bindings raise; the trial went well
        raise UserError(
            f"{name} draws in a process of its own but not in this one: {error}; start again"
        ) from error
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, renderer)
    return context, renderer


def close_at_exit(thing: Any) -> None:
    """Has `thing.close()` called when Python ends, unless it is gone by then.

    The EGL module says goodbye to the driver at that moment, and what outlives it ends in a
    traceback or worse. What is registered later runs earlier, so call this after `open_renderer`.
    """
    atexit.register(_close, weakref.ref(thing))


def _close(reference: weakref.ref) -> None:
    thing = reference()
    if thing is not None:
        thing.close()


@contextmanager
def importing() -> Iterator[None]:
    """Lets dm_control be imported, which picks an OpenGL at that moment and for good.

    Left alone it would try a window first and warn where there is none. Physics needs no pictures,
    so that a machine that cannot draw is told to draw nothing.
    """
    before = os.environ.get(CHOICE)
    try:
        choose_gl()
    except UserError:
        os.environ[CHOICE] = "disable"
        try:
            yield
        finally:
            if before is None:
                del os.environ[CHOICE]
            else:
                os.environ[CHOICE] = before
    else:
        yield
