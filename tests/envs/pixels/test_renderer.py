import mujoco
import numpy as np
import pytest

from lib.core.errors import UserError
from lib.envs.pixels import backgrounds
from lib.envs.pixels.renderer import Renderer
from lib.envs.pixels.suite_env import SuiteEnv
from lib.envs.pixels.tasks import TASKS
from tests.envs.pixels.conftest import draws

pytestmark = pytest.mark.filterwarnings("ignore:`in1d`")  # dm_control's quadruped
# A body, a task that moves its target, one with another camera, and one with a terrain of its own.
KINDS = ["walker_run", "reacher_easy", "quadruped_walk", "quadruped_escape"]


def opened(name: str, size: int = 64, quality: str = "full", copies: int = 1):
    envs = [SuiteEnv(TASKS[name], 2) for _ in range(copies)]
    for seed, env in enumerate(envs):
        env.begin(seed)
    return envs, Renderer(envs[0].model, size, TASKS[name].camera, quality)


@pytest.mark.parametrize("name", KINDS)
def test_full_pictures_are_dm_controls_byte_by_byte_whichever_copy_is_drawn(dm_control, name):
    task, seeds = TASKS[name], (0, 1)
    actions = draws(3, task.actions)
    theirs = {}
    for seed in seeds:  # before ours, as dm_control does not notice another's context
        with_suite = dm_control.load(task.domain, task.task, task_kwargs={"random": seed})
        with_suite.reset()
        spec = with_suite.action_spec()
        for step, action in enumerate(actions):
            scaled = (spec.maximum + spec.minimum) / 2 + (spec.maximum - spec.minimum) / 2 * action
            for _ in range(2):
                with_suite.step(scaled)
            theirs[step, seed] = with_suite.physics.render(64, 64, camera_id=task.camera)
        with_suite.physics.free()
    envs, renderer = opened(name, copies=2)
    for step, action in enumerate(actions):
        for seed, env in zip(seeds, envs, strict=True):
            env.step(action)
            assert np.array_equal(renderer.draw(env.model, env.data), theirs[step, seed])


@pytest.mark.parametrize(("name", "share"), [("walker_run", 0.92), ("cup_catch", 0.99)])
def test_most_of_a_picture_is_background(dm_control, name, share):
    (env,), renderer = opened(name)
    seen = []
    for action in draws(15, TASKS[name].actions):
        env.step(action)
        seen.append(backgrounds.mask(renderer.draw(env.model, env.data)).mean())
    assert np.mean(seen) == pytest.approx(share, abs=0.02)  # measured by others: 0.925, 0.990


@pytest.mark.parametrize("name", ["walker_run", "cartpole_swingup"])
def test_fast_pictures_differ_little_and_have_nearly_the_same_background(dm_control, name):
    (env,), full = opened(name)
    fast = Renderer(SuiteEnv(TASKS[name], 2).model, 64, 0, "fast")
    large, small = (renderer.draw(env.model, env.data) for renderer in (full, fast))
    assert 0 < np.abs(large.astype(int) - small).mean() < 10
    assert (backgrounds.mask(large) != backgrounds.mask(small)).mean() < 0.03


@pytest.mark.parametrize("size", [32, 84, 700])
def test_pictures_have_the_size_that_was_asked_for(dm_control, size):
    (env,), renderer = opened("walker_run", size, "fast")
    picture = renderer.draw(env.model, env.data)
    assert picture.shape == (size, size, 3) and picture.dtype == np.uint8
    assert picture.flags.c_contiguous and picture.std() > 10


def test_pictures_are_arrays_of_their_own(dm_control):
    (env,), renderer = opened("walker_run")
    first = renderer.draw(env.model, env.data)
    kept = first.copy()
    env.begin(9)
    renderer.draw(env.model, env.data)
    assert np.array_equal(first, kept)


def test_renderers_do_not_draw_into_each_other(dm_control):
    (env,), renderer = opened("walker_run", quality="fast")
    before = renderer.draw(env.model, env.data)
    (other,), second = opened("cup_catch", 32, "fast")
    second.draw(other.model, other.data)
    assert np.array_equal(renderer.draw(env.model, env.data), before)
    second.close()
    second.close()
    assert np.array_equal(renderer.draw(env.model, env.data), before)


def test_a_camera_that_is_not_there_is_refused(dm_control):
    env = SuiteEnv(TASKS["walker_run"], 2)
    with pytest.raises(UserError, match=r"env\.camera 2: this body has cameras 0 to 1"):
        Renderer(env.model, 64, 2, "full")


def test_physics_is_not_touched_by_drawing(dm_control):
    (env,), renderer = opened("walker_run", quality="fast")
    before = env.state()
    renderer.draw(env.model, env.data)
    assert np.array_equal(env.state(), before)
    assert env.model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_CONTACT == 0
