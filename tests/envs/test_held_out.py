import torch

from lib.core.spaces import ActionSpace, ObsSpace
from lib.envs import held_out

SPACE, ACTIONS = ObsSpace("image", (2, 2, 3), torch.uint8), ActionSpace(5, discrete=False)


def episodes(count: int, steps: int, value: int):
    return (
        torch.full((count, steps + 1, 2, 2, 3), value, dtype=torch.uint8),
        torch.full((count, steps, 5), float(value)),
        torch.full((count, steps), float(value)),
    )


def test_nothing_is_held_out_at_first():
    record = held_out.empty(3, 7, SPACE, ACTIONS, torch.device("cpu"))
    assert record["obs"].shape == (3, 4, 8, 2, 2, 3) and record["obs"].dtype == torch.uint8
    assert record["action"].shape == (3, 4, 7, 5) and record["reward"].shape == (3, 4, 7)
    assert not any(part.any() for part in record.values())


def test_the_first_four_episodes_of_a_task_take_the_place_of_those_before():
    record = held_out.empty(2, 7, SPACE, ACTIONS, torch.device("cpu"))
    held_out.keep(record, 1, *episodes(6, 7, 9))
    assert record["length"].tolist() == [[0] * 4, [7] * 4]
    length = torch.tensor([3, 1])
    held_out.keep(record, 1, *episodes(2, 3, 4), length)
    assert record["length"].tolist() == [[0] * 4, [3, 1, 0, 0]]
    assert (record["obs"][1, :2, :4] == 4).all() and not record["obs"][1, 2:].any()
    assert (record["action"][1, :2, :3] == 4).all() and not record["action"][1, :, 3:].any()
    assert not record["obs"][0].any()


def test_rewards_may_be_left_out():
    record = held_out.empty(1, 3, SPACE, ACTIONS, torch.device("cpu"))
    held_out.keep(record, 0, *episodes(1, 3, 2)[:2])
    assert not record["reward"].any() and record["length"][0, 0] == 3


def test_the_episodes_of_all_tasks_without_the_empty_ones():
    record = held_out.empty(3, 7, SPACE, ACTIONS, torch.device("cpu"))
    assert not len(held_out.rows(record)["length"])
    held_out.keep(record, 2, *episodes(1, 7, 5))
    held_out.keep(record, 0, *episodes(2, 3, 4), torch.tensor([3, 1]))
    found = held_out.rows(record)
    assert found["length"].tolist() == [3, 1, 7]
    assert found["obs"].shape == (3, 8, 2, 2, 3) and found["reward"].shape == (3, 7)
    assert found["action"][:, 0, 0].tolist() == [4.0, 4.0, 5.0]


def test_what_a_task_does_not_have_is_held_out_as_zeros():
    domain = held_out.HoldsOutEpisodes()
    domain.tasks, domain.device, domain.episode_length = ("wide", "narrow"), torch.device("cpu"), 2
    domain.obs_space, domain.actions = ObsSpace("vector", (5,)), ActionSpace(3, discrete=False)
    record = domain.new_held_out()
    domain.hold_out(record, 1, torch.ones(1, 3, 2), torch.ones(1, 2, 1), torch.ones(1, 2))
    assert record["obs"][1, 0].tolist() == [[1, 1, 0, 0, 0]] * 3
    assert record["action"][1, 0].tolist() == [[1, 0, 0]] * 2
