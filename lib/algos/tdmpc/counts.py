"""Visit counts of the reviewer, turned into a factor on the rewards that it plans for.

One object per rule, all with `visit(obs)` after every reviewer observation and `rate(tensors,
latent)` inside planning. Shapes: E observations, any leading shape for latents, L observation size.
"""

import copy
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from lib.algos.tdmpc.settings import ReviewerConfig
from lib.algos.tdmpc.snapping import HEADINGS, indices
from lib.core.errors import UserError
from lib.core.nn import framework_default_
from lib.engine import optim
from lib.engine.seeds import prefixed, unprefixed

DISCRIMINATOR_WIDTH = 128  # published code
COINS = 20  # coin-flip network: outputs (Lobel et al. 2023)
PRIOR_ROWS = 1024  # states over which its frozen part is scaled


class CountBonus(Protocol):
    def visit(self, obs: Tensor) -> None:
        """Counts E observations, (E, L)."""

    def live(self) -> dict[str, Tensor]:
        """Returns the tensors that `rate` reads; visits change them in place."""

    def rate(self, tensors: dict[str, Tensor], latent: Tensor) -> Tensor:
        """Computes factors of positive predicted rewards, (..., L) to (...), as a pure function."""

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> None: ...


def visit_bonus(visits: Tensor) -> Tensor:
    """Computes b = (N + 0.99999)**-1/2 - 1/99999 after N visits: about 1 for none, then less.

    Source: DRAGO's published code.
    """
    return (visits + 0.99999).rsqrt() - 1 / 99999


class GridCounts:
    """Exact counts in a table of cells and headings.

    Predictions are rounded to the nearest cell and kept inside the table; the published code
    truncates, which merges some cells.
    """

    def __init__(self, size: int, device: torch.device | str):
        self.size = size
        self.table = torch.zeros(size * size * 4, device=device)

    def index(self, obs: Tensor) -> Tensor:
        """Returns the table position of observations (2x/size-1, 2y/size-1, 2 heading/4-1)."""
        column, row, heading = indices(obs.nan_to_num(0.0), self.size).long().unbind(-1)
        return (row * self.size + column) * HEADINGS + heading

    def visit(self, obs: Tensor) -> None:
        ones = torch.ones(obs.shape[0], device=obs.device)
        self.table.index_add_(0, self.index(obs), ones)

    def live(self) -> dict[str, Tensor]:
        return {"table": self.table}

    def rate(self, tensors: dict[str, Tensor], latent: Tensor) -> Tensor:
        return visit_bonus(tensors["table"][self.index(latent)])

    def state_dict(self) -> dict:
        return {"table": self.table}

    def load_state_dict(self, state: dict) -> None:
        self.table.copy_(state["table"])


class _Trained:
    """A small network trained at every visit; shared by the continuous counts."""

    def __init__(self, obs_dim: int, outputs: int, init: torch.Generator, noise: torch.Generator):
        device = noise.device
        self.net = framework_default_(
            nn.Sequential(
                nn.Linear(obs_dim, DISCRIMINATOR_WIDTH),
                nn.ReLU(),
                nn.Linear(DISCRIMINATOR_WIDTH, outputs),
            ),
            init,
        ).to(device)
        self.noise = noise
        self.optimizer = optim.adam(self.net.parameters(), lr=1e-3)

    def _step(self, loss: Tensor) -> None:
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict:
        return {"net": self.net.state_dict(), "optimizer": optim.state(self.optimizer)}

    def load_state_dict(self, state: dict) -> None:
        self.net.load_state_dict(state["net"])
        optim.load(self.optimizer, state["optimizer"])


class DiscriminatorCounts(_Trained):
    """Pseudo-counts from a classifier of visited states against standard normal draws.

    With p the chance "visited" and p_before the same before the last training step,
    N = p_before (1 - p) / (p - p_before) and b = (N + 1)**-1/2 ("bounded"). "legacy" keeps the
    published N = (1 - p_before) / (p - p_before) and b = (N + 1e-8)**-1/2, which gives 10^4
    wherever p did not rise.
    """

    def __init__(self, obs_dim: int, init: torch.Generator, noise: torch.Generator, legacy: bool):
        super().__init__(obs_dim, 1, init, noise)
        self.legacy = legacy
        self.before = {k: v.clone() for k, v in self.net.state_dict().items()}

    def visit(self, obs: Tensor) -> None:
        for name, value in self.net.state_dict().items():
            self.before[name].copy_(value)
        draws = torch.randn(obs.shape, generator=self.noise, device=obs.device)
        seen = torch.arange(2 * len(obs), device=obs.device) < len(obs)
        with torch.enable_grad():
            logits = self.net(torch.cat((obs, draws))).squeeze(-1)
            self._step(F.binary_cross_entropy_with_logits(logits, seen.to(logits)))

    def live(self) -> dict[str, Tensor]:
        return prefixed(now=dict(self.net.named_parameters()), before=self.before)

    @torch.no_grad()
    def rate(self, tensors: dict[str, Tensor], latent: Tensor) -> Tensor:
        now, before = (
            torch.sigmoid(functional_call(self.net, unprefixed(tensors, name), latent)).squeeze(-1)
            for name in ("now", "before")
        )
        rise = now - before
        if self.legacy:
            count = ((1 - before) / (rise + 1e-8)).clamp_min(0)
            return (count + 1e-8).rsqrt()
        # Where the chance did not rise, the standard reading is "seen often": no bonus is added.
        count = torch.where(rise > 0, before * (1 - now) / rise.clamp_min(1e-8), 1e8)
        return (count + 1).rsqrt()

    def state_dict(self) -> dict:
        return super().state_dict() | {"before": self.before}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        for name, value in state["before"].items():
            self.before[name].copy_(value)


class CoinFlipCounts(_Trained):
    """Counts from the network that predicts fresh coin flips for every visited state.

    The squared norm of the predicted flips, averaged over the coins, tends to 1/N, so
    b = min(1, its root). A frozen random network is added to the predictions and scaled so that
    states never seen get about 1. Source: Lobel, Bagaria, Konidaris, "Flipping Coins to Estimate
    Pseudocounts", 2023 (without its replay of earlier visits).
    """

    def __init__(self, obs_dim: int, init: torch.Generator, noise: torch.Generator):
        super().__init__(obs_dim, COINS, init, noise)
        self.prior = copy.deepcopy(self.net).cpu().requires_grad_(False)
        framework_default_(self.prior, init)
        with torch.no_grad():  # mean 0 and variance 1 of every coin over standard normal states
            outputs = self.prior(torch.randn(PRIOR_ROWS, obs_dim, generator=init))
            spread, mean = torch.std_mean(outputs, 0)
            last = self.prior[-1]
            last.weight.div_(spread.unsqueeze(1))
            last.bias.sub_(mean).div_(spread)
        self.prior.to(noise.device)

    def _flips(self, obs: Tensor) -> Tensor:
        return self.net(obs) + self.prior(obs)

    def live(self) -> dict[str, Tensor]:
        prior = dict(self.prior.named_parameters())
        return prefixed(net=dict(self.net.named_parameters()), prior=prior)

    def visit(self, obs: Tensor) -> None:
        shape = (obs.shape[0], COINS)
        coins = torch.randint(0, 2, shape, generator=self.noise, device=obs.device) * 2.0 - 1.0
        with torch.enable_grad():
            self._step(F.mse_loss(self._flips(obs), coins))

    @torch.no_grad()
    def rate(self, tensors: dict[str, Tensor], latent: Tensor) -> Tensor:
        flips = functional_call(self.net, unprefixed(tensors, "net"), latent)
        flips = flips + functional_call(self.prior, unprefixed(tensors, "prior"), latent)
        return flips.square().mean(-1).sqrt().clamp_max(1.0)

    def state_dict(self) -> dict:
        return super().state_dict() | {"prior": self.prior.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self.prior.load_state_dict(state["prior"])


def build(
    cfg: ReviewerConfig,
    obs_dim: int,
    grid_size: int | None,
    init: torch.Generator,
    noise: torch.Generator,
) -> CountBonus | None:
    """Builds the rule that a configuration names; None means no bonus."""
    if cfg.count_bonus == "none":
        return None
    if cfg.count_bonus == "grid":
        if grid_size is None:
            raise UserError(
                "reviewer.count_bonus 'grid' needs a grid world; "
                "use 'bounded', 'coin-flip', 'legacy' or 'none' for continuous states"
            )
        return GridCounts(grid_size, noise.device)
    if cfg.count_bonus == "coin-flip":
        return CoinFlipCounts(obs_dim, init, noise)
    return DiscriminatorCounts(obs_dim, init, noise, legacy=cfg.count_bonus == "legacy")
