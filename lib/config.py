"""Every setting of a run: frozen dataclasses, and strict loading from plain mappings.

A section is one dataclass; a run is the record that holds them all. The defaults are those of
DRAGO's published code on MiniGrid; smaller worlds are named changes in `lib.tdmpc.presets`.
Unknown names, wrong types and numbers out of range are refused.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lib.errors import UserError, unknown

T = TypeVar("T")


def one_of(default: str, *others: str) -> Any:
    """A text setting with a closed list of values."""
    return field(default=default, metadata={"choices": (default, *others)})


def at_least(low: float, default: Any) -> Any:
    """A number (or a tuple of numbers) with a smallest allowed value."""
    return field(default=default, metadata={"low": low})


def share(default: float) -> Any:
    """A number from 0 to 1."""
    return field(default=default, metadata={"low": 0, "high": 1})


@dataclass(frozen=True)
class EnvConfig:
    """The world that the tasks share."""

    domain: str = one_of("grid", "cheetah", "walker")
    observation: str = one_of("state", "pixels")
    episode_length: int = at_least(1, 100)  # env steps; episodes never end early
    action_repeat: int = at_least(1, 1)  # env steps that one decision lasts
    size: int = at_least(9, 27)  # grid only: side of the square in cells, odd
    reward: str = one_of("dense", "sparse")  # grid only
    put_blocks: bool = True  # grid only: impassable blocks inside the rooms

    @property
    def decisions(self) -> int:
        """Decisions in an episode."""
        return self.episode_length // self.action_repeat


@dataclass(frozen=True)
class BudgetConfig:
    """How long a task lasts and how often it is looked at. All in env steps of that task."""

    env_steps_per_task: int = at_least(1, 300_000)  # learner and reviewer steps together
    # Episodes collected at once. They are followed by as many times the updates, so what an update
    # sees is up to that many episodes old, and what acts was trained up to that many earlier.
    parallel_envs: int = at_least(1, 1)
    eval_every: int = at_least(1, 10_000)
    eval_episodes: int = at_least(1, 10)
    checkpoint_every: int = at_least(1, 50_000)
    pre_rollout: int = at_least(1, 100)  # decisions of the agent that acts first, where one does


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
    ema_every: int = at_least(1, 40)  # updates between two target steps
    first_step_heads: bool = False  # reward and value losses at k = 0 only
    priority_alpha: float = at_least(0, 0.6)
    priority_beta: float = at_least(0, 0.4)
    seed_steps: int = at_least(0, 5_000)  # random decisions at the start of each task
    capacity: int = at_least(1, 1_000_000)  # most transitions a buffer holds
    updates_per_step: float = at_least(0, 1.0)  # updates per learner decision


@dataclass(frozen=True)
class VaeConfig:
    """The generator of (state, action) pairs."""

    code: int = at_least(1, 64)  # size of the latent code
    width: int = at_least(1, 64)
    beta: float = at_least(0, 1.0)  # weight of the KL term, averaged over the code
    lr: float = at_least(0, 1e-3)


@dataclass(frozen=True)
class RehearsalConfig:
    """Keeping the old dynamics alive on dreamt (or stored) pairs."""

    every: int = at_least(1, 1)  # updates between two rehearsals
    dreams: int = at_least(1, 512)  # pairs per rehearsal, and dreams per step of the generator
    combine: str = one_of("separate", "joint")  # an Adam step of its own, or one summed loss
    weight: float = at_least(0, 1.0)  # the joint loss's lambda
    match: str = one_of("raw", "bounded")  # compare before or after clip and tanh


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
    """What tells one continual-learning method from another (see `lib.tdmpc.presets`)."""

    carry: str = one_of("dynamics", "nothing")  # what crosses a task boundary
    rehearse: str = one_of("nothing", "dreams", "stored")  # where rehearsed pairs come from
    train_vae: str = one_of("never", "first-task", "always")
    review: bool = False
    memory: str = one_of("vae-bytes", "everything")  # capacity of the stored pairs
    ewc: float = at_least(0, 0.0)  # strength of elastic weight consolidation on the dynamics
    curiosity: float = at_least(0, 0.0)  # prediction error added to the value target


@dataclass(frozen=True)
class EngineConfig:
    """How the same numbers are computed: nothing here changes what is learnt, but for rounding."""

    compile: str = one_of("auto", "always", "never")  # auto: on a CPU, where it pays back
    graphs: str = one_of("auto", "never")  # auto: record CUDA graphs on a CUDA device
    threads: int = at_least(0, 0)  # of the CPU; 0 chooses by width, see lib.machine
    matmul: str = one_of("single", "tf32")  # tf32: faster products on a CUDA device, 10 bits


@dataclass(frozen=True)
class RunConfig:
    """One training run, completely."""

    name: str = "run"
    preset: str = "grid-quick"
    method_name: str = "drago"
    seed: int = at_least(0, 0)
    device: str = "auto"
    tasks: tuple[Any, ...] = ()  # names, or mappings with name, start and goal
    env: EnvConfig = EnvConfig()
    budget: BudgetConfig = BudgetConfig()
    model: ModelConfig = ModelConfig()
    planner: PlannerConfig = PlannerConfig()
    learning: LearningConfig = LearningConfig()
    vae: VaeConfig = VaeConfig()
    rehearsal: RehearsalConfig = RehearsalConfig()
    reviewer: ReviewerConfig = ReviewerConfig()
    method: MethodConfig = MethodConfig()
    engine: EngineConfig = EngineConfig()

    @property
    def decisions_per_task(self) -> int:
        """A task's budget as the agent counts it, in decisions."""
        return self.budget.env_steps_per_task // self.env.action_repeat


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as nested plain mappings and lists, ready for YAML or JSON."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, tuple | list) else value

    return plain(dataclasses.asdict(config))


def from_dict(cls: type[T], mapping: Mapping[str, Any], path: str = "") -> T:
    """Builds a configuration from a mapping, refusing unknown names and wrong types.

    Args:
        cls: a dataclass of this module.
        mapping: names to values; missing names keep their defaults.
        path: dotted prefix for error messages.

    Raises:
        UserError: an unknown name, a wrong type or a value out of range.
    """
    return merge(cls(), mapping, path)


def merge(config: T, mapping: Mapping[str, Any], path: str = "") -> T:
    """A copy of `config` in which the mapping's values replace the old ones, section by section."""
    fields = {item.name: item for item in dataclasses.fields(config)}
    hints = typing.get_type_hints(type(config))
    changes = {}
    for key, value in mapping.items():
        if key not in fields:
            raise unknown("setting", path + str(key), [path + name for name in fields])
        old = getattr(config, key)
        if dataclasses.is_dataclass(old):
            if not isinstance(value, Mapping):
                raise UserError(
                    f"setting '{path}{key}' is a section: got {value!r}, wanted a mapping"
                )
            changes[key] = merge(old, value, f"{path}{key}.")
        else:
            changes[key] = _checked(value, hints[key], fields[key].metadata, path + key)
    return dataclasses.replace(config, **changes)


def set_dotted(config: T, overrides: Mapping[str, Any]) -> T:
    """A copy of `config` with settings such as `{"planner.samples": 64}` replaced."""
    for dotted, value in overrides.items():
        nested: Any = value
        for part in reversed(str(dotted).split(".")):
            nested = {part: nested}
        config = merge(config, nested)
    return config


def dotted_keys(config: Any, path: str = "") -> list[str]:
    """Every setting's dotted name, for help texts and completion."""
    names = []
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            names += dotted_keys(value, f"{path}{item.name}.")
        else:
            names.append(path + item.name)
    return names


def _checked(value: Any, hint: Any, metadata: Mapping[str, Any], name: str) -> Any:
    """The value, converted where nothing is lost (int to float, list to tuple), or an error."""
    origin = typing.get_origin(hint)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            value = (value,)
        item_hint = typing.get_args(hint)[0]
        return tuple(
            _checked(item, item_hint, metadata, f"{name}[{i}]") for i, item in enumerate(value)
        )
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        note = " (YAML reads 1e-4 as text: write 1.0e-4)" if hint is float else ""
        raise UserError(
            f"setting '{name}': got {value!r} of type {type(value).__name__}, "
            f"wanted {_type_name(hint)}{note}"
        )
    if "choices" in metadata and value not in metadata["choices"]:
        raise unknown(f"value for '{name}'", value, metadata["choices"])
    if "low" in metadata and not value >= metadata["low"]:
        raise UserError(f"setting '{name}': got {value}, wanted at least {metadata['low']}")
    if "high" in metadata and value > metadata["high"]:
        raise UserError(f"setting '{name}': got {value}, wanted at most {metadata['high']}")
    if hint is float and not math.isfinite(value):
        raise UserError(f"setting '{name}': got {value}, wanted a finite number")
    return value


def _type_name(hint: Any) -> str:
    if isinstance(hint, types.UnionType):
        return " or ".join(part.__name__ for part in typing.get_args(hint))
    return {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}[
        hint.__name__
    ]
