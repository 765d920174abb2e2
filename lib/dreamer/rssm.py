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

    def advance(self, z: Tensor, h: Tensor, from_action: Tensor) -> Tensor:
        """The next h, from (B, Z), (B, D) and what the action adds to the input layer (B, hidden).

        What is added is W_in's part for the action, bias included: see `from_action`.
        """
        x = from_action + z @ self.input.weight[:, : self.latent.size].T
        x = F.elu(self.input_norm(x))
        gates = self.cell(torch.cat((x, h), -1)).float()  # half precision would drift over T steps
        reset, candidate, update = self.cell_norm(gates).chunk(3, -1)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        return torch.lerp(h, candidate, torch.sigmoid(update - 1))

    def from_action(self, action: Tensor) -> Tensor:
        """What (..., A) adds to the input layer: (..., hidden)."""
        return F.linear(action, self.input.weight[:, self.latent.size :], self.input.bias)

    def from_embedding(self, embed: Tensor) -> Tensor:
        """What (..., E) adds to the posterior's hidden layer: (..., hidden)."""
        layer = self.posterior_hidden
        return F.linear(embed, layer.weight[:, self.deter :], layer.bias)

    def prior(self, h: Tensor) -> Tensor:
        """Statistics of z without the observation: (..., D) to (..., P)."""
        return self.prior_out(F.elu(self.prior_norm(self.prior_hidden(h))))

    def posterior(self, h: Tensor, from_embedding: Tensor) -> Tensor:
        """Statistics of z with it: (..., D) and (..., hidden) to (..., P)."""
        x = from_embedding + h @ self.posterior_hidden.weight[:, : self.deter].T
        return self.posterior_out(F.elu(self.posterior_norm(x)))

    def imagine_step(self, state: State, action: Tensor, noise: Tensor) -> State:
        """The next state as the model expects it; `noise` as `latent.noise(*lead)`."""
        h = self.advance(state.z, state.h, self.from_action(action))
        return State(self.latent.sample(self.prior(h), noise), h)

    def observe_step(
        self, embed: Tensor, action: Tensor, first: Tensor, noise: Tensor, state: State
    ) -> State:
        """The next state, knowing the observation: what acting needs, without the prior.

        Args:
            embed: (B, E). action: (B, A) that led here. first: (B,) bool. state: (B, ·).
        """
        assert first.dtype == torch.bool, f"first is {first.dtype}, not bool"
        keep = (~first).float().unsqueeze(-1)
        h = self.advance(state.z * keep, state.h * keep, self.from_action(action * keep))
        stats = self.posterior(h, self.from_embedding(embed))
        return State(self.latent.sample(stats, noise), h)

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
        assert first.dtype == torch.bool, f"first is {first.dtype}, not bool"
        keep = (~first).float().unsqueeze(-1)  # (T, B, 1)
        steps = zip(
            self.from_embedding(embed).unbind(),
            self.from_action(action * keep).unbind(),
            keep.unbind(),
            noise.unbind(),
            strict=True,
        )
        (z, h), zs, hs, posterior = initial, [], [], []
        for seen, acted, kept, drawn in steps:
            h = self.advance(z * kept, h * kept, acted)
            stats = self.posterior(h, seen)
            z = self.latent.sample(stats, drawn)
            zs.append(z)
            hs.append(h)
            posterior.append(stats)
        memory = torch.stack(hs)
        state = State(torch.stack(zs), memory)
        return Observed(state, torch.stack(posterior).float(), self.prior(memory).float())
