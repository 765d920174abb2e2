"""Errors that a user can cause, each one line: what arrived, what is allowed, what to do."""

from collections.abc import Iterable
from difflib import get_close_matches

MANY = 100  # names that would fill a screen: of more, only the nearest are listed
FEW = 8


class UserError(Exception):
    """A mistake in the input or the surroundings that the message tells how to mend."""


class RunInterrupted(UserError):
    """The run saved itself and stopped because somebody asked it to."""


class NonFiniteError(UserError):
    """A loss or a prediction stopped being a finite number."""


def short(value: object, most: int = 80) -> str:
    """How a value is written, for an error's one line; of a long one the beginning."""
    text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."


class NotebookFailed(Exception):
    """A notebook failed in a way that is not the user's to mend. The message is for people.

    Args:
        message: all of it, in one line.
        problem: the beginning of it, which leaves out where to look and how to go on.
    """

    def __init__(self, message: str, problem: str = ""):
        super().__init__(message)
        self.problem = problem


def unknown(kind: str, arrived: object, known: Iterable[str], hint: str = "") -> UserError:
    """The error for a name that is not in a closed list, with the nearest name offered.

    Capitals do not count in what is near. Of a very long list only the nearest names are shown.

    Args:
        kind: what the name stands for, for example "task".
        arrived: what was given.
        known: every allowed name.
        hint: a further sentence, for example where the list lives.
    """
    names = sorted(str(name) for name in known)
    lower = {name.lower(): name for name in names}

    def near(count: int, cutoff: float) -> list[str]:
        found = get_close_matches(str(arrived).lower(), lower, n=count, cutoff=cutoff)
        return [lower[name] for name in found]

    best = near(1, 0.5)
    question = f" (did you mean {best[0]!r}?)" if best else ""
    tail = f"; {hint}" if hint else ""
    listed = ", ".join(names)
    if len(names) > MANY:
        few = near(FEW, 0.4) or names[:FEW]
        listed = f"{', '.join(few)} and {len(names) - len(few)} more"
    return UserError(f"unknown {kind} {short(arrived)}; known: {listed}{question}{tail}")
