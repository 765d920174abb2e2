import numpy as np
import pytest
import torch

from lib.core.errors import UserError
from lib.replay.retention import SAMPLE, Coverage, Fifo, RandomEvict, Reservoir, Retention, build


class FlatLayout(torch.nn.Module):
    """Embeds an episode as its first observation."""

    def forward(self, obs: torch.Tensor, length: list[int]) -> torch.Tensor:
        return obs[:, 0]


class Memory:
    """The plainest caller of a rule: items are numbers, at places that are never used again."""

    def __init__(self, rule: Retention, capacity: int, seed: int = 0):
        self.rule, self.capacity = rule, capacity
        self.draws = torch.Generator().manual_seed(seed)
        self.item, self.key = np.zeros(0, np.int64), np.zeros(0)
        self.size = np.zeros(0, np.int64)

    def offer(self, item: int, size: int = 1, view: torch.Tensor | None = None) -> float:
        key = self.rule.key(self.draws, item, self.item, view)
        for name, value in (("item", item), ("key", key), ("size", size)):
            setattr(self, name, np.append(getattr(self, name), value))
        leaving = self.rule.leaving(self.key, self.size, self.capacity, self.draws)
        for name in ("item", "key", "size"):
            setattr(self, name, np.delete(getattr(self, name), leaving))
        return key


def shares(memory: Memory, tasks: int, each: int) -> np.ndarray:
    """Each task's share of the items after `tasks` tasks of `each` items of size 1."""
    for item in range(tasks * each):
        memory.offer(item)
    return np.bincount(memory.item // each, minlength=tasks) / len(memory.item)


def test_first_in_first_out_keeps_the_newest_that_fit():
    memory = Memory(Fifo(), 7)
    for item, size in enumerate([3, 2, 2, 4]):
        memory.offer(item, size)
    # 3 + 2 + 2 fit exactly; 4 more push out 3 and then 2, and 2 + 4 remain
    assert memory.item.tolist() == [2, 3]


def test_a_reservoir_keeps_a_quarter_of_each_of_four_equal_tasks():
    # of 2,500 kept a share has a standard error of 0.75 points, averaged over 3 seeds 0.43
    found = [shares(Memory(Reservoir(), 2500, seed), 4, 2500) for seed in range(3)]
    assert np.mean(found, 0) == pytest.approx(np.full(4, 0.25), abs=0.02)


def test_random_eviction_lets_early_tasks_fade():
    # An item survives another task of n items with chance (1 - 1/n)^n = 1/e, so the shares are
    # e^-3, e^-2 - e^-3, e^-1 - e^-2 and 1 - e^-1; the published code was measured at 5/9/24/62 %.
    found = np.mean([shares(Memory(RandomEvict(), 2500, seed), 4, 2500) for seed in range(3)], 0)
    assert found == pytest.approx(np.array([0.05, 0.086, 0.233, 0.632]), abs=0.01)
    assert found == pytest.approx(np.array([0.05, 0.09, 0.24, 0.62]), abs=0.02)


def test_first_in_first_out_keeps_nothing_but_the_last_task():
    assert shares(Memory(Fifo(), 100), 4, 100).tolist() == [0, 0, 0, 1]


def test_a_reservoir_holds_the_largest_keys_that_ever_fit_together():
    lengths = torch.randint(1, 30, (400,), generator=torch.Generator().manual_seed(1)).tolist()
    memory, keys = Memory(Reservoir(), 500), []
    for item, size in enumerate(lengths):
        keys.append(memory.offer(item, size))
    best = np.argsort(keys)[::-1]
    fits = np.cumsum(np.array(lengths)[best]) <= 500
    assert sorted(memory.item) == sorted(best[: fits.argmin()])


def test_a_reservoir_stays_uniform_over_items_whose_sizes_vary():
    # Sizes 1 to 20 in tasks 0 and 2, 10 to 29 in tasks 1 and 3: the share of items is even, and
    # the short ones of a task are kept no more often than its long ones.
    each, runs = 500, 12
    kept, short = np.zeros(4), 0.0
    for seed in range(runs):
        draws = np.random.default_rng(seed)
        sizes = draws.integers(1, 21, 4 * each) + np.repeat([0, 9, 0, 9], each)
        memory = Memory(Reservoir(), 8000, seed)
        for item, size in enumerate(sizes.tolist()):
            memory.offer(item, size)
        kept += np.bincount(memory.item // each, minlength=4) / len(memory.item) / runs
        of_first = memory.size[memory.item < each]
        short += (of_first <= 10).mean() / runs
    assert kept == pytest.approx(np.full(4, 0.25), abs=0.02)
    assert short == pytest.approx(0.5, abs=0.05)


def test_many_keys_at_once_keep_the_largest():
    key = torch.tensor([0.3, 0.9, 0.1, 0.7])
    assert sorted(Reservoir.kept(key, 2).tolist()) == [1, 3]
    assert Reservoir.kept(key, 4).tolist() == [0, 1, 2, 3] == Reservoir.kept(key, None).tolist()


def test_coverage_asks_for_the_median_distance_to_all_and_itself():
    memory = Memory(Coverage(FlatLayout()), 10)
    views = torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0], [0.0, 1.0]])
    keys = [memory.offer(i, view=view) for i, view in enumerate(views)]
    # {0, 5}: 2.5; {0, 5, 10}: 5; {0, 1, sqrt(9 + 9), sqrt(36 + 49)}: between 1 and 4.243
    assert keys == pytest.approx([1.0, 2.5, 5.0, (1 + 18**0.5) / 2])


def test_coverage_lets_the_most_usual_item_leave():
    memory = Memory(Coverage(FlatLayout()), 3)
    for item, at in enumerate([0.0, 8.0, 0.5, 20.0]):
        memory.offer(item, view=torch.tensor([at]))
    # keys 1, 4, 0.5 and 12 (of 20, 12, 0): the third leaves
    assert memory.item.tolist() == [0, 1, 3]


def test_coverage_compares_with_a_thousand_at_most():
    rule, n = Coverage(FlatLayout()), 3 * SAMPLE
    rule.embedding = torch.zeros(4096, 1)
    rule.embedding[: n // 4] = 1.0
    key = rule.key(torch.Generator().manual_seed(0), n, np.arange(n), torch.zeros(1))
    assert key == 0.0  # three quarters of any sample lie at distance 0
    assert rule.key(torch.Generator().manual_seed(0), n, np.arange(n), torch.ones(1)) == 1.0


@pytest.mark.parametrize("name", ["fifo", "reservoir", "random-evict", "coverage"])
def test_a_restored_rule_goes_on_alike(name):
    memory, other = (Memory(build(name, FlatLayout()), 20) for _ in range(2))
    views = torch.rand(60, 3, generator=torch.Generator().manual_seed(2))
    for item in range(30):
        memory.offer(item, 1 + item % 3, views[item])
    # The restored rule knows its items at places 0 to N-1, and so does the caller from now on.
    state = memory.rule.state_dict(memory.item)
    other.rule.load_state_dict(state)
    for each in (memory, other):
        each.draws.manual_seed(3)
    other.key, other.size = memory.key.copy(), memory.size.copy()
    other.item = np.arange(len(memory.item))
    for item in range(30, 60):
        keys = [each.offer(item, 1 + item % 3, views[item]) for each in (memory, other)]
        assert keys[0] == keys[1]
    assert np.array_equal(memory.key, other.key)


def test_a_rule_that_remembers_nothing_refuses_a_memory():
    with pytest.raises(ValueError, match="remembers nothing, but .'floor'. arrived"):
        RandomEvict().load_state_dict({"floor": 0.5})


def test_an_unknown_rule_is_named():
    with pytest.raises(UserError, match="unknown retention 'reservoirs'.*did you mean 'reservoir'"):
        build("reservoirs")


def test_coverage_needs_something_that_embeds():
    with pytest.raises(ValueError, match="needs a function"):
        build("coverage")
