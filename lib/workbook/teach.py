"""Shows the library's own source in chapters, and checks a reader's answer."""

import inspect
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lib.workbook.exercise import Case, Mistake
from lib.workbook.exercises import exercise_for

CLOSE = {"rtol": 1e-4, "atol": 1e-6}  # float32 sums taken in another order still agree


@dataclass(frozen=True)
class Verdict:
    """Holds what a check found; `right` is None while nothing has been written yet."""

    right: bool | None
    text: str


def show(*objects: Any) -> None:
    """Shows the source of library functions or classes on the page, always the current one."""
    from IPython.display import Markdown, display

    for item in objects:
        display(Markdown(f"```python\n{source(item)}\n```"))


def solution(*objects: Any) -> None:
    """Shows the library's answer to an exercise, folded up until a reader opens it."""
    from IPython.display import Markdown, display

    for item in objects:
        summary = f"<summary>The library's answer: <code>{item.__name__}</code></summary>"
        code = f"```python\n{source(item)}\n```"
        display(Markdown(f"<details>{summary}\n\n{code}\n\n</details>"))


def source(item: Any) -> str:
    """Returns the source of a function, method or class, unindented, below where it is from."""
    item = inspect.unwrap(item)
    path = inspect.getmodule(item).__name__.replace(".", "/")
    return f"# {path}.py\n{textwrap.dedent(inspect.getsource(item)).rstrip()}"


def check(
    mine: Callable[..., Any] | None,
    reference: Callable[..., Any],
    cases: Sequence[Case] | None = None,
    mistakes: Sequence[Mistake] | None = None,
) -> None:
    """Compares an answer with the library and says what is likely wrong with it.

    Args:
        mine: the reader's function. Not attempted yet: None, a function that returns None or
            `...`, or one that raises NotImplementedError.
        reference: the library's function.
        cases: calls to compare; left out, those of `lib.workbook.exercises`.
        mistakes: likely wrong answers; left out, those of `lib.workbook.exercises`.
    """
    if cases is None:
        exercise = exercise_for(reference)
        cases = exercise.cases(torch.Generator().manual_seed(0))
        mistakes = exercise.mistakes if mistakes is None else mistakes
    print(verdict(mine, reference, cases, mistakes or ()).text)


def verdict(
    mine: Callable[..., Any] | None,
    reference: Callable[..., Any],
    cases: Sequence[Case],
    mistakes: Sequence[Mistake] = (),
) -> Verdict:
    """Returns what `check` prints."""
    name = reference.__name__
    if mine is None:
        return _not_attempted(name)
    for number, case in enumerate(cases, 1):
        wanted = _outcome(reference, case)
        try:
            found = _outcome(mine, case)
        except NotImplementedError:
            return _not_attempted(name)
        except Exception as error:  # whatever a reader's code may raise
            kind = type(error).__name__
            text = f"{name}: stopped with {kind} on case {number} {_shapes(case)}: {error}"
            return Verdict(False, text)
        if found.value is None or found.value is ...:
            return _not_attempted(name)
        problem = _compare(found, wanted, case)
        if problem:
            hint = _known_mistake(mine, cases, mistakes)
            text = f"{name}: not yet. {hint or problem} (case {number} of {len(cases)})"
            return Verdict(False, text)
    return Verdict(True, f"{name}: right, in {len(cases)} cases")


def _not_attempted(name: str) -> Verdict:
    return Verdict(None, f"{name}: not attempted")


@dataclass(frozen=True)
class _Outcome:
    value: Any
    leaves: list[Tensor]
    gradients: list[Tensor | None]  # of every floating-point tensor argument, in order
    changed: bool  # an argument was written to


def _outcome(function: Callable[..., Any], case: Case) -> _Outcome:
    """Calls a function on copies of the arguments and sends a gradient back through it."""
    inputs: list[Tensor] = []
    args = _copied(case.args, inputs)
    kwargs = _copied(case.kwargs, inputs)
    before = [tensor.detach().clone() for tensor in inputs]
    with torch.enable_grad():
        value = function(*args, **kwargs)
    changed = any(not torch.equal(a, b) for a, b in zip(inputs, before, strict=True))
    leaves = _tensors(value)
    floats = [tensor for tensor in inputs if tensor.requires_grad]
    outputs = [leaf for leaf in leaves if leaf.requires_grad]
    gradients: list[Tensor | None] = [None] * len(floats)
    if outputs and floats:
        # Different weights on every entry, so that errors cannot cancel in a sum.
        weights = [torch.linspace(1, 2, o.numel()).reshape(o.shape).to(o) for o in outputs]
        gradients = list(torch.autograd.grad(outputs, floats, weights, allow_unused=True))
    return _Outcome(value, [leaf.detach() for leaf in leaves], gradients, changed)


def _copied(value: Any, inputs: list[Tensor]) -> Any:
    if isinstance(value, Tensor):
        copy = value.detach().clone()
        inputs.append(copy)
        return copy.requires_grad_(copy.is_floating_point())
    if isinstance(value, dict):
        return {key: _copied(item, inputs) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(item, inputs) for item in value)
    return value


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in _tensors(value[key])]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in _tensors(item)]
    return [] if value is None or value is ... else [torch.as_tensor(value)]


def _compare(found: _Outcome, wanted: _Outcome, case: Case) -> str:
    """Returns what is wrong with an outcome, in one sentence; empty when nothing is."""
    if found.changed and not wanted.changed:
        return "It changes its input in place; work on a new tensor."
    if len(found.leaves) != len(wanted.leaves):
        return f"It returns {len(found.leaves)} tensors, wanted {len(wanted.leaves)}."
    for mine, right in zip(found.leaves, wanted.leaves, strict=True):
        if mine.shape != right.shape:
            return f"It returns shape {tuple(mine.shape)}, wanted {tuple(right.shape)}."
        close = torch.isclose(mine.double(), right.double(), equal_nan=True, **CLOSE)
        if not close.all():
            index = tuple((~close).nonzero()[0].tolist())
            at = f" at {list(index)}" if index else ""
            return (
                f"It gives {mine[index].item():.6g}{at}, wanted {right[index].item():.6g}, "
                f"for {_shapes(case)}."
            )
    for index, (mine, right) in enumerate(zip(found.gradients, wanted.gradients, strict=True), 1):
        if right is None and mine is not None and mine.abs().sum() > 0:
            return f"Values agree, but gradient flows into tensor {index}; detach it."
        if mine is None and right is not None and right.abs().sum() > 0:
            return f"Values agree, but no gradient reaches tensor {index}; something is detached."
        both = mine is not None and right is not None
        if both and not torch.allclose(mine, right, equal_nan=True, **CLOSE):
            return f"Values agree, but the gradient of tensor {index} differs."
    return ""


def _known_mistake(
    mine: Callable[..., Any], cases: Sequence[Case], mistakes: Sequence[Mistake]
) -> str:
    """Returns the hint of the listed mistake that agrees with the answer in every case."""
    for mistake in mistakes:
        try:
            same = all(
                not _compare(_outcome(mine, case), _outcome(mistake.wrong, case), case)
                for case in cases
            )
        except Exception:  # one of the two cannot take some case, so they are not the same
            continue
        if same:
            return mistake.hint
    return ""


def _shapes(case: Case) -> str:
    def text(value: Any) -> str:
        if isinstance(value, Tensor):
            return str(list(value.shape))
        if callable(value):
            return getattr(value, "__name__", type(value).__name__)
        return repr(value) if not isinstance(value, list | tuple) else str(list(map(text, value)))

    named = [f"{key}={text(value)}" for key, value in case.kwargs.items()]
    return f"({', '.join([text(value) for value in case.args] + named)})"
