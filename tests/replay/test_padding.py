import torch

from lib.replay.buffer import Episodes
from lib.replay.padding import padded
from lib.replay.store import EpisodeStore

E, T, L, A = 3, 5, 7, 2


def episodes() -> Episodes:
    """One that the world ended after 2 actions, one that was cut after 3, one of all 5."""
    obs = torch.arange(1.0, E * (T + 1) + 1).view(E, T + 1, 1)
    length = torch.tensor([2, 3, 5])
    going = torch.arange(T) < length[:, None]
    return Episodes(
        obs,
        torch.ones(E, T, A),
        torch.full((E, T), 0.5) * going,
        length,
        torch.tensor([True, False, True]),
        torch.zeros(E, dtype=torch.bool),
        torch.arange(E * (T + 1)).view(E, T + 1),
    )


def test_an_ended_episode_stands_still_until_it_is_long_enough():
    before = episodes()
    after = padded(before, L)
    assert after.length.tolist() == [7, 3, 7] and after.terminal.tolist() == [True, False, True]
    assert after.obs[0, :, 0].tolist() == [1, 2, 3, 3, 3, 3, 3, 3]
    assert after.cell[0].tolist() == [0, 1, 2, 2, 2, 2, 2, 2]
    assert after.action[0, :, 0].tolist() == [1, 1, 0, 0, 0, 0, 0]
    assert after.reward[2].tolist() == [0.5] * 5 + [0, 0]
    assert torch.equal(after.reward.sum(1), before.reward.sum(1))
    assert torch.equal(before.obs, episodes().obs) and before.length.tolist() == [2, 3, 5]


def test_long_episodes_and_those_of_a_fixed_length_stay_as_they_are():
    before = episodes()
    after = padded(before, 1)
    assert torch.equal(after.length, before.length)
    for e, steps in enumerate(before.length.tolist()):
        assert torch.equal(after.obs[e, : steps + 1], before.obs[e, : steps + 1])
        assert torch.equal(after.action[e, :steps], before.action[e, :steps])
    fixed = Episodes(*before[:3])
    assert padded(fixed, L) is fixed


def test_every_padded_episode_is_long_enough_for_a_sequence():
    generator = torch.Generator().manual_seed(0)
    store = EpisodeStore(
        100,
        (1,),
        torch.float32,
        A,
        L,
        retention="fifo",
        sampling="uniform",
        recent_share=0.5,
        min_length=1,
        slack=0,
        row_start="zero",
    )
    first = Episodes(*(None if part is None else part[:1] for part in episodes()))
    store.add(padded(first, L), 0, generator, returned=first.reward.sum(1))
    assert store.steps == L and store.returns.tolist() == [1.0]
    drawn = store.gather(store.draw(11, L, generator))
    # Rows of 7 records of the 8: they begin with the episode's first record or its second.
    assert drawn.first[0].all() and not drawn.first[1:].any()
    assert set(drawn.obs[0, :, 0].tolist()) <= {1.0, 2.0} and (drawn.obs[-1] == 3).all()
