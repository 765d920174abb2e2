"""What only an accelerator can show. These skip themselves, visibly, where there is none.

Replays are full where numbers are compared, so that windows are drawn without replacement: of two
priorities for one window a GPU keeps either.
"""

import copy
import json
import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lib.algos.tdmpc.agent import ContinualAgent
from lib.algos.tdmpc.presets import METHODS
from lib.algos.tdmpc.settings import TdmpcRun
from lib.core.noise import NoiseBuffers
from lib.engine.seed_batch import SeedBatch
from lib.runner import training
from tests.tiny import (
    BOX,
    changed,
    continuous,
    flat,
    in_task,
    invented,
    kept_heads,
    new_agent,
    tiny,
)

DEVICE = "cuda"
UPDATES = 10  # every graph is run plainly, recorded and replayed: ema_every is 2
BOTH = pytest.mark.parametrize("box", [False, True], ids=["discrete", "continuous"])

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


@pytest.fixture(autouse=True)
def full_precision() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.fixture
def numbers(monkeypatch) -> SimpleNamespace:
    """Lets every agent draw alike on any device; a run alone is index `first`."""
    shared = SimpleNamespace(first=0)

    def refill(self: NoiseBuffers, generators: list[torch.Generator]) -> dict[str, torch.Tensor]:
        self.refills = getattr(self, "refills", 0) + 1
        for index in range(len(generators)):
            draws = torch.Generator().manual_seed(1000 * self.refills + shared.first + index)
            for kind, block in self.blocks.items():
                draw = torch.rand if kind == "uniform" else torch.randn
                block[index].copy_(draw(block[index].shape, generator=draws))
        return self.views

    monkeypatch.setattr(NoiseBuffers, "refill", refill)
    return shared


def settings(method: str, box: bool, **changes: Any) -> TdmpcRun:
    """A replay of five episodes, which `in_task` fills."""
    changes = {"learning__capacity": 35, "planner__horizon_ramp": 0} | changes
    return (continuous if box else tiny)(method, **changes)


def built(cfg: TdmpcRun, box: bool, device: str = DEVICE) -> ContinualAgent:
    return new_agent(cfg, device=device, **({"actions": BOX} if box else {}))


def started(cfg: TdmpcRun, box: bool, device: str, like: ContinualAgent) -> ContinualAgent:
    """An agent on a device that goes on where another one stands."""
    agent = built(cfg, box, device)
    agent.load_state_dict(copy.deepcopy(like.state_dict()))
    return agent


def origin(cfg: TdmpcRun, box: bool) -> ContinualAgent:
    """An agent in its second task on the CPU."""
    return in_task(cfg, 1, **({"actions": BOX} if box else {}))


def obs_for(agent: ContinualAgent) -> torch.Tensor:
    obs = torch.rand(5, 3, generator=torch.Generator().manual_seed(2)) * 2 - 1
    return obs.to(agent.device)


def worked(agent: ContinualAgent) -> dict[str, torch.Tensor]:
    """Everything that an agent holds, and its actions, after many updates."""
    agent.update(UPDATES)
    acted = {}
    for role in agent.roles:
        memory = None
        for turn in range(6):
            action, memory = agent.act(obs_for(agent), memory, role=role, explore=False)
            acted[f"{role}/{turn}"] = action
    return tensors({"acted": acted, "state": agent.state_dict()})


def tensors(state: Any) -> dict[str, torch.Tensor]:
    """A copy of everything in a nested state that is a tensor, on the CPU."""
    held = flat(state).items()
    return {k: v.detach().cpu().clone() for k, v in held if isinstance(v, torch.Tensor)}


def differing(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """What differs by more than rounding.

    Adam makes a step of up to 1e-3 of a gradient that is nearly nothing, so single weights may
    come out differently; the mean over a tensor may not.
    """
    assert one.keys() == other.keys()
    return [
        name
        for name, value in one.items()
        if value.numel()
        and not (value - other[name]).abs().double().mean()
        <= 2e-4 + 1e-3 * other[name].abs().double().mean()
    ]


# The same numbers on every way -----------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("method", METHODS)
def test_recorded_graphs_the_eager_way_and_the_cpu_agree(method, box, numbers):
    cfg, eager = (settings(method, box, engine__graphs=graphs) for graphs in ("auto", "never"))
    like = origin(cfg, box)
    recorded = started(cfg, box, DEVICE, like)
    fast = worked(recorded)
    assert (
        recorded.seed_batch.graphs.recorded
        and recorded.seed_batch.computation.acting.graphs.recorded
    )
    plain = started(eager, box, DEVICE, like)
    slow = worked(plain)
    assert (
        not plain.seed_batch.graphs.recorded
        and not plain.seed_batch.computation.acting.graphs.recorded
    )
    assert differing(fast, slow) == []
    assert differing(fast, worked(started(cfg, box, "cpu", like))) == []


@BOTH
@pytest.mark.parametrize("method", ["drago", "ewc", "stored-replay"])
def test_a_batch_of_two_does_what_each_does_alone(method, box, numbers):
    cfgs = [settings(method, box, seed=seed) for seed in (0, 1)]
    likes = [origin(cfg, box) for cfg in cfgs]
    alone = []
    for index, (cfg, like) in enumerate(zip(cfgs, likes, strict=True)):
        numbers.first, agent = index, started(cfg, box, DEVICE, like)
        agent.update(UPDATES)
        alone.append(tensors(agent.state_dict()))
    numbers.first = 0
    agents = [started(cfg, box, DEVICE, like) for cfg, like in zip(cfgs, likes, strict=True)]
    batch = SeedBatch(agents)
    batch.update(UPDATES)
    assert batch.graphs.recorded
    for agent, wanted in zip(agents, alone, strict=True):
        assert differing(tensors(agent.state_dict()), wanted) == []
    assert differing(*alone) != []


@BOTH
def test_a_recorded_search_follows_what_changes_between_two_calls(box, numbers):
    # observations, memory, noise, networks and other heads all go in where the graph looks
    cfg, eager = (settings("drago", box, engine__graphs=graphs) for graphs in ("auto", "never"))
    like, acted = origin(cfg, box), []
    for settled in (cfg, eager):
        agent, memory, seen = started(settled, box, DEVICE, like), None, []
        other = kept_heads(agent)
        with torch.no_grad():
            other.heads.reward_net[-1].bias.add_(1.0)
            other.heads.policy_net[-1].bias[0].add_(1.0)
        for turn in range(12):
            obs = obs_for(agent) * (1 - turn / 12)
            heads = other if turn % 2 else None
            action, memory = agent.act(obs, memory, role="learner", explore=False, heads=heads)
            seen += [action.clone(), memory.clone()]
            if turn % 3 == 2:
                agent.update(1)
        acted.append(torch.cat([part.flatten() for part in seen]).cpu())
        assert bool(agent.seed_batch.computation.acting.graphs.recorded) == (settled is cfg)
    assert torch.allclose(*acted, atol=1e-2)


def test_an_action_outlives_the_next_replay():
    agent = in_task(settings("tdmpc", True), 0, actions=BOX, device=DEVICE)
    obs = obs_for(agent)
    for _ in range(5):
        agent.act(obs, None)
    action, memory = agent.act(obs, None)
    held = action.clone(), memory.clone()
    agent.act(-obs, None)
    assert torch.equal(action, held[0]) and torch.equal(memory, held[1])


def test_a_schedule_of_learning_rates_reaches_a_recorded_update():
    agent = in_task(settings("tdmpc", False, learning__lr_end=0.0), 0, device=DEVICE)
    agent.update(UPDATES)
    assert agent.seed_batch.graphs.recorded
    agent.steps = 10**6  # long past the task's end: a rate of zero
    before = copy.deepcopy(agent.dynamics.state_dict())
    agent.update(4)
    assert all(torch.equal(v, before[k]) for k, v in agent.dynamics.state_dict().items())


def test_a_next_task_records_anew():
    agent = in_task(settings("drago", False), 0, device=DEVICE)
    agent.update(UPDATES)
    first = agent.seed_batch.graphs
    agent.begin_task(1)
    for role in agent.roles:
        agent.store(role, invented(agent, seed=1))
    agent.update(UPDATES)
    assert agent.seed_batch.graphs is not first and agent.seed_batch.graphs.recorded
    assert all(math.isfinite(v) for v in agent.report().values())


def test_a_trace_sees_every_iteration_though_searches_are_recorded():
    agent, seen = in_task(settings("tdmpc", False), 0, device=DEVICE), []
    for _ in range(5):
        agent.act(obs_for(agent), None)
    agent.act(obs_for(agent), None, trace=lambda i, *rest: seen.append(i))
    assert seen == list(range(agent.cfg.planner.iterations))


# Nothing waits for the device ------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("graphs", ["auto", "never"])
@pytest.mark.parametrize("method", METHODS)
def test_acting_and_updating_never_wait_for_the_device(method, graphs, box):
    cfg = (continuous if box else tiny)(method, engine__graphs=graphs)
    agent = in_task(cfg, 1, device=DEVICE, **({"actions": BOX} if box else {}))
    role = agent.roles[-1]
    obs, episodes = torch.zeros(5, 3, device=DEVICE), invented(agent, 2)
    agent.update(UPDATES)  # handles, workspaces, optimiser states, graphs
    memory = None
    for _ in range(6):
        _, memory = agent.act(obs, memory, role=role)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        _, memory = agent.act(obs, None, role=role)
        agent.act(obs, memory, role=role)
        agent.store(role, episodes)
        agent.update(4)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert bool(agent.seed_batch.graphs.recorded) == (graphs == "auto")
    assert all(math.isfinite(v) for v in agent.report().values())


def test_a_tiny_run_ends_well_and_resumes(tmp_path):
    cfg = changed(tiny("drago"), device=DEVICE)
    training.train(cfg, tmp_path, tensorboard=False, progress=False)
    told = json.loads((tmp_path / "summary.json").read_text())
    assert told["status"] == "complete" and told["hardware"]["device"].startswith(DEVICE)
    (tmp_path / "summary.json").unlink()
    training.train(cfg, tmp_path, tensorboard=False, progress=False)  # from its last checkpoint
    assert (tmp_path / "summary.json").exists()
