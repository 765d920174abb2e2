"""Reads YAML as plain values; whatever is wrong with it is one kind of error, in a few words.

Values are what they look like. Unlike PyYAML's own loaders, none reads 017 as 15, 1:30 as 90 or a
date as anything but text, none takes the last of two keys that are the same, and the tags for
dates, bytes and sets mean nothing.
"""

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import BaseConstructor, ConstructorError, SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode

from lib.core.files import open_regular

LARGEST_TEXT = 1 << 18  # bytes; the longest record of this workbook has a tenth
DEEPEST = 32  # lists and mappings in each other
MOST = 20_000  # values and keys
LONGEST_PROBLEM = 120  # characters; of a longer one the line says enough
DIGITS = 400  # of a number; what is larger is refused with the setting's name
TAG = "tag:yaml.org,2002:"
# What these match, PyYAML's writer puts quotes around where it is text: so text stays text.
WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0b[01]+|0x[0-9a-fA-F]+)")
NUMBER = re.compile(r"(?:[-+]?[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?")
SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def read_yaml(text: str) -> Any:
    """What YAML text means; nothing in it is executed.

    Raises:
        ValueError: it is no YAML, or too much of it, in a few words.
    """
    if len(text) > LARGEST_TEXT:
        raise ValueError(f"it has {len(text):,} characters, of {LARGEST_TEXT:,} that are read")
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"in line {mark.line + 1}: " if mark else ""
        said = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ValueError(where + (said if len(said) <= LONGEST_PROBLEM else "unreadable")) from None


def read_yaml_file(path: Path) -> Any:
    """What a YAML file means.

    Raises:
        OSError: it cannot be read, or is no regular file.
        ValueError: what `read_yaml` says, or the file is too large or no UTF-8.
    """
    with open_regular(path) as file:
        found = file.read(LARGEST_TEXT + 1)
    if len(found) > LARGEST_TEXT:
        raise ValueError(f"it has more than {LARGEST_TEXT:,} bytes")
    return read_yaml(found.decode())


class _Loader(yaml.SafeLoader):
    """Makes None, true, false, numbers, text, lists and mappings, and nothing else."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (as PyYAML has it)
        first: [row for row in rows if row[0] in (TAG + "null", TAG + "bool")]
        for first, rows in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {  # noqa: RUF012
        tag: SafeConstructor.yaml_constructors[tag]
        for tag in (TAG + "null", TAG + "str", TAG + "seq", TAG + "map", None)
    }

    def __init__(self, text: str):
        super().__init__(text)
        self.depth, self.left = 0, MOST

    def compose_node(self, parent: Node | None, index: Any) -> Node:
        """Refuses what is too deep or too much before it takes time."""
        mark = self.peek_event().start_mark
        self.depth, self.left = self.depth + 1, self.left - 1
        if self.depth > DEEPEST:
            raise ComposerError(None, None, "too many lists or mappings in each other", mark)
        if self.left < 0:
            raise ComposerError(None, None, f"more than {MOST:,} values", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict:
        """Refuses a key that is there twice."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, ScalarNode):
                if (key.tag, key.value) in seen:
                    raise ConstructorError(
                        None, None, f"key {key.value[:60]!r} is there twice", key.start_mark
                    )
                seen.add((key.tag, key.value))
        return BaseConstructor.construct_mapping(self, node, deep)

    def whole(self, node: ScalarNode) -> int:
        """A whole number."""
        text = self._matching(node, WHOLE, "whole number")
        return int(text.replace("_", ""), 0)

    def number(self, node: ScalarNode) -> float:
        """A number with a point, infinite, or none."""
        if SPECIAL.fullmatch(str(node.value)):
            return float(node.value.replace(".", "").lower())
        text = self._matching(node, NUMBER, "number, as in 1.0e-4")
        return float(text.replace("_", ""))

    def truth(self, node: ScalarNode) -> bool:
        """True or false."""
        values = SafeConstructor.bool_values
        return values[self._matching(node, re.compile("(?i)" + "|".join(values)), "true or false")]

    def _matching(self, node: ScalarNode, pattern: re.Pattern, wanted: str) -> str:
        """A value's text in small letters; its tag may have been written down for anything."""
        text = self.construct_scalar(node)
        if len(text) > DIGITS:
            said = f"a number of {len(text):,} digits is too large"
        elif not pattern.fullmatch(text):
            said = f"{text[:60]!r} is no {wanted}"
        else:
            return text.lower()
        raise ConstructorError(None, None, said, node.start_mark)


for _name, _first, _read, *_patterns in (
    ("int", "-+0123456789", _Loader.whole, WHOLE),
    ("float", "-+0123456789.", _Loader.number, NUMBER, SPECIAL),
    ("bool", "", _Loader.truth),
):
    _Loader.add_constructor(TAG + _name, _read)
    for _pattern in _patterns:
        _whole = re.compile(f"(?:{_pattern.pattern})$")
        _Loader.add_implicit_resolver(TAG + _name, _whole, list(_first))
