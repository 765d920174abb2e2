import copy

import pytest
import torch

from lib.replay.stored import TransitionStore, draw_transitions


@pytest.fixture
def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def numbered(first: int, n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Transitions whose observation, action and next observation tell their number."""
    number = torch.arange(first, first + n).float().unsqueeze(1)
    return number.expand(n, 3), -number.expand(n, 2), number.expand(n, 3) + 0.5


def offered(capacity: int | None, parts: list[int], draws: torch.Generator) -> TransitionStore:
    store, first = TransitionStore(capacity, 3, 2, "cpu"), 0
    for n in parts:
        store.add(*numbered(first, n), draws)
        first += n
    return store


def test_a_transition_takes_two_observations_and_an_action_of_single_precision():
    # MiniGrid: (3 + 3 + 3) * 4 bytes
    assert TransitionStore.bytes_each(3, 3) == 36


def test_everything_is_kept_while_there_is_room(draws):
    assert sorted(offered(11, [4, 3], draws).obs[:, 0].tolist()) == list(range(7))
    assert len(offered(None, [50, 60], draws)) == 110


def test_the_capacity_is_never_exceeded_and_rows_stay_together(draws):
    store = offered(11, [4, 30, 1, 1], draws)
    assert len(store) == 11 and len(store.obs[:, 0].unique()) == 11
    assert torch.equal(store.action[:, 0], -store.obs[:, 0])
    assert torch.equal(store.next_obs, store.obs + 0.5)


@pytest.mark.parametrize("parts", [[40], [7, 3, 30], [1] * 40], ids=["at once", "chunks", "single"])
def test_every_transition_ever_offered_is_kept_equally_often(parts, draws):
    # 10 of 40 are kept, so each with chance 1/4; over 600 trials the share has a standard
    # error of .018, and 5 of them bound all forty
    kept, trials = torch.zeros(40), 600 if len(parts) < 40 else 200
    for _ in range(trials):
        kept[offered(10, parts, draws).obs[:, 0].long()] += 1
    bound = 5 * (0.25 * 0.75 / trials) ** 0.5
    assert (kept / trials - 0.25).abs().max() < bound


def test_samples_are_uniform_over_what_is_kept(draws):
    stored = offered(None, [5], draws).storage
    obs, action, nxt = draw_transitions(stored, torch.rand(20_011, generator=draws))
    share = torch.bincount(obs[:, 0].long()) / 20_011
    assert share.tolist() == pytest.approx([0.2] * 5, abs=0.015)
    assert action.shape == (20_011, 2) and torch.equal(nxt, obs + 0.5)


def test_a_draw_picks_its_share_of_what_is_kept(draws):
    # of 5 transitions .39 * 5 = 1.95 is the second, and nothing lies beyond the last
    store = offered(None, [5], draws)
    obs, _, _ = draw_transitions(store.storage, torch.tensor([0.0, 0.39, 0.41, 1 - 2**-24]))
    assert obs[:, 0].tolist() == [0, 1, 2, 4]


def test_a_restored_memory_keeps_choosing_alike(draws):
    store, other = offered(11, [30], draws), TransitionStore(11, 3, 2, "cpu")
    other.load_state_dict(copy.deepcopy(store.state_dict()))
    for each in (store, other):
        each.add(*numbered(30, 30), torch.Generator().manual_seed(1))
    assert torch.equal(store.obs, other.obs) and torch.equal(store.key, other.key)
