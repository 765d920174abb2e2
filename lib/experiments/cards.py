"""The card of files of experience: who acted, with how much noise, and what came of it."""

import json
from pathlib import Path
from typing import Any

from lib.core.errors import UserError
from lib.core.files import atomic_write, open_regular

CARD = "card.json"

COLUMNS = {
    # Heads of the table of a card's files, to what they are of an entry, and how that is written.
    "source": ("source", "{}"),
    "episodes": ("episodes", "{:,}"),
    "steps": ("decisions", "{:,}"),
    "success at any step": ("success_any", "{:.2f}"),
    "in the end": ("success", "{:.2f}"),
    "mean return": ("mean_return", "{:.4g}"),
    "best": ("best_return", "{:.4g}"),
    "at random": ("random_return", "{:.3g}"),
    "MB": ("megabytes", "{:.1f}"),
    "core minutes": ("hours", "{:.1f}"),
}


def table(folder: str | Path) -> list[str]:
    """Returns a card as lines of Markdown.

    Raises:
        UserError: there is none.
    """
    place = Path(folder).absolute()
    card = read(place)
    if card is None:
        raise UserError(
            f"'{place}' has no {CARD}; name a folder that 'python -m lib data make' wrote"
        )
    made = card["made"]
    noise = ", ".join(f"{value:g}" for value in made["noises"])
    lines = [
        f"{made['world']}: noise {noise} in equal parts, {made['random_share']:.0%} at random, "
        + f"seed {made['seed']}, "
        + ("" if made["hold"] else "experts do not hold still, ")
        + ", ".join(
            f"{key} {value}" for key, value in made.items() if value and isinstance(value, str)
        ),
        "",
        "| task | " + " | ".join(COLUMNS) + " |",
        "|:--|:--|" + "--:|" * (len(COLUMNS) - 1),
    ]
    for task, told in sorted(card["files"].items()):
        cells = [
            form.format(told[key] * (60 if key == "hours" else 1)) if key in told else ""
            for key, form in COLUMNS.values()
        ]
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    return lines


def line(task: str, card: dict[str, Any]) -> str:
    """Returns what a card says of one file, in a line."""
    told = card["files"][task]
    found = f"{task}: {told['episodes']} episodes"
    for key, when in (("success", "in the end"), ("success_any", "at any step")):
        if key in told:
            found += f", success {told[key]:.2f} {when}"
    return f"{found}, return {told['mean_return']:.4g}, best {told['best_return']:.4g}"


def write(place: Path, card: dict[str, Any]) -> None:
    """Writes a folder's card."""
    atomic_write(place / CARD, json.dumps(card, indent=1, sort_keys=True) + "\n")


def read(place: Path) -> dict[str, Any] | None:
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
