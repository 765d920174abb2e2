import numpy as np
import pytest

pytest.importorskip("mujoco", reason="needs mujoco and dm_control")
pytest.importorskip("dm_control", reason="needs mujoco and dm_control")

import mujoco

from lib.envs.control.planar import Planar

# One bar of 1 m whose centre lies 0.5 m below the root's origin, and a second one hanging from
# its end by a hinge that turns the other way. Masses 2 and 1 kg, no inertia worth mentioning
# about their own centres but what is given.
TWO_BARS = """
<mujoco>
  <worldbody>
    <body name="upper" pos="0 0 3">
      <inertial pos="0 0 -0.5" mass="2" diaginertia="0.15 0.2 0.15"/>
      <joint name="x" type="slide" axis="1 0 0"/>
      <joint name="z" type="slide" axis="0 0 1"/>
      <joint name="y" type="hinge" axis="0 1 0"/>
      <body name="lower" pos="0 0 -1">
        <inertial pos="0 0 -0.5" mass="1" diaginertia="0.2 0.3 0.2"/>
        <joint name="knee" type="hinge" axis="0 -1 0"/>
      </body>
    </body>
  </worldbody>
</mujoco>
"""


def two_bars(xml: str = TWO_BARS) -> Planar:
    return Planar.of(mujoco.MjModel.from_xml_string(xml))


def test_heights_and_angles_of_two_bars_are_those_worked_out_by_hand():
    # The root half a metre up and a quarter turn about +y, which takes -z to -x: the upper bar
    # lies along -x, so its end is as high as the root's origin, 3.5 m. The knee turns back by
    # the same quarter, so the lower bar hangs straight.
    qpos = np.array([[7.0, 0.5, np.pi / 2, np.pi / 2]])
    motion = two_bars().motion(qpos, np.zeros((1, 4)))
    np.testing.assert_allclose(motion.height("upper"), [3.5])
    np.testing.assert_allclose(motion.height("lower"), [3.5])
    np.testing.assert_allclose(motion.height("upper", "lower"), [3.5])
    np.testing.assert_allclose(motion.upright("upper"), [0.0], atol=1e-12)
    np.testing.assert_allclose(motion.upright("lower"), [1.0])
    np.testing.assert_allclose(motion.orientations(), [[0, 1, 1, 0]], atol=1e-12)


def test_speed_and_angular_momentum_of_two_bars_are_those_worked_out_by_hand():
    # Hanging straight, sliding at 1 m/s, turning at 6 rad/s about y with a stiff knee. Turning
    # about +y moves a point at depth d by -6 d along x. Depths of the centres: 0.5 (2 kg) and
    # 1.5 (1 kg), mean 2.5 / 3 = 5/6. Speed: 1 - 6 * 5/6 = -4 m/s.
    motion = two_bars().motion(np.zeros((1, 4)), np.array([[1.0, 0.0, 6.0, 0.0]]))
    np.testing.assert_allclose(motion.speed(), [-4.0])
    # Own inertia 0.2 + 0.3; distances from the common centre 1/3 and 2/3: 2/9 + 4/9 = 2/3.
    np.testing.assert_allclose(motion.angular_momentum(), [6 * (0.5 + 2 / 3)])


def test_every_feature_agrees_with_the_simulator_on_random_states(body):
    rng = np.random.default_rng(0)
    qpos, qvel = 2 * rng.normal(size=(53, 9)), 5 * rng.normal(size=(53, 9))
    motion = body.planar.motion(qpos, qvel)
    data = mujoco.MjData(body.model)
    for row in range(53):
        data.qpos[:], data.qvel[:] = qpos[row], qvel[row]
        mujoco.mj_forward(body.model, data)
        mujoco.mj_subtreeVel(body.model, data)
        for part, name in enumerate(body.planar.parts, start=1):
            assert motion.height(name)[row] == pytest.approx(data.xpos[part, 2], abs=1e-12)
            assert motion.upright(name)[row] == pytest.approx(data.xmat[part, 8], abs=1e-12)
        np.testing.assert_allclose(
            motion.orientations()[row], data.xmat[1:, [0, 2]].ravel(), atol=1e-12
        )
        assert motion.speed()[row] == pytest.approx(data.subtree_linvel[1, 0], abs=1e-11)
        spin = motion.angular_momentum()[row]
        assert spin == pytest.approx(data.subtree_angmom[1, 1], rel=1e-10, abs=1e-9)


def test_any_leading_shape_will_do_and_the_last_state_can_be_taken_out(body):
    rng = np.random.default_rng(0)
    qpos, qvel = rng.normal(size=(5, 3, 9)), rng.normal(size=(5, 3, 9))
    motion = body.planar.motion(qpos, qvel)
    alone = body.planar.motion(qpos[:, -1], qvel[:, -1])
    for early in (True, False):  # whether or not the angles were looked at before
        if early:
            assert body.planar.motion(qpos, qvel).last().orientations().shape == (5, 14)
        np.testing.assert_allclose(motion.angular_momentum()[:, -1], alone.angular_momentum())
        np.testing.assert_allclose(motion.last().orientations(), alone.orientations())
        np.testing.assert_allclose(motion.last().speed(), motion.speed()[:, -1])


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('name="knee" type="hinge" axis="0 -1 0"', 'name="knee" type="hinge" axis="1 0 0"'),
        ('name="knee" type="hinge" axis="0 -1 0"', 'name="knee" type="ball"'),
        ('name="knee" type="hinge" axis="0 -1 0"', 'name="knee" type="slide" axis="1 0 0"'),
        ('<joint name="z" type="slide" axis="0 0 1"/>', ""),
        ('<body name="lower" pos="0 0 -1">', '<body name="lower" pos="0 0 -1" euler="0 9 0">'),
    ],
)
def test_a_model_that_is_not_planar_is_refused(right, wrong):
    assert right in TWO_BARS
    with pytest.raises(ValueError, match="planar body"):
        two_bars(TWO_BARS.replace(right, wrong))
