import math

import pytest
import torch
from torch.nn import functional as F

from lib.algos.dreamer.networks import Scalar, build_decoder, build_encoder, count, dense, linear
from lib.algos.dreamer.settings import NetworkConfig
from lib.core.errors import UserError
from lib.core.spaces import ObsSpace
from tests.algos.dreamer.models import DEPTH, SPACES, B, T, generator, observations

FEATURES = 31
SMALL = NetworkConfig(depth=DEPTH, code_width=23, code_layers=2, head_width=29, head_layers=2)
KINDS = list(SPACES)


def pair(kind: str, norm: str = "none"):
    space = SPACES[kind]
    encoder = build_encoder(space, SMALL, norm, generator(0))
    return space, encoder, build_decoder(space, FEATURES, SMALL, norm, generator(1))


def features(*lead: int) -> torch.Tensor:
    return torch.randn(*lead, FEATURES, generator=generator(2))


# All kinds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize("kind", KINDS)
def test_any_leading_shape_goes_through(kind, norm):
    space, encoder, decoder = pair(kind, norm)
    obs, read = observations(space, T, B), features(T, B)
    assert encoder(obs).shape == (T, B, encoder.size)
    assert decoder.loss(read, obs).shape == decoder.error(read, obs).shape == (T, B)
    assert decoder.predict(read).shape == (T, B, *space.shape)
    torch.testing.assert_close(encoder(obs)[2, 1], encoder(obs[2, 1]))
    torch.testing.assert_close(decoder.loss(read, obs)[2, 1], decoder.loss(read[2, 1], obs[2, 1]))
    torch.testing.assert_close(decoder.error(read, obs)[2, 1], decoder.error(read[2, 1], obs[2, 1]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_decoder_learns_one_observation_by_heart(kind):
    space, _, decoder = pair(kind)
    obs, read = observations(space, 2), features(2)
    if kind == "image":  # a picture of one colour each: few weights can hold that
        obs = torch.tensor([40, 200], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 64, 64, 3)
    optimiser = torch.optim.Adam(decoder.parameters(), lr=1e-2)
    before = decoder.error(read, obs).mean().item()
    for _ in range(150):
        optimiser.zero_grad()
        decoder.loss(read, obs).mean().backward()
        optimiser.step()
    assert decoder.error(read, obs).mean().item() < 0.05 * before


@pytest.mark.parametrize("kind", KINDS)
def test_observations_in_another_type_than_stored_are_caught(kind):
    space, encoder, _ = pair(kind)
    wrong = observations(space, B).to(torch.float64)
    with pytest.raises(AssertionError, match="observations are torch.float64, not"):
        encoder(wrong)


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_decides_the_first_weights(kind):
    def flat(seed):
        encoder = build_encoder(SPACES[kind], SMALL, "none", generator(seed))
        return torch.nn.utils.parameters_to_vector(encoder.parameters())

    assert torch.equal(flat(3), flat(3)) and not torch.equal(flat(3), flat(4))


# Layers ----------------------------------------------------------------------------------------


def test_weights_start_as_keras_starts_them():
    # Glorot-uniform: |w| < sqrt(6 / (in + out)), here sqrt(6 / 100), and variance 2 / 100
    layer = linear(60, 40, generator())
    bound = math.sqrt(6 / 100)
    assert 0.99 * bound < layer.weight.abs().max() <= bound
    assert layer.weight.var().item() == pytest.approx(0.02, rel=0.05)
    assert not layer.bias.any()


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_convolutions_start_like_keras_with_their_whole_fan(kind):
    # fan = kernel area * channels, in and out: layer 2 has 16 * 2 and 16 * 4
    _, encoder, decoder = pair("image")
    convs = [m for m in (encoder if kind == "encoder" else decoder).net if hasattr(m, "stride")]
    for conv in convs:
        area = conv.kernel_size[0] ** 2
        bound = math.sqrt(6 / (area * (conv.in_channels + conv.out_channels)))
        assert 0.9 * bound < conv.weight.abs().max() <= bound
        assert not conv.bias.any()


def test_norms_stand_before_the_activation_with_their_wide_epsilon():
    net = dense(3, 5, 2, 2, "layer", generator())
    names = [type(part).__name__ for part in net]
    assert names == ["Linear", "LayerNorm", "ELU"] * 2 + ["Linear"]
    assert net[1].eps == 1e-3
    assert not any("Norm" in type(part).__name__ for part in dense(3, 5, 2, 2, "none", generator()))


def test_without_outputs_the_last_layer_is_active():
    net = dense(3, 5, 1, 0, "none", generator())
    assert [type(part).__name__ for part in net] == ["Linear", "ELU"]


def test_a_head_gives_one_number_for_each_state():
    head = Scalar(FEATURES, SMALL, "none", generator())
    assert head(features(T, B)).shape == (T, B)


# Images ----------------------------------------------------------------------------------------

FULL = NetworkConfig()


def test_image_networks_have_the_published_sizes():
    # conv k*k*in*out + out: 2,352 + 73,824 + 295,104 + 1,180,032 = 1,551,312
    # linear 2048 -> 1536 is 3,147,264; transposed 7,372,992 + 460,896 + 165,936 + 5,187
    encoder = build_encoder(SPACES["image"], FULL, "none", generator())
    decoder = build_decoder(SPACES["image"], 2048, FULL, "none", generator())
    assert (count(encoder), encoder.size, count(decoder)) == (1_551_312, 1536, 11_152_275)


def test_image_norms_are_over_channels_and_spare_the_last_layer():
    # two numbers per channel: 2 (2 + 4 + 8 + 16) in the encoder, 2 (8 + 4 + 2) in the decoder
    _, encoder, decoder = pair("image", "layer")
    _, plain_encoder, plain_decoder = pair("image")
    assert count(encoder) - count(plain_encoder) == 60
    assert count(decoder) - count(plain_decoder) == 28


def test_pixels_are_scaled_before_they_are_read():
    # one convolution by hand: 255 is 0.5 and 0 is -0.5
    _, encoder, _ = pair("image")
    obs = observations(SPACES["image"], 1)
    x = (obs.float() / 255 - 0.5).permute(0, 3, 1, 2)
    for part in encoder.net:
        x = part(x)
    torch.testing.assert_close(encoder(obs), x.permute(0, 2, 3, 1).reshape(1, -1))


def test_the_images_loss_by_hand():
    # a decoder that says 0 (mid-grey) of a white picture: 12,288 pixels of 0.5 * 0.5^2 = 1,536
    _, _, decoder = pair("image")
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.zero_()
    obs = torch.full((1, 64, 64, 3), 255, dtype=torch.uint8)
    assert decoder.loss(features(1), obs).item() == pytest.approx(1536.0)
    assert decoder.error(features(1), obs).item() == pytest.approx(0.25)
    assert decoder.predict(features(1)).unique().tolist() == [0.5]


def test_stored_symbols_are_drawn_before_they_are_read():
    def draw(symbols):  # (..., 2) to grey pictures
        return (symbols[..., :1, None, None] * 10).expand(*symbols.shape[:-1], 64, 64, 3)

    space = ObsSpace("image", (2,), torch.uint8, draw=draw)
    encoder = build_encoder(space, SMALL, "none", generator())
    plain = build_encoder(SPACES["image"], SMALL, "none", generator())
    obs = torch.tensor([[3, 9], [7, 1]], dtype=torch.uint8)
    torch.testing.assert_close(encoder(obs), plain(draw(obs)))
    assert build_decoder(space, FEATURES, SMALL, "none", generator()).loss(
        features(2), obs
    ).shape == (2,)


def test_pictures_that_are_drawn_as_floats_are_caught():
    space = ObsSpace("image", (2,), torch.uint8, draw=lambda x: torch.zeros(len(x), 64, 64, 3))
    encoder = build_encoder(space, SMALL, "none", generator())
    with pytest.raises(AssertionError, match="torch.float32, not torch.uint8"):
        encoder(torch.zeros(1, 2, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((48, 48, 3), "image_size 48: .* pictures of 32 or 64 pixels"),
        ((64, 32, 3), r"images have shape \(64, 32, 3\)"),
        ((64, 64, 1), r"images have shape \(64, 64, 1\)"),
    ],
)
def test_images_of_another_size_are_refused(shape, message):
    with pytest.raises(UserError, match=message):
        build_encoder(ObsSpace("image", shape, torch.uint8), SMALL, "none", generator())


def test_pictures_of_32_pixels_have_networks_of_their_own():
    # 32 pixels: 4 x 4 kernels with 3 and d channels, 4 x 4 with 2d, 3 x 3 with 4d, and back by
    # 5 x 5, 5 x 5 and 8 x 8 from 16 d numbers
    space, d = ObsSpace("image", (32, 32, 3), torch.uint8), SMALL.depth
    encoder = build_encoder(space, SMALL, "none", generator())
    decoder = build_decoder(space, FEATURES, SMALL, "none", generator())
    assert encoder.size == 16 * d
    by_hand = 48 * d + d + 16 * d * 2 * d + 2 * d + 9 * 2 * d * 4 * d + 4 * d
    assert count(encoder) == by_hand
    by_hand = (FEATURES + 1) * 16 * d + 25 * 16 * d * 2 * d + 2 * d + 25 * 2 * d * d + d
    assert count(decoder) == by_hand + 64 * d * 3 + 3
    obs = torch.randint(0, 256, (2, 3, 32, 32, 3), dtype=torch.uint8, generator=generator())
    assert encoder(obs).shape == (2, 3, 16 * d)
    assert decoder(features(2, 3)).shape == obs.shape
    assert decoder.loss(features(2, 3), obs).shape == (2, 3)


# Symbols ---------------------------------------------------------------------------------------


def test_the_symbols_loss_equals_a_slow_loop():
    space, _, decoder = pair("symbols")
    obs, read = observations(space, B), features(B)
    logits = decoder(read)  # (B, C, cells)
    found = decoder.loss(read, obs)
    for row in range(B):
        slow, flat = 0.0, obs[row].reshape(-1, 2)
        for cell in range(6):
            for plane, (low, high) in enumerate([(0, 5), (5, 9)]):
                scores = logits[row, low:high, cell]
                slow += F.cross_entropy(scores, flat[cell, plane].long()).item()
        assert found[row].item() == pytest.approx(slow, rel=1e-5)


def test_an_untrained_symbol_decoder_knows_as_much_as_chance():
    # even logits: 6 cells of log 5 + log 4
    space, _, decoder = pair("symbols")
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.zero_()
    loss = decoder.loss(features(1), observations(space, 1))
    assert loss.item() == pytest.approx(6 * (math.log(5) + math.log(4)), rel=1e-5)


def test_the_symbols_error_counts_cells_that_are_not_exactly_right():
    # of 6 cells one has a wrong first plane, one a wrong second, one both: 3 / 6
    space, _, decoder = pair("symbols")
    read = features(1)
    obs = decoder.predict(read)
    assert obs.dtype == torch.uint8 and obs.shape == (1, 2, 3, 2)
    assert decoder.error(read, obs).item() == 0
    for cell, plane in [((0, 0), 0), ((1, 1), 1), ((0, 2), 0), ((0, 2), 1)]:
        obs[0, *cell, plane] = (obs[0, *cell, plane] + 1) % space.classes[plane]
    assert decoder.error(read, obs).item() == 0.5


def test_every_symbol_is_seen_apart():
    space, encoder, _ = pair("symbols")
    hot = encoder.planes(observations(space, B))
    assert hot.shape == (B, 9, 6) and hot.dtype == torch.float32
    assert (hot[:, :5].sum(1) == 1).all() and (hot[:, 5:].sum(1) == 1).all()


def test_planes_without_their_number_of_classes_are_refused():
    with pytest.raises(UserError, match="name 1 numbers of classes; give one for each of the 2"):
        build_encoder(ObsSpace("symbols", (3, 2), torch.uint8, (5,)), SMALL, "none", generator())


# Vectors ---------------------------------------------------------------------------------------


def test_the_vectors_loss_by_hand():
    # a decoder that says 0 of eleven 2s: 11 * 0.5 * 4 = 22, mean squared error 4
    _, _, decoder = pair("vector")
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.zero_()
    obs = torch.full((1, 11), 2.0)
    assert decoder.loss(features(1), obs).item() == 22.0
    assert decoder.error(features(1), obs).item() == 4.0
