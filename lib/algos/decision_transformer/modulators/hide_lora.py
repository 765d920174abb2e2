"""HiDe-LoRA: a low-rank set per task, and statistics that say which task it is.

Three problems, one after the other: within-task prediction trains the set, with a term that keeps
its features away from earlier tasks'; task-identity inference reads features of the model alone;
task-adaptive prediction, where asked for, balances the shared head over all tasks.

Shapes: T tasks, K centroids, F = C * D numbers of a window's state features, G = A * D numbers from
which a step's action is predicted.

Source: HiDe-Prompt and HiDe-LoRA (thu-ml), and chufanchen's fork of L2M, whose loop leaves the
statistics out. Differs from that: what `inference` says; classes are tokens, not raw actions; and
nobody tells which task is acted, unless `tii` is oracle.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.algos.decision_transformer import inference
from lib.algos.decision_transformer.inference import Mixture
from lib.algos.decision_transformer.low_rank import LowRank, LowRankChange, LowRankConfig
from lib.algos.decision_transformer.model import DecisionTransformer, predicting, state_features
from lib.algos.decision_transformer.modulators.api import (
    Adapted,
    Adapter,
    Context,
    Data,
    Modulator,
    of_model,
    own,
)
from lib.algos.decision_transformer.rows import of_all, of_each
from lib.algos.decision_transformer.windows import Window
from lib.core.config import at_least, one_of, share

CHUNK = 256  # windows that are read at once for statistics
FEWEST = 32  # steps of a class that are enough for a mean and a variance


@dataclass(frozen=True)
class Settings(LowRankConfig):
    """HiDe-LoRA."""

    centroids: int = at_least(1, 10)  # K
    windows: int = at_least(1, 20_000)  # from which statistics are taken
    short: float = share(0.2)  # share of them from episodes' first steps, padded
    tii: str = one_of("gaussian", "head", "oracle")  # how a task is told
    tap: str = one_of("none", "head")  # head: the action head learns, and is balanced after tasks
    contrast: float = at_least(0, 0.01)  # weight of keeping away from earlier tasks' features
    temperature: float = at_least(1e-6, 0.8)
    merge: float = share(0.0)  # share of earlier tasks' mean set in what acts; 0.1 as published
    epochs: int = at_least(1, 30)  # of a classifier
    samples: int = at_least(1, 256)  # an epoch draws of every centroid, or of every class


class HideLora(Modulator):
    """Trains a set that begins as a copy of the one before; all before stay as they are."""

    Settings = Settings
    acts = "added to queries, values and the perceptron's first output"
    keeps_base = True

    def __init__(self, settings: Settings, context: Context):
        super().__init__(settings, context)
        cfg, generator, tasks = context.model, context.generator, context.tasks
        self.infers, self.labelled = settings.tii != "oracle", settings.tii == "oracle"
        self.sets = nn.ModuleList(
            LowRank(settings, cfg, generator, pooled=True) for _ in range(tasks)
        )
        features, held = cfg.context * cfg.width, (tasks, settings.centroids)
        self.register_buffer("known", torch.zeros(tasks, dtype=torch.bool))
        self.register_buffer("mean", torch.zeros(*held, features))
        self.register_buffer("variance", torch.zeros(*held, features))
        self.register_buffer("weight", torch.zeros(held))
        self.register_buffer("pushed", torch.zeros(*held, cfg.actions * cfg.width))
        self.tii = nn.Linear(features, tasks).requires_grad_(False)
        nn.init.zeros_(self.tii.weight), nn.init.zeros_(self.tii.bias)
        if settings.tap == "head":
            classes = (tasks, cfg.actions, cfg.bins)
            self.register_buffer("class_mean", torch.zeros(*classes, cfg.width))
            self.register_buffer("class_variance", torch.zeros(*classes, cfg.width))
            self.register_buffer("class_count", torch.zeros(classes))

    # --- learning ------------------------------------------------------------------------

    def trained(self, model: DecisionTransformer) -> dict[str, nn.Parameter]:
        mine = own(self, self.sets[self.task])
        return mine | of_model(model, model.head) if self.settings.tap == "head" else mine

    def begin_task(self, index: int) -> None:
        super().begin_task(index)
        if index > 0:
            self.sets[index].load_state_dict(self.sets[index - 1].state_dict())

    @torch.no_grad()
    def before_learning(self, model: DecisionTransformer, data: Data) -> None:
        """Takes statistics of what the model alone makes of the task: they need no learning."""
        model.eval()
        features = torch.cat(
            [
                state_features(model.read(model.embed(w), w.valid), w.valid)
                for w in self._windows(data)
            ]
        )
        found = inference.fit(features, self.settings.centroids, data.generator)
        for mine, theirs in zip(self._mixtures(), found, strict=True):
            mine[self.task] = theirs
        self.known[self.task] = True
        if self.settings.tii == "head":
            self._refit_tii(data.generator)

    def _windows(self, data: Data) -> list[Window]:
        """Draws windows, a share of them short."""
        short = round(self.settings.short * self.settings.windows)
        parts = ((data.starts, short), (data.draw, self.settings.windows - short))
        return [
            draw(min(CHUNK, count - at)) for draw, count in parts for at in range(0, count, CHUNK)
        ]

    def _mixtures(self) -> Mixture:
        return Mixture(self.mean, self.variance, self.weight)

    def _refit_tii(self, generator: torch.Generator) -> None:
        """Trains the classifier of tasks from nothing, on samples of all of them alike.

        Trained on real windows of the task at hand it would only ever see one class.
        """
        nn.init.zeros_(self.tii.weight), nn.init.zeros_(self.tii.bias)
        tasks = self.known.nonzero()[:, 0].tolist()

        def drawn() -> tuple[Tensor, Tensor]:
            found = [
                inference.draw(
                    Mixture(*(part[t] for part in self._mixtures())),
                    self.settings.samples,
                    generator,
                )
                for t in tasks
            ]
            label = [
                torch.full((len(x),), t, device=x.device) for t, x in zip(tasks, found, strict=True)
            ]
            return torch.cat(found), torch.cat(label)

        self.tii.requires_grad_(True)
        inference.refit(self.tii, drawn, self.settings.epochs, generator)
        self.tii.requires_grad_(False)

    def adapt(self, query: Tensor) -> Adapted:
        return Adapted(self._own())

    def _own(self) -> Adapter:
        return LowRankChange(of_all(self.sets[self.task].tensors()), self.settings.scale)

    def penalty(
        self, model: DecisionTransformer, features: Tensor, window: Window
    ) -> dict[str, Tensor]:
        earlier = self.pushed[: self.task].flatten(0, 1)
        last = self._last(features).flatten(1)
        found = inference.contrast(last, earlier, self.settings.temperature)
        return {"contrast": self.settings.contrast * found}

    def _last(self, features: Tensor) -> Tensor:
        """Returns what the last step's action is predicted from, (B, A, D)."""
        return predicting(features, self.context.model.actions)[:, -1]

    @torch.no_grad()
    def after_learning(self, model: DecisionTransformer, data: Data) -> None:
        """Takes statistics of what the model with its set makes of the task."""
        model.eval()
        change = self._own()
        windows = self._windows(data)
        features = torch.cat(
            [self._last(model.read(model.embed(w), w.valid, change)) for w in windows]
        )
        found = inference.fit(features.flatten(1), self.settings.centroids, data.generator)
        self.pushed[self.task] = found.mean
        if self.settings.tap == "head":
            self._count_classes(features, windows)
            self._balance(model, data.generator)

    def _count_classes(self, features: Tensor, windows: list[Window]) -> None:
        """Takes mean and variance of features (B, A, D) that predict a token, for every token."""
        bins = self.context.model.bins
        token = torch.cat([w.action[:, -1] for w in windows])  # (B, A)
        real = torch.cat([w.real for w in windows])
        for dimension in range(token.shape[1]):
            rows = real[:, dimension]
            belongs = F.one_hot(token[rows, dimension], bins + 1)[:, :bins].to(features.dtype)
            x, count = features[rows, dimension], belongs.sum(0)
            mean = belongs.T @ x / count.clamp_min(1).unsqueeze(1)
            square = belongs.T @ (x - belongs @ mean).square()
            self.class_mean[self.task, dimension] = mean
            self.class_variance[self.task, dimension] = square / count.clamp_min(1).unsqueeze(1)
            self.class_count[self.task, dimension] = count

    def _balance(self, model: DecisionTransformer, generator: torch.Generator) -> None:
        """Trains the head on as many samples of every class of every task."""
        enough = self.class_count >= FEWEST  # (T, A, bins)
        label = enough.nonzero()[:, 2]
        if not len(label):
            return
        classes = Mixture(self.class_mean[enough], self.class_variance[enough], enough[enough])

        def drawn() -> tuple[Tensor, Tensor]:
            each = self.settings.samples
            features = inference.draw(classes, each, generator)
            return features, label.repeat_interleave(each)

        inference.refit(model.head, drawn, self.settings.epochs, generator)

    # --- acting --------------------------------------------------------------------------

    def acting(self, query: Tensor, module: Tensor) -> Adapter | None:
        sets = [self.merged(t) for t in range(len(self.sets))]
        return LowRankChange(of_each(sets, module), self.settings.scale)

    def merged(self, task: int) -> dict[str, Tensor]:
        """Returns what acts a task: its own set, and a share of the mean of those before."""
        mine, alpha = self.sets[task].tensors(), self.settings.merge
        if not task or not alpha:
            return mine
        before = [self.sets[t].tensors() for t in range(task)]
        return {
            name: alpha * torch.stack([one[name] for one in before]).mean(0) + (1 - alpha) * value
            for name, value in mine.items()
        }

    def evidence(self, features: Tensor) -> Tensor:
        if self.settings.tii == "head":
            found = self.tii(features)
        else:
            found = inference.log_likelihood(features, self._mixtures())
        told = found.masked_fill(~self.known, -torch.inf).log_softmax(1)
        return told.masked_fill(~self.known, 0.0).nan_to_num(0.0)

    def seen(self) -> Tensor:
        return self.known


MODULATOR = HideLora
