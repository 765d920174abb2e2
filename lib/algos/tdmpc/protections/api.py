"""A protection of the dynamics offers the hooks that the agent and the update call.

A protection keeps alive in the dynamics what earlier tasks taught them. Each is one file of this
package that holds its settings and one class, named in `PROTECTION`; the file's name is its name
in `cfg.protections`. Neither the agent nor the update knows one by name: they call these hooks on
every protection that is on. Losses are written for one seed.

Shapes: B rows, L observation, A action.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from lib.algos.tdmpc.model import Dynamics
from lib.core.noise import NoiseLayout
from lib.core.seeding import Streams
from lib.core.trees import Tree
from lib.engine.optim import Adam
from lib.replay.generative import VaeConfig

Transitions = tuple[Tensor, Tensor, Tensor]  # (N, L), (N, A), (N, L)


@dataclass(frozen=True)
class Context:
    """Holds what a protection may know of the run when it is built."""

    obs_dim: int
    action_dim: int
    vae: VaeConfig
    streams: Streams
    device: torch.device | str


class Own(NamedTuple):
    """Holds a network that a protection trains, and what steps it."""

    network: nn.Module
    adam: Adam

    @classmethod
    def fresh(cls, network: nn.Module, lr: float) -> "Own":
        """Takes a network and starts its optimiser anew."""
        return cls(network, Adam.over(network.parameters(), lr))


class Given(NamedTuple):
    """Holds what a loss is given, all of it of one seed."""

    dynamics: Dynamics
    old_dynamics: Dynamics | None  # as the last boundary froze them; None in the first task
    networks: Mapping[str, nn.Module]  # the protection's own
    tensors: Mapping[str, Tree]  # the protection's own
    noise: Mapping[str, Tensor]
    pairs: Tensor | None = None  # (B, L+A) that the model has just learnt from; of `own_loss` alone


class Term(NamedTuple):
    """Holds a scalar to minimise, weighted, and scalars to log: group to quantity to value."""

    value: Tensor
    logged: dict[str, dict[str, Tensor]]


class Protection:
    """Protects the dynamics in one way. A hook that it lacks is None, one it ignores does nothing.

    Every known protection is built for every run, whether it is on or off, so that all methods
    begin with the same networks. All other hooks are called only where it is on.

    Args:
        settings: an instance of `Settings`.
    """

    Settings: ClassVar[type]
    name: ClassVar[str]  # the file's, set by the package

    # Added to the model's loss from the second task on, in an update where `due`.
    loss: Callable[[Given], Term] | None = None
    # Minimised over the networks in `trained`, in a step of its own.
    own_loss: Callable[[Given], Term] | None = None
    # Added to the reward in the critics' targets: the dynamics' errors (H, B) to (H, B).
    bonus: Callable[[Tensor], Tensor] | None = None
    # Experience of earlier tasks: n and a random generator to (n, L+A).
    generate: Callable[[int, torch.Generator], Tensor] | None = None

    def __init__(self, settings: Any, context: Context):
        self.settings, self.context = settings, context
        self.trained: dict[str, Own] = {}  # networks that go with the dynamics into other runs
        self.frozen: dict[str, nn.Module] = {}

    @property
    def on(self) -> bool:
        """Tells whether the run has this protection."""
        raise NotImplementedError

    # --- a task's boundary --------------------------------------------------------------------

    def end_task(self, dynamics: Dynamics, transitions: Transitions) -> None:
        """Takes what it keeps of a finished task."""

    def begin_task(self, past: bool) -> None:
        """Begins a task; past: the dynamics come from earlier ones."""

    # --- an update ----------------------------------------------------------------------------

    joint: bool = True  # whether `loss` joins the model's loss or is minimised in a step of its own

    def due(self, step: int) -> bool:
        """Tells whether `loss` counts in the update of a step; asked from the second task on."""
        return self.loss is not None

    @property
    def learns(self) -> bool:
        """Tells whether `own_loss` is minimised in this task."""
        return self.own_loss is not None

    def tensors(self) -> dict[str, Tree]:
        """Returns what the losses read besides networks, uncopied; replaced at boundaries alone."""
        return {}

    def noise(self, due: bool, rows: int) -> NoiseLayout:
        """Lists random numbers of an update; rows: pairs (s, a) that the model learns from."""
        return {}

    def set_lr(self, scale: float) -> None:
        """Takes the share of every learning rate that is left at this point of a task."""

    # --- saving -------------------------------------------------------------------------------

    def lacks(self, theirs: Any, path: Path) -> str | None:
        """Names what another run's world model lacks for this one; theirs: its `Settings`."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """Returns everything but the networks in `trained`, which belong to the world model."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
