from dataclasses import replace

import pytest
import torch

from lib.algos.dreamer.behaviour import Actor, Critic
from lib.algos.dreamer.networks import count
from lib.algos.dreamer.run_settings import DreamerRun
from lib.algos.dreamer.settings import NetworkConfig
from lib.algos.dreamer.world_model import WorldModel
from lib.core.spaces import ActionSpace, ObsSpace
from lib.engine import seeds
from tests.algos.dreamer.models import (
    SPACES,
    B,
    T,
    batch,
    generator,
    noise_of,
    reached,
    settings,
    world,
)

VECTOR = SPACES["vector"]


def loss_of(model: WorldModel, space: ObsSpace = VECTOR, **changes):
    given = batch(space)._replace(**changes)
    return model.loss(*given, noise_of(model))


# Sizes -----------------------------------------------------------------------------------------

IMAGE, FULL = SPACES["image"], DreamerRun()


def test_the_published_numbers_of_parameters():
    model = WorldModel(IMAGE, 7, FULL, generator())
    actor = Actor(2048, ActionSpace(7, True), FULL.network, "none", generator())
    critic = Critic(2048, FULL.network, "none", generator())
    assert count(model.reward_head) == count(model.discount_head) == count(critic) == 1_301_201
    assert count(model) == 28_434_693
    assert count(actor) == 1_303_607


def test_the_checkpoint_that_users_report():
    # With two actions, model + actor + critic + slow critic = 32,333,577; three scalars that are
    # no weights (two counters and the reward's running scale) make the reported 32,333,580.
    model = WorldModel(IMAGE, 2, FULL, generator())
    actor = Actor(2048, ActionSpace(2, True), FULL.network, "none", generator())
    critic = Critic(2048, FULL.network, "none", generator())
    assert count(model) + count(actor) + 2 * count(critic) + 3 == 32_333_580


def test_norms_add_two_numbers_for_every_unit_they_normalise():
    # encoder 2 * 720, decoder 2 * 336, three hidden layers 2 * 1024, heads 2 * 4 * 2 * 400
    plain = WorldModel(IMAGE, 8, FULL, generator())
    normed = replace(FULL, latent=replace(FULL.latent, norm="layer"))
    extra = count(WorldModel(IMAGE, 8, normed, generator())) - count(plain)
    assert extra == 2 * 720 + 2 * 336 + 3 * 2 * 1024 + 2 * 4 * 2 * 400


# The loss --------------------------------------------------------------------------------------


def test_the_loss_is_the_sum_of_its_parts():
    model = world(settings(kl_scale=0.3))
    total, kept = loss_of(model)
    parts = kept.parts
    heads = parts["reconstruction"] + parts["reward"] + parts["discount"]
    torch.testing.assert_close(total, heads + 0.3 * parts["kl"])
    torch.testing.assert_close(total.detach(), parts["total"])


def test_every_part_equals_a_slow_one():
    model = world(settings())
    given = batch(VECTOR)
    _, kept = model.loss(*given, noise_of(model))
    states, latent = kept.observed.state, model.rssm.latent
    slow = dict.fromkeys(("reconstruction", "reward", "discount", "kl"), 0.0)
    for t in range(T):
        for row in range(B):
            read = torch.cat((states.z[t, row], states.h[t, row]))
            picture = model.objective.decoder(read) - given.obs[t, row]
            slow["reconstruction"] += 0.5 * picture.square().sum().item()
            slow["reward"] += 0.5 * (model.reward(read) - given.reward[t, row].tanh()).item() ** 2
            ends = given.terminal[t, row].item()
            chance = model.discounts(read)
            goal = 0.0 if ends else 0.99
            slow["discount"] -= (goal * chance.log() + (1 - goal) * (1 - chance).log()).item()
            stats = kept.observed.posterior[t, row], kept.observed.prior[t, row]
            slow["kl"] += latent.kl(*stats).item()
    for name, value in slow.items():
        assert kept.parts[name].item() == pytest.approx(value / (T * B), rel=1e-4), name


def test_heads_that_know_nothing_cost_as_much_as_chance():
    # reward 0 everywhere: half the mean square of what is asked; logit 0: log 2
    model = world(settings())
    with torch.no_grad():
        for parameter in [*model.reward_head.parameters(), *model.discount_head.parameters()]:
            parameter.zero_()
    given = batch(VECTOR)
    _, kept = model.loss(*given, noise_of(model))
    torch.testing.assert_close(kept.parts["reward"], 0.5 * given.reward.tanh().square().mean())
    assert kept.parts["discount"].item() == pytest.approx(0.6931, abs=1e-4)


@pytest.mark.parametrize("reward", ["tanh", "identity"])
def test_rewards_are_transformed_as_the_settings_say(reward):
    model = world(settings(reward=reward))
    target = model.reward_target(torch.tensor([0.5, 3.0]))
    wanted = [0.4621, 0.9951] if reward == "tanh" else [0.5, 3.0]
    assert target.tolist() == pytest.approx(wanted, abs=1e-4)


def test_free_nats_stop_the_kl_from_training():
    model = world(settings(free_nats=1e3))
    total, kept = loss_of(model)
    assert not reached(total, model.rssm.prior_out)
    assert kept.parts["kl"] < 10 and kept.parts["total"] > 1e3


# Who learns from what --------------------------------------------------------------------------


@pytest.mark.parametrize(("balance", "prior_learns"), [(0.0, False), (0.8, True)])
def test_the_balance_decides_whether_the_prior_learns(balance, prior_learns):
    model = world(settings(kl_balance=balance))
    total, _ = loss_of(model)
    assert reached(total, model.rssm.prior_out) == prior_learns
    assert reached(total, model.rssm.posterior_out)


def rewards_reach(model: WorldModel) -> bool:
    """Whether other rewards change the encoder's gradient."""
    found = []
    for reward in (torch.zeros(T, B), torch.ones(T, B)):
        total, _ = loss_of(model, reward=reward)
        grads = torch.autograd.grad(total, list(model.encoder.parameters()))
        found.append(torch.cat([grad.flatten() for grad in grads]))
    return not torch.allclose(*found, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("shapes", [True, False])
def test_rewards_shape_the_latent_only_where_they_may(shapes):
    model = world(settings(reward_shapes=shapes))
    assert rewards_reach(model) == shapes
    total, kept = loss_of(model)
    assert reached(total, model.reward_head)  # it learns either way
    assert (model.discount_head is None) == (not shapes) == ("discount" not in kept.parts)


def test_without_a_discount_head_every_state_goes_on_with_gamma():
    model = world(settings(discount_head=False))
    assert model.discounts(torch.randn(H := 5, B, 27)).tolist() == [[pytest.approx(0.99)] * B] * H
    assert "discount" not in loss_of(model)[1].parts


def test_nothing_that_remains_carries_gradients():
    _, kept = loss_of(world(settings()))
    leaves = []
    seeds.leaf_map(leaves.append, kept)
    assert len(leaves) > 10 and not any(leaf.requires_grad for leaf in leaves)


# What remains ----------------------------------------------------------------------------------


def test_states_and_ends_are_flattened_alike():
    model = world(settings())
    given = batch(VECTOR)
    _, kept = model.loss(*given, noise_of(model))
    assert kept.states.z.shape == (T * B, 10) and kept.states.h.shape == (T * B, 17)
    t, row = 2, 1  # the record that is terminal
    assert kept.terminal.nonzero().tolist() == [[t * B + row]]
    assert torch.equal(kept.states.h[t * B + row], kept.observed.state.h[t, row])
    assert torch.equal(kept.last.h, kept.observed.state.h[-1])
    assert torch.equal(kept.last.z, kept.observed.state.z[-1])


def test_a_batch_may_go_on_where_another_one_ended():
    model = world(settings())
    given = batch(VECTOR)._replace(first=torch.zeros(T, B, dtype=torch.bool))
    noise = noise_of(model)["posterior"]
    whole = model.loss(*given, {"posterior": noise})[1].observed.state
    start = model.loss(*(x[:2] for x in given), {"posterior": noise[:2]})[1]
    rest = model.loss(*(x[2:] for x in given), {"posterior": noise[2:]}, start.last)[1]
    torch.testing.assert_close(rest.observed.state.h, whole.h[2:])


def test_flags_in_another_type_are_caught():
    with pytest.raises(AssertionError, match="terminal is torch.float32, not bool"):
        loss_of(world(settings()), terminal=torch.zeros(T, B))


# Whatever is observed and however it is stored -------------------------------------------------


@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize("latent", ["categorical", "gaussian"])
@pytest.mark.parametrize("kind", list(SPACES))
def test_every_observation_and_latent_trains_everything(kind, latent, norm):
    model = world(settings(latent, norm), SPACES[kind])
    total, _ = loss_of(model, SPACES[kind])
    grads = torch.autograd.grad(total, list(model.parameters()))
    assert all(grad.isfinite().all() for grad in grads)
    names = [name for name, _ in model.named_parameters()]
    unmoved = [name for name, grad in zip(names, grads, strict=True) if not grad.any()]
    assert unmoved == []


@pytest.mark.parametrize("kind", list(SPACES))
@pytest.mark.parametrize("pure", [False, True])
def test_three_seeds_equal_three_models(kind, pure):
    space, S = SPACES[kind], 3
    models = [world(settings(), space, seed) for seed in range(S)]
    data = [(*batch(space, seed), noise_of(models[0], seed)) for seed in range(S)]
    run = seeds.on_tensors(lambda model, *args: model.loss(*args), model=models[0])
    tensors = [seeds.prefixed(model=dict(model.named_parameters())) for model in models]

    def stacked(trees):
        if isinstance(trees[0], dict):
            return {key: torch.stack([tree[key].detach() for tree in trees]) for key in trees[0]}
        return torch.stack(trees)

    inputs = [stacked(trees) for trees in zip(*data, strict=True)]
    found, _, kept = seeds.gradients(run, S, None, pure=pure)(stacked(tensors), *inputs)
    for i, model in enumerate(models):
        total, alone = model.loss(*data[i])
        grads = torch.autograd.grad(total, list(model.parameters()))
        torch.testing.assert_close(kept.states.h[i], alone.states.h, rtol=1e-4, atol=1e-5)
        for (name, _), grad in zip(model.named_parameters(), grads, strict=True):
            mine = found[f"model.{name}"][i]
            torch.testing.assert_close(mine, grad, rtol=1e-3, atol=1e-4, msg=name)


def test_half_precision_products_leave_memory_and_loss_in_single():
    model = world(settings())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, kept = loss_of(model)
    exact, _ = loss_of(model)
    assert total.dtype == kept.states.h.dtype == kept.states.z.dtype == torch.float32
    assert total.item() == pytest.approx(exact.item(), rel=0.05)


def test_a_batch_is_learnt_by_heart():
    cfg = settings()
    cfg = replace(cfg, network=NetworkConfig(code_width=64, head_width=64, head_layers=2))
    model = world(cfg)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    before = None
    for seed in range(150):
        optimiser.zero_grad()
        total, kept = model.loss(*batch(VECTOR), noise_of(model, seed))
        before = before or kept.parts
        total.backward()
        optimiser.step()
    for name in ("reconstruction", "reward", "discount"):
        floor = 0.056 * 14 / 15 if name == "discount" else 0.0  # entropy of the soft target 0.99
        assert kept.parts[name] - floor < 0.4 * before[name], name


def test_priors_and_posteriors_entropy_are_those_of_their_statistics():
    model = world(settings())
    _, kept = loss_of(model)
    entropy = model.rssm.latent.entropy(kept.observed.prior).mean()
    torch.testing.assert_close(kept.parts["prior_entropy"], entropy)
    assert kept.parts["posterior_entropy"] <= 2 * torch.log(torch.tensor(5.0)) + 1e-5


def test_the_action_that_led_to_a_record_is_the_one_that_is_read():
    # changing the action stored with record 2 changes the prior of record 2, not of record 1
    model = world(settings())
    given = batch(VECTOR)
    other = given.action.clone()
    other[2] = other[2].roll(1, -1)
    found = [loss_of(model, action=action)[1].observed.prior for action in (given.action, other)]
    assert torch.equal(found[0][:2], found[1][:2])
    assert not torch.isclose(found[0][2], found[1][2]).all(-1).any()
