"""What one update minimises, against loops and for who receives gradients and who does not.

B = 7 windows, H = 3 steps, L = 5 numbers, A = 2 actions, width 11.
"""

import copy
import dataclasses
import itertools

import pytest
import torch

from lib.algos.tdmpc import reviewer, update
from lib.algos.tdmpc.model import Dynamics, Heads
from lib.algos.tdmpc.protections import rehearsal
from lib.algos.tdmpc.settings import LearningConfig, ReviewerConfig
from lib.core import losses
from lib.engine import optim
from lib.replay.buffer import Windows
from lib.replay.generative import Vae
from tests.tiny import copied, moved

B, H, L, A, WIDTH = 7, 3, 5, 2, 11
CFG = LearningConfig()


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


def parameters(*modules: torch.nn.Module) -> list[torch.Tensor]:
    return [p for m in modules for p in m.parameters()]


def gradients(loss: torch.Tensor, *modules: torch.nn.Module) -> list[torch.Tensor | None]:
    """One for every parameter; None where the loss does not reach it."""
    return list(torch.autograd.grad(loss, parameters(*modules), allow_unused=True))


def td_loss(dynamics: Dynamics, heads: Heads, batch: Windows, cfg=CFG, *, train=True, **kwargs):
    """The model's loss where the policy's actions are its means."""
    noise = torch.zeros(H, B, A)
    return update.td_loss(
        dynamics, heads, batch, noise, cfg=cfg, policy_std=0.05, train_dynamics=train, **kwargs
    )


def step(dynamics: Dynamics, heads: Heads, batch: Windows, cfg=CFG, **kwargs):
    """The result, and gradients of reward with critics and of the dynamics."""
    loss, result = td_loss(dynamics, heads, batch, cfg, **kwargs)
    found = gradients(loss, heads.reward_net, heads.q, dynamics)
    split = len(parameters(heads.reward_net, heads.q))
    return result, found[:split], found[split:]


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
    curious = [lambda error: curiosity * error]
    wanted = gradients(loss / H, heads.reward_net, heads.q, dynamics)
    result, of_heads, of_dynamics = step(dynamics, heads, batch, cfg, bonuses=curious)
    fast = td_loss(dynamics, heads, batch, cfg, bonuses=curious)[0]
    assert fast.item() == pytest.approx(loss.item() / H, rel=1e-5)
    assert result.parts["weighted"].item() == pytest.approx(loss.item(), rel=1e-5)
    assert torch.allclose(result.target, targets, atol=1e-5)
    assert result.score.item() == pytest.approx(scores.mean().item(), rel=1e-5)
    for fast, slow in zip([*of_heads, *of_dynamics], wanted, strict=True):
        assert torch.allclose(fast, slow, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("first_step_heads", [False, True], ids=["all steps", "first step"])
def test_the_critics_are_asked_about_every_step_for_the_priorities(
    first_step_heads, dynamics, heads, batch
):
    cfg = dataclasses.replace(CFG, first_step_heads=first_step_heads)
    result, _, _ = step(dynamics, heads, batch, cfg)
    z = batch.obs[0]
    for k in range(H):
        slow = heads.q(torch.cat((z, batch.action[k]), 1))
        assert torch.allclose(result.q[:, k], slow, atol=1e-5)
        z = dynamics(z, batch.action[k])


def test_the_policys_noise_decides_the_targets(dynamics, heads, batch, draws):
    noise = torch.randn(H, B, A, generator=draws)
    given = {"cfg": CFG, "policy_std": 0.05, "train_dynamics": True}
    result = update.td_loss(dynamics, heads, batch, noise, **given)[1]
    mean = torch.tanh(heads.policy_net(batch.obs[1:]))
    action = (mean + (0.05 * noise).clamp(-0.3, 0.3)).clamp(-1 + 1e-6, 1 - 1e-6)
    for k in range(H):
        next_q = heads.target_q(torch.cat((batch.obs[k + 1], action[k]), 1)).amin(0)
        expected = batch.reward[k] + CFG.discount * next_q
        assert torch.allclose(result.target[k], expected, atol=1e-5)


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
    assert not any(g is not None and g.any() for g in of_heads)
    assert all(g.any() for g in of_dynamics)


def test_targets_and_policy_receive_nothing_from_a_td_step(dynamics, heads, batch):
    heads.target_q.requires_grad_(True)
    loss, _ = td_loss(dynamics, heads, batch)
    assert all(g is None for g in gradients(loss, heads.target_q, heads.policy_net))


def test_dynamics_that_are_not_trained_take_no_part(dynamics, heads, batch):
    result, of_heads, of_dynamics = step(dynamics, heads, batch, train=False)
    assert all(g is None for g in of_dynamics)
    assert result.parts["consistency"].item() == 0
    trained, wanted, _ = step(dynamics, heads, batch)  # heads learn the same as with it
    assert all(torch.equal(a, b) for a, b in zip(of_heads, wanted, strict=True))
    assert result.score == trained.score


def policy_loss(heads: Heads, batch: Windows, std: float = 0.0) -> torch.Tensor:
    noise = torch.ones(H + 1, B, A)
    return update.policy_loss(heads, batch.obs, noise, cfg=CFG, std=std)


@pytest.mark.parametrize(("std", "shift"), [(0.0, 0.0), (0.05, 0.05), (9.0, 0.3)])
def test_the_policys_loss_equals_the_loop(std, shift, heads, batch):
    total = 0.0
    for k in range(H + 1):
        for b in range(B):
            z = batch.obs[k, b]
            mean = torch.tanh(heads.policy_net(z)) + shift
            action = mean + (mean.clamp(-1 + 1e-6, 1 - 1e-6) - mean).detach()
            total = total - CFG.rho**k * heads.q(torch.cat((z, action))[None]).min() / B
    wanted = gradients(total, heads.policy_net)
    loss = policy_loss(heads, batch, std)
    assert loss.item() == pytest.approx(total.item(), rel=1e-5)
    for fast, slow in zip(gradients(loss, heads.policy_net), wanted, strict=True):
        assert torch.allclose(fast, slow, atol=1e-6, rtol=1e-3)


def test_the_policys_loss_never_asks_reward_or_target(heads, batch):
    heads.target_q.requires_grad_(True)
    found = gradients(policy_loss(heads, batch), heads.reward_net, heads.target_q)
    assert all(g is None for g in found)


def test_following_its_loss_the_policy_climbs_the_critics(heads, batch):
    adam, losses_seen = optim.Adam.over(heads.policy_net.parameters(), lr=1e-2), []
    for _ in range(30):
        loss = policy_loss(heads, batch)
        adam.apply(gradients(loss, heads.policy_net))
        losses_seen.append(loss.item())
    assert losses_seen[-1] < losses_seen[0] - 0.05


# Rehearsal, generator, review ------------------------------------------------------------------


def test_rehearsal_by_hand(dynamics):
    # a network whose last layer is zero answers its bias: (1 - 3)^2 = 4 raw,
    # (tanh 1 - 3)^2 = 5.0105 bounded
    with torch.no_grad():
        dynamics.net[-1].weight.zero_()
        dynamics.net[-1].bias.fill_(1.0)
    obs, action, target = torch.zeros(B, L), torch.zeros(B, A), torch.full((B, L), 3.0)
    assert rehearsal.rehearsal_loss(dynamics, obs, action, target, "raw").item() == 4.0
    bounded = rehearsal.rehearsal_loss(dynamics, obs, action, target, "bounded").item()
    assert bounded == pytest.approx(5.0105, abs=1e-3)


@pytest.mark.parametrize("match", ["raw", "bounded"])
def test_rehearsal_equals_the_loop_and_reaches_only_the_dynamics(match, dynamics, draws):
    old = Dynamics(L, A, WIDTH, draws, crelu=True, bounded=True).requires_grad_(False)
    obs, action = torch.randn(B, L, generator=draws), torch.randn(B, A, generator=draws)
    answer = old.raw if match == "raw" else old
    mine = dynamics.raw if match == "raw" else dynamics
    loss = rehearsal.rehearsal_loss(dynamics, obs, action, answer(obs, action), match)
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
    loss = rehearsal.rehearsal_loss(dynamics, obs, action, old.raw(obs, action), "raw")
    loss.backward()
    assert loss.item() == 0 and not any(p.grad.any() for p in dynamics.parameters())


def test_following_its_loss_the_vae_learns_to_reproduce(draws):
    vae, rows = Vae(L + A, 13, 3, draws), torch.randn(31, L + A, generator=draws)
    adam, seen = optim.Adam.over(vae.parameters(), lr=1e-2), []
    for _ in range(40):
        noise = torch.randn(31, 3, generator=draws)
        loss, parts = rehearsal.vae_loss(vae, rows, noise, beta=0.01)
        adam.apply(gradients(loss, vae))
        seen.append(parts["reconstruction"].item())
    assert sum(seen[-5:]) < sum(seen[:5])


def test_the_vaes_loss_is_its_reconstruction_and_beta_times_its_divergence(draws):
    vae, rows = Vae(L + A, 13, 3, draws), torch.randn(31, L + A, generator=draws)
    noise = torch.randn(31, 3, generator=draws)
    loss, parts = rehearsal.vae_loss(vae, rows, noise, beta=0.3)
    mean, log_var = vae.encoder(rows).chunk(2, 1)
    back = vae.decoder(mean + noise * (log_var / 2).exp())
    assert parts["reconstruction"].item() == pytest.approx((back - rows).square().mean().item())
    total = parts["reconstruction"] + 0.3 * parts["kl"]
    assert loss.item() == pytest.approx(total.item())


def reviewed(*args):
    """The reviewer's reward, from its two terms."""
    known, cost = reviewer.review_parts(*args)
    return known - cost


@pytest.mark.parametrize("norm", ["squared", "absolute"])
@pytest.mark.parametrize("shape", ["code", "paper"])
def test_a_review_equals_the_loop(shape, norm, dynamics, draws):
    cfg = ReviewerConfig(shape=shape, norm=norm, threshold=1.0)
    old = Dynamics(L, A, WIDTH, draws, crelu=True, bounded=True)
    obs, nxt = torch.randn(2, H, B, L, generator=draws)
    action = torch.randn(H, B, A, generator=draws)
    reward = reviewed(dynamics, old, obs, action, nxt, torch.tensor(1.0), cfg)
    assert reward.shape == (H, B)
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


def answered(batch: Windows, dynamics: Dynamics, old: Dynamics, threshold: float) -> torch.Tensor:
    """The review reward of every step of a batch."""
    errors = [
        losses.model_error(m(batch.obs[:-1], batch.action), batch.obs[1:]) for m in (old, dynamics)
    ]
    return losses.review_reward(*errors, threshold).detach()


@pytest.mark.parametrize("relabel", [False, True])
def test_a_reviewers_batch_is_its_own_rows_and_then_the_learners_relabelled(
    relabel, dynamics, batch, draws
):
    old = Dynamics(L, A, WIDTH, draws, crelu=True, bounded=True)
    cfg, tau = ReviewerConfig(relabel=relabel), torch.tensor(1.0)
    mine, theirs = batch.rows(2), batch._replace(reward=batch.reward + 9.0)
    both = reviewer.review_batch(dynamics, old, tau, mine, theirs, cfg=cfg)
    assert both.obs.shape == (H + 1, 2 + B, L) and both.weight.shape == (2 + B,)
    assert torch.equal(both.obs[:, 2:], theirs.obs) and torch.equal(both.obs[:, :2], mine.obs)
    assert torch.allclose(both.reward[:, 2:], answered(theirs, dynamics, old, 1.0), atol=1e-6)
    own = answered(mine, dynamics, old, 1.0) if relabel else mine.reward
    assert torch.allclose(both.reward[:, :2], own, atol=1e-6)


def test_a_reviewer_may_learn_from_its_own_rows_alone(dynamics, batch):
    alone = reviewer.review_batch(
        dynamics, dynamics.frozen(), torch.tensor(9.5), batch, cfg=ReviewerConfig()
    )
    assert all(torch.equal(a, b) for a, b in zip(alone, batch, strict=True))


def test_one_batch_can_be_learnt_by_heart(dynamics, heads, batch):
    """Overfit one batch before training on many."""
    trained = parameters(heads.reward_net, heads.q, dynamics)
    adam, seen = torch.optim.Adam(trained, lr=3e-3), []
    for _ in range(300):
        loss, result = td_loss(dynamics, heads, batch, LearningConfig())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, LearningConfig().grad_clip)
        adam.step()
        adam.zero_grad()
        seen.append({name: part.item() for name, part in result.parts.items()})
    assert seen[-1]["reward"] < 0.1 * seen[0]["reward"]
    assert seen[-1]["value"] < 0.1 * seen[0]["value"]
    assert seen[-1]["consistency"] < 0.3 * seen[0]["consistency"]
