"""Encoders, decoders and heads stand around the recurrent state-space model.

Weights start as Keras starts them: Glorot-uniform, zero biases, and a LayerNorm whose epsilon is
1e-3. An encoder turns stored observations into vectors; a decoder says how well the state explains
them. Any leading shape goes through, time and batch are never looked at.

Letters: I inputs, O outputs, E embedding, F features, C channels.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.algos.dreamer.settings import NetworkConfig
from lib.core.errors import UserError
from lib.core.losses import half_squared_error
from lib.core.spaces import ObsSpace

ACTIVATIONS = {"elu": nn.ELU, "relu": nn.ReLU}
NORM_EPS = 1e-3  # Keras's; PyTorch's 1e-5 is another network
# By side of the picture: kernels of the encoder's convolutions, and of the decoder's transposed
# ones, all with stride 2 and no padding. 32 pixels are ours.
KERNELS = {
    64: ((4, 4, 4, 4), (5, 5, 6, 6)),  # 64, 31, 14, 6, 2 pixels; 1, 5, 13, 30, 64
    32: ((4, 4, 3), (5, 5, 8)),  # 32, 15, 6, 2; 1, 5, 13, 32
}


# Layers -------------------------------------------------------------------------------------


def glorot_(module: nn.Module, generator: torch.Generator) -> nn.Module:
    """Draws Glorot-uniform weights and zeroes biases of linear and convolution layers, in place."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)
    return module


def linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """Returns a linear layer as Keras starts it."""
    return glorot_(nn.Linear(inputs, outputs), generator)


def norm_layer(norm: str, width: int) -> nn.Module:
    """Returns LayerNorm over the last axis, or nothing."""
    return nn.LayerNorm(width, eps=NORM_EPS) if norm == "layer" else nn.Identity()


def dense(
    inputs: int, width: int, layers: int, outputs: int, norm: str, generator: torch.Generator
) -> nn.Sequential:
    """Returns hidden layers of (Linear, norm, ELU), then a bare Linear unless `outputs` is 0."""
    parts: list[nn.Module] = []
    for i in range(layers):
        parts += [linear(width if i else inputs, width, generator), norm_layer(norm, width)]
        parts += [nn.ELU()]
    if outputs:
        parts += [linear(width if layers else inputs, outputs, generator)]
    return nn.Sequential(*(part for part in parts if not isinstance(part, nn.Identity)))


def count(module: nn.Module) -> int:
    """Numbers that a module learns."""
    return sum(p.numel() for p in module.parameters())


class Scalar(nn.Module):
    """A head that gives one number: (..., F) to (...)."""

    def __init__(
        self,
        features: int,
        network: NetworkConfig,
        norm: str,
        gen: torch.Generator,
        layers: int = 0,
    ):
        super().__init__()
        layers = layers or network.head_layers
        self.net = dense(features, network.head_width, layers, 1, norm, gen)

    def forward(self, features: Tensor) -> Tensor:
        return self.net(features).squeeze(-1).float()


class _Channels(nn.Module):
    """A norm over the channels of (N, C, height, width)."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = norm_layer("layer", width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.movedim(-3, -1)).movedim(-1, -3)


def _conv_norm(norm: str, width: int) -> list[nn.Module]:
    return [_Channels(width)] if norm == "layer" else []


# Images -------------------------------------------------------------------------------------


def check_side(side: int) -> None:
    """Raises UserError unless there are convolutions for pictures of that side [pixels]."""
    if side not in KERNELS:
        sides = " or ".join(map(str, sorted(KERNELS)))
        raise UserError(
            f"env.image_size {side}: a Dreamer's convolutions take pictures of {sides} pixels "
            "a side; use one of these"
        )


class _Picture:
    """What the networks see of stored observations: (..., *shape) to (..., side, side, 3) uint8."""

    def __init__(self, space: ObsSpace):
        self.side = space.shape[0] if space.draw is None else 64
        if space.draw is None and space.shape != (self.side, self.side, 3):
            raise UserError(
                f"images have shape {space.shape}; the convolutions take square ones in colour: "
                "store such, or give the observation space a draw function that makes (64, 64, 3)"
            )
        check_side(self.side)
        self.dtype, self.draw = space.dtype, space.draw
        self.shape = (self.side, self.side, 3)
        self.kernels, self.transposed = KERNELS[self.side]
        # Channels of the code are as many as the numbers of the smallest map, in units of depth.
        self.code = 4 * 2 ** (len(self.kernels) - 1)

    def __call__(self, obs: Tensor) -> Tensor:
        _same_type(obs, self.dtype)
        picture = obs if self.draw is None else self.draw(obs)
        # A picture that is float before it is scaled ruins learning without an error.
        _same_type(picture, torch.uint8)
        return picture


class ImageEncoder(nn.Module):
    """Convolutions, stride 2: (..., *shape) to (..., 32 depth), or 16 depth of 32 pixels."""

    def __init__(self, space: ObsSpace, network: NetworkConfig, norm: str, gen: torch.Generator):
        super().__init__()
        self.picture = _Picture(space)
        parts: list[nn.Module] = []
        channels = 3
        for i, kernel in enumerate(self.picture.kernels):
            width = network.depth * 2**i
            parts += [nn.Conv2d(channels, width, kernel, stride=2)]
            parts += [*_conv_norm(norm, width), ACTIVATIONS[network.convolution]()]
            channels = width
        self.net = glorot_(nn.Sequential(*parts), gen)
        self.size = channels * 2 * 2

    def forward(self, obs: Tensor) -> Tensor:
        picture = self.picture(obs)  # (..., side, side, 3)
        x = picture.reshape(-1, *self.picture.shape).movedim(-1, -3) / 255 - 0.5  # channels first
        # Height and width before channels, as the authors flatten; the order is only a convention.
        return self.net(x).movedim(-3, -1).reshape(*picture.shape[:-3], self.size)


class ImageDecoder(nn.Module):
    """Linear to a 1x1 map, then transposed convolutions with stride 2: means of pixels."""

    def __init__(
        self,
        space: ObsSpace,
        features: int,
        network: NetworkConfig,
        norm: str,
        gen: torch.Generator,
    ):
        super().__init__()
        self.picture = _Picture(space)
        transposed, channels = self.picture.transposed, self.picture.code * network.depth
        self.code = linear(features, channels, gen)  # no activation
        parts: list[nn.Module] = []
        for i, kernel in enumerate(transposed):
            last = i == len(transposed) - 1
            width = 3 if last else network.depth * 2 ** (len(transposed) - 2 - i)
            parts += [nn.ConvTranspose2d(channels, width, kernel, stride=2)]
            if not last:
                parts += [*_conv_norm(norm, width), ACTIVATIONS[network.convolution]()]
            channels = width
        self.net = glorot_(nn.Sequential(*parts), gen)

    def forward(self, features: Tensor) -> Tensor:
        """(..., F) to (..., side, side, 3), pixels / 255 - 0.5."""
        code = self.code(features)
        x = self.net(code.reshape(-1, code.shape[-1], 1, 1))  # (N, 3, side, side)
        return x.movedim(-3, -1).reshape(*features.shape[:-1], *self.picture.shape)

    def loss(self, features: Tensor, obs: Tensor) -> Tensor:
        """Returns half the squared error, summed over pixels and colours: (...)."""
        return half_squared_error(self(features), self.picture(obs) / 255 - 0.5, 3)

    def predict(self, features: Tensor) -> Tensor:
        """Returns (..., side, side, 3) float in 0..1."""
        return (self(features).float() + 0.5).clamp(0, 1)

    def error(self, features: Tensor, obs: Tensor) -> Tensor:
        """Returns the mean squared error of colours in 0..1: (...)."""
        wrong = self.predict(features) - self.picture(obs) / 255
        return wrong.square().flatten(-3).mean(-1)


# Symbols ------------------------------------------------------------------------------------


class _Planes:
    """Symbols as one-hot planes: (..., *cells, planes) integers to (..., C, cells) float32.

    Cells come last so that what follows runs along memory: planes have few classes.
    """

    def __init__(self, space: ObsSpace):
        if len(space.classes) != space.shape[-1]:
            raise UserError(
                f"symbols of shape {space.shape} name {len(space.classes)} numbers of classes; "
                f"give one for each of the {space.shape[-1]} planes of the last axis"
            )
        self.shape, self.dtype, self.classes = space.shape, space.dtype, space.classes
        self.cells = math.prod(space.shape[:-1])
        self.channels = sum(space.classes)  # C

    def symbols(self, obs: Tensor) -> Tensor:
        """(..., *cells, planes) to (..., cells, planes)."""
        _same_type(obs, self.dtype)
        lead = obs.shape[: obs.dim() - len(self.shape)]
        return obs.reshape(*lead, self.cells, len(self.classes))

    def __call__(self, obs: Tensor) -> Tensor:
        planes = self.symbols(obs).unbind(-1)
        hot = [
            plane.unsqueeze(-2) == torch.arange(n, dtype=obs.dtype, device=obs.device).unsqueeze(1)
            for plane, n in zip(planes, self.classes, strict=True)
        ]
        return torch.cat(hot, -2).float()


class SymbolEncoder(nn.Module):
    """One-hot planes through hidden layers: (..., *shape) to (..., code_width)."""

    def __init__(self, space: ObsSpace, network: NetworkConfig, norm: str, gen: torch.Generator):
        super().__init__()
        self.planes = _Planes(space)
        inputs, self.size = self.planes.cells * self.planes.channels, network.code_width
        self.net = dense(inputs, self.size, network.code_layers, 0, norm, gen)

    def forward(self, obs: Tensor) -> Tensor:
        return self.net(self.planes(obs).flatten(-2))


class SymbolDecoder(nn.Module):
    """Hidden layers to the logits of every plane of every cell."""

    def __init__(
        self,
        space: ObsSpace,
        features: int,
        network: NetworkConfig,
        norm: str,
        gen: torch.Generator,
    ):
        super().__init__()
        self.planes = _Planes(space)
        outputs = self.planes.cells * self.planes.channels
        self.net = dense(features, network.code_width, network.code_layers, outputs, norm, gen)

    def forward(self, features: Tensor) -> Tensor:
        """(..., F) to logits (..., C, cells), one plane's classes after the other's."""
        return self.net(features).float().unflatten(-1, (self.planes.channels, self.planes.cells))

    def loss(self, features: Tensor, obs: Tensor) -> Tensor:
        """Returns the cross-entropy summed over cells and planes: (...)."""
        parts = self(features).split(self.planes.classes, -2)
        shown = self.planes.symbols(obs).long().unsqueeze(-3).unbind(-1)  # (..., 1, cells) each
        each = [
            F.log_softmax(part, -2).gather(-2, index).flatten(-2).sum(-1)
            for part, index in zip(parts, shown, strict=True)
        ]
        return -torch.stack(each).sum(0)

    def predict(self, features: Tensor) -> Tensor:
        """Returns the most likely symbols: (..., *shape) in the stored type."""
        parts = self(features).split(self.planes.classes, -2)
        best = torch.stack([part.argmax(-2) for part in parts], -1)  # (..., cells, planes)
        return best.unflatten(-2, self.planes.shape[:-1]).to(self.planes.dtype)

    def error(self, features: Tensor, obs: Tensor) -> Tensor:
        """Returns the share of cells of which any plane is wrong: (...)."""
        wrong = (self.predict(features) != obs).any(-1)
        return wrong.flatten(1 - len(self.planes.shape)).float().mean(-1)


# Vectors ------------------------------------------------------------------------------------


class VectorEncoder(nn.Module):
    """Hidden layers: (..., L) to (..., code_width)."""

    def __init__(self, space: ObsSpace, network: NetworkConfig, norm: str, gen: torch.Generator):
        super().__init__()
        self.size, self.dims = network.code_width, len(space.shape)
        inputs = math.prod(space.shape)
        self.net = dense(inputs, self.size, network.code_layers, 0, norm, gen)

    def forward(self, obs: Tensor) -> Tensor:
        _same_type(obs, torch.float32)
        return self.net(obs.flatten(-self.dims))


class VectorDecoder(nn.Module):
    """Hidden layers to the mean of every number."""

    def __init__(
        self,
        space: ObsSpace,
        features: int,
        network: NetworkConfig,
        norm: str,
        gen: torch.Generator,
    ):
        super().__init__()
        self.shape = space.shape
        outputs = math.prod(space.shape)
        self.net = dense(features, network.code_width, network.code_layers, outputs, norm, gen)

    def forward(self, features: Tensor) -> Tensor:
        return self.net(features).unflatten(-1, self.shape)

    def loss(self, features: Tensor, obs: Tensor) -> Tensor:
        """Returns half the squared error, summed over the numbers: (...)."""
        _same_type(obs, torch.float32)
        return half_squared_error(self(features), obs, len(self.shape))

    def predict(self, features: Tensor) -> Tensor:
        """Returns (..., *shape)."""
        return self(features).float()

    def error(self, features: Tensor, obs: Tensor) -> Tensor:
        """Returns the mean squared error: (...)."""
        return (self.predict(features) - obs).square().flatten(-len(self.shape)).mean(-1)


# By kind of observation ---------------------------------------------------------------------

Decoder = ImageDecoder | SymbolDecoder | VectorDecoder
ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "image": ImageEncoder,
    "symbols": SymbolEncoder,
    "vector": VectorEncoder,
}
DECODERS: dict[str, Callable[..., Decoder]] = {
    "image": ImageDecoder,
    "symbols": SymbolDecoder,
    "vector": VectorDecoder,
}


def build_encoder(
    space: ObsSpace, network: NetworkConfig, norm: str, generator: torch.Generator
) -> nn.Module:
    """Returns the encoder for such observations; its `size` is E."""
    return ENCODERS[space.kind](space, network, norm, generator)


def build_decoder(
    space: ObsSpace, features: int, network: NetworkConfig, norm: str, generator: torch.Generator
) -> Decoder:
    """The decoder for such observations: `loss`, `predict` and `error` of (..., F) features."""
    return DECODERS[space.kind](space, features, network, norm, generator)


def _same_type(tensor: Tensor, wanted: torch.dtype) -> None:
    assert tensor.dtype == wanted, f"observations are {tensor.dtype}, not {wanted} as stored"
