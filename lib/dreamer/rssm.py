"""The recurrent state-space model: a deterministic state h and a stochastic state z.

Letters: T records, B sequences, Z and D the two parts of the state, F = Z + D, A action size,
E embedding, P statistics of the latent.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.dreamer.latents import build_latent
from lib.dreamer.networks import NORM_EPS, linear, norm_layer
from lib.dreamer.settings import LatentConfig
from lib.lanes import Draw


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
    """Weights of the input layer and of the posterior's hidden layer, by what they read."""

    of_z: Tensor  # (Z, hidden)
    of_action: Tensor  # (hidden, A)
    of_h: Tensor  # (D, hidden)
    of_embed: Tensor  # (hidden, E)


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
        """The layers that read two things, as one matrix for each.

        Taken once before a scan: cut inside it, every step would write a whole gradient.
        """
        size, deter = self.latent.size, self.deter
        of_z, of_action = self.input.weight.split((size, self.input.in_features - size), 1)
        layer = self.posterior_hidden
        of_h, of_embed = layer.weight.split((deter, layer.in_features - deter), 1)
        return Split(of_z.T, of_action, of_h.T, of_embed)

    def advance(self, state: State, from_action: Tensor, of_z: Tensor) -> Tensor:
        """The next h: (B, ·) and what the action adds to the input layer (B, hidden) to (B, D)."""
        x = F.elu(self.input_norm(torch.addmm(from_action, state.z, of_z)))
        # Half precision would drift over the records, so the cell is normalised in single.
        gates = self.cell_norm(self.cell(torch.cat((x, state.h), -1)).float())
        reset, candidate, update = gates.chunk(3, -1)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        return torch.lerp(state.h, candidate, torch.sigmoid(update - 1))

    def prior(self, h: Tensor) -> Tensor:
        """Statistics of z without the observation: (..., D) to (..., P)."""
        return self.prior_out(F.elu(self.prior_norm(self.prior_hidden(h))))

    def posterior(self, h: Tensor, from_embed: Tensor, of_h: Tensor) -> Tensor:
        """Statistics of z with it: (B, D) and (B, hidden) to (B, P)."""
        return self.posterior_out(F.elu(self.posterior_norm(torch.addmm(from_embed, h, of_h))))

    def imagine_step(self, state: State, action: Tensor, noise: Tensor) -> State:
        """The next state as the model expects it: (N, ·) and (N, A), `latent.noise(N)`."""
        split = self.split()
        from_action = F.linear(action, split.of_action, self.input.bias)
        h = self.advance(state, from_action, split.of_z)
        return State(self.latent.sample(self.prior(h), noise), h)

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

    def observe_noise(self, records: int, rows: int) -> dict[str, Draw]:
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
        return Observed(state, posterior.float(), self.prior(state.h).float())

    def _scan(
        self, embed: Tensor, action: Tensor, first: Tensor, noise: Tensor, state: State
    ) -> tuple[State, Tensor]:
        """Posterior states (T, B, ·) and their statistics (T, B, P)."""
        assert first.dtype == torch.bool, f"first is {first.dtype}, not bool"
        keep, split = (~first).float().unsqueeze(-1), self.split()  # (T, B, 1)
        steps = zip(
            F.linear(embed, split.of_embed, self.posterior_hidden.bias).unbind(),
            F.linear(action * keep, split.of_action, self.input.bias).unbind(),
            keep.unbind(),
            noise.unbind(),
            strict=True,
        )
        states, posterior = [], []
        for from_embed, from_action, kept, drawn in steps:
            before = State(state.z * kept, state.h * kept)
            h = self.advance(before, from_action, split.of_z)
            stats = self.posterior(h, from_embed, split.of_h)
            state = State(self.latent.sample(stats, drawn), h)
            states.append(state)
            posterior.append(stats)
        zs, hs = zip(*states, strict=True)
        return State(torch.stack(zs), torch.stack(hs)), torch.stack(posterior)
