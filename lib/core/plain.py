"""Checks values and names that come from files or users, before anything is done with them."""

import unicodedata
from collections.abc import Mapping
from typing import Any

import yaml

from lib.core.errors import UserError

LONGEST_NAME = 120  # bytes; what is added to a name in files' names has room in the usual 255
LARGEST = 2**63 - 1  # what every library below us takes as a whole number
DEEPEST = 8  # of lists and mappings in each other
MOST = 10_000  # values in one
MARKUP = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "$": "&#36;", "\n": " ", "\r": " "}
)


def escape(text: object) -> str:
    """Text as it is meant to be read, where HTML or Markdown is made of it.

    Tags, links, formulas and the borders of table cells lose their meaning; emphasis and `code`
    keep theirs.
    """
    return str(text).translate(MARKUP).replace("](", "]&#40;").replace("][", "]&#91;")


def plain_name(name: str, what: str = "name") -> str:
    """Returns a name that is fit to be part of a file's name.

    Args:
        what: what the name stands for, for the message.

    Raises:
        UserError: it is empty, too long, begins with a dot, or has a separator or a control
            character in it.
    """
    problem = ""
    if not name.strip():
        problem = "it is empty"
    elif name.startswith("."):
        problem = "it begins with a dot"
    elif found := next((sign for sign in name if sign in "/\\"), None):
        problem = f"it contains {found!r}"
    elif _unprintable(name):
        problem = "it contains a control character"
    elif len(name.encode()) > LONGEST_NAME:
        problem = f"it has {len(name.encode())} bytes, of {LONGEST_NAME} that are allowed"
    if problem:
        shortened = name if len(name) <= LONGEST_NAME else name[:40] + "..."
        raise UserError(
            f"{what} {shortened!r} is no plain file name: {problem}; "
            "take letters, digits, '-' and '_', as in 'my-run'"
        )
    return name


def printable(text: object) -> str:
    """Text without the control characters that a terminal would obey."""
    return "".join("?" if _unprintable(sign) else sign for sign in str(text))


def _unprintable(text: str) -> bool:
    """Whether there is a control character, or half of a character, in a text."""
    return any(unicodedata.category(sign) in ("Cc", "Cs") for sign in text)


def check_plain(value: Any, name: str) -> None:
    """Refuses all but text, numbers, true, false, nothing, and lists and mappings of these.

    YAML also knows bytes, sets and dates. Executed notebooks are given their parameters as
    source text, in which such a value could become a statement.

    Args:
        name: of the setting, for messages.

    Raises:
        UserError: something else, a control character, a number that is too large, or too much.
    """
    left = [MOST]

    def check(item: Any, depth: int, name: str) -> None:
        left[0] -= 1
        if depth > DEEPEST or left[0] < 0:
            raise UserError(f"{name}: too many values in each other; a plain list is enough")
        if isinstance(item, str):
            if _unprintable(item):
                raise UserError(f"{name}: {item[:60]!r} contains a control character; remove it")
        elif isinstance(item, int):
            if not -LARGEST <= item <= LARGEST:
                short = item.bit_length() <= 128
                digits = item if short else f"a number of {len(hex(item)) - 2} hexadecimal digits"
                raise UserError(f"{name}: {digits} is too large; take at most {LARGEST}")
        elif isinstance(item, list | tuple):
            for part in item:
                check(part, depth + 1, name)
        elif isinstance(item, Mapping):
            for key, part in item.items():
                if not isinstance(key, str):
                    kind = type(key).__name__
                    raise UserError(
                        f"{name}: a key of type {kind} is no text; put quotes around it"
                    )
                check(key, depth + 1, name)
                check(part, depth + 1, f"{name}, {key!r}")
        elif item is not None and not isinstance(item, float):
            raise UserError(
                f"{name}: a {type(item).__name__} is no value for it; give text, numbers, true or "
                "false, or lists and mappings of these"
            )

    check(value, 0, name)


def read_yaml(text: str) -> Any:
    """What YAML text means; nothing in it is executed.

    Raises:
        ValueError: it is no YAML, in a few words.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"in line {mark.line + 1}: " if mark else ""
        raise ValueError(where + (getattr(error, "problem", None) or "unreadable")) from None
    except RecursionError:
        raise ValueError("too many brackets in each other") from None
    except ValueError as error:  # a date that does not exist, a number of thousands of digits
        raise ValueError(str(error).split(";")[0]) from None
