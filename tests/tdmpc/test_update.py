"""One step of each part, against loops and for who receives gradients and who does not.

B = 7 windows, H = 3 steps, L = 5 numbers, A = 2 actions, width 11.
"""

import copy
import dataclasses
import itertools

import pytest
import torch

from lib import losses
from lib.config import LearningConfig, ReviewerConfig
from lib.replay.buffer import Windows
from lib.replay.generative import Vae
from lib.tdmpc import update
from lib.tdmpc.model import Dynamics, Heads
from tests.tiny import copied, moved

B, H, L, A, WIDTH = 7, 3, 5, 2, 11
CFG = LearningConfig(grad_clip=1e9)  # gradients as they are


class Spy:
    """An optimiser that only remembers the gradients it was given."""

    def __init__(self, *modules: torch.nn.Module):
        self.parameters = [p for m in modules for p in m.parameters()]
        self.seen: list[torch.Tensor | None] = []

    def step(self) -> None:
        self.seen = [None if p.grad is None else p.grad.clone() for p in self.parameters]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for p in self.parameters:
            p.grad = None


@pytest.fixture
def dynamics(draws) -> Dynamics:
    return Dynamics(L, A, WIDTH, draws, crelu=True, bounded=True)


@pytest.fixture
def heads(draws) -> Heads:
    made = Heads(L, A, WIDTH, draws, discrete=False)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=draws))
    return made


@pytest.fixture
def batch(draws) -> Windows:
    return Windows(
        torch.rand(H + 1, B, L, generator=draws) * 2 - 1,
        torch.rand(H, B, A, generator=draws) * 2 - 1,
        torch.randn(H, B, generator=draws),
        torch.rand(B, generator=draws),
        torch.arange(B),
    )


def step(dynamics: Dynamics, heads: Heads, batch: Windows, cfg=CFG, *, train=True, **kwargs):
    """A TD step whose gradients are kept: result, gradients of reward, critics and dynamics."""
    of_heads, of_dynamics = Spy(heads.reward_net, heads.q), Spy(dynamics)
    result = update.td_step(
        dynamics,
        heads,
        batch,
        cfg,
        torch.Generator().manual_seed(1),
        heads_optimizer=of_heads,
        dynamics_optimizer=of_dynamics if train else None,
        policy_std=kwargs.pop("policy_std", 0.0),
        **kwargs,
    )
    return result, of_heads.seen, of_dynamics.seen


def slow_loss(dynamics, heads, batch, cfg=CFG, curiosity=0.0):
    """The model loss, window by window and step by step, and its targets and scores."""
    total, targets, scores = 0.0, torch.zeros(H, B), torch.zeros(H, B)
    for b in range(B):
        z = batch.obs[0, b]
        sums = [0.0, 0.0, 0.0]
        for k in range(H):
            x = torch.cat((z.detach(), batch.action[k, b]))[None]
            z = dynamics(z, batch.action[k, b])
            consistency = (z - batch.obs[k + 1, b]).square().mean()
            nxt = batch.obs[k + 1, b]
            with torch.no_grad():
                action = torch.tanh(heads.policy_net(nxt)).clamp(-1 + 1e-6, 1 - 1e-6)
                next_q = heads.target_q(torch.cat((nxt, action))[None]).min()
                reward = batch.reward[k, b] + curiosity * consistency
                targets[k, b] = reward + cfg.discount * next_q
                scores[k, b] = -consistency.log()
            weight = cfg.rho**k
            sums[0] += weight * consistency
            if k == 0 or not cfg.first_step_heads:
                sums[1] += weight * (heads.reward(x)[0] - batch.reward[k, b]).square()
                sums[2] += weight * (heads.q(x)[:, 0] - targets[k, b]).square().sum()
        coefs = (cfg.consistency_coef, cfg.reward_coef, cfg.value_coef)
        total = total + batch.weight[b] * sum(c * s for c, s in zip(coefs, sums, strict=True)) / B
    return total, targets, scores


@pytest.mark.parametrize("first_step_heads", [False, True], ids=["all steps", "first step"])
@pytest.mark.parametrize("curiosity", [0.0, 0.7], ids=["plain", "curious"])
def test_a_td_step_equals_the_loop_in_loss_and_in_every_gradient(
    first_step_heads, curiosity, dynamics, heads, batch
):
    cfg = dataclasses.replace(CFG, first_step_heads=first_step_heads)
    loss, targets, scores = slow_loss(dynamics, heads, batch, cfg, curiosity)
    parts = [heads.reward_net, heads.q, dynamics]
    wanted = torch.autograd.grad(loss / H, [p for m in parts for p in m.parameters()])
    result, of_heads, of_dynamics = step(dynamics, heads, batch, cfg, curiosity=curiosity)
    assert result.parts["weighted"].item() == pytest.approx(loss.item(), rel=1e-5)
    assert torch.allclose(result.target, targets, atol=1e-5)
    assert result.score.item() == pytest.approx(scores.mean().item(), rel=1e-5)
    for fast, slow in zip([*of_heads, *of_dynamics], wanted, strict=True):
        assert torch.allclose(fast, slow, atol=1e-5, rtol=1e-3)
    norm = torch.stack([g.square().sum() for g in wanted]).sum().sqrt()
    assert result.parts["grad_norm"].item() == pytest.approx(norm.item(), rel=1e-4)


def test_what_a_td_step_leaves_behind_is_detached_and_of_the_right_shape(dynamics, heads, batch):
    result, _, _ = step(dynamics, heads, batch)
    assert result.latents.shape == (H + 1, B, L) and torch.equal(result.latents[0], batch.obs[0])
    assert result.q.shape == (2, H, B) and result.target.shape == (H, B)
    kept = [result.latents, result.q, result.target, result.score, *result.parts.values()]
    assert not any(part.requires_grad for part in kept)


# Who receives gradients ------------------------------------------------------------------------


def test_reward_and_value_losses_never_reach_the_dynamics(dynamics, heads, batch):
    # without the consistency loss nothing is left that could move the dynamics
    cfg = dataclasses.replace(CFG, consistency_coef=0.0, reward_coef=10.0, value_coef=10.0)
    _, of_heads, of_dynamics = step(dynamics, heads, batch, cfg)
    assert all(g is None or not g.any() for g in of_dynamics)
    assert all(g is not None and g.any() for g in of_heads)


def test_the_consistency_loss_never_reaches_the_heads(dynamics, heads, batch):
    cfg = dataclasses.replace(CFG, reward_coef=0.0, value_coef=0.0)
    _, of_heads, of_dynamics = step(dynamics, heads, batch, cfg)
    assert not any(g.any() for g in of_heads)
    assert all(g.any() for g in of_dynamics)


def test_targets_and_policy_receive_nothing_from_a_td_step(dynamics, heads, batch):
    step(dynamics, heads, batch)
    untouched = [*heads.target_q.parameters(), *heads.policy_net.parameters()]
    assert all(p.grad is None for p in untouched)


def test_without_their_optimiser_the_dynamics_take_no_part(dynamics, heads, batch):
    result, of_heads, of_dynamics = step(dynamics, heads, batch, train=False)
    assert of_dynamics == [] and all(p.grad is None for p in dynamics.parameters())
    assert result.parts["consistency"].item() == 0
    trained, wanted, _ = step(dynamics, heads, batch)  # heads learn the same as with it
    assert all(torch.equal(a, b) for a, b in zip(of_heads, wanted, strict=True))
    assert result.score == trained.score


def test_an_extra_loss_is_added_as_it_is(dynamics, heads, batch):
    # the TD loss is divided by H, the extra one is not: gradients of net.bias differ by 1
    _, _, plain = step(dynamics, heads, batch)
    extra = dynamics.net[-1].bias.sum()
    _, _, more = step(dynamics, heads, batch, extra=extra)
    assert torch.allclose(more[-1] - plain[-1], torch.ones(L), atol=1e-5)


def test_the_norm_is_clipped_over_heads_and_dynamics_together(dynamics, heads, batch):
    cfg = dataclasses.replace(CFG, grad_clip=0.01)
    _, of_heads, of_dynamics = step(dynamics, heads, batch, cfg)
    norm = torch.stack([g.square().sum() for g in [*of_heads, *of_dynamics]]).sum().sqrt()
    assert norm.item() == pytest.approx(0.01, rel=1e-3)


def test_a_policy_step_moves_the_policy_alone(heads, batch):
    before = copied(heads)
    adam = torch.optim.Adam(heads.policy_net.parameters(), lr=1e-3)
    update.policy_step(heads, batch.obs, CFG, torch.Generator().manual_seed(1), adam, 0.05)
    for name, value in heads.state_dict().items():
        assert torch.equal(value, before[name]) != name.startswith("policy_net"), name
    assert all(p.grad is None for p in heads.parameters())


def test_a_policy_step_equals_the_loop(heads, batch):
    total = 0.0
    for k in range(H + 1):
        for b in range(B):
            z = batch.obs[k, b]
            action = torch.tanh(heads.policy_net(z))
            total = total - CFG.rho**k * heads.q(torch.cat((z, action))[None]).min() / B
    wanted = torch.autograd.grad(total, list(heads.policy_net.parameters()))
    spy = Spy(heads.policy_net)
    loss = update.policy_step(heads, batch.obs, CFG, torch.Generator(), spy, 0.0)
    assert loss.item() == pytest.approx(total.item(), rel=1e-5) and not loss.requires_grad
    for fast, slow in zip(spy.seen, wanted, strict=True):
        assert torch.allclose(fast, slow, atol=1e-6, rtol=1e-3)


def test_a_policy_step_climbs_the_critics(heads, batch):
    adam, losses_seen = torch.optim.Adam(heads.policy_net.parameters(), lr=1e-2), []
    for _ in range(30):
        draws = torch.Generator().manual_seed(1)
        losses_seen.append(update.policy_step(heads, batch.obs, CFG, draws, adam, 0.0).item())
    assert losses_seen[-1] < losses_seen[0] - 0.05


# Rehearsal, generator, review ------------------------------------------------------------------


def test_rehearsal_by_hand(dynamics):
    # a network whose last layer is zero answers its bias: (1 - 3)^2 = 4 raw,
    # (tanh 1 - 3)^2 = 5.0105 bounded
    with torch.no_grad():
        dynamics.net[-1].weight.zero_()
        dynamics.net[-1].bias.fill_(1.0)
    obs, action, target = torch.zeros(B, L), torch.zeros(B, A), torch.full((B, L), 3.0)
    assert update.rehearsal_loss(dynamics, obs, action, target, "raw").item() == 4.0
    bounded = update.rehearsal_loss(dynamics, obs, action, target, "bounded").item()
    assert bounded == pytest.approx(5.0105, abs=1e-3)


@pytest.mark.parametrize("match", ["raw", "bounded"])
def test_rehearsal_equals_the_loop_and_reaches_only_the_dynamics(match, dynamics, draws):
    old = Dynamics(L, A, WIDTH, draws, crelu=True, bounded=True).requires_grad_(False)
    obs, action = torch.randn(B, L, generator=draws), torch.randn(B, A, generator=draws)
    answer = old.raw if match == "raw" else old
    mine = dynamics.raw if match == "raw" else dynamics
    loss = update.rehearsal_loss(dynamics, obs, action, answer(obs, action), match)
    slow = sum(
        (mine(obs[b], action[b]) - answer(obs[b], action[b]))[d].item() ** 2
        for b in range(B)
        for d in range(L)
    )
    assert loss.item() == pytest.approx(slow / (B * L), rel=1e-5)
    loss.backward()
    assert all(p.grad.any() for p in dynamics.parameters())
    assert all(p.grad is None for p in old.parameters())


def test_rehearsal_against_an_unchanged_copy_is_exactly_zero(dynamics, draws):
    obs, action = torch.randn(B, L, generator=draws), torch.randn(B, A, generator=draws)
    old = dynamics.frozen()
    loss = update.rehearsal_loss(dynamics, obs, action, old.raw(obs, action), "raw")
    loss.backward()
    assert loss.item() == 0 and not any(p.grad.any() for p in dynamics.parameters())


def test_a_vae_step_lowers_its_loss_and_clips(draws):
    vae, rows = Vae(L + A, 13, 3, draws), torch.randn(31, L + A, generator=draws)
    adam, seen = torch.optim.Adam(vae.parameters(), lr=1e-2), []
    for _ in range(40):
        seen.append(update.vae_step(vae, rows, 0.01, 10.0, draws, adam)["reconstruction"].item())
    assert sum(seen[-5:]) < sum(seen[:5])
    spy = Spy(vae)
    update.vae_step(vae, 1e3 * rows, 0.01, 0.5, draws, spy)
    norm = torch.stack([g.square().sum() for g in spy.seen]).sum().sqrt()
    assert norm.item() == pytest.approx(0.5, rel=1e-3)


def reviewed(*args):
    """The reviewer's reward, from its two terms."""
    known, cost = update.review_parts(*args)
    return known - cost


@pytest.mark.parametrize("norm", ["squared", "absolute"])
@pytest.mark.parametrize("shape", ["code", "paper"])
def test_a_review_equals_the_loop(shape, norm, dynamics, draws):
    cfg = ReviewerConfig(shape=shape, norm=norm, threshold=1.0)
    old = Dynamics(L, A, WIDTH, draws, crelu=True, bounded=True)
    obs, nxt = torch.randn(2, H, B, L, generator=draws)
    action = torch.randn(H, B, A, generator=draws)
    reward = reviewed(dynamics, old, obs, action, nxt, torch.tensor(1.0), cfg)
    assert reward.shape == (H, B) and not reward.requires_grad
    for k in range(H):
        for b in range(B):
            errors = [
                losses.model_error(m(obs[k, b], action[k, b]), nxt[k, b], norm)
                for m in (old, dynamics)
            ]
            slow = losses.review_reward(*errors, 1.0, shape=shape)
            assert reward[k, b].item() == pytest.approx(slow.item(), abs=1e-5)


def test_the_review_reward_falls_as_the_old_model_worsens(dynamics, draws):
    obs, action = torch.rand(31, L, generator=draws), torch.rand(31, A, generator=draws)
    with torch.no_grad():
        nxt = dynamics(obs, action)  # the old model is right about everything
    now = Dynamics(L, A, WIDTH, draws, crelu=True, bounded=True)
    means, direction = [], [torch.randn(p.shape, generator=draws) for p in dynamics.parameters()]
    for scale in (0.0, 0.003, 0.01, 0.03, 0.1):
        old = copy.deepcopy(dynamics)
        with torch.no_grad():
            for p, d in zip(old.parameters(), direction, strict=True):
                p.add_(scale * d)
        args = (obs, action, nxt, torch.tensor(9.5), ReviewerConfig())
        means.append(reviewed(now, old, *args).mean().item())
    assert all(a > b for a, b in itertools.pairwise(means))
    assert means[0] > 0.9 and means[-1] < 0.1


def test_reviewing_trains_nothing(dynamics, draws):
    before = copied(dynamics)
    obs, action = torch.zeros(B, L), torch.zeros(B, A)
    reviewed(dynamics, dynamics.frozen(), obs, action, obs, torch.tensor(9.5), ReviewerConfig())
    assert not moved(dynamics, before) and all(p.grad is None for p in dynamics.parameters())


def test_one_batch_can_be_learnt_by_heart(dynamics, heads, batch):
    """Overfit one batch before training on many."""
    cfg = LearningConfig(lr=3e-3)
    adams = [
        torch.optim.Adam([*heads.reward_net.parameters(), *heads.q.parameters()], lr=3e-3),
        torch.optim.Adam(dynamics.parameters(), lr=3e-3),
    ]
    seen = []
    for _ in range(300):
        result = update.td_step(
            dynamics,
            heads,
            batch,
            cfg,
            torch.Generator().manual_seed(1),
            heads_optimizer=adams[0],
            dynamics_optimizer=adams[1],
            policy_std=0.0,
        )
        seen.append({name: part.item() for name, part in result.parts.items()})
    assert seen[-1]["reward"] < 0.1 * seen[0]["reward"]
    assert seen[-1]["value"] < 0.1 * seen[0]["value"]
    assert seen[-1]["consistency"] < 0.3 * seen[0]["consistency"]
