import torch

from lib.algos.decision_transformer.rows import of_all, of_each

# Two layers; a set's tensor "a" is (L, 1, 2).
SETS = [
    {"a": torch.full((2, 1, 2), float(n)) + torch.arange(2.0).view(2, 1, 1) / 10} for n in range(4)
]


def test_all_rows_share_the_tensors_of_one_set():
    torch.testing.assert_close(of_all(SETS[2])("a", 1), torch.tensor([[2.1, 2.1]]))


def test_every_row_has_those_of_its_own():
    found = of_each(SETS, torch.tensor([3, 0, 3]))("a", 1)
    torch.testing.assert_close(found, torch.tensor([[[3.1, 3.1]], [[0.1, 0.1]], [[3.1, 3.1]]]))


def test_rows_that_all_have_the_same_share_it():
    assert of_each(SETS, torch.tensor([1, 1, 1]))("a", 0).shape == (1, 2)


def test_several_sets_of_a_row_stand_one_after_the_other():
    found = of_each(SETS, torch.tensor([[3, 0], [1, 1]]))("a", 0)
    assert found.tolist() == [[[3, 3], [0, 0]], [[1, 1], [1, 1]]]
