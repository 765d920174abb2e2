"""From losses to steps: what is clipped together, added as it is, and drawn at random.

Sizes are those of `tests.tiny`: batch 11, windows of 3 steps, 11 dreams, codes of 5.
"""

import copy

import pytest
import torch

from lib.algos.tdmpc import update
from lib.algos.tdmpc.graph_key import next_key, noise_layout
from lib.algos.tdmpc.protections import pairs
from lib.algos.tdmpc.reviewer import review_rows
from lib.core import losses
from lib.core.noise import NoiseSpec
from lib.engine.seeds import gradients, norm_per_seed
from tests.algos.tdmpc.spies import addresses, applications, learning, protection, spied, steps
from tests.tiny import BOX, continuous, in_task, invented, tiny

B, H, A = 11, 3, 3
UNCLIPPED = 1e9


def agreed(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(
        torch.allclose(a.reshape(b.shape), b, atol=1e-6, rtol=1e-3)
        for a, b in zip(one, other, strict=True)
    )


# Gradients and their norm ----------------------------------------------------------------------


def pulled(trained: dict, pull: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A loss whose gradients are the pull's two numbers."""
    value = (trained["one"] * pull[0] + trained["two"] * pull[1]).sum()
    return value, value.detach()


@pytest.mark.parametrize("pure", [False, True], ids=["recorded", "transformed"])
def test_one_norm_over_all_tensors_is_clipped_and_reported_before(pure):
    # (3) and (4) have the norm 5 together; clipped to 1 they are .6 and .8, not 1 and 1
    trained = {"one": torch.zeros(1, 1), "two": torch.zeros(1, 1)}
    pull = torch.tensor([[3.0, 4.0]])
    found, norm, _ = gradients(pulled, 1, 1.0, pure=pure)(trained, pull)
    assert norm.item() == pytest.approx(5.0)
    assert [found["one"].item(), found["two"].item()] == pytest.approx([0.6, 0.8], abs=1e-5)


def test_without_a_clip_the_gradient_is_used_as_it_is():
    trained, pull = (
        {"one": torch.zeros(1, 1), "two": torch.zeros(1, 1)},
        torch.tensor([[30.0, 40.0]]),
    )
    found, norm, _ = gradients(pulled, 1, None)(trained, pull)
    assert norm.item() == 0
    assert [found["one"].item(), found["two"].item()] == [30.0, 40.0]


@pytest.mark.parametrize(("method", "task"), [("tdmpc", 0), ("drago-no-rehearsal", 1)])
def test_an_update_steps_along_the_gradients_of_its_losses(method, task, monkeypatch):
    agent = in_task(tiny(method, learning__grad_clip=UNCLIPPED), task)
    agent.update(2)  # heads start at zero, which hides mistakes
    agent.threshold.fill_(1.0)  # near the score of this model, where a review reward is steep
    own = agent.actor(agent.roles[-1])  # who trains the dynamics, at the end of an update
    dynamics, heads = copy.deepcopy(agent.dynamics), copy.deepcopy(own.heads)
    modelled, acted = (spied(monkeypatch, update, name) for name in ("td_loss", "policy_loss"))
    applied = applications(monkeypatch)
    agent.update(1)
    assert len(applied) == 3 + 2 * task  # the learner beside a reviewer trains its heads alone
    of_heads, of_dynamics, of_policy = (found for _, found in applied[-3:])
    (_, _, batch, noise), given, _ = modelled[-1]
    batch = batch._replace(reward=batch.reward.detach())  # a review reward pulls on nothing
    loss, result = update.td_loss(dynamics, heads, batch, noise, **given)
    trained = [*heads.reward_net.parameters(), *heads.q.parameters(), *dynamics.parameters()]
    assert agreed([*of_heads, *of_dynamics], torch.autograd.grad(loss, trained))
    (_, latents, noise), given, _ = acted[-1]
    assert torch.allclose(latents, result.latents[:, :B], atol=1e-6)  # from before the step
    heads.q.load_state_dict(own.heads.q.state_dict())  # as they are after it
    loss = update.policy_loss(heads, latents, noise, **given)
    assert agreed(of_policy, torch.autograd.grad(loss, list(heads.policy_net.parameters())))


def test_every_optimiser_steps_what_is_its_own(monkeypatch):
    agent = in_task(tiny("drago-no-review"), 1)
    applied, heads = applications(monkeypatch), agent.learner.heads
    agent.update(1)
    assert [where for where, _ in applied] == [
        addresses(heads.reward_net, heads.q),
        addresses(agent.dynamics),
        addresses(heads.policy_net),
        addresses(protection(agent, "rehearsal").vae),
        addresses(agent.dynamics),  # the rehearsal
    ]


@pytest.mark.parametrize("clip", [UNCLIPPED, 0.01])
def test_heads_and_dynamics_are_clipped_together_and_their_norm_is_told_before(clip, monkeypatch):
    agent = in_task(tiny("tdmpc", learning__grad_clip=clip), 0)
    modelled = copy.deepcopy(agent.dynamics), copy.deepcopy(agent.learner.heads)
    calls, applied = spied(monkeypatch, update, "td_loss"), applications(monkeypatch)
    agent.update(1)
    (_, _, batch, noise), given, _ = calls[0]
    loss, _ = update.td_loss(*modelled, batch, noise, **given)
    dynamics, heads = modelled
    trained = [*heads.reward_net.parameters(), *heads.q.parameters(), *dynamics.parameters()]
    full = torch.stack([g.norm() for g in torch.autograd.grad(loss, trained)]).norm().item()
    assert full > 0.02
    assert agent.report()["train/learner/grad_norm"] == pytest.approx(full, rel=1e-4)
    joint = norm_per_seed([*applied[0][1], *applied[1][1]]).item()
    assert joint == pytest.approx(min(clip, full), rel=1e-3)


@pytest.mark.parametrize("clip", [UNCLIPPED, 1e-4])
def test_policy_and_generator_are_clipped_each_for_itself(clip, monkeypatch):
    agent = in_task(tiny("drago", learning__grad_clip=clip), 0)
    agent.update(3)
    applied = applications(monkeypatch)
    agent.update(1)
    norms = [norm_per_seed(found).item() for _, found in applied[2:]]  # heads and dynamics go first
    assert len(norms) == 2
    if clip == UNCLIPPED:
        assert min(norms) > 1e-3
    else:
        assert norms == pytest.approx([clip] * 2, rel=1e-2)


# What is added to the dynamics' loss -----------------------------------------------------------


def second_gradients(monkeypatch, **changes) -> tuple[list[torch.Tensor], list[tuple]]:
    """The dynamics' gradients in the second update of a second task, and what was rehearsed."""
    agent = in_task(tiny(learning__grad_clip=UNCLIPPED, **changes), 1)
    agent.update(1)
    model = copy.deepcopy(agent.dynamics)
    with monkeypatch.context() as patched:
        applied, rehearsed = applications(patched), spied(patched, pairs, "rehearsal_loss")
        penalised = spied(patched, losses, "ewc_penalty")
        agent.update(1)
    (found,) = [found for where, found in applied if where == addresses(agent.dynamics)]
    assert steps(agent.dynamics_adam) == 2
    return found, [model, rehearsed, penalised]


def test_a_joint_rehearsal_is_added_as_it_is_times_its_weight(monkeypatch):
    # the TD loss is divided by H, the rehearsal is not; a model that has not moved yet rehearses
    # nothing, so that until the second update both agents are the same
    joint = {"method": "drago-no-review", "protections__rehearsal__combine": "joint"}
    without, _ = second_gradients(monkeypatch, **joint, protections__rehearsal__weight=0.0)
    added, (model, rehearsed, _) = second_gradients(
        monkeypatch, **joint, protections__rehearsal__weight=3.0
    )
    loss = 3.0 * pairs.rehearsal_loss(model, *rehearsed[0][0][1:])
    wanted = torch.autograd.grad(loss, list(model.parameters()))
    assert any(w.abs().max() > 1e-3 for w in wanted)
    assert agreed([a - b for a, b in zip(added, without, strict=True)], wanted)


def test_a_consolidation_is_added_as_it_is_times_its_strength(monkeypatch):
    weak, _ = second_gradients(monkeypatch, method="ewc", protections__ewc__strength=1.0)
    strong, (model, _, penalised) = second_gradients(
        monkeypatch, method="ewc", protections__ewc__strength=1.0e4
    )
    _, anchors, fisher = penalised[0][0]
    loss = (1.0e4 - 1.0) * losses.ewc_penalty(model.parameters(), anchors, fisher)
    wanted = torch.autograd.grad(loss, list(model.parameters()))
    assert any(w.abs().max() > 1e-3 for w in wanted)
    assert agreed([a - b for a, b in zip(strong, weak, strict=True)], wanted)


# Random numbers --------------------------------------------------------------------------------


def test_every_random_number_of_an_update_has_a_name():
    work = learning(in_task(tiny(), 1))
    uniform, normal = (
        (lambda *shape, k=kind: NoiseSpec(k, shape)) for kind in ("uniform", "normal")
    )
    assert noise_layout(work.agents[0], next_key(work.agents[0])) == {
        "own": uniform(B),
        "mine": uniform(B),
        "learner/next": uniform(H, B, A),
        "learner/policy": uniform(H + 1, B, A),
        "reviewer/next": uniform(H, 2 * B, A),
        "reviewer/policy": uniform(H + 1, B, A),
        "rehearsal/encoded": normal(2 * B + 11, 5),
        "rehearsal/learnt": normal(11, 5),
        "rehearsal/rehearsed": normal(11, 5),
    }


def test_actions_in_a_box_take_normal_numbers_and_stored_transitions_uniform_ones():
    work = learning(in_task(continuous("stored-replay"), 1, actions=BOX))
    assert noise_layout(work.agents[0], next_key(work.agents[0])) == {
        "own": NoiseSpec("uniform", (B,)),
        "learner/next": NoiseSpec("normal", (H, B, 2)),
        "learner/policy": NoiseSpec("normal", (H + 1, B, 2)),
        "stored_replay/rehearsed": NoiseSpec("uniform", (11,)),
    }


def test_an_update_that_does_not_rehearse_draws_nothing_for_it():
    agent = in_task(tiny(protections__rehearsal__every=3), 1)
    agent.update(1)
    key = next_key(agent)
    assert not key.due and "rehearsal/rehearsed" not in noise_layout(agent, key)


def test_fresh_numbers_lie_where_the_last_ones_of_the_same_key_lay():
    work = learning(in_task(tiny(), 1))
    key = next_key(work.agents[0])
    first = work.noise(key)
    kept = {name: part.clone() for name, part in first.items()}
    second = work.noise(key)
    for name, part in second.items():
        assert part.data_ptr() == first[name].data_ptr() and not torch.equal(part, kept[name])


def test_the_host_decides_what_rehearses_what_follows_and_how_windows_are_drawn():
    # every third update rehearses, every second follows; 12 episodes of 7 steps fill the replay
    agent = in_task(tiny(protections__rehearsal__every=3), 1)
    seen = []
    for _ in range(6):
        seen.append(next_key(agent)[:2])
        agent.update(1)
    assert [due for due, _ in seen] == [("rehearsal",), (), ()] * 2
    assert [follows for _, follows in seen] == [True, False] * 3
    before = next_key(agent).draws
    agent.store("learner", invented(agent, 7))
    assert before == (NoiseSpec("uniform", (B,)),) * 2
    assert next_key(agent).draws == (NoiseSpec("uniform", (84,)), NoiseSpec("uniform", (B,)))


@pytest.mark.parametrize(
    ("ratio", "rows"), [(0.05, (1, 21)), (0.25, (6, 16)), (0.5, (11, 11)), (1.0, (22, 0))]
)
def test_a_reviewers_update_is_twice_the_batch_shared_by_its_ratio(ratio, rows):
    # of 22: round(1.1) = 1, round(5.5) = 6
    assert review_rows(tiny(reviewer__ratio=ratio)) == rows


def test_a_learners_share_beyond_its_batch_is_drawn_apart():
    # ratio .25: 16 of the learner's windows are wanted and its own update drew 11
    work = learning(in_task(tiny(reviewer__ratio=0.25), 1))
    found = noise_layout(work.agents[0], next_key(work.agents[0]))
    assert (found["mine"].shape, found["theirs"].shape) == ((6,), (16,))
