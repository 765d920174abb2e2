"""The recurrent state-space model: a deterministic state h and a stochastic state z.

Letters: T records, B sequences, Z and D the two parts of the state, F = Z + D, A action size,
E embedding, P statistics of the latent.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.algos.dreamer.latents import build_latent
from lib.algos.dreamer.networks import NORM_EPS, linear, norm_layer
from lib.algos.dreamer.scan import Weights, advance, scan
from lib.algos.dreamer.settings import LatentConfig
from lib.core.noise import NoiseSpec


class State(NamedTuple):
    """Where the model believes it is."""

    z: Tensor  # (..., Z) sample
    h: Tensor  # (..., D) memory


class Observed(NamedTuple):
    """What a sequence of observations led to."""

    state: State  # (T, B, ·) posterior states
    posterior: Tensor  # (T, B, P) statistics, knowing the observation
    prior: Tensor  # (T, B, P) statistics, before knowing it


class Split(NamedTuple):
    """The layers as a loop over records needs them: cut by what they read, see `Rssm.split`."""

    scan: Weights
    of_action: Tensor  # (I, A), of the input layer
    of_embed: Tensor  # (I, E), of the posterior's hidden layer
    prior_hidden: Tensor  # (I, D)
    prior_out: Tensor  # (P, I)


class Rssm(nn.Module):
    """Cell, prior and posterior.

    x = ELU(N(W_in [z, a])); (r, c, u) = LN(W_g [x, h]) in single precision;
    h' = s(u - 1) tanh(s(r) c) + (1 - s(u - 1)) h;
    prior = W_p ELU(N(W_o h')); posterior = W_q ELU(N(W_e [h', e])).

    Source: DreamerV2. A sequence starts from zeros, and so does a record that is a first one.
    """

    def __init__(
        self, action_size: int, embed_size: int, cfg: LatentConfig, generator: torch.Generator
    ):
        super().__init__()
        self.latent = build_latent(cfg)
        size, hidden, deter = self.latent.size, cfg.hidden, cfg.deter
        self.deter = deter
        self.features_size = size + deter  # F
        self.input = linear(size + action_size, hidden, generator)
        self.input_norm = norm_layer(cfg.norm, hidden)
        self.cell = linear(hidden + deter, 3 * deter, generator)
        self.cell_norm = nn.LayerNorm(3 * deter, eps=NORM_EPS)
        self.prior_hidden = linear(deter, hidden, generator)
        self.prior_norm = norm_layer(cfg.norm, hidden)
        self.prior_out = linear(hidden, self.latent.parameters, generator)
        self.posterior_hidden = linear(deter + embed_size, hidden, generator)
        self.posterior_norm = norm_layer(cfg.norm, hidden)
        self.posterior_out = linear(hidden, self.latent.parameters, generator)

    # --- states ------------------------------------------------------------------------------

    def initial(self, *lead: int, like: Tensor) -> State:
        """Zeros (*lead, ·) on the device of `like`."""
        zeros = torch.zeros(*lead, self.features_size, device=like.device)
        return State(*zeros.split((self.latent.size, self.deter), -1))

    def features(self, state: State) -> Tensor:
        """[z, h], what decoder, heads, actor and critic read: (..., F)."""
        return torch.cat(state, -1)

    # --- one step ----------------------------------------------------------------------------

    def split(self) -> Split:
        """The layers that read two things, as one matrix for each; taken once before a loop.

        Cut or converted inside it, every step would write a whole weight or its gradient. Rows of
        a matrix of their own start at multiples that tensor cores want, whatever A is.
        """
        size = self.latent.size
        layer, above = self.input, self.posterior_hidden
        of_z, of_action = (
            part.contiguous() for part in layer.weight.split((size, layer.in_features - size), 1)
        )
        of_h, of_embed = above.weight.split((self.deter, above.in_features - self.deter), 1)
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

    def prior(self, h: Tensor) -> Tensor:
        """Statistics of z without the observation: (..., D) to (..., P)."""
        return self.prior_out(F.elu(self.prior_norm(self.prior_hidden(h))))

    def imagine_step(
        self, state: State, action: Tensor, noise: Tensor, split: Split | None = None
    ) -> State:
        """The next state as the model expects it: (N, ·) and (N, A), `latent.noise(N)`.

        Args:
            split: what `split` gave, where several steps follow each other.
        """
        split = split or self.split()
        from_action = F.linear(action, split.of_action, self.input.bias)
        h, _ = advance(*state, from_action, split.scan)
        x = F.elu(self.prior_norm(F.linear(h, split.prior_hidden, self.prior_hidden.bias)))
        stats = F.linear(x, split.prior_out, self.prior_out.bias)
        return State(self.latent.sample(stats, noise), h)

    def observe_step(
        self, embed: Tensor, action: Tensor, first: Tensor, noise: Tensor, state: State
    ) -> State:
        """The next state, knowing the observation: what acting needs, without the prior.

        Args:
            embed: (B, E). action: (B, A) that led here. first: (B,) bool.
            noise: `latent.noise(B)`. state: (B, ·).
        """
        lead = (part.unsqueeze(0) for part in (embed, action, first, noise))
        states, _ = self._scan(*lead, state)
        return State(*(part[0] for part in states))

    # --- a sequence --------------------------------------------------------------------------

    def observe_noise(self, records: int, rows: int) -> dict[str, NoiseSpec]:
        """What `observe` takes as noise, under its name."""
        return {"posterior": self.latent.noise(records, rows)}

    def observe(
        self, embed: Tensor, action: Tensor, first: Tensor, noise: Tensor, initial: State
    ) -> Observed:
        """Posterior states of a sequence, and what the prior expected.

        Only the cell and the posterior run record by record: the embedding's and the action's
        products before, and the prior after, are one product for all records.

        Args:
            embed: (T, B, E).
            action: (T, B, A), the one that led to each record.
            first: (T, B) bool; there the state before and the action count as zeros.
            noise: (T, B, ·), see `observe_noise`.
            initial: (B, ·) state before the first record.
        """
        state, posterior = self._scan(embed, action, first, noise, initial)
        return Observed(state, posterior, self.prior(state.h).float())

    def _scan(
        self, embed: Tensor, action: Tensor, first: Tensor, noise: Tensor, state: State
    ) -> tuple[State, Tensor]:
        """Posterior states (T, B, ·) and their statistics (T, B, P)."""
        assert first.dtype == torch.bool, f"first is {first.dtype}, not bool"
        keep, split = (~first).float().unsqueeze(-1), self.split()  # (T, B, 1)
        from_embed = F.linear(embed, split.of_embed, self.posterior_hidden.bias)
        from_action = F.linear(action * keep, split.of_action, self.input.bias)
        z, h, posterior = scan(
            self.latent, from_embed, from_action, keep, noise, *state, split.scan
        )
        return State(z, h), posterior


def _ready(weight: Tensor) -> Tensor:
    """A weight in the precision that products have here, converted once instead of each time."""
    kind = weight.device.type
    return weight.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else weight


def _norm_of(layer: nn.Module) -> tuple[Tensor | None, Tensor | None]:
    return (layer.weight, layer.bias) if isinstance(layer, nn.LayerNorm) else (None, None)
