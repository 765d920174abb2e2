"""Worlds of multi-source transfer: torque pendulums, and PyBullet's bodies beside its own loop."""

import sys
from collections.abc import Callable, Iterator

import torch

from lib.core.config import EnvConfig, merge
from lib.core.errors import UserError
from lib.envs import worlds
from lib.envs.bullet.simulation import Simulation, check_installed
from lib.envs.bullet.tasks import TASKS
from lib.envs.pendulum.batch import PendulumBatch
from lib.envs.pendulum.tasks import TASKS as PENDULUMS
from tests.benchmarks.measure import Effort, Form, Found, Line, compare, one_thread

REPEAT, SIZE = 2, 64  # env steps a decision, and pixels a side, as in the paper
COPIES = 64  # pendulums at once
BODIES = ("HalfCheetah",)  # which never ends, so that a loop needs no restarts
CPU = torch.device("cpu")


def measure(effort: Effort, bodies: tuple[str, ...] = BODIES) -> Iterator[Line]:
    """Env steps and frames per second; of PyBullet none, and a line that says why, without it."""
    yield pendulums(effort).rate(f"pendulum, {COPIES} copies beside 1", "env steps/s")
    try:
        check_installed()
    except UserError as error:
        print(f"no rows of PyBullet: {error}", file=sys.stderr)
        return
    for name in bodies:
        yield body(name, "state", effort).rate(f"bullet {name}, numbers", "env steps/s")
        yield body(name, "pixels", effort).rate(f"bullet {name}, pixels", "frames/s")


def pendulums(effort: Effort) -> Found:
    """Env steps per second of one pendulum, and of many at once, actions at hand."""
    forms = []
    for copies in (1, COPIES):
        batch, draws = PendulumBatch(PENDULUMS["target"], sys.maxsize, REPEAT), torch.Generator()
        batch.reset(copies, draws)
        actions = batch.actions.random(copies, draws)

        def step(batch: PendulumBatch = batch, actions: torch.Tensor = actions) -> object:
            return batch.step(actions)

        forms.append(Form(step, copies * REPEAT, settled=one_thread))
    return compare(*forms, CPU, effort)


def body(name: str, observation: str, effort: Effort) -> Found:
    """The library's own loop, and one copy of ours: env steps or frames per second."""
    settings = {
        "domain": "bullet",
        "observation": observation,
        "image_size": SIZE,
        "episode_length": 10**6,
        "action_repeat": REPEAT,
    }
    world, draws = worlds.build(merge(EnvConfig(), settings), [name]), torch.Generator()
    batch = world.make(0)
    batch.reset(1, draws)
    action = world.actions.random(1, draws)
    work = REPEAT if observation == "state" else 1
    fast = Form(lambda: batch.step(action), work, settled=one_thread)
    reference = Form(_loop(name, observation, action[0]), work, settled=one_thread)
    try:
        return compare(reference, fast, CPU, effort)
    finally:
        batch.close()


def _loop(name: str, observation: str, action: torch.Tensor) -> Callable[[], object]:
    """One decision as a user of the library would write it."""
    simulation, held = Simulation(TASKS[name]), action.numpy()
    simulation.begin(0)

    def decide() -> object:
        for _ in range(REPEAT):
            simulation.env.step(held)
        return simulation.picture(SIZE, "link") if observation == "pixels" else None

    return decide
