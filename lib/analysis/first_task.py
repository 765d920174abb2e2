"""Shows what world models imagine, at the end of their runs, of the task that came first.

One agent acts, and every model is told its actions but, after the first moment, not what came of
them. Where a model still knows the task, its ghost hides behind the real body.
"""

from collections.abc import Sequence

import numpy as np
import torch

from lib.algos import registry
from lib.algos.api import Agent
from lib.analysis.results import Run
from lib.core.seeding import generator
from lib.envs import worlds
from lib.envs.api import Domain
from lib.replay.buffer import Episodes
from lib.runner import open_loop
from lib.runner.evaluate import play
from lib.runner.run_folder import RunFolder
from lib.runner.warm_start import trained_agent

CPU = torch.device("cpu")


def agent_after(run: Run, task: int) -> Agent:
    """Returns a finished run's agent as it was when a task ended (0 is the first).

    Raises:
        UserError: its checkpoint is gone.
    """
    return trained_agent(RunFolder(run.folder).task_checkpoint(task), CPU)


def first_task(run: Run, seed: int = 0) -> tuple[Domain, Episodes, list[np.ndarray]]:
    """Plays an episode of a run's first task with the agent that had just learnt it.

    Returns:
        The world, one episode, and its T+1 poses.
    """
    cfg, poses = registry.from_dict(run.summary["config"]), []
    domain, draws = worlds.build(cfg.env, cfg.tasks, CPU), generator(seed, "first-task")
    agent = agent_after(run, 0)
    episode = play(
        *(agent, domain.make(0), 1, draws), explore=False, act_generator=draws, poses=poses
    )
    return domain, episode, poses


def pictures(
    runs: Sequence[Run], decisions: int = 10, count: int = 6, share: float = 0.4
) -> tuple[list[list[np.ndarray]], np.ndarray]:
    """Draws the same moments of one episode with what each run's final world model made of them.

    Args:
        runs: of one world; the first one's agent acts.
        decisions: how long the models imagine, at most an episode.
        count: pictures of that, evenly spaced, the first and the last included.
        share: of the episode that has passed when they begin.

    Returns:
        For each run `count` pictures (height, width, 3), and (count,) when they were taken [env
        steps of the episode].

    Raises:
        UserError: nothing can be drawn here, or a checkpoint is gone.
    """
    domain, episode, poses = first_task(runs[0])
    decisions = min(decisions, domain.episode_length)
    start = min(int(share * domain.episode_length), domain.episode_length - decisions)
    shown = np.linspace(0, decisions, count).round().astype(int)
    obs, action = episode.obs[0, start], episode.action[0, start : start + decisions]
    scene = domain.scene(0)
    try:
        drawn = []
        for run in runs:
            predict = agent_after(run, len(run.tasks) - 1).capabilities().predict
            ghosts = domain.pose_of(open_loop.open_loop(predict, obs, action), poses[start])
            drawn.append([scene.frame(poses[start + k], ghosts[k]) for k in shown])
    finally:
        scene.close()
    return drawn, (start + shown) * domain.action_repeat


def can_be_drawn(run: Run) -> bool:
    """Tells whether a run kept its first and last task's agents, and these can be asked.

    A recurrent world model cannot be asked about a single moment.
    """
    folder = RunFolder(run.folder)
    kept = all(folder.task_checkpoint(task).exists() for task in (0, len(run.tasks) - 1))
    return kept and agent_after(run, 0).capabilities().predict is not None
