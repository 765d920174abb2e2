import json
from pathlib import Path

import numpy as np
import torch

from lib.runner.run_folder import RunFolder, differences
from lib.runner.summary import Log, write_arrays, write_summary
from tests.tiny import tiny


def example() -> Log:
    log = Log(["room-1", "room-2"])
    log.add_eval("room-1", 0, 1.0)
    log.add_eval("room-1", 28, 5.0)
    log.matrix.append([5.0, None])
    for part, share in {"success": 0.25, "success_any": 0.5}.items():
        log.successes[part].append([share, None])
    log.audit.append({"audit/all/mse": 0.1})
    log.add_eval("room-2", 0, 2.0)
    return log


def test_a_log_keeps_curves_matrix_and_audits():
    log = example()
    assert log.curves["room-1"] == {"task_env_steps": [0, 28], "return": [1.0, 5.0]}
    assert log.matrix == [[5.0, None]] and log.audit == [{"audit/all/mse": 0.1}]
    assert log.final_return() == {"room-1": 5.0, "room-2": 2.0}


def test_a_checkpoint_of_a_later_task_beats_any_return_of_an_earlier_one():
    log, scores = Log(["room-1", "room-2"]), []
    assert log.score() is None
    log.add_eval("room-1", 0, 250.0)
    scores.append(log.score())
    log.matrix.append([250.0, None])
    log.add_eval("room-2", 0, 0.0)
    scores.append(log.score())
    log.add_eval("room-2", 28, 3.0)
    scores.append(log.score())
    assert scores == sorted(scores) and len(set(scores)) == 3


def test_a_log_survives_being_saved_with_its_order():
    log = example()
    other = Log(log.tasks)
    other.load_state_dict(json.loads(json.dumps(log.state_dict())), 1, Path("there"))
    assert other == log and other.score() == log.score()


def test_a_log_from_before_success_was_kept_goes_on_without_it():
    log, old = example(), example().state_dict() | {}
    del old["successes"]
    log.load_state_dict(old, 1, Path("there"))
    assert log.successes == {"success": [[None, None]], "success_any": [[None, None]]}
    assert log.matrix == [[5.0, None]]


def test_differences_name_both_values_by_dotted_key():
    one = {"seed": 0, "env": {"size": 13, "reward": "dense"}, "tasks": ["a"]}
    other = {"seed": 1, "env": {"size": 13, "reward": "sparse"}, "tasks": ["a"], "new": 2}
    assert differences(one, other) == [
        "env.reward is 'dense' there, 'sparse' here",
        "new is None there, 2 here",
        "seed is 0 there, 1 here",
    ]
    assert differences(one, one) == []


def test_a_summary_says_whether_the_run_is_complete(tmp_path):
    folder = RunFolder(tmp_path)
    assert not folder.is_complete()
    for status, complete in (("running", False), ("complete", True)):
        write_summary(
            folder.summary,
            tiny(),
            example(),
            status=status,
            optimum={"room-1": 60.0},
            optimum_is="exact",
            dropped=0,
            env_steps=56,
            decisions=56,
            updates=40,
            seconds=1.25,
            together=3,
            device=torch.device("cpu"),
        )
        assert folder.is_complete() == complete
    told = json.loads((tmp_path / "summary.json").read_text())
    assert told["hardware"]["device"] == "cpu"
    assert (told["wall_clock_s"], told["seeds_together"]) == (1.2, 3)
    assert told["return_matrix"] == [[5.0, None]]
    assert (told["success_matrix"], told["success_any_matrix"]) == ([[0.25, None]], [[0.5, None]])
    assert told["prepares"] == 0


def test_arrays_come_back_as_they_were(tmp_path):
    arrays = {"error": np.arange(6, dtype=np.float32).reshape(2, 3), "met": np.ones(5, bool)}
    write_arrays(tmp_path / "audits" / "task-1.npz", arrays)
    back = np.load(tmp_path / "audits" / "task-1.npz")
    assert all(np.array_equal(back[name], value) for name, value in arrays.items())
    assert [p.name for p in (tmp_path / "audits").iterdir()] == ["task-1.npz"]
