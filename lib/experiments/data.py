"""Makes files of experience for families that learn from these, one per task, and a card.

The card, `card.json`, says of every file who acted, with how much noise, and what came of it. A
file that the card knows, and whose bytes are still those, is not made again: a process that was
stopped goes on with the task it stopped at.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from lib.core.errors import UserError, unknown
from lib.core.files import atomic_write, open_regular
from lib.core.paths import OUTPUTS
from lib.core.seeding import generator
from lib.replay.buffer import Episodes
from lib.runner import dataset, evaluate

CARD = "card.json"
DATA = OUTPUTS / "data"


@dataclass(frozen=True)
class Recipe:
    """How the files of a world are made.

    Args:
        episodes: of every task.
        noises: deviations of what is added to an expert's actions, in equal parts.
        random_share: share of episodes that act at random, besides.
    """

    episodes: int = 600
    noises: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5)
    random_share: float = 0.05
    seed: int = 0


@dataclass(frozen=True)
class Maker:
    """A world whose files can be made.

    Args:
        tasks: names; each has a file.
        play: a task, an expert's noise (None acts at random), how many episodes and a random
            generator to what was done.
    """

    tasks: tuple[str, ...]
    play: Callable[[str, float | None, int, torch.Generator], Episodes]


def point_mass() -> Maker:
    """Returns a point pushed across a table by a controller that knows its task."""
    from lib.envs.point_mass import expert, tasks
    from lib.envs.point_mass.domain import PointDomain

    names = tuple(name for name, task in tasks.KNOWN.items() if not task.files)
    length = 30  # decisions of an episode, as in the presets

    def play(name: str, noise: float | None, count: int, draws: torch.Generator) -> Episodes:
        task = tasks.KNOWN[name]
        env = PointDomain((task,), length).make(0)

        def act(obs: Tensor, memory: Any, **_: Any) -> tuple[Tensor, None]:
            if noise is None:
                return env.actions.random(len(obs), draws), None
            action = expert.act(task, obs)
            shaken = action + noise * torch.randn(action.shape, generator=draws)
            return shaken.clamp(-1, 1), None

        return evaluate.play(SimpleNamespace(act=act), env, count, draws, explore=True)

    return Maker(names, play)


MAKERS: dict[str, Callable[[], Maker]] = {"point-mass": point_mass}


def make(world: str, folder: str | Path = "", recipe: Recipe = Recipe()) -> Iterator[str]:
    """Writes every file that is not there yet; yields a line about each.

    Args:
        world: one of `MAKERS`.
        folder: where to; outputs/data/WORLD if not given.

    Raises:
        UserError: an unknown world, no episodes, or a folder that holds files of another recipe.
    """
    if world not in MAKERS:
        raise unknown("world to make files of", world, MAKERS)
    if recipe.episodes < 1:
        raise UserError(f"{recipe.episodes} episodes make no file; ask for 1 or more")
    place, maker = Path(folder) if folder else DATA / world, MAKERS[world]()
    asked = {"world": world, **json.loads(json.dumps(asdict(recipe)))}
    card = _card(place) or {"made": asked, "files": {}}
    if card["made"] != asked:
        raise UserError(
            f"'{place}' holds files that were made otherwise ({card['made']}); choose another "
            "folder, or remove that one"
        )
    for task in maker.tasks:
        if (told := card["files"].get(task)) and _digest(place, task) == told["sha256"]:
            yield f"{task}: there, {told['episodes']} episodes"
            continue
        episodes = _played(maker, task, recipe)
        dataset.write(place.absolute(), task, episodes)
        card["files"][task] = _about(episodes) | {"sha256": _digest(place, task)}
        atomic_write(place / CARD, json.dumps(card, indent=1, sort_keys=True) + "\n")
        told = card["files"][task]
        yield f"{task}: {told['episodes']} episodes, success {told['success']:.2f}"


def _played(maker: Maker, task: str, recipe: Recipe) -> Episodes:
    """Returns episodes of every noise, and some at random, in an order that mixes them."""
    draws = generator(recipe.seed, f"data/{task}")
    at_random = round(recipe.random_share * recipe.episodes)
    each, more = divmod(recipe.episodes - at_random, len(recipe.noises))
    counts: list[tuple[float | None, int]] = [
        (noise, each + (index < more)) for index, noise in enumerate(recipe.noises)
    ]
    parts = [maker.play(task, *one, draws) for one in [*counts, (None, at_random)] if one[1]]
    whole = [torch.cat(part) if part[0] is not None else None for part in zip(*parts, strict=True)]
    order = torch.randperm(recipe.episodes, generator=draws)
    return Episodes(*(None if part is None else part[order] for part in whole))


def _about(episodes: Episodes) -> dict[str, Any]:
    """Returns what the card says of a file."""
    total = evaluate.returns(episodes)
    return {
        "episodes": len(total),
        "decisions": episodes.reward.numel(),
        "best_return": round(float(total.max()), 4),
        "mean_return": round(float(total.mean()), 4),
        "success": round(float(episodes.success.float().mean()), 4),
        "torch": torch.__version__,
    }


def _card(place: Path) -> dict[str, Any] | None:
    """Returns what a folder's card says; None where there is none."""
    try:
        with open_regular(place / CARD) as file:
            found = json.loads(file.read())
        if not isinstance(found["made"], dict) or not isinstance(found["files"], dict):
            raise ValueError("it is no card")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"'{place / CARD}' cannot be read ({error}); remove it, and its files are made again"
        ) from None
    return found


def _digest(place: Path, task: str) -> str:
    """Returns a checksum of a file; "" where there is none."""
    path = dataset.path_of(place.absolute(), task)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
