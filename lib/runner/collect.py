"""Experience for learning: whole episodes at a time, or a few steps of episodes that go on.

A family says which it wants by its agents' `whole_episodes`. Several seeds stay in lock-step either
way: all of them play as many env steps.

Shapes: S seeds, E parallel episodes of each, A action.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor

from lib.core.errors import NonFiniteError
from lib.core.trees import leaf_map, stack_copies
from lib.envs.api import VectorEnv
from lib.replay.buffer import Episodes
from lib.runner import evaluate
from lib.runner.run import Run

PATIENCE = 20  # collections in a row that may yield no usable episode

Watching = Callable[[Run], AbstractContextManager[None]]


class Collector(Protocol):
    """Plays and stores experience of one task for every run of a team."""

    def collect(self) -> None:
        """One round for every run."""
        ...

    def close(self) -> None:
        """The task is over: stores what is unfinished."""
        ...


def collector(team: Any, runs: Sequence[Run], watching: Watching) -> Collector:
    """What plays the task that the runs stand at.

    Args:
        watching: a run to what keeps its state should it break.
    """
    kind = {"episodes": WholeEpisodes, "steps": Steps}[runs[0].agent.collects]
    return kind(team, runs, watching)


class WholeEpisodes:
    """As many episodes at once as there are parallel environments, one role after the other."""

    def __init__(self, team: Any, runs: Sequence[Run], watching: Watching):
        self.team, self.runs, self.watching = team, runs, watching
        self.envs = {
            role: [run.world(run.task, role) for run in runs] for role in runs[0].agent.roles
        }

    def collect(self) -> None:
        """Plays and stores a batch of episodes of every role."""
        draws = [run.streams.env for run in self.runs]
        together = self.runs[0].cfg.budget.parallel_envs
        for role, envs in self.envs.items():
            for run in self.runs:
                run.show("collect")
            played = evaluate.play_team(self.team, envs, together, draws, role=role, explore=True)
            for run, env, episodes in zip(self.runs, envs, played, strict=True):
                with self.watching(run):
                    episodes = self._made_whole(run, role, env, episodes)
                    run.stepped(episodes.reward.numel())
                    run.store(role, episodes)

    def _made_whole(self, run: Run, role: str, env: VectorEnv, episodes: Episodes) -> Episodes:
        """As many episodes as were played, those whose physics broke played again.

        Seeds would get out of step if they stored fewer; a single run does the same, so that it
        stays equal to its seed in a team.
        """
        kept = run.sound(episodes, env)
        fruitless = 0 if len(kept.reward) else 1
        while missing := len(episodes.reward) - len(kept.reward):
            if fruitless == PATIENCE:
                raise NonFiniteError(
                    f"the physics of '{run.names[run.task]}' broke in {PATIENCE} collections in a "
                    "row; start again in another folder with a smaller env.action_repeat"
                )
            played = evaluate.play(
                run.agent, env, missing, run.streams.env, role=role, explore=True
            )
            again = run.sound(played, env)
            fruitless = 0 if len(again.reward) else fruitless + 1
            kept = Episodes(*(_joined(pair) for pair in zip(kept, again, strict=True)))
        return kept

    def close(self) -> None:
        """Nothing is ever unfinished."""


def _joined(pair: tuple[Tensor | None, Tensor | None]) -> Tensor | None:
    return None if pair[0] is None else torch.cat(pair)


class Steps:
    """A few steps of E episodes that begin anew whenever they end, as long as the task lasts."""

    def __init__(self, team: Any, runs: Sequence[Run], watching: Watching):
        self.team, self.runs, self.watching = team, runs, watching
        self.plays: list[Unfinished] = []
        for run in runs:
            env, known = run.world(run.task), run.unfinished
            run.unfinished = Unfinished(env, run.cfg.budget.parallel_envs, run.streams.env, known)
            self.plays.append(run.unfinished)

    def collect(self) -> None:
        """As many steps of all episodes as one update asks for, at least one, and none too many."""
        first = self.runs[0]
        together = first.cfg.budget.parallel_envs
        left = first.cfg.budget.steps_of(first.task) - first.task_env_steps
        steps = max(1, min(first.agent.steps_per_update, left) // together)
        for _ in range(steps):
            obs = torch.stack([under.obs for under in self.plays])
            memory = self._memory()
            action, memory = self.team.act(obs, memory, explore=True)
            for s, (run, under) in enumerate(zip(self.runs, self.plays, strict=True)):
                under.memory = None if memory is None else leaf_map(lambda x, s=s: x[s], memory)
                with self.watching(run):
                    for episodes in under.step(action[s], run.streams.env):
                        run.store("learner", episodes)
                    run.agent.count_steps(together)
                    run.stepped(together)

    def _memory(self) -> Any:
        """(S, E, ...) what the agents remember of their episodes, None before they do."""
        each = [under.memory for under in self.plays]
        return None if each[0] is None else stack_copies(each)

    def close(self) -> None:
        """Stores unfinished episodes as cut, not ended."""
        for run, under in zip(self.runs, self.plays, strict=True):
            with self.watching(run):
                for episodes in under.cut():
                    run.store("learner", episodes)
            run.unfinished = None


class Unfinished:
    """E episodes under way in one run, with all that it takes to go on after a kill.

    Args:
        env: where they are played.
        lanes: E.
        generator: draws the beginnings.
        saved: what `state_dict` gave before; None begins new ones.
    """

    def __init__(
        self, env: VectorEnv, lanes: int, generator: torch.Generator, saved: dict | None = None
    ):
        self.env, self.lanes = env, lanes
        self.memory: Any = None
        if saved:
            env.load_state_dict(saved["env"])
            self.obs = saved["env"]["obs"].to(env.device)
            self.kept = {name: value.clone() for name, value in saved["kept"].items()}
            self.length = list(saved["length"])
            self.memory = saved["memory"]
            return
        self.obs = env.reset(lanes, generator)
        steps, device = env.episode_length, self.obs.device
        self.kept = {
            "obs": self.obs.new_zeros(lanes, steps + 1, *self.obs.shape[1:]),
            "action": torch.zeros(lanes, steps, env.actions.size, device=device),
            "reward": torch.zeros(lanes, steps, device=device),
        }
        if env.cell is not None:
            self.kept["cell"] = torch.zeros(lanes, steps + 1, dtype=torch.int64)
        self.length = [0] * lanes  # steps of each so far, on the host
        self._note(range(lanes))

    def _note(self, lanes: Sequence[int]) -> None:
        """Writes down where episodes are."""
        rows, at = torch.tensor(list(lanes)), torch.tensor([self.length[e] for e in lanes])
        self.kept["obs"][rows, at] = self.obs[rows]
        if "cell" in self.kept:
            self.kept["cell"][rows, at] = self.env.cell[rows]

    def step(self, action: Tensor, generator: torch.Generator) -> list[Episodes]:
        """Plays one step of each; returns the episodes that it ended, one by one.

        Args:
            action: (E, A).
            generator: draws the beginnings of those that follow.
        """
        rows, at = torch.arange(self.lanes), torch.tensor(self.length)
        self.kept["action"][rows, at] = action
        self.obs, reward = self.env.step(action)
        self.kept["reward"][rows, at] = reward
        self.length = [length + 1 for length in self.length]
        self._note(range(self.lanes))
        ended = self.env.ended
        if not bool(ended.any()):
            return []
        over = ended.nonzero()[:, 0].tolist()
        episodes = [self._episode(e) for e in over]
        self.obs = self.env.restart(ended, generator)
        for e in over:
            self.length[e] = 0
        self._note(over)
        if self.memory is not None:
            goes_on = (~ended).to(self.obs.device)
            self.memory = leaf_map(
                lambda x: x * goes_on.view(-1, *[1] * (x.dim() - 1)).to(x.dtype), self.memory
            )
        return episodes

    def cut(self) -> list[Episodes]:
        """All that is unfinished, as episodes that were cut."""
        return [self._episode(e) for e in range(self.lanes) if self.length[e]]

    def _episode(self, e: int) -> Episodes:
        steps, ended = self.length[e], bool(self.env.ended[e])
        cell = self.kept["cell"][e : e + 1, : steps + 1].clone() if "cell" in self.kept else None
        return Episodes(
            self.kept["obs"][e : e + 1, : steps + 1].clone(),
            self.kept["action"][e : e + 1, :steps].clone(),
            self.kept["reward"][e : e + 1, :steps].clone(),
            torch.tensor([steps]),
            self.env.terminal[e : e + 1].clone() & ended,
            self.env.success[e : e + 1].clone() & ended,
            cell,
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything, the environments by what it takes to play them to the same place."""
        return {
            "env": self.env.state_dict(),
            "kept": self.kept,
            "length": list(self.length),
            "memory": self.memory,
        }
