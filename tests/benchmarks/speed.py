"""How much the batched forms gain over the obvious ones, measured side by side on one machine.

Reference and fast form take turns within a run, so that a busy machine slows both alike, and
each is reported as the median of its turns. A row's numbers are work done per second.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from lib import losses
from lib.config import LearningConfig, PlannerConfig
from lib.envs.api import ActionSpace
from lib.envs.grid import FourRooms
from lib.envs.rooms import named_tasks
from lib.envs.table import GridBatch, GridTable
from lib.replay.buffer import Windows
from lib.runner.files import atomic_write
from lib.runner.provenance import commit, hardware, versions
from lib.tdmpc.actor import Actor
from lib.tdmpc.model import Dynamics, Heads

OUT = Path("outputs/bench/latest.json")
TURNS = 5  # measurements of each form
SECONDS = 0.3  # least length of one measurement


@dataclass
class Row:
    """One comparison; `reference` and `fast` in the unit, larger is better."""

    name: str
    unit: str
    reference: float
    fast: float
    ratio: float


def main() -> None:
    """Measures, prints the table and writes `outputs/bench/latest.json`."""
    torch.set_num_threads(1)
    rows = measure(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    print(table(rows))
    write(OUT, rows)
    print(f"written to {OUT}")


def measure(device: torch.device) -> list[Row]:
    """Every row, in the order of the table."""
    rows = [environment(copies, device) for copies in (1, 64, 4096)]
    rows += [planning(states, device) for states in (16, 64)]
    sizes = {"quick": (96, 128, 6), "full": (512, 512, 10)}
    return rows + [heads(name, *size, device) for name, size in sizes.items()]


def table(rows: list[Row]) -> str:
    """The rows as text, columns aligned."""
    width = max(len(row.name) for row in rows)
    lines = [f"{'':{width}}  {'reference':>12}  {'fast':>12}  {'ratio':>8}  unit"]
    for row in rows:
        numbers = f"{row.reference:>12,.1f}  {row.fast:>12,.1f}  {row.ratio:>8.1f}"
        lines.append(f"{row.name:{width}}  {numbers}  {row.unit}")
    return "\n".join(lines)


def write(path: Path, rows: list[Row]) -> None:
    """The rows with what they were measured on."""
    told: dict[str, Any] = {
        "hardware": hardware(),
        "commit": commit(),
        "versions": versions(),
        "threads": torch.get_num_threads(),
        "rows": [asdict(row) for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, json.dumps(told, indent=1) + "\n")


def compare(
    name: str,
    unit: str,
    reference: tuple[Callable[[], object], int],
    fast: tuple[Callable[[], object], int],
    device: torch.device,
) -> Row:
    """Times two forms in turns. Each comes with the units of work that one call does."""
    forms = [_Form(*reference, device), _Form(*fast, device)]
    for _ in range(TURNS):
        for form in forms:
            form.take_turn()
    slow, quick = (statistics.median(form.rates) for form in forms)
    return Row(name, unit, slow, quick, quick / slow)


class _Form:
    def __init__(self, call: Callable[[], object], work: int, device: torch.device):
        self.call, self.work, self.device = call, work, device
        self.rates: list[float] = []
        self._run(1)  # warm up
        self.calls = max(1, round(SECONDS / max(self._run(1), 1e-6)))

    def take_turn(self) -> None:
        self.rates.append(self.work * self.calls / self._run(self.calls))

    def _run(self, calls: int) -> float:
        began = time.perf_counter()
        for _ in range(calls):
            self.call()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began


# The comparisons -------------------------------------------------------------------------------


def environment(copies: int, device: torch.device) -> Row:
    """Stepping Minigrid itself against copies of the table, both with actions at hand."""
    real = FourRooms(27)
    real.reset(seed=0)
    draws = torch.Generator().manual_seed(0)
    moves = torch.randint(3, (100,), generator=draws).tolist()

    def walk() -> None:
        real.reset()
        for move in moves:
            real.step(move)

    batch = GridBatch(GridTable.build(27, device=device), named_tasks(27)["room-1"])
    batch.reset(copies, torch.Generator(device).manual_seed(0))
    actions = batch.actions.random(copies, draws, device)
    name = f"environment, {copies} {'copy' if copies == 1 else 'copies'} in a table"
    return compare(
        name, "env steps/s", (walk, len(moves)), (lambda: batch.step(actions), copies), device
    )


def planning(states: int, device: torch.device) -> Row:
    """Planning for states one by one against all at once, with the quick preset's sizes."""
    draws = torch.Generator(device).manual_seed(0)
    init = torch.Generator().manual_seed(0)
    cfg = PlannerConfig(samples=128, elites=16, iterations=3, horizon_ramp=0)
    dynamics = Dynamics(3, 3, 96, init, crelu=True, bounded=True).to(device)
    own = Heads(3, 3, 96, init, discrete=True).to(device)
    actor = Actor(own, None, ActionSpace(3, discrete=True), 6, cfg, LearningConfig())
    obs = torch.rand(states, 3, generator=draws, device=device) * 2 - 1

    def plan(part: torch.Tensor) -> None:
        actor.plan(dynamics, part, None, 0, draws, explore=True)

    def one_by_one() -> None:
        for row in obs.split(1):
            plan(row)

    name = f"planning for {states} states at once"
    return compare(name, "plans/s", (one_by_one, states), (lambda: plan(obs), states), device)


def heads(name: str, width: int, batch: int, horizon: int, device: torch.device) -> Row:
    """The model loss and its gradients with heads evaluated per step against all steps at once."""
    init = torch.Generator().manual_seed(0)
    dynamics = Dynamics(3, 3, width, init, crelu=True, bounded=True).to(device)
    own = Heads(3, 3, width, init, discrete=False).to(device)
    with torch.no_grad():
        for parameter in own.parameters():  # last layers start at zero, which would hide mistakes
            parameter.add_(0.01)
    windows = Windows(
        torch.rand(horizon + 1, batch, 3, generator=init) * 2 - 1,
        torch.rand(horizon, batch, 3, generator=init) * 2 - 1,
        torch.rand(horizon, batch, generator=init),
        torch.ones(batch),
        torch.arange(batch),
    )
    data = Windows(*(part.to(device) for part in windows))
    trained = [*dynamics.parameters(), *own.reward_net.parameters(), *own.q.parameters()]

    def gradients(loss: Callable[..., torch.Tensor]) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(loss(dynamics, own, data), trained)

    for slow, quick in zip(gradients(per_step), gradients(at_once), strict=True):
        torch.testing.assert_close(quick, slow, rtol=1e-2, atol=1e-4)
    return compare(
        f"model loss, {name} preset (width {width}, {batch} x {horizon})",
        "gradients/s",
        (lambda: gradients(per_step), 1),
        (lambda: gradients(at_once), 1),
        device,
    )


def per_step(dynamics: Dynamics, own: Heads, data: Windows) -> torch.Tensor:
    """The published order: at every step the model, then reward, critics and target."""
    z, total, cfg = data.obs[0], 0.0, LearningConfig()
    for k, action in enumerate(data.action):
        nxt, x = data.obs[k + 1], torch.cat((z.detach(), action), -1)
        with torch.no_grad():
            best = torch.tanh(own.policy_net(nxt))
            target = data.reward[k] + cfg.discount * own.twin(own.target_q, nxt, best).amin(0)
        reward_error = (own.reward(x) - data.reward[k]).square()
        value_error = (own.q(x) - target).square().sum(0)
        z = dynamics(z, action)
        error = losses.model_error(z, nxt)
        step = (
            cfg.consistency_coef * error
            + cfg.reward_coef * reward_error
            + cfg.value_coef * value_error
        )
        total = total + cfg.rho**k * step.mean()
    return total


def at_once(dynamics: Dynamics, own: Heads, data: Windows) -> torch.Tensor:
    """Only the model goes step by step; every head sees all steps as one batch."""
    cfg = LearningConfig()
    z = dynamics.unroll(data.obs[0], data.action)
    latents = z.detach()[:-1]
    with torch.no_grad():
        best = torch.tanh(own.policy_net(data.obs[1:]))
        next_q = own.twin(own.target_q, data.obs[1:], best)
        target = losses.td_target(data.reward, next_q, cfg.discount)
    loss, _ = losses.td_mpc_loss(
        losses.model_error(z[1:], data.obs[1:]),
        (own.reward(torch.cat((latents, data.action), -1)), data.reward),
        (own.twin(own.q, latents, data.action), target),
        data.weight,
        rho=cfg.rho,
        coefs=(cfg.consistency_coef, cfg.reward_coef, cfg.value_coef),
    )
    return loss
