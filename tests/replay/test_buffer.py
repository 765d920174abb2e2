"""The replay, asked by a counting task: step t of episode e observes (e, t) and earns 100 e + t.

C = 5 episodes, T = 11 steps, H = 3 steps a window, B windows.
"""

import copy

import pytest
import torch

from lib.core.errors import UserError
from lib.core.noise import NoiseSpec
from lib.replay.buffer import EpisodeBuffer, Episodes, draw_windows, join

C, T, H = 5, 11, 3


@pytest.fixture
def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def counting(first: int, n: int) -> Episodes:
    """n episodes numbered from `first`; action t of an episode is -t."""
    episode = torch.arange(first, first + n).float()[:, None].expand(n, T + 1)
    step = torch.arange(T + 1).float().expand(n, T + 1)
    obs = torch.stack((episode, step), -1)
    return Episodes(obs, -step[:, :T, None], 100 * episode[:, :T] + step[:, :T])


def buffer(capacity: int = C * T, **kwargs: float) -> EpisodeBuffer:
    return EpisodeBuffer(capacity, T, 2, 1, H, **kwargs)


def filled(episodes: int, **kwargs: float) -> EpisodeBuffer:
    ring = buffer(**kwargs)
    for number in range(episodes):
        ring.add(counting(number, 1))
    return ring


@pytest.mark.parametrize("episodes", [1, 3, C, C + 2], ids=["one", "some", "full", "wrapped"])
def test_a_window_holds_consecutive_steps_of_one_episode(episodes, draws):
    batch = filled(episodes).sample(13, draws)
    assert batch.obs.shape == (H + 1, 13, 2) and batch.action.shape == (H, 13, 1)
    assert batch.reward.shape == (H, 13) and batch.weight.shape == (13,)
    episode, step = batch.obs.unbind(-1)
    assert (episode == episode[0]).all()
    assert (step == step[0] + torch.arange(H + 1).unsqueeze(1)).all()
    assert (batch.action[..., 0] == -step[:-1]).all()
    assert (batch.reward == 100 * episode[:-1] + step[:-1]).all()


def test_windows_start_everywhere_but_in_the_last_steps(draws):
    # a window of 3 steps fits at steps 0..8 of 11; with the last H masked it starts at 0..7
    batch = filled(2).sample(2003, draws)
    assert set(batch.obs[0, :, 1].long().tolist()) == set(range(T - H))
    assert batch.obs[-1, :, 1].max() <= T - 1


def test_the_ring_forgets_the_oldest_episodes(draws):
    ring = filled(C + 2)
    assert (ring.episodes, ring.next, ring.count, ring.full) == (C, 2, C * T, True)
    seen = {int(e) for _ in range(40) for e in ring.sample(7, draws).obs[0, :, 0]}
    assert seen == set(range(2, C + 2))


def test_several_episodes_at_once_wrap_around_the_end(draws):
    ring = buffer()
    for first in (0, 3, 6):
        ring.add(counting(first, 3))
    assert ring.next == 4 and sorted(ring.obs[:, 0, 0].tolist()) == [4, 5, 6, 7, 8]
    one_by_one = filled(9)
    assert torch.equal(ring.obs, one_by_one.obs) and torch.equal(
        ring.scaled_priority, one_by_one.scaled_priority
    )


def test_a_capacity_is_rounded_down_to_whole_episodes_but_never_to_none():
    assert buffer(3 * T + T - 1).capacity == 3 and buffer(1).capacity == 1


def test_a_new_episode_gets_the_largest_priority_present():
    # 1 at first; then the largest scaled priority, which is the priority to the power alpha
    ring = filled(1, alpha=0.5)
    assert ring.scaled_priority[0].tolist() == [1.0] * (T - H) + [0.0] * H
    ring.set_priorities(torch.tensor([2]), torch.tensor([16.0]))
    ring.add(counting(1, 2))
    assert ring.scaled_priority[0, :4].tolist() == [1.0, 1.0, 4.0, 1.0]
    assert (
        ring.scaled_priority[1].tolist()
        == ring.scaled_priority[2].tolist()
        == [4.0] * (T - H) + [0.0] * H
    )


def test_weights_by_hand(draws):
    # one episode: 8 windows of priority 1 and window 0 of priority 32, alpha .6 -> 8.
    # N = 11, masses 8 + 7 = 15: P(0) = 8/15 and P = 1/15, so w = (11 P)^-.4 and over the
    # largest: w(0) = 8^-.4 = .435, others 1
    ring = filled(1)
    ring.set_priorities(torch.tensor([0]), torch.tensor([32.0]))
    batch = ring.sample(101, draws)
    expected = torch.where(batch.index == 0, 8**-0.4, 1.0)
    assert torch.allclose(batch.weight, expected)


def test_weights_of_even_priorities_are_one(draws):
    assert (filled(3).sample(13, draws).weight == 1).all()


@pytest.mark.parametrize("episodes", [3, C], ids=["with", "without"])
def test_weights_equal_the_formula(episodes, draws):
    ring = filled(episodes, alpha=0.7, beta=0.3)
    starts = torch.tensor([e * T + t for e in range(episodes) for t in range(T - H)])
    ring.set_priorities(starts, torch.rand(len(starts), generator=draws) + 0.1)
    batch = ring.sample(7, draws)
    total = ring.scaled_priority.sum().item()
    slow = [
        (ring.count * ring.scaled_priority.flatten()[i].item() / total) ** -0.3 for i in batch.index
    ]
    assert batch.weight.tolist() == pytest.approx([w / max(slow) for w in slow], rel=1e-4)


def test_a_draw_picks_its_share_of_the_mass(draws):
    # masses 1, 3 and 4 of 8: window 0 ends at 1/8, window 1 at 4/8
    ring = filled(1, alpha=1.0)
    ring.set_priorities(torch.arange(8), torch.tensor([1.0, 3, 4, 0, 0, 0, 0, 0]))
    uniform = torch.tensor([0.0, 0.124, 0.126, 0.499, 0.501, 1 - 2**-24])
    batch = draw_windows(ring.storage, uniform, 6, H, 0.4)
    assert batch.index.tolist() == [0, 0, 1, 1, 2, 2]
    assert batch.obs[0, :, 1].tolist() == [0, 0, 1, 1, 2, 2]


def test_drawing_apart_takes_the_largest_log_priority_plus_gumbel_noise():
    # even draws leave the order to priority: windows 5 and 2 of 9 and 4, the others 1
    ring = filled(C, alpha=1.0)
    ring.set_priorities(torch.tensor([2, 5]), torch.tensor([4.0, 9.0]))
    uniform = torch.full((C * T,), 0.5)
    assert draw_windows(ring.storage, uniform, 2, H, 0.4).index.tolist() == [5, 2]
    # -log(-log(.999)) = 6.9 lifts window 7 beyond log 9 + .37
    uniform[7] = 0.999
    assert draw_windows(ring.storage, uniform, 2, H, 0.4).index.tolist() == [7, 5]


def test_a_draw_with_replacement_takes_a_number_a_window_and_one_without_a_number_a_step():
    part, full = filled(C - 1), filled(C)
    assert part.draw(7) == NoiseSpec("uniform", (7,)) and full.draw(7) == NoiseSpec(
        "uniform", (C * T,)
    )
    assert full.draw(40) == NoiseSpec("uniform", (C * T,))
    assert full.draw(41) == NoiseSpec("uniform", (41,))  # more than the 5 * 8 windows there are


def test_the_storage_is_the_rings_own_memory(draws):
    ring = buffer()
    held = ring.storage
    ring.add(counting(3, 1))
    assert held.obs[0, 0, 0] == 3 and held.scaled_priority[0, 0] == 1
    held.scaled_priority[0] = 0.0
    held.scaled_priority[0, 4] = 1.0
    assert ring.sample(7, draws).index.tolist() == [4] * 7


def test_windows_are_drawn_in_proportion_to_their_priority_to_the_alpha(draws):
    # masses 1, 2, ..., 8 of 36; a chi-square with 7 degrees of freedom exceeds 24.3 one time
    # in a thousand
    ring = filled(1, alpha=0.5)
    scaled = torch.arange(1.0, 9.0)
    ring.set_priorities(torch.arange(8), scaled.square())
    n = 20_011
    counts = torch.bincount(ring.sample(n, draws).index, minlength=T)
    expected = n * scaled / scaled.sum()
    assert ((counts[:8] - expected).square() / expected).sum() < 24.3
    assert counts[8:].sum() == 0


def test_a_ring_that_is_not_full_draws_with_replacement(draws):
    batch = filled(1).sample(97, draws)  # 8 windows exist
    assert len(batch.index) == 97 and len(batch.index.unique()) == 8


def test_a_full_ring_draws_without_replacement(draws):
    ring = filled(C)
    for _ in range(20):
        index = ring.sample(37, draws).index  # of 5 * 8 = 40
        assert len(index.unique()) == 37
        assert (index % T < T - H).all()


def test_drawing_without_replacement_favours_large_priorities_like_numpy(draws):
    # Two of the windows {0: scaled 2, 1: scaled 1, 2: scaled 1}: the chance that window 0 is among
    # them is 1/2 + 2 * 1/4 * 2/3 = 5/6
    ring = EpisodeBuffer(3 * 2, 2, 2, 1, 1, alpha=1.0)
    short = counting(0, 3)
    ring.add(Episodes(short.obs[:, :3], short.action[:, :2], short.reward[:, :2]))
    ring.set_priorities(torch.tensor([0]), torch.tensor([2.0]))
    n = 4001
    hits = sum(bool((ring.sample(2, draws).index == 0).any()) for _ in range(n))
    assert hits / n == pytest.approx(5 / 6, abs=0.02)


def test_a_full_ring_with_fewer_windows_than_asked_for_draws_with_replacement(draws):
    ring = filled(C)
    batch = ring.sample(53, draws)  # only 40 windows fit their episodes
    assert len(batch.index) == 53 and (batch.index % T < T - H).all()
    assert (batch.obs[0, :, 0] == batch.obs[-1, :, 0]).all()


@pytest.mark.parametrize("episodes", [2, C], ids=["part", "full"])
def test_a_priority_that_is_no_number_leads_no_window_astray(episodes, draws):
    # the loss that caused it is reported a little later; until then no index may break
    ring = filled(episodes)
    ring.set_priorities(torch.tensor([0, 3]), torch.tensor([float("nan"), 1.0]))
    batch = ring.sample(13, draws)
    assert (batch.index % T < T - H).all()


def test_sampling_follows_its_generator():
    ring = filled(3)
    one, two = (ring.sample(17, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(one.index, two.index)


def test_transitions_pair_every_step_with_its_next():
    obs, action, nxt = filled(2).transitions()
    assert obs.shape == (2 * T, 2) and action.shape == (2 * T, 1)
    assert (nxt[:, 1] == obs[:, 1] + 1).all() and (nxt[:, 0] == obs[:, 0]).all()
    assert nxt[:, 1].max() == T  # the final observation, kept aside, is there
    assert (action[:, 0] == -obs[:, 1]).all()


def test_an_empty_ring_has_no_transitions():
    assert [part.shape for part in buffer().transitions()] == [(0, 2), (0, 1), (0, 2)]


def test_joined_windows_keep_the_first_batchs_rows_first(draws):
    ring = filled(2)
    one, two = ring.sample(5, draws), ring.sample(7, draws)
    both = join(one, two)
    assert torch.equal(both.rows(5).obs, one.obs) and torch.equal(both.reward[:, 5:], two.reward)
    assert both.weight.shape == both.index.shape == (12,) and both.action.shape == (H, 12, 1)


@pytest.mark.parametrize("episodes", [0, 2, C + 2], ids=["empty", "part", "wrapped"])
def test_a_restored_ring_goes_on_exactly_alike(episodes, draws):
    ring, other = filled(episodes), buffer()
    if episodes:
        ring.set_priorities(torch.tensor([1]), torch.tensor([7.0]))
    other.load_state_dict(copy.deepcopy(ring.state_dict()))
    for each in (ring, other):
        each.add(counting(20, 2))
    assert (ring.episodes, ring.next) == (other.episodes, other.next)
    one, two = (r.sample(17, torch.Generator().manual_seed(1)) for r in (ring, other))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_only_what_is_stored_is_saved():
    assert filled(2).state_dict()["obs"].shape == (2, T + 1, 2)


@pytest.mark.parametrize(
    ("episodes", "message"),
    [
        (Episodes(torch.zeros(1, 8, 2), torch.zeros(1, 7, 1), torch.zeros(1, 7)), "of 7 steps.*11"),
        (Episodes(torch.zeros(1, T, 2), torch.zeros(1, T, 1), torch.zeros(1, T)), "fixed episode"),
        (counting(0, C + 1), "6 episodes at once do not fit a replay of 5.*parallel_envs"),
    ],
)
def test_episodes_that_do_not_fit_are_refused(episodes, message):
    with pytest.raises(UserError, match=message):
        buffer().add(episodes)


def test_a_horizon_without_room_for_a_window_is_refused():
    with pytest.raises(UserError, match="horizon 11 leaves no window in an episode of 11 steps"):
        EpisodeBuffer(C * T, T, 2, 1, T)
