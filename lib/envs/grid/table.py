"""The four rooms as tables on a device, so that thousands of copies step by indexing.

Letters: S states (a free cell and a heading, numbered cell * 4 + heading), A = 3 actions,
L = 3 numbers in an observation. Transition s * A + a leaves state s by action a.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from lib.core.distributions import one_hot
from lib.core.errors import UserError
from lib.core.spaces import ActionSpace
from lib.envs.grid.env import ACTIONS, HEADINGS, OBS_DIM, FourRooms, observe, task_reward
from lib.envs.grid.rooms import Cell, GridTask, room_of

WARMUP = (0.2, 0.2, 0.6)  # left, right, forward: the paper's random policy


@lru_cache(maxsize=16)
def walk(size: int, put_blocks: bool) -> dict[tuple[int, int, int], tuple]:
    """Try every action of the real environment in every state that it can reach.

    Returns:
        (x, y, heading) to the three states that turning left, turning right and going forward
        lead to.
    """
    env = FourRooms(size, put_blocks=put_blocks)
    env.reset(seed=0)
    arrivals: dict[tuple[int, int, int], tuple] = {}
    frontier = [(*env.start, 0)]
    while frontier:
        state = frontier.pop()
        if state in arrivals:
            continue
        arrivals[state] = tuple(_try(env, state, action) for action in range(ACTIONS))
        frontier.extend(arrivals[state])
    return arrivals


def _try(env: FourRooms, state: tuple[int, int, int], action: int) -> tuple[int, int, int]:
    env.put_agent(state[:2], state[2])
    env.step(action)
    return int(env.agent_pos[0]), int(env.agent_pos[1]), int(env.agent_dir)


@dataclass(frozen=True, eq=False)
class GridTable:
    """What every task of a grid shares: cells, transitions, observations, rooms.

    Bins cover the whole grid, walls included, so that any prediction or dream falls into one:
    bin (x * size + y) * 4 + heading.
    """

    size: int
    blocks: tuple[Cell, ...]
    walls: np.ndarray  # (size, size) bool, [y, x] as in an image; blocks are not walls
    cells: Tensor  # (S / 4, 2) long, x and y of each free cell, row by row
    next_state: Tensor  # (S, A) long
    obs: Tensor  # (S, L) float32
    room: Tensor  # (S,) long, an index into rooms.ROOMS
    state_of_bin: Tensor  # (size * size * 4,) long, -1 where nobody can stand

    @classmethod
    def build(
        cls, size: int = 27, put_blocks: bool = True, device: torch.device | str = "cpu"
    ) -> "GridTable":
        """Walk the real environment once and write down what happened.

        Raises:
            UserError: the size is even or below 9.
        """
        arrivals = walk(size, put_blocks)
        cells = sorted({state[:2] for state in arrivals}, key=lambda cell: cell[::-1])
        states = [(x, y, heading) for x, y in cells for heading in range(HEADINGS)]
        number = {state: index for index, state in enumerate(states)}
        next_state = [[number[after] for after in arrivals[state]] for state in states]
        blocks = FourRooms(size, put_blocks=put_blocks).blocks
        walls = np.ones((size, size), dtype=bool)
        for x, y in (*cells, *blocks):
            walls[y, x] = False
        x, y, heading = np.array(states).T
        state_of_bin = np.full(size * size * HEADINGS, -1)
        state_of_bin[(x * size + y) * HEADINGS + heading] = np.arange(len(states))
        room = [room_of(state[:2], size) for state in states]
        return cls(
            size=size,
            blocks=blocks,
            walls=walls,
            cells=torch.tensor(cells, device=device),
            next_state=torch.tensor(next_state, device=device),
            obs=torch.tensor(observe(x, y, heading, size), device=device),
            room=torch.tensor(room, device=device),
            state_of_bin=torch.tensor(state_of_bin, device=device),
        )

    @property
    def states(self) -> int:
        """S, four times the number of free cells."""
        return len(self.next_state)

    @property
    def bins(self) -> int:
        """How many bins `bin_of` can answer."""
        return len(self.state_of_bin)

    def state_of(self, x: int, y: int, heading: int) -> int:
        """Number of a state. Raises UserError where nobody can stand."""
        inside = 0 <= x < self.size and 0 <= y < self.size and 0 <= heading < HEADINGS
        state = int(self.state_of_bin[(x * self.size + y) * HEADINGS + heading]) if inside else -1
        if state < 0:
            raise UserError(
                f"no state at x={x}, y={y}, heading={heading}; allowed: free cells of the "
                f"{self.size}x{self.size} grid and headings 0 to {HEADINGS - 1}"
            )
        return state

    def bin_of(self, obs: Tensor) -> Tensor:
        """Nearest bin of any observation, (..., L) to (...) long; clamped into the grid.

        An observation that is not finite falls into the corner of the outer wall.
        """
        finite = obs.isfinite().all(-1, keepdim=True)
        unit = torch.where(finite, obs, -1.0) + 1
        place = (unit[..., :2] * (self.size / 2)).round().clamp(0, self.size - 1).long()
        heading = (unit[..., 2] * (HEADINGS / 2)).round().clamp(0, HEADINGS - 1).long()
        return (place[..., 0] * self.size + place[..., 1]) * HEADINGS + heading

    def nearest(self, obs: Tensor) -> Tensor:
        """(..., L) to (...) long: the state that the observation rounds to, -1 for walls."""
        return self.state_of_bin[self.bin_of(obs)]

    def transitions(self) -> tuple[Tensor, Tensor, Tensor]:
        """Every transition: observation (S*A, L), one-hot action (S*A, A), next (S*A, L)."""
        action = torch.arange(ACTIONS, device=self.obs.device).repeat(self.states)
        obs = self.obs.repeat_interleave(ACTIONS, dim=0)
        return obs, one_hot(action, ACTIONS), self.obs[self.next_state.flatten()]

    def reward(self, task: GridTask, kind: str = "dense") -> Tensor:
        """(S, A) float32: what each transition pays in a task.

        Raises:
            UserError: the kind is neither "dense" nor "sparse".
        """
        position = self.cells.cpu().numpy()
        before = position.repeat(HEADINGS, axis=0)[:, None]  # (S, 1, 2)
        after = position[self.next_state.cpu().numpy() // HEADINGS]  # (S, A, 2)
        reward = task_reward(before, after, task.goal, self.size, kind)
        return torch.tensor(reward, dtype=torch.float32, device=self.obs.device)


class GridBatch:
    """One task of the grid, n copies in lock-step: a `VectorEnv` in three indexing operations.

    `state`, (n,) long, is all there is to save; writing it back resumes the episodes.
    """

    obs_dim = OBS_DIM
    broken = ended = None

    def __init__(
        self, table: GridTable, task: GridTask, reward: str = "dense", episode_length: int = 100
    ):
        self.table = table
        self.actions = ActionSpace(ACTIONS, discrete=True, warmup=WARMUP)
        self.episode_length = episode_length
        self.first_state = table.state_of(*task.start, 0)
        self.state = table.next_state.new_zeros(0)
        self._next_state = table.next_state.flatten()
        self._reward = table.reward(task, reward).flatten()

    def reset(self, n: int, generator: torch.Generator) -> Tensor:
        """Put n copies on the start with random headings; returns (n, L) float32."""
        heading = torch.randint(HEADINGS, (n,), generator=generator, device=generator.device)
        self.state = self.first_state + heading.to(self._next_state.device)
        return self.table.obs[self.state]

    def step(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """(n, A), the largest entry acts; returns observation (n, L) and reward (n,)."""
        transition = self.state * ACTIONS + action.argmax(-1)
        self.state = self._next_state[transition]
        return self.table.obs[self.state], self._reward[transition]

    def pose(self) -> np.ndarray:
        """(n, L): an observation shows everything."""
        return self.table.obs[self.state].cpu().numpy()
