"""The runs of a comparison are trained in turn, stop together, and go on."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from lib.algos.tdmpc.settings import TdmpcRun
from lib.analysis import results, transfer_results
from lib.core.errors import NonFiniteError, RunInterrupted
from lib.experiments import folders, transfer, trials
from lib.runner import contents, evaluate, training
from tests.transfers import asked, run


def test_every_run_leaves_its_folder_and_the_comparison_its_own(done):
    assert folders.status(done.out) == "transfer, 3 of 3 runs finished"
    for trial in done.trials:
        assert results.load_run(trial.folder).tasks == (trial.task,)
        assert not (trial.folder / "stop").is_symlink()
    assert folders.asked(done.out, contents.TRANSFER)["parameters"] == done.parameters


def test_what_is_finished_is_not_trained_again_and_more_can_be_added(
    done, learners, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(training, "Run", lambda *a: pytest.fail("trained again"))
    run(done)
    assert capsys.readouterr().out.count("final return") == 3
    more = asked(tmp_path, tasks=["jump2run", "flip"]) | {"out_dir": str(done.out)}
    study = transfer.prepare(more, learners)
    assert [folders.held(trial.folder) is not None for trial in study.trials] == [True] * 3 + (
        [False] * 3
    )


def test_a_stopped_comparison_goes_on_and_ends_up_the_same(done, learners, tmp_path, monkeypatch):
    study, real, seen = transfer.prepare(asked(tmp_path), learners), evaluate.play_batch, []

    def play_batch(*args, **kwargs):
        seen.append(1)
        if len(seen) == 9:  # in the second run: one plays six times
            (study.out / "stop").touch()
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "play_batch", play_batch)
        with pytest.raises(RunInterrupted, match="stopped in run 2 of 3: .*lib resume") as error:
            run(study)
    assert str(error.value).endswith(str(tmp_path / "new"))
    assert not (study.out / "stop").exists()
    again = folders.asked(study.out, contents.TRANSFER)["parameters"]
    run(transfer.prepare(again, learners))
    for mine, whole in zip(study.trials, done.trials, strict=True):
        one, other = (trial.folder / "metrics.jsonl" for trial in (mine, whole))
        assert one.read_bytes() == other.read_bytes()


def test_a_link_left_by_a_killed_process_is_no_obstacle(learners, tmp_path):
    study = transfer.prepare(asked(tmp_path), learners)
    left = study.trials[0].folder
    left.mkdir(parents=True)
    (left / "stop").symlink_to("../../stop")
    trials.write_request(study)
    with trials._stopping_with(study.out / "stop", left):
        assert (left / "stop").is_symlink() and not (left / "stop").exists()
        (study.out / "stop").touch()
        assert (left / "stop").exists()
    assert not (left / "stop").is_symlink() and (study.out / "stop").exists()


def test_a_run_that_breaks_is_left_out_and_the_others_go_on(
    done, learners, tmp_path, monkeypatch, capsys
):
    study = transfer.prepare(asked(tmp_path), learners)

    def train(cfg: TdmpcRun, folder: Path, **kwargs) -> None:
        if kwargs["load_from"].endswith("tdmpc-cheetah-quick-s0"):
            raise NonFiniteError("non-finite loss")
        shutil.copytree(done.out / "runs" / folder.name, folder, dirs_exist_ok=True)

    monkeypatch.setattr(trials, "train", train)
    run(study)
    assert (
        "2 of 3: cheetah-jump2run, tdmpc, seed 0: left out, non-finite" in capsys.readouterr().out
    )
    found = transfer_results.load(study)
    assert [group.label for group in found["cheetah-jump2run"]] == ["scratch", "drago"]
    table = transfer_results.table(study, found, transfer_results.last_return)
    assert np.isnan(table["tdmpc"]).all() and np.isfinite(table["drago"]).all()
    assert np.isnan(transfer_results.over_seeds(table["tdmpc"])).all()


def test_progress_counts_all_runs_together(done, tmp_path, learners):
    assert trials.progress(transfer.prepare(asked(tmp_path), learners)) is None
    state = trials.progress(done)
    assert state["env_steps"] == state["env_steps_total"] == 3 * 112
    assert state["task"] == "cheetah-jump2run, drago, seed 0"
    assert (state["task_index"], state["tasks"], state["phase"]) == (2, 3, "done")
    assert trials.progress(done, newer_than=time.time() + 1) is None
