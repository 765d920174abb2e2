import copy
from typing import Any

import numpy as np
import pytest
import torch

from lib.core.errors import NonFiniteError, UserError
from lib.replay.buffer import Episodes
from lib.replay.store import Batch, EpisodeStore

A = 2  # numbers in an action
MOST = 11  # steps of the longest episode
FIELDS = ("obs", "action", "reward", "terminal", "first")


def new_store(capacity: int = 60, **changes: Any) -> EpisodeStore:
    settings = {
        "retention": "reservoir",
        "sampling": "uniform",
        "recent_share": 0.5,
        "min_length": 3,
        "slack": 3,
        "row_start": "zero",
    }
    return EpisodeStore(capacity, (3,), torch.int16, A, MOST, **(settings | changes))


def counting(task: int, first: int, lengths: list[int]) -> Episodes:
    """Observations (task, episode, t); the action that leads to t is (episode, t), the reward t.

    Padding is -1, but for rewards. Episodes of even number end in the world.
    """
    count = len(lengths)
    episode = torch.arange(first, first + count).view(-1, 1)
    t = torch.arange(MOST + 1).expand(count, -1)
    ended = torch.tensor(lengths).view(-1, 1)
    obs = torch.stack((torch.full_like(t, task), episode.expand_as(t), t), -1)
    action = torch.stack((episode.expand_as(t), t), -1)[:, 1:].float()
    return Episodes(
        obs.masked_fill((t > ended)[..., None], -1).short(),
        action.masked_fill((t[:, 1:] > ended)[..., None], -1.0),
        t[:, 1:].float().masked_fill(t[:, 1:] > ended, 0.0),
        torch.tensor(lengths),
        episode[:, 0] % 2 == 0,
    )


def some_lengths(n: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(1, MOST + 1, n).tolist()


def filled(store: EpisodeStore, draws: torch.Generator, adds: int = 12) -> list[int]:
    """Offers 5 counting episodes at a time; returns all their lengths."""
    lengths = some_lengths(5 * adds)
    for i in range(adds):
        part = lengths[5 * i : 5 * i + 5]
        store.add(counting(i // 4, 5 * i, part), i // 4, draws, [1.0 + n for n in part])
    return lengths


@pytest.fixture
def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


# What is stored ---------------------------------------------------------------------------------


@pytest.mark.parametrize("retention", ["fifo", "reservoir", "random-evict"])
@pytest.mark.parametrize("row_start", ["zero", "carry"])
def test_a_counting_task_proves_order_and_alignment(retention, row_start, draws):
    store = new_store(retention=retention, row_start=row_start)
    lengths = torch.tensor(filled(store, draws))
    for T, B in ((7, 5), (1, 2), (13, 3)):
        for _ in range(20):
            batch = store.sample(B, T, draws)
            task, episode, t = batch.obs.long().unbind(-1)
            assert torch.equal(task, episode // 20) and (t <= lengths[episode]).all()
            assert torch.equal(batch.reward, t.float())
            action = torch.stack((episode, t), -1).float()
            assert torch.equal(batch.action, action * (t > 0)[..., None])
            ends = (t == lengths[episode]) & (episode % 2 == 0)
            assert torch.equal(batch.terminal, ends)
            inside = ~batch.first[1:]
            assert (t.diff(dim=0)[inside] == 1).all() and (episode.diff(dim=0)[inside] == 0).all()
            assert batch.first[t == 0].all() and (row_start == "carry" or batch.first[0].all())


def test_a_batch_has_the_types_that_were_stored(draws):
    store = new_store()
    filled(store, draws)
    batch = store.sample(5, 7, draws)
    assert [(tuple(x.shape), x.dtype) for x in batch] == [
        ((7, 5, 3), torch.int16),
        ((7, 5, A), torch.float32),
        ((7, 5), torch.float32),
        ((7, 5), torch.bool),
        ((7, 5), torch.bool),
    ]


def test_without_lengths_and_endings_episodes_are_whole_and_cut(draws):
    store = new_store()
    store.add(counting(0, 0, [MOST, MOST])._replace(length=None, terminal=None), 0, draws)
    assert store.steps == 2 * MOST and not store.sample(5, 50, draws).terminal.any()
    assert store.returns.tolist() == [MOST * (MOST + 1) / 2] * 2


def test_what_is_kept_is_listed_oldest_first(draws):
    store = new_store(capacity=12, retention="fifo")
    store.add(counting(0, 0, [4, 3]), 0, draws)
    store.add(counting(1, 2, [5]), 1, draws)
    assert (store.episodes, store.steps) == (3, 12)
    assert store.tasks.tolist() == [0, 0, 1] and store.returns.tolist() == [10, 6, 15]
    assert store.composition(3).tolist() == pytest.approx([7 / 12, 5 / 12, 0])
    store.add(counting(2, 3, [4]), 2, draws)
    assert store.tasks.tolist() == [0, 1, 2] and store.returns.tolist() == [6, 15, 10]


def test_an_empty_store_consists_of_nothing():
    assert new_store().composition(2).tolist() == [0, 0] and new_store().steps == 0


def test_short_episodes_are_discarded_and_counted(draws):
    store = new_store()
    assert store.add(counting(0, 0, [2, 3, 1, 9]), 0, draws) == 2
    assert store.add(counting(0, 4, [2]), 0, draws) == 1
    assert (store.discarded, store.episodes, store.steps) == (3, 2, 12)


@pytest.mark.parametrize("retention", ["fifo", "reservoir", "random-evict"])
def test_the_capacity_holds_and_slots_are_used_again(retention, draws):
    store = new_store(retention=retention, min_length=1)
    for i in range(60):
        store.add(counting(0, 5 * i, some_lengths(5, i)), 0, draws)
        held = np.concatenate([store.table.slots[place] for place in store.table.order])
        assert store.steps <= 60 and len(held) == store.steps + store.episodes
        assert len(set(held.tolist())) == len(held) and store.records.free_count >= 0
        assert len(held) + store.records.free_count == len(store.records.free) <= 120


def test_memory_grows_as_needed_and_never_beyond_the_capacity(draws):
    store, sizes = new_store(capacity=6000, min_length=5), []
    assert store.records.obs.numel() == 0
    for i in range(200):
        store.add(counting(0, 5 * i, [MOST] * 5), 0, draws)
        sizes.append(len(store.records.obs))
    assert sorted(set(sizes)) == [1024, 2048, 4096, 7200] and store.steps == 5995


@pytest.mark.parametrize(
    ("retention", "wanted"),
    [
        ("reservoir", [0.25, 0.25, 0.25, 0.25]),
        ("random-evict", [0.05, 0.09, 0.24, 0.62]),
        ("fifo", [0, 0, 0, 1]),
    ],
)
def test_four_equal_tasks_compete_for_the_room_of_one(retention, wanted):
    # 1,000 episodes a task, 5 seeds: a share has a standard error of at most 0.6 points
    found = np.zeros(4)
    for seed in range(5):
        draws = torch.Generator().manual_seed(seed)
        store = new_store(capacity=3000, retention=retention)
        for task in range(4):
            for _ in range(20):
                store.add(counting(task, 0, [3] * 50), task, draws)
        found += store.composition(4) / 5
    assert found == pytest.approx(np.array(wanted), abs=0.02)


# Drawing ----------------------------------------------------------------------------------------


def test_every_episode_is_drawn(draws):
    store = new_store()
    filled(store, draws)
    seen = torch.cat([store.sample(5, 7, draws).obs[..., 1].flatten() for _ in range(60)])
    held = store.records.obs[[int(store.table.slots[p][0]) for p in store.table.order], 1]
    assert sorted(set(seen.tolist())) == sorted(held.tolist())


def test_sequences_are_written_into_given_tensors(draws):
    store = new_store()
    filled(store, draws)
    rows = store.draw(5, 7, draws)
    fresh = store.gather(rows)
    given = Batch(*(torch.zeros_like(x) for x in fresh))
    places = [x.data_ptr() for x in given]
    written = store.gather(rows, given)
    assert [x.data_ptr() for x in written] == places
    assert all(torch.equal(a, b) for a, b in zip(fresh, given, strict=True))


def test_the_rest_of_an_episode_that_left_is_not_drawn(draws):
    store = new_store(capacity=MOST, retention="fifo", row_start="carry")
    store.add(counting(0, 0, [MOST]), 0, draws)
    store.sample(1, 4, draws)
    while store.sampler.left is None:
        store.sample(1, 4, draws)
    store.add(counting(1, 1, [MOST]), 1, draws)
    batch = store.sample(2, 7, draws)
    assert (batch.obs[..., 0] == 1).all() and batch.first[0, 0]


@pytest.mark.parametrize("sampling", ["uniform", "recent", "reward", "uncertainty"])
@pytest.mark.parametrize("retention", ["fifo", "reservoir", "random-evict", "coverage"])
def test_a_restored_store_goes_on_bit_for_bit(retention, sampling, draws):
    def picture_of(obs: torch.Tensor) -> torch.Tensor:
        return obs.byte()[..., None, None, :].expand(*obs.shape[:-1], 4, 4, 3)

    def new(seed: int) -> EpisodeStore:
        extra = {"to_images": picture_of, "seed_generator": torch.Generator().manual_seed(seed)}
        return new_store(retention=retention, sampling=sampling, row_start="carry", **extra)

    store, other = new(0), new(1)
    filled(store, draws, 6)
    store.sample(3, 7, draws)
    other.load_state_dict(copy.deepcopy(store.state_dict()))
    twin = torch.Generator()
    twin.set_state(draws.get_state())
    for i in range(8):
        lengths = some_lengths(4, 100 + i)
        for each, generator in ((store, draws), (other, twin)):
            each.add(counting(3, 4 * i, lengths), 3, generator, [0.5, 0.0, 2.0, 1.0])
        for T in (7, 4):
            one, two = store.sample(3, T, draws), other.sample(3, T, twin)
            assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert torch.equal(draws.get_state(), twin.get_state())
    assert store.discarded == other.discarded and store.table.arrived == other.table.arrived
    assert np.array_equal(store.table.column("key"), other.table.column("key"))


def test_an_empty_store_is_restored_as_one(draws):
    store, other = new_store(), new_store()
    store.add(counting(0, 0, [2]), 0, draws)
    other.load_state_dict(copy.deepcopy(store.state_dict()))
    assert (other.episodes, other.discarded) == (0, 1)
    other.add(counting(0, 0, [7]), 0, draws)
    assert other.sample(2, 5, draws).obs.shape == (5, 2, 3)


def test_a_state_is_compact_and_plain(draws):
    store = new_store(capacity=6000)
    filled(store, draws)
    state = store.state_dict()
    assert state["records"]["obs"].shape == (store.steps + store.episodes, 3)

    def check(value: Any) -> None:
        if isinstance(value, dict):
            for item in value.values():
                check(item)
        else:
            assert value is None or type(value) in (int, float, str, list, torch.Tensor), value

    check(state)


# Coverage ---------------------------------------------------------------------------------------


def test_coverage_keeps_the_episode_that_looks_different(draws):
    pictures = torch.zeros(4, 6, 8, 8, 3, dtype=torch.uint8)
    pictures[:, :, 0, 0] = torch.arange(4).view(4, 1, 1)  # nearly the same
    pictures[2, :, 4:] = 255
    store = EpisodeStore(
        10,
        (8, 8, 3),
        torch.uint8,
        A,
        5,
        retention="coverage",
        sampling="uniform",
        recent_share=0.5,
        min_length=1,
        slack=1,
        row_start="zero",
        seed_generator=torch.Generator().manual_seed(0),
    )
    store.add(Episodes(pictures, torch.zeros(4, 5, A), torch.zeros(4, 5)), 0, draws)
    assert store.table.column("arrival").tolist() == [0, 2]  # the first one's key is 1


# Errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"capacity": 10},
            "replay of 10 steps cannot hold an episode of 11; raise replay.capacity",
        ),
        ({"min_length": 12}, "episodes of 12 steps or more are to be kept, but they have 1 to 11"),
        ({"retention": "lifo"}, "unknown retention 'lifo'"),
        ({"sampling": "newest"}, "unknown sampling 'newest'"),
        ({"retention": "coverage"}, r"an observation is \(3,\) numbers"),
    ],
)
def test_settings_that_cannot_work_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        new_store(**change)


def test_nothing_is_drawn_from_an_empty_store(draws):
    store = new_store()
    store.add(counting(0, 0, [1, 2]), 0, draws)
    with pytest.raises(UserError, match="empty.*2 episodes were shorter than 3 steps"):
        store.draw(2, 5, draws)


def test_an_episode_longer_than_announced_is_refused(draws):
    long = Episodes(
        torch.zeros(1, MOST + 2, 3).short(), torch.zeros(1, MOST + 1, A), torch.zeros(1, MOST + 1)
    )
    with pytest.raises(UserError, match="an episode of 12 steps arrived.*at most 11"):
        new_store().add(long, 0, draws)


def test_uncertainty_sampling_needs_priorities(draws):
    store = new_store(sampling="uncertainty")
    with pytest.raises(UserError, match="needs the disagreement of an ensemble"):
        store.add(counting(0, 0, [5]), 0, draws)
    with pytest.raises(NonFiniteError, match="priority is not finite"):
        store.add(counting(0, 0, [5]), 0, draws, [float("nan")])
    with pytest.raises(ValueError, match="not 1 numbers from 0 on"):
        store.add(counting(0, 0, [5]), 0, draws, torch.tensor([-1.0]))


def test_rewards_that_are_no_numbers_are_noticed_where_they_enter(draws):
    episodes = counting(0, 0, [5])
    episodes.reward[0, 2] = float("nan")
    with pytest.raises(NonFiniteError, match="rewards are not all finite"):
        new_store().add(episodes, 0, draws)


def test_types_and_shapes_must_fit(draws):
    episodes = counting(0, 0, [5])
    with pytest.raises(ValueError, match="stored as torch.int16, not torch.float32"):
        new_store().add(episodes._replace(obs=episodes.obs.float()), 0, draws)
    with pytest.raises(ValueError, match="must arrive"):
        new_store().add(episodes._replace(action=episodes.action[..., :1]), 0, draws)


# On an accelerator ------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_stores_and_draws_the_same_and_nobody_waits_for_it(draws):
    stores = new_store(), new_store(device="cuda")
    for store in stores:
        filled(store, draws.manual_seed(1))
    one = stores[0].sample(5, 7, draws.manual_seed(2))
    out = Batch(*(torch.zeros_like(x, device="cuda") for x in one))
    torch.cuda.set_sync_debug_mode("error")
    try:
        stores[1].gather(stores[1].draw(5, 7, draws.manual_seed(2)), out)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.equal(a, b.cpu()) for a, b in zip(one, out, strict=True))


# Whole episodes -----------------------------------------------------------------------------


def test_whole_episodes_are_those_that_are_stored():
    store, draws = new_store(), torch.Generator().manual_seed(0)
    filled(store, draws)
    found = store.whole(10_000, torch.Generator().manual_seed(1))
    assert len(found.length) == store.episodes
    names = [tuple(row) for row in found.obs[:, 0, :2].tolist()]
    assert len(set(names)) == store.episodes  # each once
    most = int(found.length.max())
    for e, length in enumerate(found.length.tolist()):
        steps = list(range(length + 1)) + [length] * (most - length)
        assert found.obs[e, :, 2].tolist() == steps
        assert found.action[e, :, 1].tolist() == steps[1:]
        assert found.reward[e].tolist() == steps[1:]


def test_as_many_whole_episodes_as_fit_padding_included():
    store, draws = new_store(), torch.Generator().manual_seed(0)
    filled(store, draws)
    for records in (1, 20, 45):
        found = store.whole(records, torch.Generator().manual_seed(2))
        assert found.obs[..., 0].numel() <= records or len(found.length) == 1
    with pytest.raises(UserError, match="the replay is empty"):
        new_store().whole(10, draws)


def test_looking_at_whole_episodes_changes_no_later_draw():
    stores = [new_store(row_start="carry") for _ in range(2)]
    for store in stores:
        filled(store, torch.Generator().manual_seed(0))
        store.sample(3, 4, torch.Generator().manual_seed(4))
    stores[0].whole(20, torch.Generator().manual_seed(5))
    one, other = (store.sample(3, 4, torch.Generator().manual_seed(6)) for store in stores)
    assert all(map(torch.equal, one, other))
