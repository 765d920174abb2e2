"""What only an accelerator can show. These skip themselves, visibly, where there is none."""

import json
import math

import pytest
import torch

from lib.replay.buffer import Windows
from lib.runner import loop
from lib.tdmpc import update
from tests.tiny import BOX, changed, continuous, in_task, invented, tiny

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


@pytest.fixture(autouse=True)
def full_precision():
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def test_losses_and_trained_weights_equal_the_cpus():
    # continuous actions without policy noise: nothing random is left
    parts, weights = [], []
    for device in ("cpu", "cuda"):
        agent = in_task(continuous("tdmpc"), actions=BOX, device=device)
        episodes = invented(agent, count=7, seed=3)
        batch = Windows(
            episodes.obs[:, :4].transpose(0, 1),
            episodes.action[:, :3].transpose(0, 1),
            episodes.reward[:, :3].T,
            torch.linspace(0.2, 1, 7, device=device),
            torch.arange(7, device=device),
        )
        seen = []
        for _ in range(5):
            result = update.td_step(
                agent.dynamics,
                agent.learner.heads,
                batch,
                agent.cfg.learning,
                agent.streams.update,
                heads_optimizer=agent.learner.heads_optimizer,
                dynamics_optimizer=agent.dynamics_optimizer,
                policy_std=0.0,
            )
            seen += [part.item() for part in result.parts.values()]
        parts.append(seen)
        weights.append([p.detach().cpu() for p in agent.dynamics.parameters()])
    assert parts[1] == pytest.approx(parts[0], rel=1e-3, abs=1e-5)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*weights, strict=True))


@pytest.mark.parametrize("box", [False, True], ids=["discrete", "continuous"])
@pytest.mark.parametrize("method", ["drago", "ewc", "stored-replay", "multitask"])
def test_acting_and_updating_never_wait_for_the_device(method, box):
    cfg = continuous(method) if box else tiny(method)
    agent = in_task(cfg, 1, device="cuda", **({"actions": BOX} if box else {}))
    agent.update(3)  # warm up: handles, workspaces, optimiser states
    role = agent.roles[-1]
    obs, episodes = torch.zeros(5, 3, device="cuda"), invented(agent)
    agent.act(obs, None, role=role)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        _, memory = agent.act(obs, None, role=role)
        agent.act(obs, memory, role=role)
        agent.store(role, episodes)
        agent.update(3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(math.isfinite(v) for v in agent.report().values())


def test_a_tiny_run_ends_well_and_resumes(tmp_path):
    cfg = changed(tiny("drago"), device="cuda")
    loop.train(cfg, tmp_path, tensorboard=False, progress=False)
    told = json.loads((tmp_path / "summary.json").read_text())
    assert told["status"] == "complete" and told["hardware"]["device"].startswith("cuda")
    (tmp_path / "summary.json").unlink()
    loop.train(cfg, tmp_path, tensorboard=False, progress=False)  # from its last checkpoint
    assert (tmp_path / "summary.json").exists()
