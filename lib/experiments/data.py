"""Makes files of experience for families that learn from these, one per task, and a card.

The card, `card.json`, says of every file who acted, with how much noise, and what came of it. A
file that the card knows, and whose bytes are still those, is not made again. Long files are made in
pieces by several processes at once: one that was stopped goes on with the pieces that are missing,
and the files are the same, however many processes made them.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from lib.core.errors import UserError, unknown
from lib.core.paths import OUTPUTS
from lib.core.seeding import generator
from lib.core.spaces import ActionSpace, ObsSpace
from lib.experiments import cards
from lib.experiments.makers import MAKERS, Maker, Recipe, cores
from lib.replay.buffer import Episodes
from lib.runner import dataset, evaluate

PIECES = ".pieces"
DATA = OUTPUTS / "data"
DEFAULT = Recipe()
Tell = Callable[[int, int], None]  # episodes that are there, of how many


def make(
    world: str,
    folder: str | Path = "",
    recipe: Recipe = DEFAULT,
    tasks: Sequence[str] = (),
    processes: int = 0,
    tell: Tell = lambda done, total: None,
) -> Iterator[str]:
    """Writes every file that is not there yet; yields a line about each.

    Args:
        world: one of `MAKERS`.
        folder: where to; outputs/data/WORLD if not given.
        tasks: names; all of the world's if none is given.
        processes: that play side by side; 0: one, or of slow worlds one for every core.
        tell: hears how many episodes there are whenever there are more.

    Raises:
        UserError: an unknown world or task, no episodes, a folder that holds files of another
            recipe, or a world that cannot be played here.
    """
    if world not in MAKERS:
        raise unknown("world to make files of", world, MAKERS)
    if recipe.episodes < 0:
        raise UserError(f"{recipe.episodes} episodes make no file; ask for 1 or more")
    maker = MAKERS[world]()
    for task in tasks:
        if task not in maker.tasks:
            raise unknown(f"task of {world}", task, maker.tasks)
    if recipe.agent and not maker.agents:
        raise UserError(f"files of {world} are made by its experts; leave out the agent")
    recipe = replace(recipe, episodes=recipe.episodes or maker.episodes)
    wanted = tuple(tasks) or maker.first or maker.tasks
    maker.check(wanted, recipe)
    place = Path(folder).absolute() if folder else DATA / world
    asked = {"world": world, **json.loads(json.dumps(asdict(recipe))), **maker.about}
    card = cards.read(place) or {"made": asked, "files": {}}
    if card["made"] != asked:
        raise UserError(
            f"'{place}' holds files that were made otherwise ({card['made']}); choose another "
            "folder, or remove that one"
        )
    there = {task for task in wanted if _is_as_told(place, task, card)}
    work = [
        (task, number, count)
        for task in wanted
        if task not in there
        for number, count in enumerate(_pieces(recipe.episodes, maker.piece))
    ]
    place.mkdir(parents=True, exist_ok=True)
    cards.write(place, card)
    done, total = recipe.episodes * len(there), recipe.episodes * len(wanted)
    tell(done, total)
    for task in wanted:
        if task in there:
            yield cards.line(task, card) + ", there already"
    processes = processes or (cores() if maker.slow else 1)
    for task, number, count in _played(world, place, recipe, work, min(processes, len(work))):
        done += count
        tell(done, total)
        if len([1 for other, *_ in work if other == task]) == number + 1:
            _join(place, task, maker, recipe, card)
            yield cards.line(task, card)
    shutil.rmtree(place / PIECES, ignore_errors=True)


def _pieces(episodes: int, piece: int) -> list[int]:
    """Returns how many episodes each piece of a file has."""
    whole, rest = divmod(episodes, piece)
    return [piece] * whole + [rest] * (rest > 0)


Work = tuple[str, int, int]  # a task, the number of a piece of its file, and its episodes


def _played(
    world: str, place: Path, recipe: Recipe, work: Sequence[Work], processes: int
) -> Iterator[Work]:
    """Makes pieces that are not there yet; yields each in order as soon as it is there."""
    if processes <= 1:
        for task, number, count in work:
            _make_piece(world, str(place), recipe, task, number, count)
            yield task, number, count
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), _alone) as pool:
        try:
            jobs = [pool.submit(_make_piece, world, str(place), recipe, *one) for one in work]
            for job, one in zip(jobs, work, strict=True):
                job.result()
                yield one
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _alone() -> None:
    """Lets a process compute with one thread: there is one process for every core."""
    torch.set_num_threads(1)


def _make_piece(world: str, place: str, recipe: Recipe, task: str, number: int, count: int) -> None:
    """Plays one piece of a file, unless it is there."""
    folder, name = Path(place) / PIECES, f"{task}-{number}"
    if dataset.is_there(folder, name):
        return
    began = time.process_time()
    episodes, at_random = play(MAKERS[world](), task, recipe, number, count)
    told = {"at_random": at_random, "seconds": time.process_time() - began}
    dataset.write(folder, name, episodes, told)


def play(
    maker: Maker, task: str, recipe: Recipe, number: int, count: int
) -> tuple[Episodes, list[float]]:
    """Plays episodes of every noise, and some at random, in an order that mixes them.

    Args:
        number: of the piece of a file, which has random numbers of its own.
        count: its episodes.

    Returns:
        The episodes, and the returns of those at random.
    """
    draws = generator(recipe.seed, f"data/{task}" + (f"/{number}" if number else ""))
    share = recipe.random_share
    at_random = max(1, round(share * count)) if share else 0
    each, more = divmod(count - at_random, len(recipe.noises))
    counts: list[tuple[float | None, int]] = [
        (noise, each + (index < more)) for index, noise in enumerate(recipe.noises)
    ]
    parts = [
        maker.play(task, *one, draws, recipe) for one in [*counts, (None, at_random)] if one[1]
    ]
    whole = _joined(parts)
    order = torch.randperm(count, generator=draws)
    chance = evaluate.returns(parts[-1]).tolist() if at_random else []
    return Episodes(*(None if part is None else part[order] for part in whole)), chance


def _joined(parts: Sequence[Episodes]) -> Episodes:
    return Episodes(
        *(torch.cat(part) if part[0] is not None else None for part in zip(*parts, strict=True))
    )


def _join(place: Path, task: str, maker: Maker, recipe: Recipe, card: dict[str, Any]) -> None:
    """Makes a file of its pieces, and an entry of the card."""
    folder, parts, chance, seconds = place / PIECES, [], [], 0.0
    names = [f"{task}-{number}" for number in range(len(_pieces(recipe.episodes, maker.piece)))]
    for name in names:
        about = dataset.about(folder, name)
        chance += about["at_random"]
        seconds += about["seconds"]
        parts.append(_raw(folder, name))
    episodes = _joined(parts)
    if not maker.succeeds:
        episodes = episodes._replace(success=None, reached=None)
    told = _about(episodes) | {"source": recipe.agent or maker.source}
    if chance:
        told["random_return"] = round(sum(chance) / len(chance), 4)
    path = dataset.write(place, task, episodes, told | maker.about)
    told |= {"sha256": _digest(place, task), "hours": round(seconds / 3600, 4)}
    told["megabytes"] = round(sum(file.stat().st_size for file in path.iterdir()) / 1e6, 2)
    card["files"][task] = told
    cards.write(place, card)
    for name in names:
        shutil.rmtree(dataset.path_of(folder, name))


def _raw(folder: Path, name: str) -> Episodes:
    """Reads a piece, whose spaces are those of whatever it holds."""
    obs, action = (dataset.array(folder, name, part) for part in ("obs", "action"))
    kinds = {"float32": torch.float32, "uint8": torch.uint8}
    space = ObsSpace("vector", obs.shape[2:], kinds[str(obs.dtype)])
    return dataset.read(folder, name, space, ActionSpace(action.shape[2], False)).episodes


def _about(episodes: Episodes) -> dict[str, Any]:
    """Returns what the card says of a file."""
    total = evaluate.returns(episodes)
    found = {
        "episodes": len(total),
        "decisions": episodes.reward.numel(),
        "best_return": round(float(total.max()), 4),
        "mean_return": round(float(total.mean()), 4),
        "torch": torch.__version__,
    }
    for name, part in {"success": episodes.success, "success_any": episodes.reached}.items():
        if part is not None:
            found[name] = round(float(part.float().mean()), 4)
    return found


def _is_as_told(place: Path, task: str, card: dict[str, Any]) -> bool:
    told = card["files"].get(task)
    return bool(told) and _digest(place, task) == told["sha256"]


def _digest(place: Path, task: str) -> str:
    """Returns a checksum of a task's arrays; "" where there are none."""
    found = hashlib.sha256()
    for path in sorted(dataset.path_of(place, task).glob(f"*{dataset.SUFFIX}")):
        found.update(path.name.encode())
        with open(path, "rb") as file:
            while part := file.read(1 << 20):
                found.update(part)
    return found.hexdigest() if dataset.is_there(place, task) else ""
