"""Errors that a user can cause, each one line: what arrived, what is allowed, what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake in the input or the surroundings that the message tells how to mend."""


class RunInterrupted(UserError):
    """The run saved itself and stopped because somebody asked it to."""


class NonFiniteError(UserError):
    """A loss or a prediction stopped being a finite number."""


def unknown(kind: str, arrived: object, known: Iterable[str], hint: str = "") -> UserError:
    """The error for a name that is not in a closed list, with the nearest name offered.

    Args:
        kind: what the name stands for, for example "task".
        arrived: what was given.
        known: every allowed name.
        hint: a further sentence, for example where the list lives.
    """
    names = sorted(str(name) for name in known)
    near = get_close_matches(str(arrived), names, n=1, cutoff=0.5)
    question = f" (did you mean {near[0]!r}?)" if near else ""
    tail = f"; {hint}" if hint else ""
    return UserError(f"unknown {kind} {arrived!r}; known: {', '.join(names)}{question}{tail}")
