import errno
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.core.errors import UserError
from lib.runner.record import METRICS, Recorder, describe, read_metrics

HEADER = {"task": "room-1", "task_index": 0, "env_steps": 800}


def write_some(recorder: Recorder, steps=(100, 200, 300)) -> None:
    for step in steps:
        recorder.write("train", {**HEADER, "env_steps": step}, {"train/learner/total": step / 7})


def test_a_record_is_one_line_with_sorted_keys(tmp_path: Path):
    with Recorder(tmp_path, tensorboard=False) as recorder:
        recorder.write("eval", HEADER, {"eval/room-1/return": 12.5, "eval/room-1/optimum": 20})
    assert (tmp_path / "metrics.jsonl").read_text() == (
        '{"env_steps":800,"stage":"eval","task":"room-1","task_index":0,'
        '"values":{"eval/room-1/optimum":20,"eval/room-1/return":12.5}}\n'
    )


def test_tensors_and_numpy_numbers_are_written_as_numbers(tmp_path: Path):
    with Recorder(tmp_path, tensorboard=False) as recorder:
        recorder.write("train", HEADER, {"a": torch.tensor(0.5), "b": np.float64(1 / 3), "c": True})
    (row,) = read_metrics(tmp_path / "metrics.jsonl")
    assert row["values"] == {"a": 0.5, "b": 1 / 3, "c": 1.0}


def test_what_is_not_finite_is_null_and_named(tmp_path: Path):
    with Recorder(tmp_path) as recorder:
        recorder.write("train", HEADER, {"b": math.inf, "a": math.nan, "c": 1.0})
    (row,) = read_metrics(tmp_path / "metrics.jsonl")
    assert row["values"] == {"a": None, "b": None, "c": 1.0}
    assert row["nonfinite"] == ["a", "b"]


def test_the_same_values_give_the_same_bytes(tmp_path: Path):
    for name in ("one", "two"):
        with Recorder(tmp_path / name, tensorboard=False) as recorder:
            write_some(recorder)
            recorder.timing(env_steps=1, seconds=np.random.rand())
    one, two = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("one", "two"))
    assert one == two


def test_the_offset_counts_what_is_on_the_disk(tmp_path: Path, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(fd), fsync(fd)))
    with Recorder(tmp_path, tensorboard=False) as recorder:
        assert recorder.offset() == 0
        write_some(recorder)
        synced.clear()
        assert recorder.offset() == (tmp_path / "metrics.jsonl").stat().st_size > 0
        assert synced


def test_resuming_cuts_off_what_came_after_the_checkpoint(tmp_path: Path):
    with Recorder(tmp_path / "whole", tensorboard=False) as recorder:
        write_some(recorder)
    broken = Recorder(tmp_path / "broken", tensorboard=False)
    write_some(broken, [100])
    offset = broken.offset()
    write_some(broken, [200])
    broken.close()
    with open(tmp_path / "broken" / "metrics.jsonl", "a") as file:
        file.write('{"env_steps":300,"st')  # killed in the middle of a line
    with Recorder(tmp_path / "broken", tensorboard=False, resume_at=offset) as resumed:
        assert resumed.offset() == offset
        write_some(resumed, [200, 300])
    whole, broken = ((tmp_path / n / "metrics.jsonl").read_bytes() for n in ("whole", "broken"))
    assert whole == broken


def test_a_fresh_recorder_starts_an_empty_file(tmp_path: Path):
    for _ in range(2):
        with Recorder(tmp_path, tensorboard=False) as recorder:
            write_some(recorder)
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 3


def test_a_file_shorter_than_its_checkpoint_is_refused_and_kept(tmp_path: Path):
    with Recorder(tmp_path, tensorboard=False) as recorder:
        write_some(recorder)
        offset = recorder.offset()
    with pytest.raises(
        UserError, match=rf"metrics.jsonl' has {offset} bytes.*at least {offset + 1}"
    ):
        Recorder(tmp_path, resume_at=offset + 1)
    assert (tmp_path / "metrics.jsonl").stat().st_size == offset


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "config.yaml").touch()
    recorder = Recorder(tmp_path, tensorboard=False)
    write_some(recorder)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"disk full.*resume"):
        recorder.flush()
    monkeypatch.undo()
    recorder.close()
    recorder.close()  # a second time does nothing


def test_reading_ignores_an_unfinished_last_line(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    line = '{"env_steps":1,"values":{}}'
    path.write_text(f"{line}\n{line}\n{line[:9]}")
    assert read_metrics(path) == [{"env_steps": 1, "values": {}}] * 2
    path.write_text("")
    assert read_metrics(path) == []


@pytest.mark.parametrize(
    "damaged", ["{", "", "[]", "{}", '{"values":{"a":1}}', '{"env_steps":1,"values":{"a":"b"}}']
)
def test_a_damaged_line_is_left_out_and_said_to_be(tmp_path: Path, capsys, damaged):
    path = tmp_path / "metrics.jsonl"
    lines = [f'{{"env_steps":{step},"values":{{"a":{step}}}}}' for step in range(4)]
    path.write_text("\n".join([*lines[:2], damaged, *lines[2:], ""]))
    assert [row["env_steps"] for row in read_metrics(path)] == [0, 1, 2, 3]
    said = f"1 of 5 lines of '{path}' are damaged and left out, the first is line 3\n"
    assert capsys.readouterr().out == said
    with pytest.raises(UserError, match="no metrics at"):
        read_metrics(tmp_path / "other.jsonl")


def test_tensorboard_shows_one_continuous_run(tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Recorder(tmp_path) as recorder:
        write_some(recorder, [100])
        offset = recorder.offset()
        write_some(recorder, [200, 300])
    with Recorder(tmp_path, resume_at=offset) as recorder:
        write_some(recorder, [200])
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    found = events.Scalars("train/learner/total")
    assert [event.step for event in found] == [100, 200]
    assert found[1].value == pytest.approx(200 / 7)


def test_wandb_offline_continues_under_one_id(tmp_path: Path):
    for _ in range(2):
        with Recorder(tmp_path, tensorboard=False, wandb_mode="offline", config={"a": 1}) as rec:
            write_some(rec)
    runs = {path.name for path in tmp_path.glob("wandb/offline-run-*/*.wandb")}
    assert runs == {f"run-{(tmp_path / 'wandb-id.txt').read_text()}.wandb"}


def test_wandb_problems_are_the_users_to_mend(tmp_path: Path, monkeypatch):
    with pytest.raises(UserError, match="unknown wandb mode 'ofline'.*did you mean 'offline'"):
        Recorder(tmp_path, wandb_mode="ofline")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(UserError, match="needs a key: set WANDB_API_KEY"):
        Recorder(tmp_path, tensorboard=False, wandb_mode="online")


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("train/learner/return", "training return, learner"),
        ("train/reviewer/grad_norm", "gradient norm before clipping"),
        ("eval/room-1/return", "evaluation return"),
        ("eval_final/my task/return", "return with the current world model"),
        ("audit/met-room-1/accuracy", "right-cell accuracy of one step"),
        ("dream/met-room-2/coverage", "met pairs that are dreamt again"),
    ],
)
def test_a_name_finds_its_meaning(name: str, meaning: str):
    assert describe(name).meaning == meaning


def test_an_unknown_name_has_no_meaning():
    with pytest.raises(
        UserError, match="unknown metric 'train/vae/k1'.*did you mean 'train/vae/kl'"
    ):
        describe("train/vae/k1")


def test_labels_carry_their_unit():
    assert describe("train/vae/kl").label == "VAE KL, mean over the code [nats]"
    assert describe("train/learner/total").label == "model loss before importance weights"


def test_every_entry_is_reachable_and_its_range_ordered():
    for metric in METRICS:
        assert describe(metric.pattern.replace("*", "some-name")) == metric
        assert metric.low < metric.high
