"""What belongs to a run in its folder, and what a killed process left there."""

from pathlib import Path

import pytest

from lib.core.errors import UserError
from lib.runner import checkpoint, saved, training
from lib.runner.run_folder import RunFolder
from tests.run_folders import assert_same_run
from tests.tiny import tiny


def touched(folder: RunFolder, *names: str) -> None:
    for name in names:
        path = folder.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(folder: RunFolder) -> set[str]:
    found = (path for path in folder.path.rglob("*") if path.is_file())
    return {str(path.relative_to(folder.path)) for path in found}


BEFORE = {
    "videos/1-a-0000056.mp4",
    "videos/1-a-0000056-imagined.mp4",
    "videos/2-b-0000000.mp4",
    "audits/task-1.npz",
    "checkpoints/task-1.safetensors",
    "checkpoints/last.safetensors",
    "checkpoints/best.safetensors",
    "videos/mine.mp4",
}
AFTER = {
    "videos/2-b-0000056.mp4",
    "videos/2-b-0000056-imagined.mp4",
    "videos/3-c-1-0000000.mp4",
    "videos/.2-b-0000028.mp4.partial",
    "audits/task-2.npz",
    "checkpoints/task-2.safetensors",
    "checkpoints/task-10.safetensors",
}
AT = "videos/2-b-0000028.mp4"


@pytest.mark.parametrize("evaluated", [True, False])
def test_what_was_written_after_a_checkpoint_goes_and_the_rest_stays(evaluated, tmp_path):
    folder = RunFolder(tmp_path)
    touched(folder, *BEFORE, *AFTER, AT)
    folder.remove_leftovers(task=1, progress=28, evaluated=evaluated)
    assert names(folder) == BEFORE | ({AT} if evaluated else set())


class Killed(BaseException):
    """What no handler catches."""


def test_a_resumed_run_has_the_files_of_one_that_was_never_killed(tmp_path, monkeypatch):
    cfg = tiny("tdmpc", budget__env_steps_per_task=56)
    quiet = {"tensorboard": False, "progress": False}
    training.train(cfg, tmp_path / "whole", **quiet)
    out, real, saves = tmp_path / "killed", training.Run.save, []

    def save(self):
        saves.append(1)
        if len(saves) == 4:  # a task is finished, its checkpoint not yet written
            raise Killed
        real(self)

    with monkeypatch.context() as patch:
        patch.setattr(training.Run, "save", save)
        with pytest.raises(Killed):
            training.train(cfg, out, **quiet)
    assert (out / "checkpoints" / "task-1.safetensors").exists()
    finished = checkpoint.load_meta(out / "checkpoints" / "last.safetensors")["position"][0]
    touched(RunFolder(out), "videos/1-room-1-0000056.mp4", "audits/task-2.npz")
    seen = {}

    def begin(self):
        seen.setdefault("names", names(self.folder))

    with monkeypatch.context() as patch:
        patch.setattr(training.TrainingLoop, "_pause_if_asked", lambda loop: begin(loop.first))
        training.train(cfg, out, **quiet)
    assert finished == 0
    assert not {name for name in seen["names"] if "task-" in name or "videos" in name}
    assert_same_run(tmp_path / "whole", out)
    assert names(RunFolder(out)) == names(RunFolder(tmp_path / "whole"))


def test_a_folder_of_another_run_is_not_taken(tmp_path):
    folder = RunFolder(tmp_path)
    record = {"method_name": "tdmpc", "preset": "grid-quick", "seed": 0, "tasks": [], "budget": {}}
    saved.take(folder, record)
    saved.take(folder, record)
    saved.take(folder, record | {"seed": 1})  # nothing was learnt yet
    folder.checkpoints.mkdir()
    with pytest.raises(UserError, match="different run .seed is 1 there, 0 here"):
        saved.take(folder, record)
    assert folder.read_config()["seed"] == 1


def test_paths_say_which_task_they_are_of():
    folder = RunFolder(Path("run"))
    assert folder.task_checkpoint(0) == Path("run/checkpoints/task-1.safetensors")
    assert folder.audit(2) == Path("run/audits/task-3.npz")
    assert folder.film_label(1, "cheetah-jump", 2400) == "2-cheetah-jump-0002400"
