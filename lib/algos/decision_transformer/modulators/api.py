"""A modulator says which part of a trained sequence model learns a task, and how it is chosen.

Each is one file of this package with a class named in `MODULATOR`; the file's name is its name in
`modulator.kind`, and its settings are `modulators.NAME`. The agent calls the hooks below, in their
order, and knows none of them by name.

Shapes: B windows or episodes, C steps of a window, D width, T tasks of a stream.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from lib.algos.decision_transformer.model import DecisionTransformer
from lib.algos.decision_transformer.sizes import ModelConfig
from lib.algos.decision_transformer.transformer import Adapter
from lib.algos.decision_transformer.windows import Window


class Context(NamedTuple):
    """What a modulator may know of the run when it is built."""

    model: ModelConfig
    tasks: int  # T, of the stream
    generator: torch.Generator  # draws initial numbers, on the CPU


class Data(NamedTuple):
    """What a modulator may ask of the task at hand."""

    draw: Callable[[int], Window]  # so many windows, as while training
    starts: Callable[[int], Window]  # so many of episodes' first steps, padded
    loss: Callable[[Window], Tensor]  # what is minimised
    generator: torch.Generator  # draws on the model's device


class Adapted(NamedTuple):
    """How the layers are changed for a batch, and what choosing that costs."""

    adapter: Adapter | None = None  # None: not at all
    parts: dict[str, Tensor] = {}  # noqa: RUF012 (never changed) terms of the loss, weighted


class Modulator(nn.Module):
    """Learns a stream of tasks in one way; what a kind does not need does nothing here.

    Its parameters and buffers are saved with a run, and have the same shapes from its first task to
    its last. Once it has been built nothing is drawn but through `Data`.
    """

    Settings: ClassVar[type | None] = None
    keeps_base: ClassVar[bool] = False  # the model stays as it was pre-trained, but for its head
    begins_unchanged: ClassVar[bool] = True  # before its first update all is as pre-trained
    acts: str = ""  # where it changes what is computed, for tables
    # How it knows which task it acts: it is told ("oracle"), infers it, or acts all alike.
    labelled: bool = False
    infers: bool = False
    chooses: bool = False  # by keys, whatever the task
    query: str = "embedding"  # what it asks to know windows by, see `DecisionTransformer.query`

    def __init__(self, settings: Any, context: Context):
        super().__init__()
        self.settings, self.context = settings, context
        self.task = -1

    def trained(self, model: DecisionTransformer) -> dict[str, nn.Parameter]:
        """Returns what learns in this task: names, beginning with model or modulator."""
        raise NotImplementedError(f"{type(self).__name__} does not say what learns")

    # --- a task --------------------------------------------------------------------------

    def begin_task(self, index: int) -> None:
        """Crosses a boundary of the stream, tasks counted from 0."""
        self.task = index

    def before_learning(self, model: DecisionTransformer, data: Data) -> None:
        """Looks at a task before the first update of it."""

    def adapt(self, query: Tensor) -> Adapted:
        """Chooses, while learning, what each window is read with.

        Args:
            query: (B, D) what each window is known by, without gradient.
        """
        return Adapted()

    def penalty(
        self, model: DecisionTransformer, features: Tensor, window: Window
    ) -> dict[str, Tensor]:
        """Returns terms of the loss that read features (B, C, N, D), weighted, by name."""
        return {}

    def after_learning(self, model: DecisionTransformer, data: Data) -> None:
        """Keeps what it needs of a task after the last update of it."""

    # --- acting --------------------------------------------------------------------------

    def acting(self, query: Tensor, module: Tensor) -> Adapter | None:
        """Returns what episodes are read with.

        Args:
            query: (B, D) what their windows are known by.
            module: (B,) index of the task that each is taken for, told or inferred.
        """
        return None

    def members(self, query: Tensor, module: Tensor) -> Tensor | None:
        """Returns which members of a pool episodes are read with, (B, W); None without a pool.

        Args: as of `acting`.
        """
        return None

    def evidence(self, features: Tensor) -> Tensor:
        """Returns log p(task | window) up to a constant, (B, T), where it infers the task.

        Args:
            features: (B, C * D) of the states, read by the model alone; see `state_features`.
        """
        raise NotImplementedError(f"{type(self).__name__} infers no task")

    def seen(self) -> Tensor:
        """Returns (T,) bool, the tasks that may be inferred."""
        raise NotImplementedError(f"{type(self).__name__} infers no task")

    # --- saving --------------------------------------------------------------------------

    def memory(self) -> Any:
        """Returns what learning alone needs and grows with the tasks; None for nothing."""
        return None

    def grows(self, model: DecisionTransformer) -> int:
        """Returns how many numbers one more task adds to `memory`."""
        return 0

    def load_memory(self, memory: Any) -> None:
        """Restores what `memory` returned."""


def of_model(model: DecisionTransformer, *modules: nn.Module) -> dict[str, nn.Parameter]:
    """Names the parameters of a model, or of some modules of it alone."""
    chosen = {id(p) for module in modules or (model,) for p in module.parameters()}
    return {f"model.{name}": p for name, p in model.named_parameters() if id(p) in chosen}


def own(modulator: nn.Module, *modules: nn.Module) -> dict[str, nn.Parameter]:
    """Names the parameters of a modulator, or of some modules of it alone."""
    chosen = {id(p) for module in modules or (modulator,) for p in module.parameters()}
    return {f"modulator.{name}": p for name, p in modulator.named_parameters() if id(p) in chosen}
