import errno
import json
import math
import os
import struct
import zlib
from pathlib import Path

import pytest
import torch

from lib.core.errors import UserError
from lib.runner import checkpoint
from lib.runner.checkpoint import check_layout, load, load_meta, load_part, pack, save

META = {"env_steps": 1200, "task": "room-1"}


def example_state():
    """Everything that a run keeps, in small; side lengths are distinct primes."""
    network = torch.nn.Linear(3, 5)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    network(torch.ones(2, 3)).sum().backward()
    optimiser.step()
    return {
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),  # whole-number keys and tuples
        "generator": torch.Generator().manual_seed(7).get_state(),
        "buffer": {"reward": torch.randn(7, 2), "position": 11, "full": False},
        "threshold": 0.1 + 0.2,
        "task": "room-1",
        "reviewer": None,
        "scores": [1.5, -math.inf, []],
    }


def equal(a, b):
    """The same nesting, types, values and bits."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and pack({"x": a}) == pack({"x": b})
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and repr(a) == repr(b)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "checkpoints" / "last.safetensors"
    path.parents[1].mkdir()
    (path.parents[1] / "config.yaml").touch()
    save(path, example_state(), META)
    return path


def test_a_part_is_read_alone(saved):
    state, _ = load(saved)
    for key in state:
        assert equal(load_part(saved, key), state[key])
    with pytest.raises(UserError, match="holds no 'rewards'"):
        load_part(saved, "rewards")


def test_a_part_without_numbers_keeps_its_shape_and_type(tmp_path):
    path = tmp_path / "run" / "empty.safetensors"
    path.parent.mkdir()
    save(path, {"part": {"none": torch.zeros(0, 3), "flags": torch.tensor([True, False])}})
    assert equal(load_part(path, "part"), load(path)[0]["part"])


def test_damage_is_told_of_the_part_that_is_read_alone(saved):
    data = bytearray(saved.read_bytes())
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    data[len(data) - 1] ^= 1  # the last tensor's last byte
    last = max((n for n in header if n[:2] != "__"), key=lambda n: header[n]["data_offsets"][1])
    saved.write_bytes(data)
    with pytest.raises(UserError, match="does not match its checksum"):
        load_part(saved, last.partition("/")[0])
    other = "network" if not last.startswith("network") else "buffer"
    load_part(saved, other)


def error_of(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


# What goes in comes out ----------------------------------------------------------------------


def test_a_state_comes_back_with_every_bit(saved: Path):
    torch.manual_seed(0)
    state = example_state()
    save(saved, state, META)
    found, meta = load(saved)
    assert equal(found, state)
    assert meta == META == load_meta(saved)


def test_a_loaded_optimiser_takes_the_same_step():
    def step(network, optimiser):
        optimiser.zero_grad()
        network(torch.ones(2, 3)).square().sum().backward()
        optimiser.step()
        return network.weight.detach().clone()

    def build():
        network = torch.nn.Linear(3, 5)
        return network, torch.optim.Adam(network.parameters(), lr=1e-2)

    network, optimiser = build()
    step(network, optimiser)
    data = pack({"network": network.state_dict(), "optimiser": optimiser.state_dict()})
    expected = step(network, optimiser)

    path = Path("unused.safetensors")
    body = checkpoint._body(data[: 8 + checkpoint._header_length(data)], len(data), path)
    tensors = checkpoint.safetensors.torch.load(data)
    state = checkpoint._decode(body["state"], tensors)
    network, optimiser = build()
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    assert torch.equal(step(network, optimiser), expected)


DTYPES = ["bool", "uint8", "int32", "int64", "float16", "bfloat16", "float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_and_shape_of_tensor_survives(tmp_path: Path, dtype):
    whole = torch.arange(30).reshape(2, 3, 5).to(getattr(torch, dtype))
    state = {"whole": whole, "number": whole[1, 2, 4], "empty": whole[:, :0], "none": whole[:0, 0]}
    save(tmp_path / "a.safetensors", state)
    assert equal(load(tmp_path / "a.safetensors")[0], state)


def test_non_finite_values_survive_in_tensors_and_beside_them(tmp_path: Path):
    values = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308, 1 / 3]
    state = {"list": values, "tensor": torch.tensor(values, dtype=torch.float64)}
    save(tmp_path / "a.safetensors", state, {"score": math.nan})
    found, meta = load(tmp_path / "a.safetensors")
    assert [struct.pack("d", v) for v in found["list"]] == [struct.pack("d", v) for v in values]
    assert equal(found["tensor"], state["tensor"])
    assert math.isnan(meta["score"])


def test_transposed_expanded_and_sliced_tensors_are_stored_by_value(tmp_path: Path):
    base = torch.arange(21.0).reshape(3, 7)
    state = {"t": base.T, "e": base[:, :1].expand(3, 5), "s": base[::2, 1::3]}
    save(tmp_path / "a.safetensors", state)
    assert equal(load(tmp_path / "a.safetensors")[0], state)


def test_two_names_of_one_tensor_come_back_as_two(tmp_path: Path):
    shared = torch.arange(3.0)
    save(tmp_path / "a.safetensors", {"learner": shared, "reviewer": shared, "part": shared[1:]})
    found, _ = load(tmp_path / "a.safetensors")
    found["learner"].add_(1)
    assert found["reviewer"].tolist() == [0, 1, 2]
    assert found["part"].tolist() == [1, 2]


def test_gradients_are_not_stored(tmp_path: Path):
    weight = torch.nn.Parameter(torch.ones(2))
    save(tmp_path / "a.safetensors", {"weight": weight})
    assert not load(tmp_path / "a.safetensors")[0]["weight"].requires_grad


@pytest.mark.gpu
def test_tensors_of_an_accelerator_come_back_on_the_cpu(tmp_path: Path):
    if not torch.cuda.is_available():
        pytest.skip("no accelerator here")
    save(tmp_path / "a.safetensors", {"x": torch.arange(3, device="cuda")})
    assert equal(load(tmp_path / "a.safetensors")[0], {"x": torch.arange(3)})


def test_the_same_state_gives_the_same_bytes(tmp_path: Path):
    torch.manual_seed(3)
    state = example_state()
    first = pack(state, META)
    save(tmp_path / "a.safetensors", state, META)
    assert (tmp_path / "a.safetensors").read_bytes() == first
    found, meta = load(tmp_path / "a.safetensors")
    assert pack(found, meta) == first
    shared = torch.ones(3)
    assert pack({"a": shared, "b": shared}) == pack({"a": torch.ones(3), "b": torch.ones(3)})


def test_the_file_is_a_plain_safetensors_file(saved: Path):
    with checkpoint.safetensors.safe_open(saved, framework="pt") as file:
        assert "network/weight" in file.keys()  # noqa: SIM118 (not a dictionary)


@pytest.mark.parametrize(
    "state", [{"x": {1, 2}}, {"x": object()}, {("a", 1): 2}, {True: 1}, {"a/b": 1j}]
)
def test_other_kinds_are_refused_with_their_place(tmp_path: Path, state):
    with pytest.raises(TypeError):
        save(tmp_path / "a.safetensors", state)
    assert not list(tmp_path.iterdir())


def test_two_tensors_cannot_take_one_name():
    with pytest.raises(TypeError, match="'a/b' needs a name of its own"):
        pack({"a": {"b": torch.ones(1)}, "a/b": torch.ones(1)})


# Damage --------------------------------------------------------------------------------------


def test_a_missing_file_names_its_neighbours(saved: Path):
    message = error_of(saved.with_name("best.safetensors"))
    assert "no checkpoint" in message and "holds last.safetensors" in message


def test_a_folder_is_not_a_checkpoint(saved: Path):
    assert "cannot read" in error_of(saved.parent)


@pytest.mark.parametrize("foreign", ["pickle", "safetensors", "text", "zeros"])
def test_a_foreign_file_is_refused(tmp_path: Path, foreign: str):
    path = tmp_path / "other.safetensors"
    if foreign == "pickle":
        torch.save({"x": torch.ones(3)}, path)
    elif foreign == "safetensors":
        path.write_bytes(checkpoint.safetensors.torch.save({"x": torch.ones(3)}, {"a": "b"}))
    else:
        path.write_bytes(b"some notes about a run" if foreign == "text" else bytes(100))
    assert "not a checkpoint of this workbook" in error_of(path)


def test_truncation_at_every_length_is_noticed(saved: Path):
    save(saved, {"a": torch.arange(5), "b": torch.zeros(2, 3), "c": 1.5}, META)
    size = saved.stat().st_size
    for length in reversed(range(size)):
        os.truncate(saved, length)
        assert f"truncated: {length:,} of" in error_of(saved)
    assert size > 500


def test_trailing_bytes_are_noticed(saved: Path):
    saved.write_bytes(saved.read_bytes() + b"\0")
    assert "corrupted" in error_of(saved)


def test_a_flipped_bit_anywhere_is_noticed(saved: Path):
    save(saved, {"a": torch.arange(5), "b": torch.zeros(2, 3), "c": 1.5, "d": "room-1"}, META)
    data = saved.read_bytes()
    for position in range(len(data)):
        for bit in (0, 3, 6):
            broken = bytearray(data)
            broken[position] ^= 1 << bit
            saved.write_bytes(broken)
            assert any(word in error_of(saved) for word in ("corrupted", "truncated", "not a "))


def test_damage_points_to_the_other_checkpoints(saved: Path):
    save(saved.with_name("task-1.safetensors"), {"x": 1})
    saved.write_bytes(saved.read_bytes()[:-1])
    assert "(task-1.safetensors)" in error_of(saved)


def test_another_format_version_says_which(saved: Path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    save(saved, {"x": torch.ones(2)})
    monkeypatch.undo()
    message = error_of(saved)
    assert "format 2" in message and "reads format 1" in message


def test_loading_executes_nothing(tmp_path: Path):
    # Whatever the header says is only ever read as JSON: here text that a pickle would run.
    path = tmp_path / "a.safetensors"
    state = '{"dict":[["x",{"tuple":["cos\\nsystem"]}]]}'
    text = f'{{"format":1,"layout":{{}},"crc32":{{}},"state":{state},"meta":{{"dict":[]}}}}'
    entry = f"{zlib.crc32(text.encode()):08x}{text}"
    path.write_bytes(checkpoint.safetensors.torch.save({}, {checkpoint.KEY: entry}))
    assert load(path) == ({"x": ("cos\nsystem",)}, {})


# Layout --------------------------------------------------------------------------------------


def test_equal_layouts_pass_whatever_the_values():
    check_layout(example_state(), example_state(), "a.safetensors")


def test_another_layout_names_what_differs():
    found = {"t": {"weight": torch.ones(5, 3), "bias": torch.ones(5)}, "n": torch.ones(2)}
    wanted = {"t": {"weight": torch.ones(7, 3), "scale": torch.ones(5)}, "n": torch.ones(2).long()}
    with pytest.raises(UserError) as caught:
        check_layout(found, wanted, "a.safetensors")
    message = str(caught.value)
    assert "\n" not in message
    assert "n is float32 [2] in the file, int64 [2] in this run" in message
    assert "t/bias is float32 [5] in the file, absent in this run" in message
    assert "and 1 more" in message


# Saving safely -------------------------------------------------------------------------------


def test_a_full_disk_keeps_the_previous_checkpoint(saved: Path, monkeypatch):
    before = saved.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"disk full.*run/checkpoints/last.*resume .*/run'"):
        save(saved, {"x": torch.zeros(10_000)})
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]
