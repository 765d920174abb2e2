"""The recurrent state-space model in fewer and larger operations, as world models use it.

Layers that read two things are one matrix for each, so that what does not depend on the step
before is one product for all records; the pass over the records and its gradient are in `scan`.

Letters: T records, B sequences, Z and D the two parts of the state, A action size, E embedding,
P statistics of the latent, I hidden units.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.algos.dreamer.fast.scan import Weights, advance, scan
from lib.algos.dreamer.rssm import Imagine, Rssm, State, keep_of


class Split(NamedTuple):
    """The layers as a loop over records needs them: cut by what they read."""

    scan: Weights
    of_action: Tensor  # (I, A), of the input layer
    of_embed: Tensor  # (I, E), of the posterior's hidden layer
    prior_hidden: Tensor  # (I, D)
    prior_out: Tensor  # (P, I)


class FastRssm(Rssm):
    """An `Rssm` with the same parameters and, but for rounding, the same results."""

    def infer(
        self, embed: Tensor, action: Tensor, first: Tensor, noise: Tensor, state: State
    ) -> tuple[State, Tensor]:
        """Returns the posterior states (T, B, ·) and their statistics (T, B, P).

        Only the cell and the posterior run record by record: the embedding's and the action's
        products come before as one for all records.
        """
        keep, split = keep_of(first), self.split()
        from_embed = F.linear(embed, split.of_embed, self.posterior_hidden.bias)
        from_action = F.linear(action * keep, split.of_action, self.input.bias)
        z, h, posterior = scan(
            self.latent, from_embed, from_action, keep, noise, *state, split.scan
        )
        return State(z, h), posterior

    def imagining(self) -> Imagine:
        """Returns a function from a state and an action to the next state, weights cut once."""
        split = self.split()

        def imagine(state: State, action: Tensor, noise: Tensor) -> State:
            from_action = F.linear(action, split.of_action, self.input.bias)
            h, _ = advance(*state, from_action, split.scan)
            x = F.elu(self.prior_norm(F.linear(h, split.prior_hidden, self.prior_hidden.bias)))
            stats = F.linear(x, split.prior_out, self.prior_out.bias)
            return State(self.latent.sample(stats, noise), h)

        return imagine

    def split(self) -> Split:
        """Cuts the layers that read two things into one matrix for each.

        Cut or converted inside a loop, every step would write a whole weight or its gradient. Rows
        of a matrix of their own start at multiples that tensor cores want, whatever A is.
        """
        size, layer = self.latent.size, self.input
        of_z, of_action = (
            part.contiguous() for part in layer.weight.split((size, layer.in_features - size), 1)
        )
        of_h, of_embed = self.posterior_parts()
        scan = Weights(
            _ready(of_z).T,
            _ready(self.cell.weight),
            _ready(self.cell.bias),
            self.cell_norm.weight,
            self.cell_norm.bias,
            _ready(of_h).T,
            _ready(self.posterior_out.weight),
            _ready(self.posterior_out.bias),
            *_norm_of(self.input_norm),
            *_norm_of(self.posterior_norm),
        )
        prior = (_ready(self.prior_hidden.weight), _ready(self.prior_out.weight))
        return Split(scan, of_action, of_embed, *prior)

    def posterior_parts(self) -> tuple[Tensor, Tensor]:
        """Cuts the posterior's hidden layer by what it reads: (I, D) of h and (I, E) of e."""
        layer = self.posterior_hidden
        of_h, of_embed = layer.weight.split((self.deter, layer.in_features - self.deter), 1)
        return of_h, of_embed


def _ready(weight: Tensor) -> Tensor:
    """Converts a weight to the precision of products here, once instead of at every step."""
    kind = weight.device.type
    return weight.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else weight


def _norm_of(layer: nn.Module) -> tuple[Tensor | None, Tensor | None]:
    return (layer.weight, layer.bias) if isinstance(layer, nn.LayerNorm) else (None, None)
