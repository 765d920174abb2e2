"""What runs in a process that simulates and draws for another one. Imports no PyTorch.

Messages are pickled: in, a list of calls (see `Copies.call`); out, the list of their results, or
one `Failed`. The process ends when the other one closes its end, or ends itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

from lib.core.errors import UserError
from lib.envs.pixels.copies import Copies, Plan


@dataclass(frozen=True)
class Failed:
    """An error of the worker's, in words."""

    told: str
    by_user: bool  # a UserError, whose text says what to do


def serve(descriptor: int) -> None:
    """Answers until nobody asks any more.

    Args:
        descriptor: of an open socket to the other process, whose first message is the plan, the
            name of the OpenGL and the number of a copy that will be asked for.
    """
    with Connection(descriptor) as line:
        try:
            plan, name, number = line.recv()
            copies = _answered(line, lambda: _ready(plan, name, number))
            while copies is not None:
                calls = line.recv()
                line.send(_results(copies, calls))
        except (EOFError, ConnectionError):
            return


def _ready(plan: Plan, name: str, number: int) -> Copies:
    """Makes the copies, and draws the first picture: where drivers hang, they hang here."""
    copies = Copies(plan, name, number)
    copies.begin(number, 0)
    return copies


def _answered(line: Connection, make: Callable[[], Copies]) -> Copies | None:
    try:
        made = make()
    except Exception as error:  # whatever drivers and simulators raise; told to the other process
        line.send(_failed(error))
        return None
    line.send([])
    return made


def _results(copies: Copies, calls: list[tuple]) -> list | Failed:
    try:
        return [copies.call(*call) for call in calls]
    except Exception as error:  # as above
        return _failed(error)


def _failed(error: Exception) -> Failed:
    told = " ".join(str(error).split())
    by_user = isinstance(error, UserError)
    return Failed(told if by_user else f"{type(error).__name__}: {told}", by_user)
