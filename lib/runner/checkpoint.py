"""Checkpoints: one safetensors file that is loaded without executing anything in it.

Tensors lie in the file as safetensors puts them. Everything else (numbers, text, the nesting)
is JSON in the header, together with a format version, the layout (every tensor's name, type
and shape) and a checksum for each tensor and for the JSON itself. The same state always gives
the same bytes.
"""

import json
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from lib.core.errors import UserError
from lib.core.files import atomic_write, open_regular
from lib.core.storage import NOT_THE_FILES, explained, told_to_the_user
from lib.runner import expected
from lib.runner.contents import CHECKPOINT_KEY as KEY
from lib.runner.contents import CHECKPOINT_START as START

FORMAT = 1  # rises when an older reader could no longer make sense of the file
LARGEST_HEADER = 100_000_000  # what safetensors allows
LENGTH = 8  # bytes that hold the header's length, little endian
PIECE = 1 << 24  # bytes read at once to compare a checksum
Layout = dict[str, tuple[str, tuple[int, ...]]]


def _is_signature(value: Any, name: str) -> str | None:
    """A type and a shape, in what a header says of its tensors."""
    if not isinstance(value, list) or len(value) != 2:
        return f"{name} is {value!r}, wanted a type and a shape"
    return expected.TEXT(value[0], name) or expected.each(expected.WHOLE)(value[1], name)


BODY = expected.record(
    {
        "layout": expected.mapping(_is_signature),
        "crc32": expected.mapping(expected.WHOLE),
        "state": expected.ANYTHING,
        "meta": expected.ANYTHING,
    }
)


def save(path: str | Path, state: Any, meta: dict[str, Any] | None = None) -> None:
    """Writes a state so that a crash leaves either the old file or the new one.

    Args:
        path: ends in .safetensors; its folder is made when missing, but not what that lies in.
        state: nested dicts (text or whole-number keys), lists and tuples of tensors, numbers,
            text, True, False and None. Two names of one tensor are stored as two tensors.
        meta: whatever a reader should see without the tensors, of the same plain kinds.

    Raises:
        UserError: the disk is full or the folder cannot be written.
        TypeError: something in `state` or `meta` is of another kind.
    """
    path = Path(path)
    with told_to_the_user(path):
        path.parent.mkdir(exist_ok=True)
    atomic_write(path, pack(state, meta))


def load(path: str | Path) -> tuple[Any, dict[str, Any]]:
    """Reads a checkpoint back: the state (tensors on the CPU, none shared) and its meta.

    Raises:
        UserError: missing, not a checkpoint of this workbook, truncated, corrupted, or of another
            format version.
    """
    with _damage_told(Path(path)) as path:
        head, size, data = _read(path, whole=True)
        body = _body(head, size, path)
        try:
            tensors = safetensors.torch.load(data)
        except (SafetensorError, ValueError, KeyError, OverflowError) as error:
            raise _Damage(f"is corrupted: {error}") from None
        signed = {name: _signature(tensor) for name, tensor in tensors.items()}
        if signed != _layout_of(body) or signed.keys() != body["crc32"].keys():
            raise _Damage("is corrupted: its tensors are not those it was saved with")
        for name, tensor in tensors.items():
            _check_crc(body, name, zlib.crc32(_bytes(tensor)))
        return _decoded(body["state"], tensors), _meta_of(body, path)


def load_part(path: str | Path, key: str) -> Any:
    """Reads one entry of a state that is a dictionary; of the other tensors nothing is read.

    Raises:
        UserError: what `load` raises, of what is read.
    """
    with _damage_told(Path(path)) as path:
        head, size, _ = _read(path, whole=False)
        body = _body(head, size, path)
        entries = body["state"].get("dict") if isinstance(body["state"], dict) else None
        found = [item for name, item in filter(_is_item, entries or ()) if name == key]
        if not found:
            raise _Damage(f"holds no '{key}'")
        header, tensors = json.loads(head[LENGTH:]), {}
        with open_regular(path) as file:
            for name in body["layout"]:
                if name != key and not name.startswith(f"{key}/"):
                    continue
                begin, end = header[name]["data_offsets"]
                file.seek(len(head) + begin)
                data = bytearray(file.read(end - begin))
                _check_crc(body, name, zlib.crc32(data))
                tensors[name] = _tensor(data, *_layout_of(body)[name])
        return _decoded(found[0], tensors)


def load_meta(path: str | Path) -> dict[str, Any]:
    """Only the meta of a checkpoint. Raises the same errors as `load`, tensors unchecked."""
    with _damage_told(Path(path)) as path:
        head, size, _ = _read(path, whole=False)
        return _meta_of(_body(head, size, path), path)


def verified_meta(path: str | Path) -> dict[str, Any]:
    """The same of a checkpoint all of whose bytes are as they were written."""
    with _damage_told(Path(path)) as path:
        return _verified(path)


def layout(state: Any) -> Layout:
    """Name to (type, shape) for every tensor of a state; names join the keys with slashes."""
    tensors: dict[str, Tensor] = {}
    _encode(state, "", tensors)
    return {name: _signature(tensor) for name, tensor in tensors.items()}


def check_layout(found_state: Any, wanted_state: Any, path: str | Path) -> None:
    """Compares a loaded state with the one that a run would have saved itself.

    Raises:
        UserError: a tensor is missing, unexpected, or of another type or shape.
    """
    found, wanted = layout(found_state), layout(wanted_state)
    names = [name for name in sorted(found | wanted) if found.get(name) != wanted.get(name)]
    if names:
        shown = "; ".join(
            f"{name} is {_describe(found.get(name))} in the file, "
            f"{_describe(wanted.get(name))} in this run"
            for name in names[:3]
        )
        more = f"; and {len(names) - 3} more" if len(names) > 3 else ""
        raise UserError(
            f"checkpoint '{path}' has another layout: {shown}{more}; "
            f"use the settings it was saved with (config.yaml of its run)"
        )


# Writing ------------------------------------------------------------------------------------


def pack(state: Any, meta: dict[str, Any] | None = None) -> bytes:
    """The bytes of a checkpoint file."""
    tensors: dict[str, Tensor] = {}
    tree = _encode(state, "", tensors)
    plain: dict[str, Tensor] = {}
    meta_tree = _encode(meta or {}, "meta", plain)
    if plain:
        raise TypeError(f"meta holds a tensor at {next(iter(plain))}; put it into the state")
    # Own storage for each, row-major: two names of one storage would be refused, and would let
    # the bytes depend on who shares what.
    stored = {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()
    }
    names = sorted(stored)
    shapes = {name: _signature(stored[name]) for name in names}
    body = {
        "format": FORMAT,
        "layout": shapes,
        "crc32": {name: zlib.crc32(_bytes(stored[name])) for name in names},
        "state": tree,
        "meta": meta_tree,
    }
    text = _json(body)
    return safetensors.torch.save(stored, {KEY: f"{zlib.crc32(text):08x}{text.decode()}"})


def _encode(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """JSON for a nested state; tensors are moved to `tensors`, named by where they were."""
    if isinstance(value, Tensor):
        if not name or name in tensors or name.startswith("__"):
            raise TypeError(f"the tensor at {name!r} needs a name of its own")
        tensors[name] = value
        return {"tensor": name}
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": repr(float(value))}
    if isinstance(value, dict):
        for key in value:
            if isinstance(key, bool) or not isinstance(key, str | int):
                raise TypeError(f"key {key!r} at {name!r} is neither text nor a whole number")
        items = [[key, _encode(item, _join(name, key), tensors)] for key, item in value.items()]
        return {"dict": items}
    if isinstance(value, list | tuple):
        items = [_encode(item, _join(name, i), tensors) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    raise TypeError(f"cannot store {type(value).__name__} at {name!r}")


def _join(name: str, key: str | int) -> str:
    return f"{name}/{key}" if name else str(key)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def _signature(tensor: Tensor) -> tuple[str, tuple[int, ...]]:
    return str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)


def _bytes(tensor: Tensor) -> memoryview:
    if not tensor.numel():  # may lie anyhow in memory
        return memoryview(b"")
    return memoryview(tensor.reshape(-1).view(torch.uint8).numpy())


def _describe(signature: tuple[str, tuple[int, ...]] | None) -> str:
    if signature is None:
        return "absent"
    return f"{signature[0]} {list(signature[1])}"


# Reading ------------------------------------------------------------------------------------


class OtherFormat(UserError):
    """A checkpoint of another version of the workbook, which nothing is wrong with."""


class _Damage(Exception):
    """What is wrong with a checkpoint's bytes, in words that go on from its name."""


@contextmanager
def _damage_told(path: Path) -> Iterator[Path]:
    """Turns what is wrong with a checkpoint into one line that says what to do."""
    try:
        yield path
    except _Damage as error:
        others = [other.name for other in _siblings(path) if _is_intact(other)]
        advice = "copy it again from where it came, or run again"
        if others:
            advice = f"use another one from that folder ({', '.join(others)}) or run again"
        raise UserError(f"checkpoint '{path}' {error}; {advice}") from None


def _verified(path: Path) -> dict[str, Any]:
    """The meta of a checkpoint, once the checksums of its tensors have been compared."""
    head, size, _ = _read(path, whole=False)
    body = _body(head, size, path)
    header = json.loads(head[LENGTH:])
    stored = {name: header[name] for name in header if name[:2] != "__"}
    if stored.keys() != body["crc32"].keys() or stored.keys() != body["layout"].keys():
        raise _Damage("is corrupted: its tensors are not those it was saved with")
    with open_regular(path) as file:
        for name, entry in stored.items():
            begin, end = entry["data_offsets"]
            file.seek(len(head) + begin)
            found, left = 0, end - begin
            while left > 0 and (piece := file.read(min(left, PIECE))):
                found, left = zlib.crc32(piece, found), left - len(piece)
            _check_crc(body, name, found)
    return _meta_of(body, path)


def _check_crc(body: dict[str, Any], name: str, found: int) -> None:
    if found != body["crc32"][name]:
        raise _Damage(f"is corrupted: tensor {name} does not match its checksum")


def _is_intact(path: Path) -> bool:
    try:
        _verified(path)
    except (_Damage, UserError):
        return False
    return True


def _siblings(path: Path) -> list[Path]:
    found = sorted(other for other in path.parent.glob("*.safetensors") if other != path)
    return [other for other in found if other.stem != "nonfinite"]


def _tensor(data: bytearray, kind: str, shape: tuple[int, ...]) -> Tensor:
    """The tensor whose bytes these are, row-major."""
    dtype = getattr(torch, kind)
    return (
        torch.frombuffer(data, dtype=dtype).reshape(shape)
        if data
        else torch.empty(shape, dtype=dtype)
    )


def _read(path: Path, whole: bool) -> tuple[bytes, int, bytes]:
    """A file's beginning up to the end of its header, its size, and all of it if asked for."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            length = file.read(LENGTH)
            head = length + file.read(min(max(_header_length(length), len(START)), size))
            file.seek(0)
            return head, size, file.read() if whole else b""
    except FileNotFoundError:
        others = [other.name for other in _siblings(path)]
        hint = f"; that folder holds {', '.join(others)}" if others else ""
        raise UserError(f"no checkpoint '{path}'{hint}; check the path") from None
    except OSError as error:
        if error.errno in NOT_THE_FILES:
            raise explained(error, path, doing="read") from error
        raise UserError(
            f"cannot read checkpoint '{path}': {error.strerror}; "
            f"give the path of a .safetensors file that you may read"
        ) from None


def _header_length(head: bytes) -> int:
    return int.from_bytes(head[:LENGTH], "little")


def _body(head: bytes, size: int, path: Path) -> dict[str, Any]:
    """The JSON of a checkpoint, once the file's length, checksum and version are right."""
    if not START.startswith(head[LENGTH : LENGTH + len(START)]):
        raise UserError(
            f"'{path}' is not a checkpoint of this workbook; "
            f"give a .safetensors file from the checkpoints/ folder of one of its runs"
        )
    header_end = LENGTH + _header_length(head)
    if header_end > LARGEST_HEADER:
        raise _Damage("is corrupted: its first bytes are damaged")
    if size < max(header_end, LENGTH + len(START)):
        raise _truncated(size, f"at least {max(header_end, LENGTH + len(START)):,}")
    try:
        header = json.loads(head[LENGTH:header_end])
        checksum, text = header["__metadata__"][KEY][:8], header["__metadata__"][KEY][8:]
        intact = int(checksum, 16) == zlib.crc32(text.encode())
        spans = [entry["data_offsets"] for name, entry in header.items() if name[:2] != "__"]
        ordered = all(0 <= begin <= end for begin, end in spans)
        wanted = header_end + max((end for _, end in spans), default=0)
        body = json.loads(text)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise _Damage("is corrupted: its header cannot be read") from None
    if not intact or not ordered:
        raise _Damage("is corrupted: its header does not match its checksum")
    expected.check(body, expected.record({"format": expected.WHOLE}), "its header", path)
    if body["format"] != FORMAT:
        raise OtherFormat(
            f"checkpoint '{path}' has format {body['format']}, this version of the workbook "
            f"reads format {FORMAT}; use the version that wrote it, or run again"
        )
    expected.check(body, BODY, "its header", path)
    if size < wanted:
        raise _truncated(size, f"{wanted:,}")
    if size > wanted:
        raise _Damage(f"is corrupted: it has {size:,} bytes instead of {wanted:,}")
    return body


def _truncated(found: int, wanted: str) -> _Damage:
    return _Damage(f"is truncated: {found:,} of {wanted} bytes")


def _layout_of(body: dict[str, Any]) -> Layout:
    return {name: (kind, tuple(shape)) for name, (kind, shape) in body["layout"].items()}


def _meta_of(body: dict[str, Any], path: Path) -> dict[str, Any]:
    meta = _decoded(body["meta"], {})
    expected.check(meta, expected.META, "meta", path)
    return meta


def _decoded(tree: Any, tensors: dict[str, Tensor]) -> Any:
    """The nested state that `_encode` made JSON of."""
    try:
        return _decode(tree, tensors)
    except (_Unknown, RecursionError) as error:
        raise _Damage(
            f"is corrupted: its header says {str(error)[:80]}, which means nothing"
        ) from None


class _Unknown(Exception):
    """JSON that `_encode` never writes."""


def _decode(tree: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, list):
        return [_decode(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    kind, value = next(iter(tree.items())) if len(tree) == 1 else ("", None)
    if kind == "tensor" and isinstance(value, str) and value in tensors:
        return tensors[value]
    if kind == "float" and value in ("nan", "inf", "-inf"):
        return float(value)
    if kind == "tuple" and isinstance(value, list):
        return tuple(_decode(item, tensors) for item in value)
    if kind == "dict" and isinstance(value, list) and all(map(_is_item, value)):
        return {key: _decode(item, tensors) for key, item in value}
    raise _Unknown(tree)


def _is_item(pair: Any) -> bool:
    """Whether JSON is a key and what it stands for."""
    two = isinstance(pair, list) and len(pair) == 2
    return two and isinstance(pair[0], str | int) and not isinstance(pair[0], bool)
