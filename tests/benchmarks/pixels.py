"""dm_control's own loop from pixels against ours: physics, reward and one picture a decision.

Ours draws the same bytes into a buffer of the picture's size, where dm_control draws into one of
640 x 480; "fast" leaves out shadows, reflections and multisampling. Several copies take turns in
one process, or are dealt out to processes.
"""

import sys
from collections.abc import Callable, Iterator

import torch

from lib.core.errors import UserError
from lib.envs import gl
from lib.envs.pixels.batch import PixelBatch
from lib.envs.pixels.copies import Plan
from lib.envs.pixels.processes import cores
from lib.envs.pixels.tasks import TASKS
from tests.benchmarks.measure import Effort, Form, Found, Line, compare, one_thread

REPEAT, SIZE = 2, 64  # env steps a decision, and pixels a side, as in the papers
MEASURED = ("walker_run",)
COPIES = 4  # of the rows with several processes


def measure(effort: Effort, names: tuple[str, ...] = MEASURED) -> Iterator[Line]:
    """Frames per second of each task; none, and a line that says why, where nothing can draw."""
    try:
        gl.choose_gl()
    except UserError as error:
        print(f"no rows of pixels: {error}", file=sys.stderr)
        return
    for name in names:
        task = TASKS[name]
        looks = {
            "full": Plan(task),
            "full, natural background": Plan(task, background="procedural:natural"),
            "fast": Plan(task, quality="fast"),
            "fast, natural background": Plan(task, quality="fast", background="procedural:natural"),
        }
        for look, plan in looks.items():
            found = frames(plan, 1, 1, effort)
            yield found.rate(f"pixels of {name}, {look}, 1 copy", "frames/s")
        if cores() > 1:
            many = min(cores(), COPIES)
            for look in ("full", "fast"):
                found = frames(looks[look], COPIES, many, effort)
                label = f"pixels of {name}, {look}, {COPIES} copies, {many} processes"
                yield found.rate(label, "frames/s")


def frames(plan: Plan, copies: int, workers: int, effort: Effort) -> Found:
    """Frames per second with actions at hand."""
    draws = torch.Generator().manual_seed(0)
    batch = PixelBatch(plan, sys.maxsize, workers=workers)
    batch.reset(copies, draws)
    actions = batch.actions.random(copies, draws)
    fast = Form(lambda: batch.step(actions), copies, settled=one_thread)
    reference = Form(_suite_loop(plan, actions[0]), 1, settled=one_thread)
    try:
        return compare(reference, fast, torch.device("cpu"), effort)
    finally:
        batch.close()
        batch._pool.close()


def _suite_loop(plan: Plan, action: torch.Tensor) -> Callable[[], object]:
    """One decision as a user of dm_control would write it.

    Two environments take turns: dm_control remembers the OpenGL context that it used last, and a
    single one would draw into ours without knowing, at our speed.
    """
    from dm_control import suite

    limit = {"random": 0, "time_limit": float("inf")}
    envs = [suite.load(plan.task.domain, plan.task.task, task_kwargs=limit) for _ in range(2)]
    for env in envs:
        env.reset()
    held = action.double().numpy()

    def decide() -> object:
        envs.reverse()
        for _ in range(REPEAT):
            envs[0].step(held)
        return envs[0].physics.render(SIZE, SIZE, camera_id=plan.task.camera)

    return decide
