"""YAML that comes from files or users."""

import math
import os
import random
import time

import pytest
import yaml

from lib.core.errors import UserError
from lib.core.plain import check_plain
from lib.core.plain_yaml import LARGEST_TEXT, MOST, read_yaml, read_yaml_file

LAUGHS = "a: &a [1, 2, 3, 4, 5]\n" + "\n".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}]" for a, b in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-1_000", -1000),
        ("0x1F", 31),
        ("0b101", 5),
        ("!!int 7", 7),
        ("1.5", 1.5),
        ("1.0e-4", 1e-4),
        ("-.inf", -math.inf),
        ("yes", True),
        ("!!bool off", False),
        ("~", None),
        ("[a, {b: c}]", ["a", {"b": "c"}]),
        # What YAML 1.1 reads as other numbers and dates, and people as text.
        ("017", "017"),
        ("1:30", "1:30"),
        ("1:30.5", "1:30.5"),
        ("2020-01-01", "2020-01-01"),
        ("2020-13-45", "2020-13-45"),
        ("0b_", "0b_"),
        ("0x_", "0x_"),
        ("=", "="),
        ("{<<: {a: 1}}", {"<<": {"a": 1}}),
    ],
)
def test_values_are_what_they_look_like(text, value):
    found = read_yaml(text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: b: c", "in line 1: mapping values"),
        ("a: 1\nb: 2\na: 3", "in line 3: key 'a' is there twice"),
        ("{x: {a: 1, a: 1}}", "key 'a' is there twice"),
        ("\0", "special characters"),
        ("[" * 100_000, "too many lists or mappings"),
        ("- " * 5000, "too many lists or mappings"),
        ("[" + "1," * MOST + "1]", "more than 20,000 values"),
        ("x" * (LARGEST_TEXT + 1), "it has 262,145 characters, of 262,144"),
        ("9" * 5000, "a number of 5,000 digits is too large"),
        ("!!int foo", "'foo' is no whole number"),
        ("!!int 017", "'017' is no whole number"),
        ("!!float x", "'x' is no number"),
        ("!!bool x", "'x' is no true or false"),
        ("!!timestamp foo", "could not determine a constructor"),
        ("!!binary x", "could not determine a constructor"),
        ("!!set {a}", "could not determine a constructor"),
        ("!!python/object:os.system x", "could not determine a constructor"),
        ("{[a]: 1}", "unhashable key"),
        ("*a", "undefined alias"),
        ("a\n---\nb", "another document"),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_yaml_is_one_kind_of_error_at_once(text, said):
    began = time.monotonic()
    with pytest.raises(ValueError, match=said) as error:
        read_yaml(text)
    assert type(error.value) is ValueError and "\n" not in str(error.value)
    assert len(str(error.value)) < 200 and time.monotonic() - began < 10


def test_lists_in_themselves_and_lists_that_grow_are_refused():
    for text in ("&a [*a]", LAUGHS):
        with pytest.raises(UserError, match="too many values"):
            check_plain(read_yaml(text), "tasks")


SIGNS = "0123456789eE+-._:xboaf '\"#&*!|>%@`{}[],?~=<ä\u2028\x85\t\n"


def test_what_is_written_is_what_is_read():
    draws = random.Random(0)
    values = ["1e5", "-.5", "017", "1:30", "0o17", "2020-01-01", "yes", "1_0", ".5e3", "<<", "="]
    values += ["".join(draws.choices(SIGNS, k=draws.randint(1, 6))) for _ in range(2000)]
    values += [draws.uniform(-1, 1) * 10 ** draws.randint(-300, 300) for _ in range(200)]
    values += [draws.randint(-(2**63), 2**63) for _ in range(200)]
    for value in values:
        assert read_yaml(yaml.safe_dump({"a": [value]})) == {"a": [value]}


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path / "pipe", tmp_path, tmp_path / "nothing"):
        with pytest.raises(OSError):
            read_yaml_file(path)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe4")
    (tmp_path / "large.yaml").write_bytes(b"x" * (LARGEST_TEXT + 1))
    for name in ("latin.yaml", "large.yaml"):
        with pytest.raises(ValueError):
            read_yaml_file(tmp_path / name)
    (tmp_path / "mine.yaml").write_text("a: ä")
    assert read_yaml_file(tmp_path / "mine.yaml") == {"a": "ä"}
