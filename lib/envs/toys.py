"""Two worlds whose best return is known on paper, for testing planners and for first examples.

Letters: n copies, L numbers in an observation, A numbers in an action, T steps of an episode.
"""

import math

import torch
from torch import Tensor

from lib.core.distributions import one_hot
from lib.core.spaces import ActionSpace


class LinearQuadratic:
    """Drive a linear system to rest: x' = F x + G u, reward -(x'Qx + u'Ru) before moving.

    The known optimum is linear feedback, u = -K_t x, from the Riccati recursion
    P_T = 0, K_t = (R + G'PG)^-1 G'PF, P_t = Q + F'P(F - G K_t), and earns -x_0' P_0 x_0. It holds
    while every |u| stays within 1, where actions are clipped.

    Args:
        dynamics: (L, L) F.
        control: (L, A) G.
        state_cost: (L, L) Q, symmetric.
        control_cost: (A, A) R, symmetric and positive.
        start_radius: episodes start uniformly within +-radius in each coordinate.
        episode_length: T.

    Source: as dm_control's `suite/lqr`, a control task with an exact solution.
    """

    def __init__(
        self,
        dynamics: Tensor,
        control: Tensor,
        state_cost: Tensor,
        control_cost: Tensor,
        start_radius: float,
        episode_length: int,
    ):
        self.dynamics, self.control = dynamics, control
        self.state_cost, self.control_cost = state_cost, control_cost
        self.start_radius = start_radius
        self.episode_length = episode_length
        self.broken = self.ended = None
        self.obs_dim, width = control.shape
        self.actions = ActionSpace(width, discrete=False)
        self.state = dynamics.new_zeros(0, self.obs_dim)
        self.gains, self.cost_to_go = self._riccati()

    def _riccati(self) -> tuple[Tensor, Tensor]:
        """Gains K (T, A, L) and cost matrices P (T + 1, L, L), computed in float64."""
        f, g = self.dynamics.double(), self.control.double()
        q, r = self.state_cost.double(), self.control_cost.double()
        costs, gains = [torch.zeros_like(q)], []
        for _ in range(self.episode_length):
            later = costs[-1]
            gains.append(torch.linalg.solve(r + g.T @ later @ g, g.T @ later @ f))
            costs.append(q + f.T @ later @ (f - g @ gains[-1]))
        return torch.stack(gains[::-1]), torch.stack(costs[::-1])

    def reset(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, L) random starts."""
        shape = (n, self.obs_dim)
        uniform = torch.rand(shape, generator=generator, device=generator.device)
        self.state = ((2 * uniform - 1) * self.start_radius).to(self.dynamics.device)
        return self.state

    def step(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """(n, A), clipped to [-1, 1]; returns observation (n, L) and reward (n,)."""
        reward = self.reward(self.state, action)
        self.state = self.predict(self.state, action)
        return self.state, reward

    def predict(self, obs: Tensor, action: Tensor) -> Tensor:
        """The true model: (..., L) and (..., A) to the next (..., L)."""
        return obs @ self.dynamics.T + action.clamp(-1, 1) @ self.control.T

    def reward(self, obs: Tensor, action: Tensor) -> Tensor:
        """(..., L) and (..., A) to (...)."""
        action = action.clamp(-1, 1)
        state_part = (obs @ self.state_cost * obs).sum(-1)
        return -state_part - (action @ self.control_cost * action).sum(-1)

    def best_action(self, obs: Tensor, step: int) -> Tensor:
        """(n, L) to (n, A): the optimal action at a step of the episode."""
        return -obs @ self.gains[step].to(obs.dtype).T

    def best_return(self, obs: Tensor) -> Tensor:
        """(n, L) first observations to (n,) float64: the most each episode can earn."""
        obs = obs.double()
        return -(obs @ self.cost_to_go[0] * obs).sum(-1)

    def optimum(self) -> float:
        """Best return averaged over starts: -trace(P_0) E[x^2], and E[x^2] = radius^2 / 3."""
        return float(-self.cost_to_go[0].trace() * self.start_radius**2 / 3)


def point_mass(episode_length: int = 20, device: torch.device | str = "cpu") -> LinearQuadratic:
    """A puck on ice: positions and velocities in the plane (L = 4), pushed by a force (A = 2).

    Starts are near enough that the optimal force never reaches the clip.
    """
    eye, zero, tick = torch.eye(2), torch.zeros(2, 2), 0.2
    return LinearQuadratic(
        dynamics=torch.cat((torch.cat((eye, tick * eye), 1), torch.cat((zero, eye), 1))).to(device),
        control=torch.cat((zero, tick * eye)).to(device),
        state_cost=torch.diag(torch.tensor([1.0, 1.0, 0.1, 0.1])).to(device),
        control_cost=(0.2 * eye).to(device),
        start_radius=0.2,
        episode_length=episode_length,
    )


class Clock:
    """An identity task: a hand points at one of A hours, and naming that hour pays 1.

    Naming it right moves the hand on by one; anything else leaves it. The best return is
    therefore the episode's length, and random actions earn a share 1/A of it.

    The observation is the hand's (cos, sin), L = 2.

    Source: after stable-baselines3's identity environments; the hand that waits is ours, so
    that actions have consequences a world model can learn.
    """

    obs_dim = 2
    broken = ended = None

    def __init__(self, hours: int = 5, episode_length: int = 7, device: torch.device | str = "cpu"):
        self.actions = ActionSpace(hours, discrete=True)
        self.episode_length = episode_length
        angle = torch.arange(hours, device=device) * (2 * math.pi / hours)
        self.faces = torch.stack((angle.cos(), angle.sin()), dim=-1)  # (A, L)
        self.hour = torch.zeros(0, dtype=torch.long, device=device)

    def reset(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, L) hands at random hours."""
        hour = torch.randint(self.actions.size, (n,), generator=generator, device=generator.device)
        self.hour = hour.to(self.faces.device)
        return self.faces[self.hour]

    def step(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """(n, A), the largest entry names the hour; returns (n, L) and (n,)."""
        right = action.argmax(-1) == self.hour
        self.hour = (self.hour + right) % self.actions.size
        return self.faces[self.hour], right.float()

    def predict(self, obs: Tensor, action: Tensor) -> Tensor:
        """The true model: (..., L) and (..., A) to the next (..., L)."""
        hour = self._read(obs)
        return self.faces[(hour + (action.argmax(-1) == hour)) % self.actions.size]

    def reward(self, obs: Tensor, action: Tensor) -> Tensor:
        """(..., L) and (..., A) to (...)."""
        return (action.argmax(-1) == self._read(obs)).float()

    def best_action(self, obs: Tensor, step: int) -> Tensor:
        """(n, L) to one-hot (n, A); the step does not matter here."""
        return one_hot(self._read(obs), self.actions.size)

    def optimum(self) -> float:
        """The episode's length."""
        return float(self.episode_length)

    def _read(self, obs: Tensor) -> Tensor:
        return (obs @ self.faces.T).argmax(-1)
