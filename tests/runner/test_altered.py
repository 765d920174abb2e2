"""Files of run folders that were altered, their checksums made right, end in one line."""

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lib.core.errors import UserError
from lib.runner import checkpoint, training, warm_start
from lib.runner.run_folder import RunFolder
from lib.viewer import rollouts
from tests import dreamer_tiny
from tests.tiny import tiny


@pytest.fixture(scope="module")
def cfg():
    return tiny("drago", budget__env_steps_per_task=56)


@pytest.fixture(scope="module")
def dreamer():
    return dreamer_tiny.tiny("continual-dreamer", tasks=["empty-5x5"])


def midway(cfg, out: Path) -> Path:
    """A run that was stopped within its first task."""

    def stop(self):
        saves.append(1)
        real(self)
        if len(saves) == 2:
            (out / "stop").touch()

    saves, real = [], training.Run.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Run, "save", stop)
        with pytest.raises(UserError, match="stopped at"):
            training.train(cfg, out, tensorboard=False, progress=False)
    return out


@pytest.fixture(scope="module")
def folders(cfg, dreamer, tmp_path_factory) -> dict[str, Path]:
    """Runs of both families, interrupted."""
    base = tmp_path_factory.mktemp("altered")
    return {"tdmpc": midway(cfg, base / "tdmpc"), "dreamer": midway(dreamer, base / "dreamer")}


def rewrite(path: Path, change: Callable[[dict], object]) -> None:
    """Changes the JSON of a checkpoint's header; its checksum is made right again."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    body = json.loads(header["__metadata__"][checkpoint.KEY][8:])
    change(body)
    text = json.dumps(body, separators=(",", ":"))
    said = f"{zlib.crc32(text.encode()):08x}{text}"
    header = {"__metadata__": {checkpoint.KEY: said}} | {
        name: entry for name, entry in header.items() if name != "__metadata__"
    }
    packed = json.dumps(header, separators=(",", ":")).encode()
    packed += b" " * (-len(packed) % 8)
    path.write_bytes(struct.pack("<Q", len(packed)) + packed + data[8 + length :])


def entry(tree: dict, *names: str) -> list:
    """The [key, value] of a nested state's JSON."""
    for name in names:
        found = next(pair for pair in tree["dict"] if pair[0] == name)
        tree = found[1]
    return found


def put(part: str, *names: str, value: object) -> Callable[[dict], None]:
    """Replaces a value of the state or the meta."""

    def change(body: dict) -> None:
        entry(body[part], *names)[1] = value

    return change


def drop(part: str, name: str) -> Callable[[dict], None]:
    def change(body: dict) -> None:
        body[part]["dict"] = [pair for pair in body[part]["dict"] if pair[0] != name]

    return change


EVERYWHERE = {
    "no meta": lambda body: body.pop("meta"),
    "no state": lambda body: body.pop("state"),
    "no layout": lambda body: body.pop("layout"),
    "no checksums": lambda body: body.pop("crc32"),
    "format as text": lambda body: body.update(format="1"),
    "another format": lambda body: body.update(format=99),
    "layout of numbers": lambda body: body.update(layout=dict.fromkeys(body["layout"], 3)),
    "checksums of text": lambda body: body.update(crc32=dict.fromkeys(body["crc32"], "x")),
    "meta is a list": lambda body: body.update(meta=[1, 2]),
    "meta is null": lambda body: body.update(meta=None),
    "no configuration": drop("meta", "config"),
    "configuration null": put("meta", "config", value=None),
    "configuration is a list": put("meta", "config", value=[]),
    "family is a list": put("meta", "config", "family", value=["tdmpc"]),
    "family unknown": put("meta", "config", "family", value="ppo"),
    "tasks is a number": put("meta", "config", "tasks", value=3),
    "tasks are numbers": put("meta", "config", "tasks", value=[3]),
    "tasks are null": put("meta", "config", "tasks", value=None),
    "seed is text": put("meta", "config", "seed", value="0"),
    "env steps as text": put("meta", "env_steps", value="28"),
    "unknown kind": lambda body: body.update(state={"picture": [1]}),
    "two kinds": lambda body: body.update(state={"dict": [], "tuple": []}),
    "items are no pairs": lambda body: body.update(state={"dict": [["agent"]]}),
    "keys are lists": lambda body: body.update(state={"dict": [[["agent"], 1]]}),
    "a tensor that is not there": put("state", "agent", value={"tensor": "nowhere"}),
    "state is a number": lambda body: body.update(state=3),
    "agent is null": put("state", "agent", value=None),
    "agent is text": put("state", "agent", value="agent"),
    "world model is a number": put("state", "agent", "world_model", value=3),
    "learner is a list": put("state", "agent", "learner", value=[]),
}
RESUMED = {
    "position too short": put("meta", "position", value=[0, 28]),
    "position of text": put("meta", "position", value=["0", "28", "1"]),
    "position is negative": put("meta", "position", value=[0, -1, 0]),
    "position is another": put("meta", "position", value=[0, 7, 7]),
    "bytes as text": put("meta", "metrics_bytes", value="12"),
    "no bytes": drop("meta", "metrics_bytes"),
    "score as text": put("meta", "score", value="high"),
    "no counters": drop("state", "counters"),
    "counters are a list": put("state", "counters", value=[]),
    "task as text": put("state", "counters", "task", value="0"),
    "task beyond the last": put("state", "counters", "task", value=9),
    "a count below 0": put("state", "counters", "env_steps", value=-4),
    "reported is a number": put("state", "counters", "reported", value=3),
    "steps as text": put("state", "agent", "steps", value="28"),
    "too many heads": put("state", "heads", value=[{"dict": []}] * 3),
    "heads are text": put("state", "heads", value="heads"),
    "streams are gone": put("state", "streams", value={"dict": []}),
    "log is null": put("state", "log", value=None),
    "curves of text": put("state", "log", "curves", value={"dict": [["room-1", "steep"]]}),
    "a matrix too long": put("state", "log", "matrix", value=[[1.0, None]] * 4),
    "names of tasks as numbers": put("state", "log", "tasks", value=[1, 2]),
    "held out is text": put("state", "held_out", value="all"),
    "running means are null": put("state", "agent", "running_means", value=3),
}


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value) and len(str(error.value)) < 1000
    return str(error.value)


@pytest.mark.parametrize("family", ["tdmpc", "dreamer"])
@pytest.mark.parametrize("alteration", [*EVERYWHERE, *RESUMED])
def test_a_run_does_not_go_on_from_an_altered_checkpoint(
    alteration, family, folders, cfg, dreamer, tmp_path
):
    out = shutil.copytree(folders[family], tmp_path / "run")
    (out / "checkpoints" / "best.safetensors").unlink()  # which it would go on from instead
    rewrite(out / "checkpoints" / "last.safetensors", {**EVERYWHERE, **RESUMED}[alteration])
    run = cfg if family == "tdmpc" else dreamer
    told = refused(lambda: training.train(run, out, tensorboard=False, progress=False))
    assert "stopped at" not in told


def test_what_is_rewritten_without_a_change_goes_on(folders, cfg, tmp_path):
    out = shutil.copytree(folders["tdmpc"], tmp_path / "run")
    rewrite(out / "checkpoints" / "last.safetensors", lambda body: None)
    training.train(cfg, out, tensorboard=False, progress=False)


@pytest.mark.parametrize("alteration", EVERYWHERE)
def test_no_run_starts_from_an_altered_checkpoint_and_no_viewer_shows_it(
    alteration, folders, cfg, tmp_path
):
    path = tmp_path / "last.safetensors"
    shutil.copy(folders["tdmpc"] / "checkpoints" / "last.safetensors", path)
    rewrite(path, EVERYWHERE[alteration])
    how = {"load_mode": "agent", "load_from": str(path), "tensorboard": False, "progress": False}
    refused(lambda: training.train(cfg, tmp_path / "out", **how))
    refused(lambda: warm_start.trained_agent(path, torch.device("cpu")))
    refused(lambda: rollouts.player(path))


# Other files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "3",
        "{",
        "{}",
        '{"status": 3}',
        '{"status": "complete", "tasks": "room-1"}',
        '{"status": "complete", "tasks": [1]}',
        '{"status": "complete", "curves": {"room-1": [1, 2]}}',
        '{"status": "complete", "return_matrix": [["high"]]}',
        '{"status": "complete", "final_return": [1]}',
        "[" * 100_000,
    ],
)
def test_a_summary_that_is_none_is_refused(content, cfg, tmp_path):
    (tmp_path / "summary.json").write_text(content)
    refused(RunFolder(tmp_path).read_summary)
    refused(lambda: training.train(cfg, tmp_path, tensorboard=False, progress=False))


@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", '{"task": 1}', '{"task": "a", "env_steps": "1"}', "{" * 100_000],
)
def test_progress_that_is_none_is_refused(content, tmp_path):
    (tmp_path / "progress.json").write_text(content)
    refused(RunFolder(tmp_path).read_progress)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "3", "method_name: 3", "method_name: [a", "\x00", "- " * 2000, "a: &a [*a]"],
)
def test_a_configuration_that_is_none_is_refused(content, cfg, tmp_path):
    (tmp_path / "config.yaml").write_text(content)
    refused(lambda: training.train(cfg, tmp_path, tensorboard=False, progress=False))


def test_what_is_not_there_yet_is_none(tmp_path):
    assert RunFolder(tmp_path).read_summary() is None
    assert RunFolder(tmp_path).read_progress() is None
