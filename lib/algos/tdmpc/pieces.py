"""The functions that an update is made of, for S seeds: each one a gradient, whole.

A piece is written for one seed, as a loss of trained tensors, fixed tensors and data, all by
name. It holds everything that can be computed before its gradient is known (relabelled rewards,
dreams, what an old model answers), because what is compiled together is fused together.

Shapes: H steps of a window, B windows, L observation, A action, D dreams.
"""

from typing import Any

import torch
from torch import Tensor

from lib.algos.tdmpc import update
from lib.algos.tdmpc.model import Dynamics
from lib.algos.tdmpc.settings import TdmpcRun
from lib.core import losses
from lib.engine.compiling import compiled
from lib.engine.seeds import gradients, on_tensors, over_seeds
from lib.replay.buffer import Windows, draw_windows
from lib.replay.generative import Vae
from lib.replay.stored import draw_transitions

Tensors = dict[str, Tensor]
Data = dict[str, Any]


class Pieces:
    """Built once for a whole run.

    Args:
        cfg: the run.
        modules: dynamics, heads and vae, for their architecture alone.
        compile: whether to hand the gradients to the compiler.
    """

    def __init__(self, cfg: TdmpcRun, modules: dict[str, Any], lanes: int, compile: bool):
        self.cfg, self.lanes, self.compile, self.modules = cfg, lanes, compile, modules
        clip = cfg.learning.grad_clip
        self.model = {
            (role, trains): self._gradients(f"{role}_model", self._model(role, trains), clip)
            for role in ("learner", "reviewer")
            for trains in (True, False)
        }
        self.policy = self._gradients("policy", self._policy(), clip)
        self.vae = self._gradients("vae", self._vae(), clip)
        self.rehearse = self._gradients("rehearsal", self._rehearse(), None)

    def draw(self, storage: Any, uniform: Tensor, batch: int, horizon: int) -> Windows:
        """Windows of every seed's storage."""
        beta = self.cfg.learning.priority_beta
        return over_seeds(lambda s, u: draw_windows(s, u, batch, horizon, beta), self.lanes)(
            storage, uniform
        )

    # --- one seed's losses -------------------------------------------------------------------

    def _model(self, role: str, trains: bool) -> Any:
        """Of reward, critics and (where `trains`) dynamics, with what protects the latter.

        Data: `windows` (a list: own, or the reviewer's and the learner's), `noise`; the reviewer's
        `threshold`; `anchors` and `fisher`; what a joint rehearsal takes.
        """
        cfg = self.cfg
        rows, rest = review_rows(cfg) if role == "reviewer" else (cfg.learning.batch, 0)
        options = {
            "cfg": cfg.learning,
            "policy_std": cfg.planner.min_std,
            "train_dynamics": trains,
            "curiosity": cfg.method.curiosity,
        }
        td = self._on(lambda *args: update.td_loss(*args, **options), "dynamics", "heads")
        review = self._on(
            lambda *args: update.review_batch(*args, cfg=cfg.reviewer), "dynamics", "old_dynamics"
        )
        rehearsal = self._rehearsal()

        def loss(trained: Tensors, fixed: Tensors, data: Data) -> tuple[Tensor, Data]:
            tensors = {**trained, **fixed}
            (batch,) = data["windows"] if role == "learner" else (None,)
            if role == "reviewer":
                now = {name: value.detach() for name, value in tensors.items()}
                mine, *theirs = data["windows"]
                theirs = [windows.rows(rest) for windows in theirs]
                batch = review(now, data["threshold"], mine, *theirs)
            value, result = td(tensors, batch, data["noise"])
            priority = losses.td_priorities(
                result.q[:, :, :rows],
                result.target[:, :rows],
                cfg.learning.rho,
                batch.reward[:, :rows] if role == "reviewer" else None,
            )
            kept = {
                "latents": result.latents[:, :rows],
                "priority": priority,
                "pairs": torch.cat((batch.obs[0], batch.action[0]), -1),
                "parts": result.parts,
            }
            if "anchors" in data:
                mine = [value for name, value in trained.items() if name.startswith("dynamics.")]
                penalty = losses.ewc_penalty(mine, data["anchors"], data["fisher"])
                value = value + cfg.method.ewc * penalty
            if "rehearsal" in data:
                rehearsed = rehearsal(tensors, data)
                value = value + cfg.rehearsal.weight * rehearsed
                kept["rehearsal"] = rehearsed.detach()
            return value, kept

        return loss

    def _policy(self) -> Any:
        """Of the policy. Data: `latents`, `noise`."""
        cfg = self.cfg
        options = {"cfg": cfg.learning, "std": cfg.planner.min_std}
        of = self._on(lambda *args: update.policy_loss(*args, **options), "heads")

        def loss(trained: Tensors, fixed: Tensors, data: Data) -> tuple[Tensor, Tensor]:
            value = of({**trained, **fixed}, data["latents"], data["noise"])
            return value, value.detach()

        return loss

    def _vae(self) -> Any:
        """Of the generator. Data: `pairs`, `noise`, and `dreams` (codes) where it has a past."""
        beta = self.cfg.vae.beta
        of = self._on(lambda *args: update.vae_loss(*args, beta=beta), "vae")
        dream = self._on(_dream, "old_vae")

        def loss(trained: Tensors, fixed: Tensors, data: Data) -> tuple[Tensor, Tensors]:
            pairs = data["pairs"]
            if "dreams" in data:
                pairs = torch.cat((pairs, dream(fixed, data["dreams"])))
            return of(trained, pairs, data["noise"])

        return loss

    def _rehearse(self) -> Any:
        """Of the dynamics on what is rehearsed, alone."""
        of = self._rehearsal()

        def loss(trained: Tensors, fixed: Tensors, data: Data) -> tuple[Tensor, Tensor]:
            value = of({**trained, **fixed}, data)
            return value, value.detach()

        return loss

    def _rehearsal(self) -> Any:
        """The rehearsal loss. Data: `rehearsal` (codes, or uniform draws), `stored`."""
        match = self.cfg.rehearsal.match
        sizes = self.modules["dynamics"].sizes
        dream = self._on(_dream, "old_vae")

        def answer(old: Dynamics, obs: Tensor, action: Tensor) -> Tensor:
            raw = old.raw(obs, action)
            return (raw if match == "raw" else old.bound(raw)).detach()

        answered = self._on(answer, "old_dynamics")

        def dreamt(dynamics: Dynamics, *rows: Tensor) -> Tensor:
            return update.rehearsal_loss(dynamics, *rows, match)

        def stored(dynamics: Dynamics, *rows: Tensor) -> Tensor:
            return update.rehearsal_loss(dynamics, *rows, "bounded")  # they hold observations

        on_dreams, on_stored = self._on(dreamt, "dynamics"), self._on(stored, "dynamics")

        def loss(tensors: Tensors, data: Data) -> Tensor:
            if "stored" in data:
                return on_stored(tensors, *draw_transitions(data["stored"], data["rehearsal"]))
            obs, action = dream(tensors, data["rehearsal"]).split(sizes, -1)
            return on_dreams(tensors, obs, action, answered(tensors, obs, action))

        return loss

    # --- S seeds -----------------------------------------------------------------------------

    def _on(self, fn: Any, *names: str) -> Any:
        """A function of modules as one of tensors; `old_` modules are built like the others."""
        modules = {name: self.modules[name.removeprefix("old_")] for name in names}
        return on_tensors(fn, **modules)

    def _gradients(self, name: str, loss: Any, clip: float | None) -> Any:
        fn = gradients(loss, self.lanes, clip, pure=self.compile)
        return compiled(fn, name) if self.compile else fn


def _dream(vae: Vae, code: Tensor) -> Tensor:
    """(D, code) to (D, L+A), nothing to learn from."""
    return vae.decoder(code).detach()


def review_rows(cfg: TdmpcRun) -> tuple[int, int]:
    """Rows of a reviewer's update from its own replay, and from the learner's."""
    both = 2 * cfg.learning.batch
    mine = max(1, round(both * cfg.reviewer.ratio))
    return mine, both - mine
