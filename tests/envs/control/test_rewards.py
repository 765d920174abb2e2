import warnings

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="needs mujoco and dm_control")
pytest.importorskip("dm_control", reason="needs mujoco and dm_control")

from lib.envs.control import rewards, suite
from lib.envs.control.rewards import tolerance
from lib.envs.control.tasks import TASKS
from tests.envs.control.written_rewards import WRITTEN

INF = float("inf")
SHAPES = [
    {"bounds": (1.2, INF), "margin": 0.6},
    {"bounds": (-INF, 0.08), "margin": 0.04},
    {"bounds": (-0.5, 0.5), "margin": 0.5, "sigmoid": "linear", "value_at_margin": 0.0},
    {"bounds": (-INF, -8.0), "margin": 4.0, "sigmoid": "linear", "value_at_margin": 0.5},
    {"bounds": (0.25, 0.75), "margin": 0.0},
]


class Told:
    """A motion whose features are given, so that rewards can be worked out on paper."""

    def __init__(self, speed=0.0, spin=0.0, upright=1.0, **heights):
        self.heights, self.given = heights, (speed, spin, upright)

    def height(self, *parts):
        return np.mean([[self.heights[part]] for part in parts], axis=0)

    def speed(self):
        return np.array([self.given[0]])

    def angular_momentum(self):
        return np.array([self.given[1]])

    def upright(self, part):
        assert part == "torso"
        return np.array([self.given[2]])


def paid(task: str, **told) -> float:
    (reward,) = TASKS[task].reward(Told(**told))
    return float(reward)


def test_tolerance_by_hand():
    # Gaussian: half a margin away is 0.1 ** 0.25, a margin 0.1, two margins 0.1 ** 4.
    heights = np.array([1.5, 1.2, 0.9, 0.6, 0.0])
    np.testing.assert_allclose(
        tolerance(heights, (1.2, INF), 0.6), [1, 1, 0.1**0.25, 0.1, 0.0001], rtol=1e-12
    )
    # Linear to 0.5 at the margin, so 0 at two margins and beyond.
    speeds = np.array([[2.0, 1.0, 0.75], [0.5, 0.0, -1.0]])
    np.testing.assert_allclose(
        tolerance(speeds, (1.0, INF), 0.5, "linear", 0.5), [[1, 1, 0.75], [0.5, 0, 0]]
    )
    np.testing.assert_allclose(tolerance(np.array([0.9, 1.0, 2.1]), (1, 2)), [0, 1, 0])


@pytest.mark.parametrize("shape", SHAPES)
def test_tolerance_is_dm_controls(shape):
    suite.load("cheetah-run")  # prepares the import of dm_control
    from dm_control.utils import rewards as theirs

    x = np.concatenate((np.linspace(-20, 20, 997), np.linspace(-1, 2, 991)))
    np.testing.assert_allclose(
        tolerance(x, **shape), theirs.tolerance(x, **shape), rtol=1e-12, atol=1e-15
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"bounds": (1.0, 0.0)},
        {"margin": -1.0},
        {"margin": 1.0, "sigmoid": "cosine"},
        {"margin": 1.0, "value_at_margin": 0.0},
        {"margin": 1.0, "sigmoid": "linear", "value_at_margin": 1.0},
    ],
)
def test_a_tolerance_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match="tolerance|not known"):
        tolerance(np.zeros(2), **wrong)


def test_running_pays_by_the_share_of_the_target_speed():
    assert paid("cheetah-run", speed=5.0) == pytest.approx(0.5)
    assert paid("cheetah-run", speed=11.0) == 1
    assert paid("cheetah-run", speed=-1.0) == 0
    assert paid("cheetah-run-backwards", speed=-2.0) == pytest.approx(0.25)
    assert paid("cheetah-run-backwards", speed=2.0) == 0


def test_jumping_needs_both_feet():
    # Mean of torso and back foot 0.6, a margin below 1.2: 0.1; with the front foot 0.9: 0.1**0.25.
    # Speed 0.75 is half a margin beyond 0.5: 0.5.
    told = {"torso": 1.0, "bfoot": 0.2, "ffoot": 0.8, "speed": 0.75}
    front, back = (5 * 0.1 + 0.5) / 6, (5 * 0.1**0.25 + 0.5) / 6
    assert paid("cheetah-stand-front", **told) == pytest.approx(front)
    assert paid("cheetah-stand-back", **told) == pytest.approx(back)
    assert paid("cheetah-jump", **told) == pytest.approx((front + back) / 2)


def test_jumping_and_running_is_half_height_and_half_speed():
    # Mean heights 0.9 (enough) and 0.45 (a margin short); 2.5 of 7.5 m/s.
    told = {"torso": 0.9, "bfoot": 0.9, "ffoot": 0.0, "speed": 2.5}
    assert paid("cheetah-jump-and-run", **told) == pytest.approx((0.55 + 1 / 3) / 2)
    assert paid("cheetah-jump-and-run-backwards", **told) == pytest.approx(0.55 / 2)
    told["speed"] = -2.5
    assert paid("cheetah-jump-and-run-backwards", **told) == pytest.approx((0.55 + 1 / 3) / 2)


def test_running_upended_multiplies_posture_and_speed():
    # Back foot 0.6 (0.1), torso at 1.2 (1): (3 * 0.1 + 2) / 5 = 0.46. Half of 6 m/s: 3.5 / 6.
    told = {"torso": 1.2, "bfoot": 0.6, "ffoot": 1.3, "speed": 3.0}
    assert paid("cheetah-run-front", **told) == pytest.approx(0.46 * 3.5 / 6)
    assert paid("cheetah-run-back", **told) == pytest.approx(3.5 / 6)
    # Torso on the floor and the same foot up: (5 + (3 * 0.1 + 2 * 0.1**4)/5) / 6, torso at 0.
    told["torso"] = 0.0
    assert paid("cheetah-legs-up", **told) == pytest.approx((5 + (0.3 + 0.0002) / 5) / 6)


def test_lying_down_is_linear_in_the_heights():
    # Torso a fifth of the margin too high: 0.8; mean of the feet 0.5, a margin too high: 0.
    told = {"torso": 0.3, "bfoot": 0.6, "ffoot": 0.4}
    assert paid("cheetah-lie-down", **told) == pytest.approx(0.6)


def test_flips_count_angular_momentum_twice():
    assert paid("cheetah-flip", spin=4.0, speed=10.0) == pytest.approx((2 * 0.5 + 1) / 3)
    assert paid("cheetah-flip-backwards", spin=-6.0, speed=-4.0) == pytest.approx((1.5 + 0.5) / 3)
    assert paid("cheetah-flip-backwards", spin=6.0, speed=4.0) == 0


def test_walking_multiplies_standing_and_speed():
    # Torso half a margin low: 0.1**0.25; lying: upright 0 gives a half.
    stand = (3 * 0.1**0.25 + 0.5) / 4
    told = {"torso": 0.9, "upright": 0.0}
    assert paid("walker-stand", **told) == pytest.approx(stand)
    # Half a metre per second short of 1 is a margin: 0.5. Of 8 it is 1/8 of a margin: 1 - 1/16.
    assert paid("walker-walk", speed=0.5, **told) == pytest.approx(stand * 3.5 / 6)
    assert paid("walker-run", speed=7.5, **told) == pytest.approx(stand * (5 * 15 / 16 + 1) / 6)
    assert paid("walker-walk-backwards", speed=-1.0, **told) == pytest.approx(stand)
    assert paid("walker-run-backwards", speed=8.0, **told) == pytest.approx(stand / 6)


def test_yoga_by_hand():
    heights = {"torso": 0.5, "left_foot": 0.58, "right_foot": 1.52}
    thighs = {"left_thigh": 0.4, "right_thigh": 0.6}
    told = {**heights, **thighs, "upright": -0.5}
    # Torso a margin below 1: 0.1; left foot a margin above 0.08: 0.1; right foot high enough;
    # overturned (1 + 0.5) / 2.
    assert paid("walker-arabesque", **told) == pytest.approx((0.3 + 0.1 + 1 + 0.75) / 6)
    # Feet 1.05 on average, 1/11 of the margin below 1.1; thighs 0.5, a margin below 1.
    feet = 0.1 ** (1 / 121)
    upended = (3 * feet + 2 * 0.1) / 5
    assert paid("walker-headstand", **told) == pytest.approx(upended)
    assert paid("walker-flip", speed=3.0, **told) == pytest.approx(upended * 3.5 / 6)
    assert paid("walker-backflip", speed=3.0, **told) == pytest.approx(upended / 6)
    # Torso two margins above 0.08: 1e-4; thighs one: 0.1.
    low = {**told, "torso": 0.16, "left_thigh": 0.02, "right_thigh": 0.22}
    assert paid("walker-lie-down", **low) == pytest.approx((3e-4 + 0.1 + 0.75) / 5)
    assert paid("walker-legs-up", **low) == pytest.approx((3e-4 + 2 * feet + 0.1 + 0.75) / 7)


@pytest.mark.parametrize("name", WRITTEN)
def test_every_published_reward_is_what_dm_control_makes_of_it_in_any_posture(name, loaded):
    task = TASKS[name]
    env = suite.load(name, seed=0)
    env.reset()
    rng = np.random.default_rng(0)
    qpos, qvel = rng.uniform(-1, 1, (2, 97, 9)) * [[[3.0]], [[12.0]]]
    root_z = loaded[task.domain].planar.root_z
    qpos[:, root_z] = rng.uniform(-1.3, 0.8, 97)  # from the floor to a high jump
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = task.reward(loaded[task.domain].planar.motion(qpos, qvel))
    theirs, shown = [], []
    for row in range(97):
        with env.physics.reset_context():
            env.physics.data.qpos[:], env.physics.data.qvel[:] = qpos[row], qvel[row]
        theirs.append(WRITTEN[name](env.physics))
        shown.append(env.task.get_reward(env.physics))
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    np.testing.assert_allclose(shown, theirs, atol=1e-12)
    assert (ours >= 0).all() and (ours <= 1).all() and ours.std() > 0.001


def test_each_perfect_motion_earns_one():
    high = dict.fromkeys(("torso", "bfoot", "ffoot"), 2.0)
    assert paid("cheetah-jump", **high) == 1
    assert paid("cheetah-jump-and-run", speed=8.0, **high) == 1
    assert paid("cheetah-run-front", speed=8.0, **high) == 1
    assert paid("cheetah-flip", speed=10.0, spin=8.0) == 1
    assert paid("walker-run", torso=1.3, speed=9.0) == 1
    assert rewards.below(np.array([0.0]), 0.08, 0.04) == 1
