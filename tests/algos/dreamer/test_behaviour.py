"""Rollouts and what actor and critic learn from them.

H = 4 imagined steps, N = 11 rollouts, A = 7 actions.
"""

import math
from dataclasses import replace

import pytest
import torch

from lib.algos.dreamer.behaviour import (
    Actor,
    Critic,
    Imagined,
    Starts,
    behaviour_loss,
    choose_starts,
    copied_after,
    imagine,
    imagine_noise,
    of_sequences,
    rollout_discounts,
    starts_noise,
)
from lib.algos.dreamer.rssm import State
from lib.algos.dreamer.settings import BehaviourConfig
from lib.core.noise import draw_noise
from lib.engine import seeds
from tests.algos.dreamer.models import FORCES, MOVES, A, H, generator, reached, settings, world

N = 11
CFG = BehaviourConfig(horizon=H, entropy=0.1)
SPACES = {"moves": MOVES, "forces": FORCES}
kinds = pytest.mark.parametrize("actions", SPACES.values(), ids=list(SPACES))


def parts(actions=MOVES, norm="none", latent="categorical", seed=0):
    """A model, an actor, a critic and its slow copy, which differs."""
    cfg = settings(latent, norm)
    model = world(cfg, seed=seed)
    size = model.rssm.features_size
    actor = Actor(size, actions, cfg.network, norm, generator(seed + 1))
    critic, slow = (Critic(size, cfg.network, norm, generator(seed + i)) for i in (2, 3))
    return model, actor, critic, slow


def starts(model, rows=N, seed=0) -> Starts:
    draws = generator(seed)
    rssm = model.rssm
    state = State(
        torch.randn(rows, rssm.latent.size, generator=draws),
        torch.randn(rows, rssm.deter, generator=draws),
    )
    return Starts(state, torch.arange(rows) % 3 == 1)


def rollouts(model, actor, gradient="reinforce", seed=0) -> Imagined:
    noise = draw_noise(imagine_noise(model.rssm, actor, H, N), generator(seed))
    return imagine(model.rssm, [actor], starts(model, seed=seed), noise, gradient)


def learn(actor, critic, slow, model, imagined, cfg=CFG):
    reward = model.reward(imagined.features[:-1])
    return behaviour_loss(
        actor, critic, slow, imagined, reward, rollout_discounts(model, imagined), cfg
    )


# Policies --------------------------------------------------------------------------------------


@kinds
def test_policies_give_actions_of_their_space(actions):
    _, actor, _, _ = parts(actions)
    stats = 3 * torch.randn(H, N, A if actions.discrete else 2 * A, generator=generator())
    noise = draw_noise({"noise": actor.noise(H, N)}, generator(1))["noise"]
    for action in (actor.sample(stats, noise), actor.mode(stats)):
        assert action.shape == (H, N, A) and action.abs().max() <= 1
        if actions.discrete:
            assert ((action == 0) | (action == 1)).all() and (action.sum(-1) == 1).all()
    sample = actor.sample(stats, noise)
    assert actor.log_prob(stats, sample).shape == actor.entropy(stats, noise).shape == (H, N)


def test_a_discrete_policys_numbers_by_hand():
    # shares 1/8, 2/8, 5/8 of three actions: log(2/8); entropy 0.9003 nats
    actor = Actor(5, replace(MOVES, size=3), settings().network, "none", generator())
    stats = torch.log(torch.tensor([1.0, 2.0, 5.0]))
    assert actor.log_prob(stats, torch.tensor([0.0, 1.0, 0.0])).item() == pytest.approx(
        -1.3863, abs=1e-4
    )
    assert actor.entropy(stats, torch.tensor(0.0)).item() == pytest.approx(0.9003, abs=1e-4)
    drawn_at = [actor.sample(stats, torch.tensor(u)).argmax().item() for u in (0.1, 0.2, 0.4)]
    assert drawn_at == [0, 1, 2] and actor.mode(stats).tolist() == [0.0, 0.0, 1.0]


def test_a_continuous_policys_moments_stay_within_bounds():
    # mean 5 tanh(m / 5): at most 5; std softplus(s) + 0.1: 0.7931 at 0
    actor = Actor(5, replace(FORCES, size=2), settings().network, "none", generator())
    mean, std = actor.moments(torch.tensor([100.0, 1.0, 0.0, -100.0]))
    assert mean.tolist() == pytest.approx([5.0, 0.98688], abs=1e-4)
    assert std.tolist() == pytest.approx([0.7931, 0.1], abs=1e-4)


def test_a_continuous_entropy_is_the_mean_of_its_estimates():
    # nearly linear tanh: std 0.1 gives log(0.1) + 1.4189 = -0.8837 less what squashing takes
    actor = Actor(5, replace(FORCES, size=1), settings().network, "none", generator())
    stats = torch.tensor([0.0, -100.0]).expand(20_011, 2)
    estimate = actor.entropy(stats, torch.randn(20_011, 1, generator=generator()))
    assert estimate.mean().item() == pytest.approx(-0.8837 - 0.01, abs=0.02)


def test_the_entropy_of_many_samples_is_their_average():
    actor = parts(FORCES)[1]
    stats = torch.randn(N, 2 * A, generator=generator())
    noise = torch.randn(7, N, A, generator=generator(1))
    each = torch.stack([actor.entropy(stats, drawn) for drawn in noise])
    torch.testing.assert_close(actor.entropy(stats, noise), each.mean(0))


def test_the_best_of_many_samples_is_each_rows_own_likeliest():
    # Two states, one action, three samples. At mean 0, std 0.7931 the density of a = tanh(x) is
    # that of x over 1 - a^2: at x = 0, 0.7931 and 1.5862 its logarithm is -.687, -.615 and
    # -.819, so the middle one is likeliest and x = 0, the mean's, is not. The other state draws
    # them in another order.
    actor = Actor(5, replace(FORCES, size=1), settings().network, "none", generator())
    noise = torch.tensor([[[0.0], [1.0]], [[1.0], [2.0]], [[2.0], [0.0]]])
    best = actor.mode(torch.zeros(2, 2), noise)
    assert best.flatten().tolist() == pytest.approx([math.tanh(0.7931)] * 2, abs=1e-4)


def test_a_continuous_log_probability_is_that_of_the_sample():
    actor = parts(FORCES)[1]
    stats = torch.randn(N, 2 * A, generator=generator())
    noise = torch.randn(N, A, generator=generator(1)).clamp(-1, 1)
    sample = actor.sample(stats, noise)
    torch.testing.assert_close(
        actor.log_prob(stats, sample), -actor.entropy(stats, noise), rtol=1e-2, atol=1e-2
    )
    assert actor.log_prob(stats, torch.ones(N, A)).isfinite().all()


def test_no_gradient_passes_through_the_action_whose_probability_is_asked():
    # the published code lets the sample's straight-through gradient in
    actor = parts()[1]
    stats = torch.randn(N, A, generator=generator(), requires_grad=True)
    action = actor.sample(stats, torch.rand(N, generator=generator(1)))
    assert action.requires_grad
    (found,) = torch.autograd.grad(actor.log_prob(stats, action).sum(), stats)
    torch.testing.assert_close(found, action.detach() - torch.softmax(stats, -1).detach())


# Where rollouts begin --------------------------------------------------------------------------


def test_starts_are_different_states_with_their_own_ends():
    state = State(torch.arange(13.0).unsqueeze(1), -torch.arange(13.0).unsqueeze(1))
    terminal = torch.arange(13) % 2 == 0
    noise = draw_noise(starts_noise(13, 5), generator())
    found = choose_starts(state, terminal, noise, 5)
    index = found.state.z.flatten()
    assert len(set(index.tolist())) == 5
    assert torch.equal(found.state.h, -found.state.z)
    assert torch.equal(found.terminal, index % 2 == 0)


def test_every_state_is_equally_likely_to_be_a_start():
    # 3 of 7: each in 3/7 of the draws
    state, n = State(torch.eye(7), torch.eye(7)), 4_001
    noise = torch.rand(n, 7, generator=generator())
    share = torch.zeros(7)
    for row in noise:
        share += choose_starts(state, torch.zeros(7), {"starts": row}, 3).state.z.sum(0)
    assert (share / n).tolist() == pytest.approx([3 / 7] * 7, abs=0.03)


@pytest.mark.parametrize("wanted", [0, 13, 20])
def test_imagination_may_begin_in_all_states(wanted):
    state = State(torch.arange(13.0).unsqueeze(1), torch.zeros(13, 1))
    assert starts_noise(13, wanted) == {}
    found = choose_starts(state, torch.zeros(13, dtype=torch.bool), {}, wanted)
    assert torch.equal(found.state.z, state.z)


def test_imagination_may_begin_in_the_first_sequences_alone():
    # 5 records of 3 sequences, record by record: state 3 t + b is record t of sequence b
    state = State(torch.arange(15.0).unsqueeze(1), -torch.arange(15.0).unsqueeze(1))
    terminal = torch.arange(15) % 3 == 1  # of sequence 1
    found, ended = of_sequences(state, terminal, 5, 2)
    assert found.z.flatten().tolist() == [0, 1, 3, 4, 6, 7, 9, 10, 12, 13]
    assert torch.equal(found.h, -found.z)
    assert ended.tolist() == [False, True] * 5
    assert of_sequences(state, terminal, 5, 0) == (state, terminal)


def test_every_policy_begins_in_the_same_states():
    state = State(torch.arange(3.0).unsqueeze(1), torch.zeros(3, 1))
    found = choose_starts(state, torch.tensor([True, False, False]), {}, 0, 2)
    assert found.state.z.flatten().tolist() == [0, 1, 2, 0, 1, 2]
    assert found.terminal.tolist() == [True, False, False] * 2


# Rollouts --------------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("latent", ["categorical", "gaussian"])
def test_rollouts_equal_a_slow_loop(actions, latent):
    model, actor, _, _ = parts(actions, latent=latent)
    begin = starts(model)
    noise = draw_noise(imagine_noise(model.rssm, actor, H, N), generator())
    found = imagine(model.rssm, [actor], begin, noise)
    assert found.features.shape == (H + 1, N, model.rssm.features_size)
    assert found.action.shape == (H, N, A) and torch.equal(found.terminal, begin.terminal)
    for row in range(N):
        state = State(begin.state.z[row : row + 1], begin.state.h[row : row + 1])
        for k in range(H):
            read = model.rssm.features(state)
            torch.testing.assert_close(found.features[k, row], read[0], rtol=1e-4, atol=1e-5)
            action = actor.sample(actor(read), noise["action"][k, row : row + 1])
            torch.testing.assert_close(found.action[k, row], action[0], rtol=1e-4, atol=1e-5)
            state = model.rssm.imagining()(state, action, noise["state"][k, row : row + 1])
    assert not found.action_into[0].any() and torch.equal(found.action_into[1:], found.action)


def test_two_policies_share_a_batch_and_act_on_their_own_rows():
    model, actor, _, _ = parts()
    other = Actor(model.rssm.features_size, MOVES, settings().network, "none", generator(9))
    state, terminal = starts(model)
    both = choose_starts(state, terminal, {}, 0, 2)
    noise = draw_noise(imagine_noise(model.rssm, actor, H, 2 * N), generator())
    found = imagine(model.rssm, [actor, other], both, noise)
    for index, policy in enumerate((actor, other)):
        rows = slice(index * N, (index + 1) * N)
        own = {name: value[:, rows] for name, value in noise.items()}
        alone = imagine(model.rssm, [policy], Starts(state, terminal), own)
        for mine, theirs in zip(found.share(index, 2), alone, strict=True):
            torch.testing.assert_close(mine, theirs)


def test_reinforce_records_nothing_while_it_rolls_out():
    model, actor, _, _ = parts()
    assert not rollouts(model, actor).features.requires_grad
    assert rollouts(model, actor, "dynamics").features.requires_grad


def test_what_a_policy_said_is_kept_where_gradients_flowed():
    model, actor, _, _ = parts(FORCES)
    assert rollouts(model, actor).stats is None
    found = rollouts(model, actor, "dynamics")
    again = actor(found.features[:-1].detach())
    torch.testing.assert_close(found.stats, again)
    weights = list(actor.parameters())
    kept, anew = (torch.autograd.grad(s.square().sum(), weights) for s in (found.stats, again))
    for one, other in zip(kept, anew, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_the_replayed_states_discount_comes_from_its_record():
    model, actor, _, _ = parts()
    imagined = rollouts(model, actor)
    found = rollout_discounts(model, imagined)
    assert found.shape == (H, N)
    wanted = torch.where(imagined.terminal, 0.0, 0.99)
    torch.testing.assert_close(found[0], wanted)
    torch.testing.assert_close(found[1:], model.discounts(imagined.features[1:-1]))


def test_without_a_discount_head_gamma_is_all_there_is():
    # specification: "without a discount head d_k = gamma everywhere", terminal starts included
    model = world(settings(discount_head=False))
    _, actor, _, _ = parts()
    imagined = rollouts(model, actor)
    assert imagined.terminal.any()
    assert (rollout_discounts(model, imagined) == torch.tensor(0.99)).all()


# Learning --------------------------------------------------------------------------------------


def test_both_losses_equal_a_slow_loop():
    model, actor, critic, slow = parts()
    imagined = rollouts(model, actor)
    loss, kept = learn(actor, critic, slow, model, imagined)
    reward = model.reward(imagined.features)
    discount = rollout_discounts(model, imagined)
    value = slow(imagined.features)
    of_actor = of_critic = 0.0
    for row in range(N):
        returns = [0.0] * H + [value[H, row].item()]
        for k in reversed(range(H)):
            mixed = 0.05 * value[k + 1, row].item() + 0.95 * returns[k + 1]
            returns[k] = reward[k, row].item() + discount[k, row].item() * mixed
        weight = 1.0
        for k in range(H):
            stats = actor(imagined.features[k, row])
            if k < H - 1:
                log_prob = torch.log_softmax(stats, -1)[imagined.action[k, row].argmax()].item()
                paid = log_prob * (returns[k + 1] - value[k, row].item())
                entropy = torch.distributions.Categorical(logits=stats).entropy().item()
                of_actor -= weight * (paid + 0.1 * entropy) / (N * (H - 1))
            error = critic(imagined.features[k, row]).item() - returns[k]
            of_critic += weight * 0.5 * error**2 / (N * H)
            weight *= discount[k, row].item()
    assert kept["actor"].item() == pytest.approx(of_actor, rel=1e-4)
    assert kept["critic"].item() == pytest.approx(of_critic, rel=1e-4)
    assert loss.item() == pytest.approx(of_actor + of_critic, rel=1e-4)


@pytest.mark.parametrize(
    ("actions", "gradient"),
    [(MOVES, "reinforce"), (FORCES, "reinforce"), (FORCES, "dynamics"), (MOVES, "dynamics")],
)
def test_nobody_learns_from_the_others_loss(actions, gradient):
    model, actor, critic, slow = parts(actions)
    slow.requires_grad_(False)
    model.requires_grad_(False)
    cfg = replace(CFG, gradient=gradient)

    def grads(eta: float, paid: float):
        """The gradient of actor and critic, where rewards and entropy's weight are chosen."""
        imagined = rollouts(model, actor, gradient)
        reward = paid * model.reward(imagined.features[:-1])
        discount = rollout_discounts(model, imagined)
        loss, _ = behaviour_loss(
            actor, critic, slow, imagined, reward, discount, replace(cfg, entropy=eta)
        )
        modules = [list(module.parameters()) for module in (actor, critic)]
        return [torch.autograd.grad(loss, names, retain_graph=True) for names in modules]

    (calm_actor, calm_critic), (keen_actor, keen_critic) = grads(0.0, 1.0), grads(5.0, 1.0)
    for mine, theirs in zip(calm_critic, keen_critic, strict=True):
        torch.testing.assert_close(mine, theirs)  # the entropy is the actor's alone
    assert any(not torch.equal(a, b) for a, b in zip(calm_actor, keen_actor, strict=True))
    # Another critic changes its own gradient, not the actor's.
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.mul_(2.0)
    other_actor, other_critic = grads(0.0, 1.0)
    for mine, theirs in zip(calm_actor, other_actor, strict=True):
        torch.testing.assert_close(mine, theirs)
    assert any(not torch.equal(a, b) for a, b in zip(calm_critic, other_critic, strict=True))


def test_reinforce_reaches_neither_model_nor_slow_critic():
    model, actor, critic, slow = parts()
    loss, _ = learn(actor, critic, slow, model, rollouts(model, actor))
    assert reached(loss, actor) and reached(loss, critic)
    assert not reached(loss, slow)
    assert not reached(loss, model)


@kinds
def test_a_dynamics_gradient_reaches_the_actor_through_the_model(actions):
    # no entropy and no log-probability: what arrives came through the states
    model, actor, critic, slow = parts(actions)
    cfg = replace(CFG, gradient="dynamics", entropy=0.0)
    imagined = rollouts(model, actor, "dynamics")
    loss, _ = learn(actor, critic, slow, model, imagined, cfg)
    assert reached(loss, actor)
    cut = imagined._replace(features=imagined.features.detach())
    loss, _ = learn(actor, critic, slow, model, cut, cfg)
    assert not reached(loss, actor)


class Reader:
    """An actor that reads the states of another rollout, whatever state it is in."""

    def __init__(self, actor: Actor, states: torch.Tensor):
        self.actor, self.states = actor, iter(states)
        self.sample, self.noise = actor.sample, actor.noise

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        return self.actor(next(self.states, features))


def test_a_dynamics_gradient_is_that_of_the_return():
    # Policies read states without gradient, so finite differences hold those states still, too.
    _, actor, critic, slow = parts(FORCES, latent="gaussian")
    model = world(settings("gaussian", discount_head=False))
    cfg = replace(CFG, gradient="dynamics", entropy=0.0)
    bias = actor.net[-1].bias
    imagined = rollouts(model, actor, "dynamics")
    loss, kept = learn(actor, critic, slow, model, imagined, cfg)
    (grad,) = torch.autograd.grad(loss, bias)

    def cost(index: int, step: float) -> float:
        with torch.no_grad():
            bias[index] += step
            moved = rollouts(model, Reader(actor, imagined.features.detach()), "dynamics")
            found = learn(actor, critic, slow, model, moved, cfg)[1]["actor"].item()
            bias[index] -= step
        return found

    assert cost(0, 0.0) == pytest.approx(kept["actor"].item())
    for index in range(2 * A):
        slope = (cost(index, 0.05) - cost(index, -0.05)) / 0.1
        assert slope == pytest.approx(grad[index].item(), rel=0.05, abs=2e-5)


@pytest.mark.parametrize("pure", [False, True])
@pytest.mark.parametrize(("actions", "gradient"), [(MOVES, "reinforce"), (FORCES, "dynamics")])
def test_three_seeds_equal_three_learners(actions, gradient, pure):
    S, cfg = 3, replace(CFG, gradient=gradient, starts=5)
    learners = [parts(actions, seed=10 * i) for i in range(S)]
    size = learners[0][0].rssm.features_size

    def loss(model, actor, critic, slow, state, terminal, noise):
        begin = choose_starts(state, terminal, noise, cfg.starts)
        imagined = imagine(model.rssm, [actor], begin, noise, gradient)
        return learn(actor, critic, slow, model, imagined, cfg)

    model, actor, _, _ = learners[0]
    layout = {**starts_noise(N, 5), **imagine_noise(model.rssm, actor, H, 5)}
    noises = [draw_noise(layout, generator(i)) for i in range(S)]
    states = [starts(model, seed=i) for i in range(S)]
    names = ("model", "actor", "critic", "slow")
    run = seeds.on_tensors(loss, **dict(zip(names, learners[0], strict=True)))

    def tensors(which):
        each = [
            seeds.prefixed(**{n: dict(m.named_parameters()) for n, m in zip(names, x, strict=True)})
            for x in learners
        ]
        keys = [key for key in each[0] if key.split(".")[0] in which]
        return {key: torch.stack([tree[key].detach() for tree in each]) for key in keys}

    fixed = tensors(("model", "slow"))
    step = seeds.gradients(lambda mine, rest, *x: run({**mine, **rest}, *x), S, None, pure=pure)
    found, _, _ = step(
        tensors(("actor", "critic")),
        fixed,
        State(*(torch.stack(x) for x in zip(*(s.state for s in states), strict=True))),
        torch.stack([s.terminal for s in states]),
        {key: torch.stack([noise[key] for noise in noises]) for key in layout},
    )
    assert size == 27
    for i, (model, actor, critic, slow) in enumerate(learners):
        alone, _ = loss(model, actor, critic, slow, *states[i], noises[i])
        for name, module in (("actor", actor), ("critic", critic)):
            keys, values = zip(*module.named_parameters(), strict=True)
            for key, grad in zip(
                keys, torch.autograd.grad(alone, values, retain_graph=True), strict=True
            ):
                mine = found[f"{name}.{key}"][i]
                torch.testing.assert_close(mine, grad, rtol=1e-3, atol=1e-5)


def test_an_actor_learns_the_action_that_pays():
    # the reward is 1 after action 2 and 0 otherwise, by a reward that reads the action taken
    model, actor, critic, slow = parts()
    optimiser = torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=1e-2)
    cfg = replace(CFG, entropy=1e-3)
    for seed in range(60):
        imagined = rollouts(model, actor, seed=seed)
        reward = imagined.action_into[:-1, :, 2]
        discount = rollout_discounts(model, imagined)
        loss, kept = behaviour_loss(actor, critic, slow, imagined, reward, discount, cfg)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert kept["reward"].item() > 0.6  # of at most 0.75: nothing is paid in the replayed state


# The slow critic --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "updates"), [("after", [0, 3, 6, 9]), ("before", [2, 5, 8])], ids=["after", "before"]
)
def test_critics_are_copied_after_every_third_update_or_before_it(when, updates):
    cfg = BehaviourConfig(slow_every=3, slow_when=when)
    assert [update for update in range(10) if copied_after(update, cfg)] == updates
