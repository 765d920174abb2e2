import pytest
import torch

from lib.algos.decision_transformer import acting
from lib.algos.decision_transformer.modulators.api import Modulator
from lib.core.seeding import generator
from lib.engine.seed_batch import forget
from tests.sequence_tiny import CFG, model

E, A, C, S = 5, CFG.actions, CFG.context, CFG.slots


class Told(Modulator):
    """Speaks for the second of three tasks in the first step, and for the third from then on."""

    infers = True

    def __init__(self):
        self.calls = 0

    def evidence(self, features):
        self.calls += 1
        row = [0.0, 1.5, 0.0] if self.calls == 1 else [9.0, 0.0, 1.0]
        return torch.tensor([row]).expand(len(features), 3)

    def seen(self):
        return torch.tensor([False, True, True])

    def acting(self, query, module):
        self.module = module
        return None


def play(steps: int, modulator=None, rewards=None, freeze: int = 10, target: float = 3.0):
    """Memories before every decision, and actions."""
    made, memory, told = model(), acting.begun(E, CFG, 3, "cpu"), []
    draws = generator(0, "obs")
    for step in range(steps):
        state = torch.rand(E, S, generator=draws)
        memory = acting.observed(memory, state, target, 2.0)
        before = memory
        action, memory = acting.act(made, modulator, memory, A, 0, freeze)
        told.append((before, action))
        reward = torch.full((E,), float(rewards[step] if rewards else 1))
        memory = acting.rewarded(memory, reward)
    return told


def test_what_is_still_wanted_falls_by_what_is_earned_and_never_rises_above_the_target():
    # Scale 2: rewards 2, -8 and 4 are 1, -4 and 2. g: 3, 2, min(2 + 4, 3) = 3, 1.
    told = play(4, rewards=[2, -8, 4, 0])
    assert [float(memory.to_go[0, -1]) for memory, _ in told] == [3, 2, 3, 1]


def test_a_window_is_padded_at_an_episodes_start_and_holds_the_last_steps():
    told = play(5)
    first, last = (acting.window(told[step][0], A, CFG.bins) for step in (0, 4))
    assert first.valid.tolist() == [[False, False, True]] * E
    assert (first.action[:, :2] == CFG.bins).all() and not first.state[:, :2].any()
    assert last.time.tolist() == [[2, 3, 4]] * E and last.valid.all()
    assert last.reward.tolist() == [[0.5, 0.5, 0.0]] * E, "the step at hand has earned nothing yet"
    assert last.to_go[0].tolist() == pytest.approx([2.0, 1.5, 1.0])


def test_actions_are_remembered_as_tokens_and_missing_numbers_do_nothing():
    made, memory = model(), acting.begun(E, CFG, 3, "cpu")
    memory = acting.observed(memory, torch.rand(E, S, generator=generator(0, "obs")), 1.0, 1.0)
    action, after = acting.act(made, None, memory, 1, 0, 10)
    assert action.shape == (E, 1)
    from lib.algos.decision_transformer.tokens import to_tokens

    assert torch.equal(after.action[:, -1, 0], to_tokens(action[:, 0], CFG.bins))
    assert (after.action[:, -1, 1] == 3).all()  # 0 of 7 bins


def test_episodes_in_lock_step_act_as_each_does_alone():
    together, made = play(4), model()
    draws = generator(0, "obs")
    memory = acting.begun(1, CFG, 3, "cpu")
    for _, action in together:
        state = torch.rand(E, S, generator=draws)[2:3]
        memory = acting.observed(memory, state, 3.0, 2.0)
        mine, memory = acting.act(made, None, memory, A, 0, 10)
        memory = acting.rewarded(memory, torch.ones(1))
        assert torch.equal(mine, action[2:3])


def test_evidence_adds_up_until_the_choice_is_kept():
    told = Told()
    play(1, told)
    assert told.module.tolist() == [1] * E  # 1.5 against 0
    told = Told()
    play(2, told)
    assert told.module.tolist() == [1] * E  # 1.5 against 0 + 1; the first was never met
    told = Told()
    play(3, told)
    assert told.module.tolist() == [2] * E  # 1.5 against 2
    told = Told()
    play(5, told, freeze=2)
    assert told.module.tolist() == [1] * E and told.calls == 2, "no pass more than needed"


def test_an_episode_that_begins_anew_carries_nothing():
    made, memory = model(), acting.begun(E, CFG, 3, "cpu")
    for _ in range(3):
        memory = acting.observed(memory, torch.ones(E, S), 3.0, 2.0)
        _, memory = acting.act(made, Told(), memory, A, 0, 10)
        memory = acting.rewarded(memory, torch.ones(E))
    over = torch.tensor([False, True, False, False, False])
    kept = forget(memory, over)
    fresh = acting.begun(E, CFG, 3, "cpu")
    for name in memory._fields:
        assert torch.equal(getattr(kept, name)[1], getattr(fresh, name)[1]), name
        assert torch.equal(getattr(kept, name)[0], getattr(memory, name)[0]), name


def test_rewards_may_come_for_several_seeds_at_once():
    one = acting.observed(acting.begun(E, CFG, 3, "cpu"), torch.ones(E, S), 3.0, 2.0)
    both = acting.Memory(*(torch.stack((part, part)) for part in one))
    reward = torch.arange(2 * E).view(2, E).float()
    told = acting.rewarded(both, reward)
    assert torch.equal(told.reward[..., -1], reward / 2)
    assert torch.equal(told.earned[1], acting.rewarded(one, reward[1]).earned)
