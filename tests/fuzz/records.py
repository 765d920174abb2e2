"""Damages files of run folders in ways drawn from a seed."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 10**30, 10**400, -(2**63), float("nan"), float("inf"), 1e308),
    *("", "x", "\0", "../../x", "x" * 300, "1", "complete", "\u202e", [], {}, [[]], [None], ["a"]),
    *([1, "a", None], {"a": 1}, {"": {}}, [[1.0, None]], {"a": {"b": {"c": []}}}, list(range(50))),
)
TEXTS = (
    b"",
    b"\0",
    b"[]",
    b"{}",
    b"null",
    b"3",
    b'"text"',
    b"\xff\xfe\x00",
    "méthode: é\n".encode("utf-16"),
    "é".encode("latin-1"),
    b"[" * 5000,
    b"{" * 5000,
    b"a: &a [*a]\n",
    b"a: !!python/name:os.system\n",
    b"1" * 6000,
    b"- " * 3000,
    b"status: complete\n",
    b'{"status": "complete"}',
    b'{"parameters": {}, "runs": []}',
    b"NaN",
    b"\n\n\n",
)


def damage(path: Path, draw: random.Random) -> str:
    """Damages one file; returns how."""
    how = draw.choice((_text, _cut, _flip, _append, _nested, _nested, _nested, _replaced, _line))
    return f"{path.name}: {how(path, draw)}"


def _text(path: Path, draw: random.Random) -> str:
    found = draw.choice(TEXTS)
    path.write_bytes(found)
    return f"holds {found[:20]!r}"


def _cut(path: Path, draw: random.Random) -> str:
    data = path.read_bytes()
    at = draw.randrange(len(data) + 1)
    path.write_bytes(data[:at] if draw.random() < 0.7 else data[at:])
    return f"cut at {at} of {len(data)}"


def _flip(path: Path, draw: random.Random) -> str:
    data = bytearray(path.read_bytes() or b"x")
    for _ in range(draw.choice((1, 1, 3, 50))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)
    return "bits flipped"


def _append(path: Path, draw: random.Random) -> str:
    more = draw.choice((b"\n", b"\0" * 8, b"{}", b"x: [", b"\xff", b"\n\n{\n"))
    path.write_bytes(path.read_bytes() + more)
    return f"{more!r} appended"


def _line(path: Path, draw: random.Random) -> str:
    lines = path.read_bytes().split(b"\n")
    at = draw.randrange(len(lines))
    lines[at] = draw.choice((b"", b"{", b"[]", lines[draw.randrange(len(lines))], b"\xff"))
    path.write_bytes(b"\n".join(lines))
    return f"line {at} replaced"


def _replaced(path: Path, draw: random.Random) -> str:
    """Something else in its place."""
    path.unlink()
    kind = draw.choice(("gone", "a folder", "a full folder", "a link", "a loop", "a pipe"))
    if kind == "a folder":
        path.mkdir()
    elif kind == "a full folder":
        path.mkdir()
        (path / "thesis.txt").write_text("years of work")
    elif kind == "a link":
        path.symlink_to(draw.choice(("gone", "/etc/hostname", "/dev/zero", "..")))
    elif kind == "a loop":
        path.symlink_to(path.name)
    elif kind == "a pipe":
        os.mkfifo(path)
    return kind


def _nested(path: Path, draw: random.Random) -> str:
    """Changes one value in JSON or YAML; of other files, some bytes."""
    read: Callable[[str], Any] = yaml.safe_load if path.suffix == ".yaml" else json.loads
    try:
        text = path.read_text()
        lines = text.splitlines() if path.suffix == ".jsonl" else [text]
        at = draw.randrange(len(lines))
        found = read(lines[at])
    except (ValueError, yaml.YAMLError):
        return _flip(path, draw)
    holder: Any = [found]
    place: Any = 0
    while isinstance(holder[place], dict | list) and holder[place] and draw.random() < 0.75:
        holder = holder[place]
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        place = draw.choice(keys)
    said = f"{place!r} of {str(holder)[:40]}"
    if draw.random() < 0.25:
        holder.pop(place)
    else:
        value = draw.choice(ODD)
        holder[place] = value
        said += f" is {str(value)[:20]}"
    changed = holder[0] if holder and place == 0 and holder == [found] else found
    if path.suffix == ".yaml":
        lines[at] = yaml.safe_dump(changed, sort_keys=False)
    else:
        lines[at] = json.dumps(changed)
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass") + text[-1:].encode())
    return said


def contents(folder: Path) -> dict[Path, bytes | str | None]:
    """Everything in a folder: bytes of files, aims of links, None for folders and all else."""
    found: dict[Path, bytes | str | None] = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            found[path] = os.readlink(path)
        else:
            found[path] = path.read_bytes() if path.is_file() else None
    return found


def restore(folder: Path, before: dict[Path, bytes | str | None]) -> None:
    """Makes a folder what it was; only what changed is written."""
    now = contents(folder)
    for path in sorted(now, reverse=True):
        if path not in before or (now[path] is None) != (before[path] is None):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif os.path.lexists(path):
                path.unlink()
    for path, was in before.items():
        if was is None:
            path.mkdir(parents=True, exist_ok=True)
        elif now.get(path) != was or path.is_symlink():
            path.unlink(missing_ok=True)
            path.write_bytes(was)
