"""dm_control's environments against the batched ones, rewards and observations included.

`python tests/benchmarks/control.py` from the root of the repository prints the table. One
dm_control environment steps in one thread, so the rows with one thread compare equal cores; the
others show what the remaining cores of this machine add. What is saved is everything around the
physics, so the cheetah gains most; an env step of the walker is ten physics steps, of 4 us each
in either form.
"""

import sys
from pathlib import Path

import torch

if __name__ == "__main__":  # a script finds its own folder only
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.envs.control import suite
from lib.envs.control.batch import ControlBatch, cores
from lib.envs.control.tasks import TASKS
from tests.benchmarks.speed import Row, compare, table, write

OUT = Path("outputs/bench/control.json")
COPIES = 64
STRETCH = 100  # env steps that dm_control makes per measured call
REPEATS = {"cheetah": 4, "walker": 2}  # DRAGO's env steps per decision
MEASURED = ("cheetah-run", "cheetah-jump", "cheetah-flip", "walker-run", "walker-legs-up")


def main() -> None:
    """Measures, prints the table and writes `outputs/bench/control.json`."""
    torch.set_num_threads(1)
    rows = measure()
    print(table(rows))
    write(OUT, rows)
    print(f"written to {OUT}")


def measure(names: tuple[str, ...] = MEASURED, copies: int = COPIES) -> list[Row]:
    """Two rows per task, one thread and all cores; one row where there is one core."""
    threads = sorted({0, cores() if cores() > 1 else 0})
    return [stepping(name, copies, count) for name in names for count in threads]


def stepping(name: str, copies: int, threads: int) -> Row:
    """Env steps per second with actions at hand, each held as long as a decision lasts."""
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

    return compare(
        f"{name}, {copies} copies, {max(1, threads)} {'threads' if threads else 'thread'}",
        "env steps/s",
        (step_one, len(moves) * repeat),
        (step_all, copies * repeat),
        torch.device("cpu"),
    )


if __name__ == "__main__":
    main()
