import pytest
import torch
from torch.nn import functional as F

from lib.core.errors import UserError
from lib.replay.coverage import FILTERS, SIDE, EpisodeEmbedding, embedding, hard_sigmoid, shrink

E, RECORDS = 3, 37  # more records than are drawn at once


@pytest.fixture
def network() -> EpisodeEmbedding:
    return EpisodeEmbedding(lambda obs: obs, torch.Generator().manual_seed(0))


@pytest.fixture
def pictures() -> torch.Tensor:
    draws = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (E, RECORDS, 16, 16, 3), dtype=torch.uint8, generator=draws)


def slowly(network: EpisodeEmbedding, episode: torch.Tensor) -> torch.Tensor:
    """One episode (T+1, 16, 16, 3) of exactly T steps, gate by gate."""
    kernel, recurrent, bias = (
        part.chunk(4) for part in (network.kernel, network.recurrent, network.bias)
    )
    hidden = cell = torch.zeros(FILTERS, SIDE, SIDE)
    for picture in episode:
        x = picture.permute(2, 0, 1) / 255
        enter, keep, new, out = (
            F.conv2d(x, kernel[k], bias[k], padding=1) + F.conv2d(hidden, recurrent[k], padding=1)
            for k in range(4)
        )
        cell = hard_sigmoid(keep) * cell + hard_sigmoid(enter) * F.elu(new)
        hidden = hard_sigmoid(out) * F.elu(cell)
    return cell.flatten() / cell.norm()


def test_the_hard_sigmoid_has_keras_slope():
    x = torch.tensor([-3.0, -2.5, -1.0, 0.0, 1.0, 2.5, 3.0])
    assert hard_sigmoid(x).tolist() == pytest.approx([0, 0, 0.3, 0.5, 0.7, 1, 1])


def test_a_small_pixel_is_the_mean_of_its_area():
    picture = torch.zeros(64, 64, 3, dtype=torch.uint8)
    picture[4:6, :4, 1] = 255  # half of the small pixel in row 1, column 0, green
    small = shrink(picture[None])
    assert small.shape == (1, 3, SIDE, SIDE) and small[0, 1, 1, 0] == pytest.approx(0.5)
    assert small.sum() == pytest.approx(0.5)


def test_episodes_of_different_lengths_are_read_like_single_ones(network, pictures):
    lengths = [RECORDS - 1, 4, 33]
    found = network(pictures, lengths)
    assert found.shape == (E, FILTERS * SIDE * SIDE)
    for row, episode, steps in zip(found, pictures, lengths, strict=True):
        assert torch.allclose(row, slowly(network, episode[: steps + 1]), atol=1e-5)


def test_what_follows_an_episode_is_not_read(network, pictures):
    other = pictures.clone()
    other[1, 5:] = 0
    assert torch.equal(network(pictures, [9, 4, 9])[1], network(other, [9, 4, 9])[1])


def test_alike_episodes_lie_closer_than_others(network, pictures):
    near = pictures[:1].clone()
    near[:, :, :2, :2] = 0
    one, like, other = network(torch.cat((pictures[:1], near, pictures[1:2] // 4)), [9, 9, 9])
    assert (one - like).norm() < 0.5 * (one - other).norm()


def test_weights_begin_as_keras_would_begin(network):
    bound = (6 / (9 * 3 + 9 * 256)) ** 0.5
    assert network.kernel.abs().max() <= bound and network.kernel.abs().max() > 0.99 * bound
    rows = network.recurrent.flatten(1)
    assert torch.allclose(rows @ rows.T, torch.eye(4 * FILTERS), atol=1e-5)
    assert network.bias.tolist() == [0.0] * 64 + [1.0] * 64 + [0.0] * 128


def test_a_seed_gives_the_same_network_and_nothing_is_trained(network):
    again = EpisodeEmbedding(lambda obs: obs, torch.Generator().manual_seed(0))
    assert torch.equal(again.kernel, network.kernel)
    assert torch.equal(again.recurrent, network.recurrent) and not list(network.parameters())


def test_stored_observations_are_drawn_first(network):
    draws, seen = torch.Generator().manual_seed(0), []

    def draw(obs: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(obs.shape))
        return obs[..., None, None, :].expand(*obs.shape[:-1], 64, 64, 3)

    obs = torch.randint(0, 256, (2, RECORDS, 3), dtype=torch.uint8, generator=draws)
    found = embedding((3,), torch.uint8, draw, torch.Generator().manual_seed(0))(obs, [36, 36])
    assert found.shape == (2, FILTERS * SIDE * SIDE) and seen == [(2, 32, 3), (2, 5, 3)]


def test_vectors_that_nobody_can_draw_are_refused():
    with pytest.raises(UserError, match=r"an observation is \(7,\) numbers.*replay.retention"):
        embedding((7,), torch.float32, None, torch.Generator())


def test_the_weights_need_a_generator():
    with pytest.raises(ValueError, match="needs a generator"):
        embedding((64, 64, 3), torch.uint8, None, None)
