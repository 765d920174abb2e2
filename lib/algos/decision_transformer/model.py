"""A Decision Transformer of discrete actions: what comes next, given the return still wanted?

Every step is 3 + A tokens, in this order: state, return to go, one token for each of A action
dimensions, reward. The token before an action's is where it is predicted.

Shapes: B windows, C steps of a window, N = 3 + A tokens of a step, S slots, D width.

Source: Chen et al. 2021; Schmied et al. 2023 (L2M), whose released sizes and initial weights these
are.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.algos.decision_transformer.sizes import ModelConfig
from lib.algos.decision_transformer.transformer import (
    Adapter,
    Transformer,
    causal_mask,
    gpt2_init_,
)
from lib.algos.decision_transformer.windows import Window
from lib.engine.compiling import compiled

Read = Callable[[Tensor, Tensor], Tensor]
"""Tokens (B, K, D) and a mask to features (B, K, D)."""

POSITIONS = 1024  # rows of GPT-2's table of positions
STATE, TO_GO = 0, 1  # places of a step's tokens; actions and the reward follow
QUERIES = ("embedding", "first", "last")  # what a window is known by, see `query`


class DecisionTransformer(nn.Module):
    """Embeds a window, reads it, and says how likely every action is.

    Args:
        cfg: sizes.
        generator: draws the initial weights.
    """

    def __init__(self, cfg: ModelConfig, generator: torch.Generator):
        super().__init__()
        width = cfg.width
        self.cfg = cfg
        self.body = Transformer(cfg.layers, cfg.heads, width, cfg.dropout)
        self.state, self.to_go, self.reward = (nn.Linear(n, width) for n in (cfg.slots, 1, 1))
        self.action = nn.Embedding(cfg.bins + 1, width, padding_idx=cfg.bins)
        self.time = nn.Embedding(cfg.steps, width)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, cfg.bins)
        # What the published model has besides: all tokens are at position 0, so that only the first
        # row of a table is ever read, and three heads have no loss.
        self.position = nn.Embedding(POSITIONS, width) if cfg.position_table else None
        idle = (cfg.slots, 1, 1) if cfg.idle_heads else ()
        self.idle = nn.ModuleList(nn.Linear(width, n) for n in idle)
        self.fast: Read | None = None  # the body compiled, for learning with all of the model
        gpt2_init_(self, cfg.layers, generator)
        # Two tables are made anew after that in the published code, as PyTorch makes them.
        with torch.no_grad():
            bound = cfg.slots**-0.5
            self.state.weight.uniform_(-bound, bound, generator=generator)
            self.state.bias.uniform_(-bound, bound, generator=generator)
            self.action.weight.normal_(generator=generator)
            self.action.weight[cfg.bins] = 0

    # --- reading -------------------------------------------------------------------------

    def embed(self, window: Window) -> Tensor:
        """Returns tokens (B, C, N, D), normalised, the time of their step in all of them."""
        tokens = torch.cat(
            (
                self.state(window.state).unsqueeze(2),
                self.to_go(window.to_go.unsqueeze(-1)).unsqueeze(2),
                self.action(window.action),
                self.reward(window.reward.unsqueeze(-1)).unsqueeze(2),
            ),
            dim=2,
        )
        return self.norm(tokens + self.time(window.time).unsqueeze(2))

    def read(self, tokens: Tensor, valid: Tensor, adapter: Adapter | None = None) -> Tensor:
        """Returns features (B, C, N, D) of embedded tokens.

        Args:
            valid: (B, C) bool, steps that are no padding.
            adapter: what a modulator changes; None reads as trained before.
        """
        steps, per_step = tokens.shape[1:3]
        mask = causal_mask(valid.repeat_interleave(per_step, 1))
        if self.fast is not None and self.training and adapter is None:
            features = self.fast(self.flat(tokens), mask)
        else:
            features, _ = self.body(self.flat(tokens, adapter), mask, adapter)
        return features.unflatten(1, (steps, per_step))

    def compile_body(self) -> None:
        """Lets what learns without an adapter read through PyTorch's compiler from now on.

        An adapter is made anew for every batch, and so would be the compiled code.
        """

        def read(tokens: Tensor, mask: Tensor) -> Tensor:
            return self.body(tokens, mask)[0]

        self.fast = compiled(read, "read")

    def flat(self, tokens: Tensor, adapter: Adapter | None = None) -> Tensor:
        """Returns embedded tokens (B, C, N, D) in one line, (B, C * N, D), as they are read."""
        if adapter is not None:
            tokens = adapter.embedded(tokens, (0, 1, *[2] * self.cfg.actions, 3))
        return self.placed(tokens.flatten(1, 2))

    @torch.no_grad()
    def query(self, tokens: Tensor, valid: Tensor, source: str) -> Tensor:
        """Returns what a window is known by, (B, D): a mean over its states but for padding.

        Args:
            source: one of `QUERIES`: of the embedded tokens, or of what the model alone makes of
                them in its first or last layer.
        """
        if source == "first":
            steps, per_step = tokens.shape[1:3]
            mask = causal_mask(valid.repeat_interleave(per_step, 1))
            features, _ = self.body(self.flat(tokens), mask, layers=1)
            tokens = features.unflatten(1, (steps, per_step))
        elif source == "last":
            tokens = self.read(tokens, valid)
        return mean_state(tokens, valid)

    def placed(self, tokens: Tensor) -> Tensor:
        """Adds the one position that all tokens are at, where there is a table of them."""
        return tokens if self.position is None else tokens + self.position.weight[0]

    def logits(self, features: Tensor) -> Tensor:
        """Returns (B, C, A, bins): each action dimension is predicted one token before its own."""
        return self.head(predicting(features, self.cfg.actions))

    def forward(self, window: Window, adapter: Adapter | None = None) -> Tensor:
        """Returns the logits (B, C, A, bins) of a window."""
        return self.logits(self.read(self.embed(window), window.valid, adapter))

    # --- deciding ------------------------------------------------------------------------

    @torch.no_grad()
    def decide(
        self, window: Window, tokens: Tensor, count: int, adapter: Adapter | None = None
    ) -> Tensor:
        """Returns the likeliest tokens (B, count) of the last step's action, one after the other.

        The window is read once, up to the last return to go; then every token that was decided is
        read alone, beside the keys and values of all before it.

        Args:
            window: its last action and reward are not read.
            tokens: the window, embedded.
            count: dimensions of the task's action.
        """
        steps, per_step = tokens.shape[1:3]
        flat = self.flat(tokens, adapter)[:, : (steps - 1) * per_step + TO_GO + 1]
        valid = window.valid.repeat_interleave(per_step, 1)[:, : flat.shape[1]]
        features, past = self.body(flat, causal_mask(valid), adapter)
        chosen = [self.head(features[:, -1]).argmax(-1)]
        time = self.time(window.time[:, -1])
        while len(chosen) < count:
            token = self.norm(self.action(chosen[-1]) + time)[:, None, None]  # (B, 1, 1, D)
            token = adapter.embedded(token, (2,)) if adapter is not None else token
            token = self.placed(token.flatten(1, 2))
            valid = F.pad(valid, (0, 1), value=True)
            features, past = self.body(token, valid[:, None, None], adapter, past)
            chosen.append(self.head(features[:, -1]).argmax(-1))
        return torch.stack(chosen, 1)


def predicting(features: Tensor, actions: int) -> Tensor:
    """Returns the features (B, C, A, D) from which actions are predicted."""
    return features[:, :, TO_GO : TO_GO + actions]


def state_features(features: Tensor, valid: Tensor) -> Tensor:
    """Returns the states' features of a whole window (B, C * D), those of padding 0."""
    return (features[:, :, STATE] * valid.unsqueeze(-1)).flatten(1)


def mean_state(tokens: Tensor, valid: Tensor) -> Tensor:
    """Returns the mean of the states' embedded tokens (B, D) over steps that are no padding."""
    weight = valid.unsqueeze(-1).to(tokens.dtype)
    return (tokens[:, :, STATE] * weight).sum(1) / weight.sum(1).clamp_min(1)


def action_loss(logits: Tensor, action: Tensor, valid: Tensor, real: Tensor) -> Tensor:
    """Averages the cross-entropy over what is real: valid steps, and dimensions of the action.

    Args:
        logits: (B, C, A, bins). action: (B, C, A) long. valid: (B, C). real: (B, A).

    Returns:
        () [nats].
    """
    there = valid.unsqueeze(-1) & real.unsqueeze(1)  # (B, C, A)
    return F.cross_entropy(logits[there], action[there])


def counted(window: Window) -> Tensor:
    """Counts what `action_loss` averages over in a window, ()."""
    return (window.valid.unsqueeze(-1) & window.real.unsqueeze(1)).sum()


def decayed(model: nn.Module) -> set[str]:
    """Returns the names of parameters that lose a share in every step: linear layers' weights."""
    return {
        f"{name}.weight" for name, layer in model.named_modules() if isinstance(layer, nn.Linear)
    }
