"""The recurrent state-space model: a deterministic state h and a stochastic state z.

Everything that one step computes is on this page. `lib.algos.dreamer.fast.rssm` computes the same
with fewer and larger operations, and tests hold it to what stands here.

Letters: T records, B sequences, Z and D the two parts of the state, F = Z + D, A action size,
E embedding, P statistics of the latent.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.algos.dreamer.latents import build_latent
from lib.algos.dreamer.networks import NORM_EPS, linear, norm_layer
from lib.algos.dreamer.settings import LatentConfig
from lib.core.noise import NoiseSpec


class State(NamedTuple):
    """A state of the model."""

    z: Tensor  # (..., Z) stochastic, a sample
    h: Tensor  # (..., D) deterministic, the recurrent memory


class Observed(NamedTuple):
    """What a sequence of observations led to."""

    state: State  # (T, B, ·) posterior states
    posterior: Tensor  # (T, B, P) statistics, knowing the observation
    prior: Tensor  # (T, B, P) statistics, before knowing it


Imagine = Callable[[State, Tensor, Tensor], State]  # state (N, ·), action (N, A), noise to the next


class Rssm(nn.Module):
    """Predicts the next state from a state and an action, with the observation or without.

    x = ELU(N(W_in [z, a])); (r, c, u) = LN(W_g [x, h]) in single precision;
    h' = s(u - 1) tanh(s(r) c) + (1 - s(u - 1)) h;
    prior = W_p ELU(N(W_o h')); posterior = W_q ELU(N(W_e [h', e])); z' is drawn from one of them.

    Source: DreamerV2, eq. 1, with the authors' GRU cell. N is LayerNorm or nothing. A sequence
    starts from zeros, and so does a record that is the first one of an episode.
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

    # --- one step ----------------------------------------------------------------------------

    def step(
        self, state: State, action: Tensor, noise: Tensor, embed: Tensor | None = None
    ) -> tuple[State, Tensor]:
        """Returns the next state, and the statistics that its z was drawn from.

        Args:
            state: (B, ·). action: (B, A) that leads on from it.
            noise: `latent.noise(B)`.
            embed: (B, E) what is seen then: z is inferred. None: z is what the prior expects.
        """
        h = self.recur(state, action)
        stats = self.prior(h) if embed is None else self.posterior(h, embed)
        return State(self.latent.sample(stats, noise), h), stats

    def recur(self, state: State, action: Tensor) -> Tensor:
        """Returns the next h: (B, ·) and (B, A) to (B, D)."""
        x = F.elu(self.input_norm(self.input(torch.cat((state.z, action), -1))))
        gates = self.cell_norm(self.cell(torch.cat((x, state.h), -1)).float())
        reset, candidate, update = gates.chunk(3, -1)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        return torch.lerp(state.h, candidate, torch.sigmoid(update - 1))

    def prior(self, h: Tensor) -> Tensor:
        """Returns the statistics of z without the observation: (..., D) to (..., P)."""
        return self.prior_out(F.elu(self.prior_norm(self.prior_hidden(h)))).float()

    def posterior(self, h: Tensor, embed: Tensor) -> Tensor:
        """Returns the statistics of z with the observation: (..., D) and (..., E) to (..., P)."""
        hidden = self.posterior_hidden(torch.cat((h, embed), -1))
        return self.posterior_out(F.elu(self.posterior_norm(hidden))).float()

    # --- a sequence --------------------------------------------------------------------------

    def observe(
        self, embed: Tensor, action: Tensor, first: Tensor, noise: Tensor, initial: State
    ) -> Observed:
        """Infers the states of a sequence, and says what was expected at each record.

        Args:
            embed: (T, B, E).
            action: (T, B, A), the one that led to each record.
            first: (T, B) bool; there the state before and the action count as zeros.
            noise: (T, B, ·), see `observe_noise`.
            initial: (B, ·) state before the first record.
        """
        state, posterior = self.infer(embed, action, first, noise, initial)
        return Observed(state, posterior, self.prior(state.h))

    def infer(
        self, embed: Tensor, action: Tensor, first: Tensor, noise: Tensor, state: State
    ) -> tuple[State, Tensor]:
        """Returns the posterior states (T, B, ·) and their statistics (T, B, P); see `observe`."""
        keep = keep_of(first)
        found = []
        for t in range(len(embed)):
            before = State(state.z * keep[t], state.h * keep[t])
            state, stats = self.step(before, action[t] * keep[t], noise[t], embed[t])
            found.append((*state, stats))
        z, h, posterior = (torch.stack(part) for part in zip(*found, strict=True))
        return State(z, h), posterior

    def imagining(self) -> Imagine:
        """Returns a function from a state and an action to the next state, as expected.

        It is made once for a loop of steps. Its arguments are those of `step`, without `embed`.
        """
        return lambda state, action, noise: self.step(state, action, noise)[0]

    def observe_noise(self, records: int, rows: int) -> dict[str, NoiseSpec]:
        """Declares what `observe` takes as noise, under its name."""
        return {"posterior": self.latent.noise(records, rows)}

    # --- states ------------------------------------------------------------------------------

    def initial(self, *lead: int, like: Tensor) -> State:
        """Returns zeros (*lead, ·) on the device of `like`."""
        zeros = torch.zeros(*lead, self.features_size, device=like.device)
        return State(*zeros.split((self.latent.size, self.deter), -1))

    def features(self, state: State) -> Tensor:
        """Returns [z, h], what objective, heads, actor and critic read: (..., F)."""
        return torch.cat(state, -1)


def keep_of(first: Tensor) -> Tensor:
    """Returns 0 where an episode begins, else 1: bool (T, B) to (T, B, 1)."""
    assert first.dtype == torch.bool, f"first is {first.dtype}, not bool"
    return (~first).float().unsqueeze(-1)
