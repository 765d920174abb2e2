"""A learner or a reviewer owns heads, replay, optimisers, and counts of where it was.

The dynamics are not its own: learner and reviewer plan in one shared model.
"""

from lib.algos.tdmpc.counts import CountBonus
from lib.algos.tdmpc.model import Heads
from lib.algos.tdmpc.settings import LearningConfig
from lib.engine.optim import Adam
from lib.replay.buffer import EpisodeBuffer


class Actor:
    """Holds what a learner or a reviewer acts and learns with.

    Args:
        heads: reward, critics and policy.
        buffer: where its episodes go.
        counts: factor on positive predicted rewards while planning, or None.
    """

    def __init__(
        self,
        heads: Heads,
        buffer: EpisodeBuffer,
        cfg: LearningConfig,
        counts: CountBonus | None = None,
    ):
        self.heads, self.buffer, self.counts = heads, buffer, counts
        self.heads_adam = Adam.over([*heads.reward_net.parameters(), *heads.q.parameters()], cfg.lr)
        self.policy_adam = Adam.over(heads.policy_net.parameters(), cfg.lr)

    def state_dict(self, with_replay: bool = True) -> dict:
        """Returns everything the actor owns; without replay it is what acting alone needs."""
        state = {"heads": self.heads.state_dict()}
        if with_replay:
            state |= {
                "heads_optimizer": self.heads_adam.state_dict(),
                "policy_optimizer": self.policy_adam.state_dict(),
                "buffer": self.buffer.state_dict(),
                "counts": self.counts.state_dict() if self.counts else None,
            }
        return state

    def load_state_dict(self, state: dict) -> None:
        """Restores what `state_dict` returned, with or without the replay."""
        self.heads.load_state_dict(state["heads"])
        if "buffer" in state:
            self.heads_adam.load_state_dict(state["heads_optimizer"])
            self.policy_adam.load_state_dict(state["policy_optimizer"])
            self.buffer.load_state_dict(state["buffer"])
            if self.counts:
                self.counts.load_state_dict(state["counts"])
