import numpy as np
import pytest
import torch

from lib.core.errors import UserError
from lib.envs.toys import point_mass
from lib.runner import open_loop

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
