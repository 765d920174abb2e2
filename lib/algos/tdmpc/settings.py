"""A TD-MPC or DRAGO run has these settings beside those of every family (`lib.core.config`).

The defaults are those of DRAGO's published code on MiniGrid; smaller worlds are named changes in
`lib.algos.tdmpc.presets`.
"""

from dataclasses import dataclass, field

from lib.algos.tdmpc.protections import ProtectionsConfig
from lib.core.config import RunConfig, at_least, one_of, share
from lib.replay.generative import VaeConfig


@dataclass(frozen=True)
class ModelConfig:
    """Networks of the world model and the heads."""

    width: int = at_least(1, 512)  # hidden units of every layer
    crelu: bool = True  # the dynamics use concat(ReLU(x), ReLU(-x)); grid only
    bounded: bool = True  # tanh on predicted observations; grid only
    encoder: str = one_of("identity")  # the latent is the observation itself


@dataclass(frozen=True)
class PlannerConfig:
    """Sampling-based planning in the latent space (CEM/MPPI)."""

    horizon: tuple[int, ...] = at_least(1, (10,))  # latent steps, per task; the last repeats
    samples: int = at_least(1, 512)  # action sequences drawn per iteration
    elites: int = at_least(1, 64)
    iterations: int = at_least(1, 6)
    mixture: float = share(0.05)  # policy rollouts, as a share of the samples
    temperature: float = at_least(0, 0.5)  # elite weights ~ exp(temperature * score)
    momentum: float = share(0.1)  # share of the old mean (or probabilities) kept
    min_std: float = at_least(0, 0.05)  # floor of the action noise, continuous actions
    horizon_ramp: int = at_least(0, 10_000)  # decisions over which the horizon grows from 1
    std_ramp: int = at_least(0, 50_000)  # decisions over which the floor falls from 0.5
    use_q: bool = True  # add the value of the last latent
    likeliest: bool = True  # evaluations take a policy's likeliest discrete actions, undrawn
    snap: bool = False  # round imagined observations to those that exist; grid only
    precision: str = one_of("single", "bf16")  # bf16: networks of the search in half precision
    final_noise: str = one_of("clamp", "legacy")  # legacy lets the acted value leave [-1, 1]


@dataclass(frozen=True)
class LearningConfig:
    """The TD-MPC update and its replay."""

    batch: int = at_least(1, 512)  # windows of `horizon` steps
    lr: float = at_least(0, 1e-3)  # Adam, every network
    lr_end: float = share(1.0)  # share of every learning rate left at a task's end, linearly
    discount: float = share(0.99)
    rho: float = share(0.5)  # weight of step k in a loss is rho**k
    consistency_coef: float = at_least(0, 2.0)
    reward_coef: float = at_least(0, 0.5)
    value_coef: float = at_least(0, 0.1)
    grad_clip: float = at_least(0, 10.0)  # global norm
    ema: float = share(0.01)  # share of the online critic that enters the target
    ema_every: int = at_least(1, 40)  # steps between two updates that move the target
    average: float = share(1.0)  # share of the newest weights in those of evaluations, per update
    first_step_heads: bool = False  # reward and value losses at k = 0 only
    priority_alpha: float = at_least(0, 0.6)
    priority_beta: float = at_least(0, 0.4)
    seed_steps: int = at_least(0, 5_000)  # random decisions at the start of each task
    capacity: int = at_least(1, 1_000_000)  # most transitions a buffer holds
    updates_per_step: float = at_least(0, 1.0)  # updates per learner decision


@dataclass(frozen=True)
class ReviewerConfig:
    """The second agent, which looks for states that the old model knew."""

    threshold: float = 9.5  # first value of tau, a -log(mean squared error)
    threshold_decay: float = share(0.9)  # of the running estimate saved for the next task
    sharpness: float = at_least(0, 4.0)  # slope of the old model's term
    cost: float = at_least(0, 0.5)  # weight of the current model's term
    ratio: float = share(0.5)  # reviewer rows / all rows of the reviewer's update
    shape: str = one_of("code", "paper")  # paper: no threshold and no slope
    norm: str = one_of("squared", "absolute")  # error whose logarithm is taken
    count_bonus: str = one_of("grid", "bounded", "legacy", "coin-flip", "none")
    relabel: bool = False  # refresh the rewards of the reviewer's own rows when drawn


@dataclass(frozen=True)
class MethodConfig:
    """What tells one continual-learning method from another beside its protections."""

    carry: str = one_of("dynamics", "nothing")  # what crosses a task boundary
    review: bool = False  # a reviewer explores beside the learner from the second task on


@dataclass(frozen=True)
class TdmpcRun(RunConfig):
    """One training run of TD-MPC or a method built on it, completely."""

    family: str = one_of("tdmpc")
    preset: str = "grid-quick"
    method_name: str = "drago"
    model: ModelConfig = ModelConfig()
    planner: PlannerConfig = PlannerConfig()
    learning: LearningConfig = LearningConfig()
    vae: VaeConfig = field(default_factory=VaeConfig)
    reviewer: ReviewerConfig = ReviewerConfig()
    method: MethodConfig = MethodConfig()
    protections: ProtectionsConfig = field(default_factory=ProtectionsConfig)

    @property
    def width(self) -> int:
        return self.model.width

    @property
    def carries(self) -> bool:
        return self.method.carry != "nothing"
