import pytest
import torch

from lib.algos.decision_transformer.windows import Experience
from lib.core.errors import UserError
from lib.core.seeding import generator
from tests.sequence_tiny import episodes

SIZES = (11, 2, 7, 3)  # slots, action dimensions, bins, context
SLOTS = tuple(range(3, 11))


def experience(short: bool = True, scale: float = 2.0, **given) -> Experience:
    return Experience(episodes(**given), SLOTS, SIZES, scale, "walk", keep_short=short)


def test_steps_hold_the_return_that_is_left_and_their_place():
    # One episode of three steps with rewards 1, 2, 5 and a scale of 2: 8/2, 7/2, 5/2 to go.
    found = episodes(1, 3)._replace(reward=torch.tensor([[1.0, 2.0, 5.0]]))
    kept = Experience(found, SLOTS, SIZES, 2.0, "walk", keep_short=True)
    assert kept.to_go.tolist() == [4, 3.5, 2.5] and kept.best == 4
    assert kept.reward.tolist() == [0.5, 1, 2.5]
    assert (kept.time.tolist(), kept.left.tolist()) == ([0, 1, 2], [2, 1, 0])
    assert torch.equal(kept.state[:, 3:], found.obs[0, :3]) and not kept.state[:, :3].any()


def test_what_follows_an_end_is_no_experience():
    found = episodes(2, 5)._replace(length=torch.tensor([5, 3]))
    kept = Experience(found, SLOTS, SIZES, 1.0, "walk", keep_short=True)
    assert len(kept) == 8 and kept.time.tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert float(kept.to_go[5]) == pytest.approx(float(found.reward[1, :3].sum()))


def test_windows_end_at_the_steps_drawn_and_are_padded_at_starts():
    kept = experience(count=2, steps=4)
    window = kept.at(torch.tensor([0, 1, 3, 4]))  # steps 0, 1, 3 of one episode, 0 of the next
    assert window.valid.tolist() == [
        [False, False, True],
        [False, True, True],
        [True, True, True],
        [False, False, True],
    ]
    assert window.time.tolist() == [[0, 0, 0], [0, 0, 1], [1, 2, 3], [0, 0, 0]]
    assert (window.action[~window.valid] == 7).all()  # the token of padding
    assert not window.state[~window.valid].any() and not window.to_go[~window.valid].any()
    assert torch.equal(window.state[2], kept.state[1:4])


def test_published_windows_begin_at_the_steps_drawn_and_are_padded_at_ends():
    kept = experience(count=2, steps=4)
    draws, every = generator(0, "draws"), []
    for _ in range(20):
        every.append(kept.draw(5, draws, pad_starts=False))
    for window in every:
        for time, valid in zip(window.time, window.valid, strict=True):
            seen = time[valid].tolist()
            assert seen == list(range(seen[0], seen[0] + len(seen)))
            assert len(seen) == 3 or seen[-1] == 3, "short only where the episode ends"
    ends = {int(t) for w in every for t, v in zip(w.time[:, 0], w.valid[:, 0], strict=True) if v}
    assert ends == {0, 1}  # whole windows begin at every step that has two after it


def test_own_windows_are_short_at_starts_alone():
    kept, draws = experience(count=2, steps=4), generator(0, "draws")
    for window in (kept.draw(7, draws, pad_starts=True) for _ in range(9)):
        short = ~window.valid.all(1)
        assert (window.time[short, -1] < 2).all() and (window.time[~short, -1] >= 2).all()
    assert not kept.starts(20, draws).valid.all(1).any()


def test_longer_episodes_are_drawn_more_often():
    found = episodes(2, 10)._replace(length=torch.tensor([10, 3]))
    kept = Experience(found, SLOTS, SIZES, 1.0, "walk", keep_short=True)
    window = kept.draw(5_000, generator(0, "draws"), pad_starts=True)
    first = (window.state[:, -1].unsqueeze(1) == kept.state[:10]).all(-1).any(1)
    assert float(first.float().mean()) == pytest.approx(10 / 13, abs=0.03)


def test_episodes_shorter_than_the_context_are_dropped_where_windows_begin_at_steps():
    found = episodes(2, 5)._replace(length=torch.tensor([5, 2]))
    assert len(Experience(found, SLOTS, SIZES, 1.0, "walk", keep_short=False)) == 5
    with pytest.raises(UserError, match="no episode of task 'walk' has the 3 steps"):
        Experience(episodes(2, 2), SLOTS, SIZES, 1.0, "walk", keep_short=False)


def test_actions_with_fewer_dimensions_are_marked():
    kept = experience(count=2, steps=4, actions=1)
    window = kept.draw(5, generator(0, "draws"), True)
    assert window.real.tolist() == [[True, False]] * 5
    assert (window.action[window.valid][:, 1] == 3).all()  # 0 of 7 bins: (0 + 1) * 7 / 2 = 3.5
    kept.join(experience(count=1, steps=4))
    assert len(kept) == 12 and kept.real[-1].all() and kept.real.dtype == torch.bool


def test_files_that_are_joined_stay_where_they_are_and_are_read_in_their_order():
    found = [episodes(2, 4, seed=seed) for seed in (0, 1)]
    kept, other = (Experience(one, SLOTS, SIZES, 2.0, "walk", keep_short=True) for one in found)
    kept.join(other)
    assert [part.data_ptr() for part in kept.parts] == [one.obs.data_ptr() for one in found]
    wanted = torch.cat([one.obs[:, :-1].flatten(0, 1) for one in found])
    assert torch.equal(kept.state[:, 3:], wanted) and not kept.state[:, :3].any()
    window = kept.at(torch.tensor([3, 8]))  # the end of the first episode, the first of the other
    assert torch.equal(window.state[0, :, 3:], wanted[1:4])
    assert torch.equal(window.state[1, 2, 3:], wanted[8]) and not window.state[1, :2].any()


def test_shares_of_a_batch_are_the_batch():
    kept = experience(count=3, steps=5)
    whole = kept.draw(6, generator(0, "draws"), True)
    halves = [
        kept.draw(6, generator(0, "draws"), True, rows) for rows in (slice(0, 3), slice(3, 6))
    ]
    for name, part in whole._asdict().items():
        assert torch.equal(torch.cat([getattr(half, name) for half in halves]), part)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("action", 1.25, "an action of task 'walk' holds 1.25 .*outside the bins"),
        ("action", -1.0001, "outside the bins"),
        ("action", float("nan"), "actions of task 'walk' hold numbers that are not finite"),
        ("obs", float("inf"), "observations of task 'walk' hold numbers"),
        ("reward", float("nan"), "rewards of task 'walk' hold numbers"),
    ],
)
def test_numbers_that_cannot_be_are_refused(part, value, message):
    found = episodes()
    getattr(found, part)[1, 2] = value
    with pytest.raises(UserError, match=message) as error:
        Experience(found, SLOTS, SIZES, 1.0, "walk", keep_short=True)
    assert "\n" not in str(error.value)
