"""One acting agent: its heads, replay and optimisers, and how it picks actions.

The dynamics are not its own: learner and reviewer plan in one shared model.
"""

import torch
from torch import Tensor

from lib import optim
from lib.config import LearningConfig, PlannerConfig
from lib.envs.api import ActionSpace
from lib.replay.buffer import EpisodeBuffer
from lib.tdmpc import planner
from lib.tdmpc.counts import CountBonus
from lib.tdmpc.model import Dynamics, Heads


class Actor:
    """A planner over shared dynamics with its own heads and its own replay.

    Args:
        heads: reward, critics and policy.
        buffer: where its episodes go.
        actions: the action space.
        horizon: longest planning horizon and length of the training windows.
        counts: factor on positive predicted rewards while planning, or None.
    """

    def __init__(
        self,
        heads: Heads,
        buffer: EpisodeBuffer,
        actions: ActionSpace,
        horizon: int,
        plan_cfg: PlannerConfig,
        cfg: LearningConfig,
        counts: CountBonus | None = None,
    ):
        self.heads, self.buffer, self.actions = heads, buffer, actions
        self.horizon, self.plan_cfg, self.cfg, self.counts = horizon, plan_cfg, cfg, counts
        self.heads_optimizer = optim.adam(
            [*heads.reward_net.parameters(), *heads.q.parameters()], cfg.lr
        )
        self.policy_optimizer = optim.adam(heads.policy_net.parameters(), cfg.lr)

    @torch.no_grad()
    def plan(
        self,
        dynamics: Dynamics,
        obs: Tensor,
        previous: Tensor | None,
        step: int,
        generator: torch.Generator,
        *,
        explore: bool,
        heads: Heads | None = None,
        trace: planner.Trace | None = None,
    ) -> planner.Plan:
        """Plans for E observations at once.

        Args:
            obs: (E, L). previous: what the last plan of the same episodes returned, or None.
            step: agent steps of this task so far, which set horizon and noise.
            heads: others than the actor's own, to act a task learnt earlier.
        """
        cfg, heads = self.plan_cfg, heads or self.heads
        horizon = planner.scheduled_horizon(self.horizon, cfg.horizon_ramp, step)
        guides = int(cfg.mixture * cfg.samples)
        sequences = None
        if guides:
            sequences = planner.policy_sequences(
                dynamics, heads, obs, guides, horizon, generator, cfg.min_std
            )

        def score(z: Tensor, candidates: Tensor) -> Tensor:
            return planner.trajectory_value(
                dynamics,
                heads,
                z,
                candidates,
                generator,
                discount=self.cfg.discount,
                policy_std=cfg.min_std,
                use_q=cfg.use_q,
                bonus=self.counts.bonus if self.counts else None,
            )

        args = (score, obs, horizon, self.actions.size, cfg, generator, sequences, trace)
        if self.actions.discrete:
            return planner.categorical_plan(*args)
        floor = planner.ramp(0.5, cfg.min_std, cfg.std_ramp, step)
        return planner.gaussian_plan(*args, previous=previous, std_floor=floor, explore=explore)

    def state_dict(self, with_replay: bool = True) -> dict:
        """Everything the actor owns; without replay it is what acting alone needs."""
        state = {"heads": self.heads.state_dict()}
        if with_replay:
            state |= {
                "heads_optimizer": optim.state(self.heads_optimizer),
                "policy_optimizer": optim.state(self.policy_optimizer),
                "buffer": self.buffer.state_dict(),
                "counts": self.counts.state_dict() if self.counts else None,
            }
        return state

    def load_state_dict(self, state: dict) -> None:
        """Restores what `state_dict` returned, with or without the replay."""
        self.heads.load_state_dict(state["heads"])
        if "buffer" in state:
            optim.load(self.heads_optimizer, state["heads_optimizer"])
            optim.load(self.policy_optimizer, state["policy_optimizer"])
            self.buffer.load_state_dict(state["buffer"])
            if self.counts:
                self.counts.load_state_dict(state["counts"])
