"""Every setting of a run: frozen dataclasses, and strict loading from plain mappings.

A section is one dataclass; a run is the record that holds them all. Here are those that every
family has; each has more in a `settings` module of its own. Unknown names, wrong types and numbers
out of range are refused.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lib.core.errors import UserError, short, unknown
from lib.core.plain import check_plain

T = TypeVar("T")
LONGEST_TASK = 10**12  # env steps or updates, years of work; sums over tasks stay exact
Sections = Mapping[str, Any]  # settings by section, as `config.merge` takes them


def one_of(default: str, *others: str) -> Any:
    """A text setting with a closed list of values."""
    return field(default=default, metadata={"choices": (default, *others)})


def at_least(low: float, default: Any) -> Any:
    """A number (or a tuple of numbers) with a smallest allowed value."""
    return field(default=default, metadata={"low": low})


def within(low: float, high: float, default: Any) -> Any:
    """A number (or a tuple of numbers) with a smallest and a largest allowed value."""
    return field(default=default, metadata={"low": low, "high": high})


def share(default: float) -> Any:
    """A number from 0 to 1."""
    return field(default=default, metadata={"low": 0, "high": 1})


@dataclass(frozen=True)
class EnvConfig:
    """The world that the tasks share."""

    domain: str = "grid"  # one of `lib.envs.worlds`, which is where it is checked
    observation: str = one_of("state", "pixels", "symbols")
    episode_length: int = at_least(1, 100)  # env steps until an episode is cut
    action_repeat: int = at_least(1, 1)  # env steps that one decision lasts
    size: int = within(9, 255, 27)  # grid only: side of the square in cells, odd
    reward: str = one_of("dense", "sparse")  # grid only
    put_blocks: bool = True  # grid only: impassable blocks inside the rooms
    # dmc only, dm_control's suite from pixels. An episode of the papers has 1000 env steps, two a
    # decision.
    image_size: int = within(16, 512, 64)  # height and width [pixels]; bullet and pendulum too
    camera: int = at_least(-1, -1)  # of the body's; -1: the papers', 0, or 2 of the quadruped
    render_quality: str = one_of("full", "fast")  # fast: no shadows, reflections, multisampling
    background: str = "plain"  # or procedural:KIND, folder:PATH; see lib.envs.pixels.backgrounds
    background_grey: bool = False  # moving backgrounds without colours
    workers: int = at_least(0, 0)  # processes that simulate and draw; 0: by copies and cores
    # bullet only, PyBullet's bodies. Episodes and decisions as of dmc.
    look_at: str = one_of("link", "torso")  # link: the paper's camera, the body's first link
    ignore_termination: bool = False  # episodes go on when the task has ended
    reward_version: str = one_of("v2", "v1")  # metaworld only
    # Tasks that differ in how many numbers they take or show, see lib.envs.padding.
    min_actions: int = at_least(0, 0)  # numbers in an action; 0: of the task with the most
    min_numbers: int = at_least(0, 0)  # numbers of a vector that is observed; 0: likewise
    mask_padding: bool = False  # keep 0 for numbers of an action that a task does not have

    @property
    def decisions(self) -> int:
        """Decisions in an episode."""
        return self.episode_length // self.action_repeat


@dataclass(frozen=True)
class BudgetConfig:
    """How long a task lasts and how often it is looked at.

    All in env steps of that task; where experience comes from files, in updates.
    """

    env_steps_per_task: int = within(1, LONGEST_TASK, 300_000)  # learner's and reviewer's
    lengths: tuple[int, ...] = within(1, 10**6, (1,))  # times that, per task; the last repeats
    # Episodes collected at once. They are followed by as many times the updates, so what an update
    # sees is up to that many episodes old, and what acts was trained up to that many earlier.
    parallel_envs: int = at_least(1, 1)
    eval_every: int = at_least(1, 10_000)
    eval_episodes: int = at_least(1, 10)
    eval_tasks: str = one_of("current", "seen", "all")  # seen: also those learnt before
    # Every evaluation of a task has the same starts, so that its results differ by the agent alone.
    eval_fixed: bool = False
    report_every: int = at_least(0, 0)  # between two training records; 0: after every collection
    checkpoint_every: int = at_least(1, 50_000)
    # Of families that learn from files of experience.
    updates_per_task: int = within(1, LONGEST_TASK, 10_000)
    pre_rollout: int = at_least(1, 100)  # decisions of the agent that acts first, where one does

    def steps_of(self, task: int) -> int:
        """Env steps of one task, by its index."""
        return self.env_steps_per_task * self.lengths[min(task, len(self.lengths) - 1)]

    def updates_of(self, task: int) -> int:
        """Updates of one task, by its index, where experience comes from files."""
        return self.updates_per_task * self.lengths[min(task, len(self.lengths) - 1)]

    def steps_before(self, task: int) -> int:
        """Env steps of all tasks before one; with the number of tasks, of the whole run."""
        return sum(self.steps_of(index) for index in range(task))


@dataclass(frozen=True)
class EngineConfig:
    """How the same numbers are computed: nothing here changes what is learnt, but for rounding."""

    compile: str = one_of("auto", "always", "never")  # auto: on a CPU, where it pays back
    graphs: str = one_of("auto", "never")  # auto: record CUDA graphs on a CUDA device
    threads: int = at_least(0, 0)  # of the CPU; 0 chooses by width, see lib.engine.machine
    matmul: str = one_of("single", "tf32")  # tf32: faster products on a CUDA device, 10 bits


@dataclass(frozen=True)
class RunConfig:
    """What every training run has; each family adds sections of its own (its `settings`)."""

    name: str = "run"
    family: str = ""  # set by the family
    preset: str = ""
    method_name: str = ""
    seed: int = at_least(0, 0)
    device: str = "auto"
    tasks: tuple[Any, ...] = ()  # names, or mappings with name, start and goal
    dataset: str = ""  # folders of files of experience, of families that learn from these; a,b
    env: EnvConfig = EnvConfig()
    budget: BudgetConfig = BudgetConfig()
    engine: EngineConfig = EngineConfig()

    @property
    def decisions_per_task(self) -> int:
        """A task's budget as the agent counts it, in decisions."""
        return self.budget.env_steps_per_task // self.env.action_repeat

    @property
    def prepares(self) -> int:
        """Tasks at the beginning in which an agent gets ready for the stream that follows."""
        return 0

    @property
    def width(self) -> int:
        """Units of the widest layer, by which the number of threads is chosen."""
        raise NotImplementedError(f"{type(self).__name__} does not say how wide its networks are")

    @property
    def carries(self) -> bool:
        """Whether anything learnt crosses a task's boundary."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it carries over")


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
    if not isinstance(mapping, Mapping):
        where = f"setting '{path.removesuffix('.')}' is a section" if path else "a configuration"
        raise UserError(f"{where}: got {short(mapping)}, wanted a mapping of names to values")
    fields = {item.name: item for item in dataclasses.fields(config)}
    hints = typing.get_type_hints(type(config))
    changes = {}
    for key, value in mapping.items():
        if key not in fields:
            raise unknown("setting", path + str(key), [path + name for name in fields])
        old = getattr(config, key)
        if dataclasses.is_dataclass(old):
            changes[key] = merge(old, value, f"{path}{key}.")
        else:
            changes[key] = _checked(value, hints[key], fields[key].metadata, path + key)
    return dataclasses.replace(config, **changes)


def layered(*layers: Sections) -> dict[str, Any]:
    """Presets laid over each other, section by section, however deep; later ones win."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            under = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
            merged[key] = layered(merged[key], value) if under else value
    return merged


def set_dotted(config: T, overrides: Mapping[str, Any]) -> T:
    """A copy of `config` with settings such as `{"planner.samples": 64}` replaced."""
    for dotted, value in overrides.items():
        nested: Any = value
        for part in reversed(str(dotted).split(".")):
            nested = {part: nested}
        config = merge(config, nested)
    return config


def flat(overrides: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Settings by their dotted names, also where they were given as sections."""
    found: dict[str, Any] = {}
    for key, value in overrides.items():
        section = isinstance(value, Mapping) and value
        found |= flat(value, f"{path}{key}.") if section else {f"{path}{key}": value}
    return found


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
        check_plain(value, f"setting '{name}'", finite=True)
        item_hint = typing.get_args(hint)[0]
        return tuple(
            _checked(item, item_hint, metadata, f"{name}[{i}]") for i, item in enumerate(value)
        )
    check_plain(value, f"setting '{name}'", finite=True)
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        note = " (YAML reads 1e-4 as text: write 1.0e-4)" if hint is float else ""
        raise UserError(
            f"setting '{name}': got {short(value)} of type {type(value).__name__}, "
            f"wanted {_type_name(hint)}{note}"
        )
    if "choices" in metadata and value not in metadata["choices"]:
        raise unknown(f"value for '{name}'", value, metadata["choices"])
    if "low" in metadata and not value >= metadata["low"]:
        raise UserError(f"setting '{name}': got {short(value)}, wanted at least {metadata['low']}")
    if "high" in metadata and value > metadata["high"]:
        raise UserError(f"setting '{name}': got {short(value)}, wanted at most {metadata['high']}")
    return value


def _type_name(hint: Any) -> str:
    if isinstance(hint, types.UnionType):
        return " or ".join(part.__name__ for part in typing.get_args(hint))
    return {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}[
        hint.__name__
    ]
