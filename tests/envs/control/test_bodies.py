import subprocess
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("mujoco", reason="needs mujoco and dm_control")
pytest.importorskip("dm_control", reason="needs mujoco and dm_control")

import mujoco

from lib.core.errors import UserError
from lib.envs.control import bodies

WITHOUT_THE_EXTRA = """
import sys
sys.modules["mujoco"] = sys.modules["dm_control"] = None  # as if they were not installed
from lib.envs.control import batch, bodies, domain, suite, tasks
from lib.core.errors import UserError
for call in (lambda: bodies.load("cheetah"), lambda: suite.load("cheetah-run")):
    try:
        call()
    except UserError as error:
        print(error)
"""


def states(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (rows, 9)), rng.normal(size=(rows, 9))


def test_the_model_is_the_suites_but_for_the_flag_and_decoration(body):
    folder = bodies._suite_folder()
    stock = mujoco.MjModel.from_xml_path(str(folder / f"{body.domain}.xml"))
    ours = body.model
    for name in ("body_mass", "body_inertia", "body_pos", "jnt_range", "jnt_stiffness"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(stock, name))
    for name in ("dof_damping", "dof_armature", "actuator_gear", "qpos0"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(stock, name))
    assert ours.opt.disableflags == mujoco.mjtDisableBit.mjDSBL_WARMSTART.value
    assert ours.opt.timestep == stock.opt.timestep
    if body.domain == "cheetah":
        ball = ours.geom("ball")
        assert (ball.size[0], *ball.pos) == (0.1, 0, 5, 0.05)
        assert ball.contype == ball.conaffinity == 0
        assert (ours.ngeom, ours.nlight) == (stock.ngeom + 1, stock.nlight + 1)
    else:
        assert (ours.geom("floor").size[0], stock.geom("floor").size[0]) == (500, 250)


def test_an_env_step_lasts_as_long_as_the_suites(loaded):
    assert loaded["cheetah"].env_step_seconds == pytest.approx(0.01)
    assert loaded["walker"].env_step_seconds == pytest.approx(0.025)


def test_observations_are_laid_out_as_in_the_suite(loaded):
    qpos, qvel = states(3)
    cheetah = loaded["cheetah"]
    obs = cheetah.observe(cheetah.planar.motion(qpos, qvel))
    np.testing.assert_array_equal(obs, np.concatenate((qpos[:, 1:], qvel), axis=1))
    walker = loaded["walker"]
    qpos[:, 2] = 0.3  # the root's angle; its height and x come before
    obs = walker.observe(walker.planar.motion(qpos, qvel))
    assert obs.shape == (3, walker.obs_dim) == (3, 24)
    np.testing.assert_allclose(obs[:, :2], np.tile([np.cos(0.3), np.sin(0.3)], (3, 1)))
    np.testing.assert_allclose(obs[:, 14], qpos[:, 0] + 1.3)
    np.testing.assert_array_equal(obs[:, 15:], qvel)


def test_a_pose_is_found_again_from_its_observation(body):
    rng = np.random.default_rng(0)
    qpos = body.draw(rng.random((5, body.draws)))
    qpos[:, body.planar.root_z] = rng.uniform(-1, 1, 5)
    obs = body.observe(body.planar.motion(qpos, np.zeros((5, 9))))
    found = body.pose_of(obs[:, None], x0=0.0, dt=0.04)[:, 0]
    np.testing.assert_allclose(found, qpos, atol=1e-12)


def test_a_dreamt_orientation_need_not_have_length_one(loaded):
    walker = loaded["walker"]
    qpos = walker.draw(np.full((1, walker.draws), 0.3))
    obs = walker.observe(walker.planar.motion(qpos, np.zeros((1, 9))))
    obs[:, :14] *= 0.7
    np.testing.assert_allclose(walker.pose_of(obs), qpos, atol=1e-12)


def test_a_dream_that_ends_in_infinity_leaves_the_poses_before_it_alone(body):
    obs = body.observe(body.planar.motion(np.zeros((7, 9)), np.ones((7, 9))))
    whole = body.pose_of(obs, dt=0.1)
    obs[3], obs[4], obs[5] = np.inf, -np.inf, np.nan
    found = body.pose_of(obs, dt=0.1)
    np.testing.assert_array_equal(found[:3], whole[:3])
    assert not np.isfinite(found[3:]).all(1).any()


def test_the_roots_x_is_integrated_from_its_velocity(body):
    # 1, 3 and 3 m/s, half a second apart: 2 * 0.5 and 3 * 0.5 m on, from 7 m.
    qvel = np.zeros((2, 3, 9))
    qvel[1, :, body.planar.root_x] = [1.0, 3.0, 3.0]
    obs = body.observe(body.planar.motion(np.zeros((2, 3, 9)), qvel))
    found = body.pose_of(obs, x0=7.0, dt=0.5)[..., body.planar.root_x]
    np.testing.assert_allclose(found, [[7, 7, 7], [7, 8, 9.5]])


def test_draws_reach_from_one_limit_to_the_other(body):
    rest = body.model.qpos0
    low, middle, high = body.draw(np.array([[0.0], [0.5], [1.0]]) * np.ones(body.draws))
    limited = body.model.jnt_limited == 1
    np.testing.assert_allclose(low[limited], body.model.jnt_range[limited, 0])
    np.testing.assert_allclose(high[limited], body.model.jnt_range[limited, 1])
    np.testing.assert_allclose(middle, (low + high) / 2)
    if body.domain == "cheetah":
        np.testing.assert_array_equal(low[~limited], rest[~limited])
    else:  # root z and x stay, its angle makes a full turn
        np.testing.assert_allclose([low[:3], high[:3]], [[0, 0, -np.pi], [0, 0, np.pi]])


def test_uniform_draws_come_from_the_generator_alone():
    draws = [
        bodies.uniform_draws(1009, 7, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).all()
    assert draws[0].min() >= 0 and draws[0].max() < 1
    np.testing.assert_allclose(draws[0].mean(0), 0.5, atol=0.04)  # four standard errors: 0.036


def test_an_unknown_domain_is_refused():
    with pytest.raises(UserError, match="unknown control domain 'hopper'; known: cheetah, walker"):
        bodies.load("hopper")


def test_everything_imports_without_the_extra_and_says_what_is_missing():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_THE_EXTRA],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    told = bodies.MISSING.format("mujoco")
    assert "pip install mujoco" in told
    assert done.stdout.splitlines() == [told] * 2


def test_loading_a_body_does_not_import_dm_control():
    code = (
        "import sys; from lib.envs.control import bodies; bodies.load('walker'); "
        "sys.exit('dm_control' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], check=False, timeout=600)
    assert done.returncode == 0
