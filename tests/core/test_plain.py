"""Values and names that come from files or users."""

import datetime

import pytest

from lib.core.errors import UserError
from lib.core.plain import check_plain, escape, plain_name, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
        ("a|b", "a&#124;b"),
        ("two\nlines", "two lines"),
        ("[here](javascript:alert(1))", "[here]&#40;javascript:alert(1))"),
        ("![x][y]", "![x]&#91;y]"),
        ("$x$", "&#36;x&#36;"),
        ("&lt;", "&amp;lt;"),
        ("**bold**, `code`, 0.85 [0.80, 0.90]", "**bold**, `code`, 0.85 [0.80, 0.90]"),
        (12, "12"),
    ],
)
def test_text_is_shown_and_not_obeyed(text, shown):
    assert escape(text) == shown


@pytest.mark.parametrize(
    "name", ["mine", "a.b", "Läufe-3", "<img src=x onerror=alert(1)>", "x" * 120]
)
def test_plain_names_are_taken_as_they_are(name):
    assert plain_name(name) == name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "it is empty"),
        (" ", "it is empty"),
        ("..", "it begins with a dot"),
        (".hidden", "it begins with a dot"),
        ("../../x", "it begins with a dot"),
        ("/abs/olute", "it contains '/'"),
        ("a/../../x", "it contains '/'"),
        ("a\\b", r"it contains '\\\\'"),
        ("a\0b", "control character"),
        ("a\x1b[31mb", "control character"),
        ("a\nb", "control character"),
        ("\udc80", "control character"),
        ("a\u2028b", "control character"),
        ("a\u202etxt.exe", "control character"),
        ("x" * 121, "it has 121 bytes, of 120"),
        ("ä" * 61, "it has 122 bytes, of 120"),
    ],
)
def test_names_that_would_lead_elsewhere_are_refused_in_one_line(name, problem):
    with pytest.raises(UserError, match=problem) as error:
        plain_name(name)
    assert "\n" not in str(error.value)


def test_a_terminal_has_nothing_to_obey():
    assert printable("a\x1b[2Jb\n") == "a?[2Jb?"


@pytest.mark.parametrize(
    "value", ["text", 3, -1.5, True, None, [], {}, [1, {"a": [None]}], float("nan"), 2**63 - 1]
)
def test_plain_values_pass(value):
    check_plain(value, "tasks")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"x", "a bytes is no value"),
        ({"options": [b"x"]}, "a bytes is no value"),
        ({1, 2}, "a set is no value"),
        (datetime.date(2020, 1, 1), "a date is no value"),
        ({1: 2}, "a key of type int is no text"),
        ({"a\0": 2}, "control character"),
        ("a\x1bb", "control character"),
        (2**63, "too large"),
        (-(2**63), "too large"),
        pytest.param(1 << 100_000, "too large", id="huge"),
        ([0] * 10_001, "too many values"),
    ],
)
def test_other_values_are_refused_in_one_line(value, message):
    with pytest.raises(UserError, match=f"^tasks.*: .*{message}") as error:
        check_plain(value, "tasks")
    assert "\n" not in str(error.value) and len(str(error.value)) < 200
