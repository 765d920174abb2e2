import numpy as np
import pytest
import torch

from lib.core.errors import UserError
from lib.envs.toys import point_mass
from lib.replay.buffer import Episodes
from lib.runner import open_loop
from lib.runner.open_loop import audit_windows

E, T, L, A, Q = 2, 5, 4, 3, 7


pytestmark = pytest.mark.usefixtures("figures")


def adding(obs, action):
    """A model in which every number grows by the sum of the action."""
    assert obs.ndim == action.ndim == 2
    return obs + action.sum(-1, keepdim=True)


class Sketch:
    """A scene that writes down what it was asked to draw."""

    def __init__(self):
        self.drawn = []

    def frame(self, pose, ghost=None):
        self.drawn.append((float(pose[0]), float(ghost[0])))
        return np.full((4, 6, 3), len(self.drawn), np.uint8)

    def close(self):
        pass


def test_open_loop_feeds_each_prediction_to_the_next():
    # 10, then 10 + (1 + 2), then 13 + (0 - 4)
    path = open_loop.open_loop(
        adding, torch.tensor([10.0]), torch.tensor([[1.0, 2.0], [0.0, -4.0]])
    )
    assert path.tolist() == [[10.0], [13.0], [9.0]]


@pytest.mark.parametrize("leading", [(), (E,), (3, E), (0,)])
def test_open_loop_keeps_the_leading_dimensions(leading):
    obs0, actions = torch.rand(*leading, L), torch.rand(*leading, T, A)
    path = open_loop.open_loop(adding, obs0, actions)
    assert path.shape == (*leading, T + 1, L)
    assert torch.equal(path[..., 0, :], obs0)
    total = actions.sum((-1, -2))[..., None]
    assert torch.allclose(path[..., -1, :], obs0 + total, atol=1e-5)


def test_the_true_model_imagines_what_happens():
    env = point_mass(episode_length=T)
    generator = torch.Generator().manual_seed(0)
    seen = [env.reset(E, generator)]
    actions = torch.rand(E, T, 2, generator=generator) * 2 - 1
    for action in actions.unbind(1):
        seen.append(env.step(action)[0])
    real = torch.stack(seen, 1)
    imagined = open_loop.open_loop(env.predict, real[:, 0], actions)
    assert torch.equal(imagined, real)


def test_imagination_leaves_no_gradients():
    obs0 = torch.zeros(E, L, requires_grad=True)
    assert not open_loop.open_loop(adding, obs0, torch.zeros(E, T, A)).requires_grad


def test_actions_of_other_episodes_are_refused():
    with pytest.raises(ValueError, match=r"obs0 \(2, 4\) and actions \(3, 5, 3\)"):
        open_loop.open_loop(adding, torch.zeros(E, L), torch.zeros(3, T, A))


def test_an_episode_is_imagined_in_pieces_that_start_from_the_truth():
    obs = torch.tensor([[0.0], [100.0], [200.0], [300.0]])
    pieces = list(open_loop.restarted(adding, obs, torch.tensor([[1.0], [2.0], [3.0]]), every=2))
    assert [piece.tolist() for piece in pieces] == [[[0.0], [1.0], [3.0]], [[200.0], [203.0]]]


def test_each_picture_shows_both_at_one_moment():
    scene = Sketch()
    real, ghosts = np.arange(3.0)[:, None], 10 + np.arange(3.0)[:, None]
    frames = open_loop.imagined_versus_real(scene, real, ghosts)
    assert scene.drawn == [(0, 10), (1, 11), (2, 12)]
    assert [int(frame[0, 0, 0]) for frame in frames] == [1, 2, 3]


def test_a_ghost_for_every_pose_is_asked_for():
    with pytest.raises(UserError, match="3 real poses and 2 imagined ones"):
        open_loop.imagined_versus_real(Sketch(), np.zeros((3, Q)), np.zeros((2, Q)))


# Windows of episodes --------------------------------------------------------------------------


def counting_episodes() -> Episodes:
    """Two episodes of 7 decisions: the observation is the sum of the actions so far, as is pay."""
    action = torch.tensor([[1.0, 2, 3, 4, 5, 6, 7], [0.0, 1, 0, 1, 0, 1, 0]]).unsqueeze(-1)
    obs = torch.cat((torch.zeros(2, 1, 1), action.cumsum(1)), 1)
    return Episodes(obs, action, obs[:, 1:, 0])


def summing(gain: float):
    def outcomes(obs, actions):
        sums = torch.cat((torch.zeros(len(obs), 1, 1), actions.cumsum(1)), 1)
        seen = obs.unsqueeze(1) + gain * sums
        return seen, seen[:, 1:, 0]

    return outcomes


def test_a_perfect_model_explains_every_window_and_promises_what_is_paid():
    metrics, arrays = audit_windows(summing(1.0), counting_episodes(), 3, 0.5, "count")
    assert set(metrics) == {
        f"plans/count/{n}"
        for n in ("unexplained_1", "unexplained_2", "unexplained_3", "excess", "phantom_share")
    }
    assert not any(metrics.values()) and arrays["unexplained"].tolist() == [0, 0, 0]


def test_windows_that_are_promised_too_much_by_hand():
    # Twice the action is expected. Windows of 3 begin at 0 and 3; the 7th decision is left out.
    # What is expected too much after k decisions is the sum of the window's first k actions:
    # 1 3 6, 4 9 15, 0 1 1, 1 1 2. Of the change it explains nothing but its mean.
    metrics, arrays = audit_windows(summing(2.0), counting_episodes(), 3, 0.5, "count")
    sums = np.array([[1, 3, 6], [4, 9, 15], [0, 1, 1], [1, 1, 2]], dtype=float)
    wanted = (sums**2).mean(0) / sums.var(0)
    assert arrays["unexplained"] == pytest.approx(wanted)
    assert metrics["plans/count/unexplained_2"] == pytest.approx(wanted[1])
    # promised too much, discounted by .5: 1 + 3/2 + 6/4 = 4; 4 + 9/2 + 15/4 = 12.25; .75; 2
    assert metrics["plans/count/excess"] == pytest.approx((4 + 12.25 + 0.75 + 2) / 4)
    # paid: 4; (6 + 4) + (6 + 9)/2 + (6 + 15)/4 = 22.75; .75; (1 + 1) + 1 + .75 = 3.75. The margin
    # is a tenth of 22.75: two windows are promised more.
    assert metrics["plans/count/phantom_share"] == 0.5


def test_episodes_shorter_than_a_plan_tell_nothing():
    assert audit_windows(summing(1.0), counting_episodes(), 8, 0.5, "count") == ({}, {})
