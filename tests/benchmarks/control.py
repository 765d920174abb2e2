"""dm_control's environments against the batched ones, rewards and observations included.

One dm_control environment steps in one thread, so the rows with one thread compare equal cores;
the others show what the remaining cores of this machine add. What is saved is everything around
the physics, so the cheetah gains most; an env step of the walker is ten physics steps, of 4 us
each in either form.
"""

from collections.abc import Iterator

import torch

from lib.envs.control import suite
from lib.envs.control.batch import ControlBatch, cores
from lib.envs.control.tasks import TASKS
from tests.benchmarks.measure import THOROUGH, Effort, Form, Found, Line, compare, one_thread

COPIES = 64
STRETCH = 100  # env steps that dm_control makes per measured call
REPEATS = {"cheetah": 4, "walker": 2}  # DRAGO's env steps per decision
MEASURED = ("cheetah-run", "cheetah-jump", "cheetah-flip", "walker-run", "walker-legs-up")


def measure(
    names: tuple[str, ...] = MEASURED, copies: int = COPIES, effort: Effort = THOROUGH
) -> Iterator[Line]:
    """Two rows per task, one thread and all cores; one row where there is one core."""
    for name in names:
        for threads in sorted({0, cores() if cores() > 1 else 0}):
            used = f"{max(1, threads)} {'threads' if threads else 'thread'}"
            found = bodies(name, copies, threads, effort)
            yield found.rate(f"{name}, {copies} copies, {used}", "env steps/s")


def bodies(name: str, copies: int, threads: int | None, effort: Effort) -> Found:
    """Env steps per second with actions at hand, each held as long as a decision lasts.

    Args:
        threads: of the batch; 0 steps in the calling thread, None takes threads where they pay.
    """
    task = TASKS[name]
    repeat, draws = REPEATS[task.domain], torch.Generator().manual_seed(0)
    one = suite.load(name, seed=0)
    one.reset()
    batch = ControlBatch(task, repeat, threads=threads)
    batch.reset(copies, draws)
    moves = batch.actions.random(STRETCH // repeat, draws).double().numpy()
    actions = batch.actions.random(copies, draws), batch.actions.random(copies, draws)
    turn = [0]

    def step_one() -> None:
        for move in moves:
            for _ in range(repeat):
                one.step(move)

    def step_all() -> None:
        turn[0] ^= 1  # two actions in turn keep the bodies moving
        batch.step(actions[turn[0]])

    reference = Form(step_one, len(moves) * repeat, settled=one_thread)
    fast = Form(step_all, copies * repeat, settled=one_thread)
    return compare(reference, fast, torch.device("cpu"), effort)
