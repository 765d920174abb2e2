"""Takes files of experience from elsewhere, and gives some away, in forms that others read.

| form    | what it is                                                       | extra   |
|:--------|:-----------------------------------------------------------------|:--------|
| npz     | L2M's: flat arrays `observations`, `next_observations`,          |         |
|         | `actions`, `rewards`, `dones`, an episode after the other        |         |
| lerobot | Parquet: frames with `action`, `episode_index`, `next.reward`    | lerobot |
| minari  | a data set of Farama's, by its name                              | minari  |

Nothing in them is executed: pickles are refused. What arrives has to fit the task that it is to be
experience of; actions have to lie in [-1, 1].

Sources: README and loader of ml-jku/L2M; LeRobot's data set format, version 2; Minari 0.5.4.
"""

import importlib
import importlib.util
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from lib.core.config import EnvConfig, merge
from lib.core.errors import UserError, unknown
from lib.core.paths import shown
from lib.envs import worlds
from lib.envs.api import DataPart, data_parts
from lib.replay.buffer import Episodes
from lib.runner import dataset

STEPS = {"metaworld": 200, "dmc-states": 1000, "point-mass": 30}  # of an episode, as in the papers
FLAT = ("observations", "next_observations", "actions", "rewards", "dones")
PICKLES = (".pkl", ".pickle", ".pt", ".pth")
OBSERVED = (
    "observation.environment_state",
    "observation.state",
)  # of LeRobot, the first that is there


class Played(NamedTuple):
    """One episode of T steps."""

    obs: np.ndarray  # (T+1, L)
    action: np.ndarray  # (T, A)
    reward: np.ndarray  # (T,)
    terminal: bool  # ended by the world


def take(
    form: str, source: str, world: str, task: str, folder: str | Path, observed: str = ""
) -> str:
    """Makes a task's experience of what is somewhere else; returns a line about it.

    Args:
        form: one of `FORMS`.
        source: a file or folder, or a data set's name.
        world, task: whose experience it is to be.
        folder: where to.
        observed: of LeRobot, the column that is observed.

    Raises:
        UserError: an unknown form or task, no such source, one that does not fit the task, a
            pickle, or an extra that is not installed.
    """
    if form not in FORMS:
        raise unknown("form of experience", form, FORMS)
    part = _part(world, task)
    found = tuple(FORMS[form](source, observed))
    if not found:
        raise UserError(f"'{source}' holds no whole episode; nothing was taken")
    episodes = _together(found, source, part)
    place = Path(folder).absolute()
    about = {"source": f"{form} {Path(source).name}"}
    path = dataset.write(place, part.name, episodes, about)
    dataset.read(place, part.name, part.obs_space, part.actions)
    total = episodes.reward.sum(1)
    return (
        f"{part.name}: {len(total)} episodes, return {float(total.mean()):.4g}, best "
        f"{float(total.max()):.4g}, in '{shown(path)}'"
    )


def _part(world: str, task: str) -> DataPart:
    """Returns what a task's experience has to be like."""
    if world not in STEPS:
        raise unknown("world with files of experience", world, STEPS)
    env = merge(EnvConfig(), {"domain": world, "episode_length": STEPS[world]})
    (part,) = data_parts(worlds.build(env, [task]), 0)
    return part


def _together(found: Sequence[Played], source: str, part: DataPart) -> Episodes:
    """Pads episodes to the longest, and checks that they are the task's."""
    count, steps = len(found), max(len(one.reward) for one in found)
    numbers, size = found[0].obs.shape[1:], found[0].action.shape[1]
    if (numbers, size) != (part.obs_space.shape, part.actions.size):
        raise UserError(
            f"'{source}' holds observations of {numbers[0]} numbers and actions of {size}, and "
            f"task '{part.name}' has {part.obs_space.shape[0]} and {part.actions.size}; name the "
            "task that it is of"
        )
    obs = np.zeros((count, steps + 1, *numbers), np.float32)
    action, reward = (
        np.zeros((count, steps, size), np.float32),
        np.zeros((count, steps), np.float32),
    )
    for index, one in enumerate(found):
        length = len(one.reward)
        obs[index, : length + 1], action[index, :length] = one.obs, one.action
        obs[index, length + 1 :] = one.obs[-1]
        reward[index, :length] = one.reward
    for name, array in {"observations": obs, "actions": action, "rewards": reward}.items():
        if not np.isfinite(array).all():
            raise UserError(
                f"{name} of '{source}' hold numbers that are not finite; leave them out"
            )
    if (furthest := float(np.abs(action).max())) > 1:
        raise UserError(
            f"an action of '{source}' holds {furthest:.4g} (without its sign), outside the bins, "
            "which cover -1 to 1; rescale them first"
        )
    length = torch.tensor([len(one.reward) for one in found])
    terminal = torch.tensor([one.terminal for one in found])
    whole = Episodes(*map(torch.from_numpy, (obs, action, reward)))
    return whole._replace(length=length, terminal=terminal)


# Forms --------------------------------------------------------------------------------------


def _flat(source: str, observed: str) -> Iterator[Played]:
    """Reads L2M's arrays; an unfinished episode at the end is dropped, as there."""
    path = _file(source)
    try:
        with np.load(path, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, KeyError, AttributeError) as error:
        raise UserError(f"'{source}' is no file of arrays ({error})") from None
    except Exception as error:  # zipfile's own, of what is no archive
        raise UserError(f"'{source}' is no file of arrays ({error})") from None
    if missing := [name for name in FLAT if name not in arrays]:
        raise UserError(
            f"'{source}' lacks {', '.join(missing)} and has "
            f"{', '.join(sorted(arrays)) or 'nothing'}; L2M's files have {', '.join(FLAT)}"
        )
    obs, after, action, reward, done = (arrays[name] for name in FLAT)
    begins = 0
    for end in np.flatnonzero(np.ravel(done)) + 1:
        here, begins = slice(begins, end), end
        seen = np.concatenate((obs[here], after[end - 1 : end]))
        yield Played(seen, action[here], np.ravel(reward[here]), False)


def _lerobot(source: str, observed: str) -> Iterator[Played]:
    """Reads frames of Parquet files; what follows an episode's last frame is not in them."""
    place = Path(source)
    paths = sorted(place.glob("**/*.parquet")) if place.is_dir() else [_file(source)]
    if not paths:
        raise UserError(f"'{source}' holds no Parquet files; name a file, or a folder with some")
    _check_extra("pyarrow", "lerobot")
    parquet = importlib.import_module("pyarrow.parquet")
    for path in paths:
        try:
            table = parquet.read_table(path)
        except Exception as error:  # pyarrow's own
            told = " ".join(str(error).split())
            raise UserError(f"'{path}' is no Parquet file ({told})") from None
        columns = table.column_names
        names = [observed] if observed else [name for name in OBSERVED if name in columns]
        needed = [*(names[:1] or OBSERVED[-1:]), "action", "next.reward", "episode_index"]
        if missing := [name for name in needed if name not in columns]:
            raise UserError(
                f"'{path}' lacks {', '.join(missing)} and has {', '.join(columns)}; name what is "
                "observed with --observed"
            )
        seen, action, reward, episode = (
            np.array(table.column(name).to_pylist(), dtype=np.float64) for name in needed
        )
        for number in np.unique(episode):
            mine = episode == number
            obs = np.concatenate((seen[mine], seen[mine][-1:]))
            yield Played(obs, action[mine], np.ravel(reward[mine]), False)


def _minari(source: str, observed: str) -> Iterator[Played]:
    """Reads a data set that is on this machine."""
    minari = _package()
    try:
        found = minari.load_dataset(source)
    except Exception as error:  # Minari's own, of many kinds
        told = " ".join(str(error).split())[:200]
        raise UserError(
            f"no Minari data set '{source}' on this machine ({told}); 'minari list local' shows "
            "what there is, and 'minari download' fetches more"
        ) from None
    for episode in found.iterate_episodes():
        if not isinstance(episode.observations, np.ndarray):
            raise UserError(f"'{source}' shows observations of several parts; take one of vectors")
        ended = bool(np.any(episode.terminations))
        yield Played(episode.observations, episode.actions, episode.rewards, ended)


FORMS: dict[str, Callable[[str, str], Iterator[Played]]] = {
    "npz": _flat,
    "lerobot": _lerobot,
    "minari": _minari,
}


def give(folder: str | Path, world: str, task: str, name: str) -> str:
    """Makes a Minari data set of a task's experience; returns a line about it.

    Args:
        name: of the data set, such as workbook/door-close-v0.

    Raises:
        UserError: no such experience, an extra that is missing, or a name that Minari refuses.
    """
    minari = _package()
    part = _part(world, task)
    held = dataset.read(Path(folder).absolute(), part.name, part.obs_space, part.actions).episodes
    buffer_of = importlib.import_module("minari.data_collector").EpisodeBuffer
    spaces = importlib.import_module("gymnasium.spaces")
    buffers = []
    for index in range(len(held.reward)):
        length = held.reward.shape[1] if held.length is None else int(held.length[index])
        over = np.zeros(length, bool)
        over[-1] = True
        ended = held.terminal is not None and bool(held.terminal[index])
        never = np.zeros(length, bool)
        buffers.append(
            buffer_of(
                observations=held.obs[index, : length + 1].numpy().copy(),
                actions=held.action[index, :length].numpy().copy(),
                rewards=held.reward[index, :length].numpy().copy(),
                terminations=over if ended else never,
                truncations=never if ended else over,
                infos={},
            )
        )
    shape, size = part.obs_space.shape, part.actions.size
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it would like to know authors and their code
            minari.create_dataset_from_buffers(
                name,
                buffers,
                env=None,
                observation_space=spaces.Box(-np.inf, np.inf, shape, np.float32),
                action_space=spaces.Box(-1.0, 1.0, (size,), np.float32),
                algorithm_name="see description",
                description=f"{part.name} of {world}, written by a workbook on continual learning",
            )
    except (ValueError, AssertionError, OSError) as error:
        told = " ".join(str(error).split())[:200]
        raise UserError(f"Minari did not write '{name}' ({told}); choose another name") from None
    return f"{name}: {len(buffers)} episodes of {part.name}, as a Minari data set"


def _file(source: str) -> Path:
    """Returns a file that is there, and is none that executes what is in it."""
    path = Path(source)
    if path.suffix.lower() in PICKLES:
        raise UserError(
            f"'{source}' is pickled, and reading it would execute what is in it; where you trust "
            f"it, load it elsewhere and write {', '.join(FLAT)} with numpy.savez, which "
            "'data import npz' takes"
        )
    if not path.is_file():
        raise UserError(f"no file '{source}'; name one that is there")
    return path


def _check_extra(package: str, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise UserError(f"{package} is not installed: pip install -e '.[{extra}]'")


def _package() -> Any:
    for name in ("minari", "h5py"):
        _check_extra(name, "minari")
    return importlib.import_module("minari")
