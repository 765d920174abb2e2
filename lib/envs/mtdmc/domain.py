"""Meta-World's tasks and those of dm_control's suite in one stream: a `Domain` of two others.

Every task keeps its own rewards, its own length of an episode and its own files. Observations and
actions are padded to the widest of the stream, see `lib.envs.padding`; files are not.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from lib.core.config import merge
from lib.core.errors import UserError, unknown
from lib.core.spaces import ActionSpace, ObsSpace
from lib.envs.api import DataPart, Domain, EndingEnv, Scene, World, data_parts, evaluation_env
from lib.envs.dmc_states import domain as suite
from lib.envs.gym.tasks import distinct
from lib.envs.held_out import HoldsOutEpisodes
from lib.envs.metaworld import domain as arm
from lib.envs.metaworld.tasks import AGAIN, NAMES, VERSION
from lib.envs.padding import Padded
from lib.envs.pixels.tasks import TASKS

if TYPE_CHECKING:
    from lib.core.config import EnvConfig

ARM_STEPS = 200  # of an episode of Meta-World; the suite's have `env.episode_length`


class BothDomain(HoldsOutEpisodes):
    """Tasks of two domains in one order.

    Args:
        tasks: their records. homes: of each, its domain and its index there.
        episode_length: of the longest episode.
        device: of what is held out.
    """

    action_repeat = 1
    grid_size = None
    exact_optimum = False

    def __init__(
        self,
        tasks: tuple[Any, ...],
        homes: list[tuple[Domain, int]],
        episode_length: int,
        device: torch.device | str = "cpu",
    ):
        self.tasks, self._homes = tasks, homes
        self.episode_length, self.device = episode_length, torch.device(device)
        spaces = [home.task_spaces(index) for home, index in homes]
        self.obs_dim = max(space.shape[0] for space, _ in spaces)
        self.obs_space = ObsSpace("vector", (self.obs_dim,))
        self.actions = ActionSpace(max(actions.size for _, actions in spaces), discrete=False)

    def task_spaces(self, task_index: int) -> tuple[ObsSpace, ActionSpace]:
        """Returns what every task shows and takes."""
        return self.obs_space, self.actions

    def data_parts(self, task_index: int) -> tuple[DataPart, ...]:
        """Returns the file that a task is learnt from, in its own spaces."""
        return data_parts(*self._homes[task_index])

    def make(self, task_index: int) -> EndingEnv:
        """Returns the environments of one task, with starts of training."""
        home, index = self._homes[task_index]
        return Padded(home.make(index), self.obs_space, self.actions, mask=False)

    def make_for_evaluation(self, task_index: int) -> EndingEnv:
        """Returns the same with starts that training never has."""
        env = evaluation_env(*self._homes[task_index])
        return Padded(env, self.obs_space, self.actions, mask=False)

    def optimum(self, task_index: int) -> float | None:
        """Returns nothing: what can be earned at most is not known."""
        return None

    def scene(self, task_index: int) -> Scene:
        """Raises UserError: vectors cannot be drawn."""
        home, index = self._homes[task_index]
        return home.scene(index)


def _is_arms(entry: Any) -> bool:
    named = entry.get("task", entry.get("name")) if isinstance(entry, Mapping) else entry
    plain = str(getattr(named, "name", named)).lower().replace("_", "-")
    return plain.removesuffix(VERSION).removesuffix(AGAIN) in NAMES


def _arms(env: "EnvConfig") -> "EnvConfig":
    return merge(env, {"episode_length": min(env.episode_length, ARM_STEPS)})


def resolve(env: "EnvConfig", entries: Iterable[Any]) -> tuple[Any, ...]:
    """Returns task records in the order given, of whichever world knows the name.

    Raises:
        UserError: an unknown name, one given twice, none, or a decision of several steps.
    """
    if env.action_repeat != 1:
        raise UserError(f"env.action_repeat {env.action_repeat}: a step of mtdmc is a decision")
    found = []
    for entry in entries:
        if _is_arms(entry):
            found += arm.resolve(_arms(env), [entry])
            continue
        try:
            found += suite.resolve(env, [entry])
        except UserError as error:
            if not isinstance(entry, str):
                raise
            raise unknown("task of mtdmc", entry, (*NAMES, *TASKS)) from error
    return distinct(found, "door-close")


def build(
    env: "EnvConfig", entries: Iterable[Any], device: torch.device | str = "cpu"
) -> BothDomain:
    """Returns the world that a configuration describes.

    Raises:
        UserError: what `resolve` says, or Meta-World or dm_control is missing.
    """
    entries = tuple(entries)
    tasks = resolve(env, entries)
    of_arm = [_is_arms(entry) for entry in entries]
    parts: dict[bool, Domain] = {}
    for kind, world, settings in ((True, arm, _arms(env)), (False, suite, env)):
        if mine := [
            entry for entry, is_arms in zip(entries, of_arm, strict=True) if is_arms == kind
        ]:
            parts[kind] = world.build(settings, mine, device)
    homes = [(parts[kind], of_arm[:at].count(kind)) for at, kind in enumerate(of_arm)]
    return BothDomain(tasks, homes, env.episode_length, device)


WORLD = World(
    resolve=resolve,
    build=build,
    ends_early=True,
    made_by=f"{arm.WORLD.made_by}' and '{suite.WORLD.made_by}",
)
