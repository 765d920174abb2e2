import pytest
import torch

from lib.core import losses
from lib.core.errors import UserError
from lib.workbook import teach
from lib.workbook.exercise import Case, Mistake
from lib.workbook.exercises import EXERCISES, exercise_for
from lib.workbook.teach import verdict


def double(x):
    """Twice the input."""
    return 2 * x


CASES = [Case((torch.arange(6.0).reshape(2, 3),))]


def names(value):
    return value.reference.__name__


def cases_of(exercise):
    return exercise.cases(torch.Generator().manual_seed(0))


@pytest.mark.parametrize("exercise", EXERCISES, ids=names)
def test_every_exercise_accepts_the_library(exercise):
    found = verdict(exercise.reference, exercise.reference, cases_of(exercise), exercise.mistakes)
    assert found.right is True
    assert "right" in found.text


@pytest.mark.parametrize(
    ("exercise", "mistake"),
    [(e, m) for e in EXERCISES for m in e.mistakes],
    ids=lambda value: names(value) if hasattr(value, "reference") else value.hint[:20],
)
def test_every_listed_mistake_is_rejected_with_its_own_hint(exercise, mistake):
    found = verdict(mistake.wrong, exercise.reference, cases_of(exercise), exercise.mistakes)
    assert found.right is False
    assert mistake.hint in found.text


@pytest.mark.parametrize("exercise", EXERCISES, ids=names)
def test_cases_are_the_same_every_time(exercise):
    first, second = cases_of(exercise), cases_of(exercise)
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one.args, other.args, strict=True):
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def blank(x):
    raise NotImplementedError


@pytest.mark.parametrize("mine", [None, blank, lambda x: None, lambda x: ...])
def test_a_blank_answer_is_not_attempted(mine):
    assert verdict(mine, double, CASES) == teach.Verdict(None, "double: not attempted")


def test_a_wrong_value_is_shown_with_its_place():
    found = verdict(lambda x: x + x * (x < 5), double, CASES)
    assert found.text == (
        "double: not yet. It gives 5 at [1, 2], wanted 10, for ([2, 3]). (case 1 of 1)"
    )


def test_a_wrong_shape_is_named():
    found = verdict(lambda x: (2 * x).T, double, CASES)
    assert "returns shape (3, 2), wanted (2, 3)" in found.text


def test_an_exception_is_reported_with_the_shapes():
    found = verdict(lambda x: x @ x, double, CASES)
    assert found.right is False
    assert "stopped with RuntimeError on case 1 ([2, 3])" in found.text


def test_a_stopped_gradient_is_noticed_although_values_agree():
    assert "no gradient reaches tensor 1" in verdict(lambda x: 2 * x.detach(), double, CASES).text


def test_an_unwanted_gradient_is_noticed_although_values_agree():
    found = verdict(double, lambda x: 2 * x.detach(), CASES)
    assert "gradient flows into tensor 1; detach it" in found.text


def test_another_gradient_is_noticed_although_values_agree():
    found = verdict(lambda x: x + x.detach(), double, CASES)
    assert "gradient of tensor 1 differs" in found.text


def test_writing_into_the_input_is_noticed():
    def in_place(x):
        with torch.no_grad():
            x.mul_(2)
        return x

    assert "changes its input in place" in verdict(in_place, double, CASES).text


def test_numbers_dictionaries_and_tuples_are_compared():
    def reference(x):
        return x.sum(), {"mean": x.mean(), "count": x.numel()}

    assert verdict(reference, reference, CASES).right
    assert (
        "6" in verdict(lambda x: (x.sum(), {"mean": x.mean(), "count": 7}), reference, CASES).text
    )
    assert "1 tensors, wanted 3" in verdict(lambda x: x.sum(), reference, CASES).text


def test_a_hint_is_given_only_when_the_mistake_agrees_everywhere():
    mistakes = [Mistake(lambda x: 3 * x, "Thrice is too much.")]
    assert "Thrice" in verdict(lambda x: x + x + x, double, CASES, mistakes).text
    assert "Thrice" not in verdict(lambda x: 4 * x, double, CASES, mistakes).text


def test_check_prints_one_line_and_finds_the_cases_itself(capsys):
    teach.check(losses.td_target, losses.td_target)
    assert capsys.readouterr().out == "td_target: right, in 3 cases\n"
    teach.check(lambda x: 3 * x, double, CASES)
    assert capsys.readouterr().out.startswith("double: not yet.")


def test_a_function_without_an_exercise_needs_cases():
    with pytest.raises(UserError, match="unknown exercise 'double'.*or pass `cases`"):
        exercise_for(double)


def test_the_source_shown_is_the_real_one():
    text = teach.source(losses.td_target)
    assert text.startswith("# lib/core/losses.py\ndef td_target(")
    assert "next_q.amin(0)" in text
    assert teach.source(Case).startswith("# lib/workbook/exercise.py\n@dataclass")


def test_show_displays_a_python_block(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    teach.show(double, losses.td_target)
    assert [item.data.split("\n")[0] for item in shown] == ["```python", "```python"]
    assert '"""Twice the input."""' in shown[0].data


def test_a_solution_is_folded_up_and_holds_the_real_source(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    teach.solution(losses.td_target)
    (item,) = shown
    assert item.data.startswith("<details><summary>The library's answer: <code>td_target</code>")
    assert f"\n\n```python\n{teach.source(losses.td_target)}\n```\n\n</details>" in item.data
