"""One update of TD-MPC, DRAGO or any method between makes these steps, in this order.

Each step minimises a loss that is written for one seed; `lib.engine.minimise` maps it over seeds,
differentiates, clips and steps. `lib.algos.tdmpc.plain` has the same update without any of this.
Nothing here reads a device value on the host.

Shapes: H steps of a window, B windows, L observation size, A action size. All H steps of the
heads are evaluated as one batch; only the dynamics are unrolled step by step, which is exact
because the heads read detached latents.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from lib.algos.tdmpc.graph_key import GraphKey
from lib.algos.tdmpc.model import Dynamics, Heads
from lib.algos.tdmpc.protections.api import Given, Protection
from lib.algos.tdmpc.reviewer import review_batch, review_rows
from lib.algos.tdmpc.settings import LearningConfig, TdmpcRun
from lib.core import losses
from lib.replay.buffer import Windows

if TYPE_CHECKING:
    from lib.algos.tdmpc.learning import Learning

Nets = Mapping[str, Any]  # networks by name
Data = dict[str, Any]  # tensors by name, and further dictionaries of them


# The steps of an update, in order -------------------------------------------------------------


def update(learning: "Learning", key: GraphKey, noise: dict[str, Tensor]) -> None:
    """Makes one update in place.

    1. The learner: model and heads, priorities, policy, target critics.
    2. Beside a reviewer, step 1 leaves the dynamics alone, and the same with the reviewer, on its
       own windows and the learner's, trains them (DRAGO, section 4.2).
    3. What protections train for themselves, then their losses that have a step of their own.
    """
    batch, (mine, rest) = learning.cfg.learning.batch, review_rows(learning.cfg)
    role, windows = list(learning.roles)[-1], [learning.draw("learner", noise["own"], batch)]
    if role == "reviewer":
        learn(learning, "learner", windows, key, noise, trains=False)
        own, theirs = learning.draw("reviewer", noise["mine"], mine), windows[0]
        if "theirs" in noise:
            theirs = learning.draw("learner", noise["theirs"], rest)
        windows = [own, theirs] if rest else [own]
    pairs = learn(learning, role, windows, key, noise, trains=True)
    for p in learning.protections:
        if p.learns:
            _, logged = learning.step(f"{p.name}/own", learning.given(p, noise) | {"pairs": pairs})
            learning.log(logged)
    for p in learning.protections:
        if p.name in key.due and not p.joint:
            _, logged = learning.step(p.name, learning.given(p, noise))
            learning.log(logged)


def learn(
    learning: "Learning",
    role: str,
    windows: Sequence[Windows],
    key: GraphKey,
    noise: dict[str, Tensor],
    trains: bool,
) -> Tensor:
    """Makes the steps of one role; returns the (state, action) rows that its model saw.

    Args:
        windows: the role's own first.
        trains: whether the dynamics are trained too, and with them what protects them.
    """
    cfg = learning.cfg.learning
    data: Data = {"windows": windows, "noise": noise[f"{role}/next"], "protections": {}}
    if role == "reviewer":
        data["threshold"] = learning.threshold
    if trains:
        joint = [p for p in learning.protections if p.name in key.due and p.joint]
        data["protections"] = {p.name: learning.given(p, noise) for p in joint}
    norm, kept = learning.step(f"{role}/model" if trains else f"{role}/heads", data)
    if trains:
        decay = learning.cfg.reviewer.threshold_decay
        learning.next_threshold.lerp_(kept["parts"]["score"], 1 - decay)
    learning.set_priorities(role, windows[0], kept["priority"].pow(cfg.priority_alpha))
    data = {"latents": kept["latents"], "noise": noise[f"{role}/policy"]}
    _, told = learning.step(f"{role}/policy", data)
    if key.follows:
        learning.follow(role, cfg.ema)
    logged = {**kept["parts"], "grad_norm": norm, "policy": told}
    learning.log({f"{role}_update": logged, **kept["logged"]})
    return kept["pairs"]


# Losses of one seed ---------------------------------------------------------------------------


def model_step(cfg: TdmpcRun, role: str, trains: bool, protections: Sequence[Protection]) -> Any:
    """Returns the loss of reward, critics and (where `trains`) the protected dynamics.

    Data: `windows` (own, or the reviewer's and the learner's), `noise`, the reviewer's
    `threshold`, and what `protections` whose loss joins this one take, by name.
    """
    rows, rest = review_rows(cfg) if role == "reviewer" else (cfg.learning.batch, 0)
    bonuses = [p.bonus for p in protections if p.bonus]

    def loss(nets: Nets, data: Data) -> tuple[Tensor, Data]:
        batch, *theirs = data["windows"]
        if role == "reviewer":
            with torch.no_grad():
                batch = review_batch(
                    nets["dynamics"],
                    nets["old_dynamics"],
                    data["threshold"],
                    batch,
                    *(windows.rows(rest) for windows in theirs),
                    cfg=cfg.reviewer,
                )
        value, result = td_loss(
            nets["dynamics"],
            nets["heads"],
            batch,
            data["noise"],
            cfg=cfg.learning,
            policy_std=cfg.planner.min_std,
            train_dynamics=trains,
            bonuses=bonuses,
        )
        priority = losses.td_priorities(
            result.q[:, :, :rows],
            result.target[:, :rows],
            cfg.learning.rho,
            batch.reward[:, :rows] if role == "reviewer" else None,
        )
        logged: Data = {}
        for p in protections:
            if p.name in data["protections"]:
                term = p.loss(protection_given(p, nets, data["protections"][p.name]))
                value, logged = value + term.value, {**logged, **term.logged}
        return value, {
            "latents": result.latents[:, :rows],
            "priority": priority,
            "pairs": torch.cat((batch.obs[0], batch.action[0]), -1),
            "parts": result.parts,
            "logged": logged,
        }

    return loss


def policy_step(cfg: TdmpcRun) -> Any:
    """Returns the loss of the policy. Data: `latents`, `noise`."""

    def loss(nets: Nets, data: Data) -> tuple[Tensor, Tensor]:
        std = cfg.planner.min_std
        value = policy_loss(
            nets["heads"], data["latents"], data["noise"], cfg=cfg.learning, std=std
        )
        return value, value.detach()

    return loss


def protection_given(protection: Protection, nets: Nets, data: Data) -> Given:
    """Sorts what a protection's loss asks for. Data: see `Learning.given`."""
    prefix = f"{protection.name}:"
    own = {n.removeprefix(prefix): net for n, net in nets.items() if n.startswith(prefix)}
    return Given(
        nets["dynamics"],
        nets.get("old_dynamics"),
        own,
        data["tensors"],
        data["noise"],
        data.get("pairs"),
    )


class TdResult(NamedTuple):
    """Holds what one model update leaves for the steps after it, all detached."""

    latents: Tensor  # (H+1, B, L)
    q: Tensor  # (2, H, B)
    target: Tensor  # (H, B)
    score: Tensor  # () mean of -log consistency over steps and windows
    parts: dict[str, Tensor]


def td_loss(
    dynamics: Dynamics,
    heads: Heads,
    batch: Windows,
    noise: Tensor,
    *,
    cfg: LearningConfig,
    policy_std: float,
    train_dynamics: bool,
    bonuses: Sequence[Callable[[Tensor], Tensor]] = (),
) -> tuple[Tensor, TdResult]:
    """Returns the loss of reward and critics, and of the dynamics where they are trained too.

    Args:
        noise: (H, B, A) draws for the policy's next actions, see `Heads.policy`.
        train_dynamics: False leaves the dynamics alone (the learner beside a reviewer).
        bonuses: of the dynamics' errors (H, B), added to the reward in the value target.

    Returns:
        The TD-MPC loss divided by H, as in TD-MPC, and what later steps need.
    """
    horizon = batch.reward.shape[0]
    with torch.set_grad_enabled(train_dynamics and torch.is_grad_enabled()):
        z = dynamics.unroll(batch.obs[0], batch.action)  # (H+1, B, L)
        consistency = losses.model_error(z[1:], batch.obs[1:])  # (H, B)
    latents = z.detach()
    error = consistency.detach()
    with torch.no_grad():
        next_action = heads.policy(batch.obs[1:], policy_std, noise)
        next_q = heads.twin(heads.target_q, batch.obs[1:], next_action)  # (2, H, B)
        reward = batch.reward
        for bonus in bonuses:
            reward = reward + bonus(error)
        target = losses.td_target(reward, next_q, cfg.discount)
    steps = 1 if cfg.first_step_heads else horizon
    predicted_reward = heads.reward(torch.cat((latents[:steps], batch.action[:steps]), -1))
    q = heads.twin(heads.q, latents[:steps], batch.action[:steps])
    loss, parts = losses.td_mpc_loss(
        consistency if train_dynamics else torch.zeros_like(error),
        (predicted_reward, batch.reward[:steps]),
        (q, target[:steps]),
        batch.weight,
        rho=cfg.rho,
        coefs=(cfg.consistency_coef, cfg.reward_coef, cfg.value_coef),
    )
    all_q = q.detach()
    if steps < horizon:  # priorities look at every step, with the critics from before this update
        with torch.no_grad():
            later = heads.twin(heads.q, latents[steps:-1], batch.action[steps:])
        all_q = torch.cat((all_q, later), 1)  # (2, H, B)
    score = losses.prediction_score(error).mean()
    parts |= {"weighted": loss.detach(), "score": score}
    return loss / horizon, TdResult(latents, all_q, target, score, parts)


def policy_loss(
    heads: Heads, latents: Tensor, noise: Tensor, *, cfg: LearningConfig, std: float
) -> Tensor:
    """Returns the loss that moves the policy towards what the (just updated) critics like, ().

    Args:
        latents: (H+1, B, L). noise: (H+1, B, A), see `Heads.policy`.
    """
    action = heads.policy(latents, std, noise)
    return losses.policy_loss(heads.twin(heads.q, latents, action), cfg.rho)
