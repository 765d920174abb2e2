"""Checks values and names that come from files or users, before anything is done with them."""

import math
import unicodedata
from collections.abc import Mapping
from typing import Any

from lib.core.errors import UserError, short

LONGEST_NAME = 120  # bytes; what is added to a name in files' names has room in the usual 255
LARGEST = 2**63 - 1  # what every library below us takes as a whole number
DEEPEST = 8  # of lists and mappings in each other
MOST = 10_000  # values in one
UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")  # categories of Unicode
TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # text runs the other way
MARKUP = str.maketrans(
    {
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
        "|": "&#124;",
        "$": "&#36;",
        "\\": "&#92;",
        "\n": " ",
        "\r": " ",
    }
)


def escape(text: object) -> str:
    """Text as it is meant to be read, where HTML or Markdown is made of it.

    Tags, links, formulas and the borders of table cells lose their meaning; emphasis and `code`
    keep theirs.
    """
    return (
        str(text)
        .translate(MARKUP)
        .replace("](", "]&#40;")
        .replace("][", "]&#91;")
        .replace("://", "&#58;//")
    )


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
        raise UserError(
            f"{what} {short(name)} is no plain file name: {problem}; "
            "take letters, digits, '-' and '_', as in 'my-run'"
        )
    return name


def printable(text: object) -> str:
    """Text without the control characters that a terminal would obey."""
    return "".join("?" if _unprintable(sign) else sign for sign in str(text))


def _unprintable(text: str) -> bool:
    """Whether a text has a control character in it, a break of lines, or half of a character."""
    return any(unicodedata.category(sign) in UNPRINTABLE or sign in TURNING for sign in text)


def check_plain(value: Any, name: str, finite: bool = False) -> None:
    """Refuses all but text, numbers, true, false, nothing, and lists and mappings of these.

    YAML also knows bytes, sets and dates. Executed notebooks are given their parameters as
    source text, in which such a value could become a statement.

    Args:
        name: of the setting, for messages.
        finite: refuse numbers that are infinite or none, too.

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
        elif isinstance(item, float):
            if finite and not math.isfinite(item):
                raise UserError(f"{name}: got {item}, wanted a finite number")
        elif item is not None:
            raise UserError(
                f"{name}: a {type(item).__name__} is no value for it; give text, numbers, true or "
                "false, or lists and mappings of these"
            )

    check(value, 0, name)
