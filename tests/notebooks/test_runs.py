"""Each notebook runs from top to bottom with budgets of seconds."""

import json
import re
import shutil

import pytest

from lib.analysis import results
from lib.core import config
from lib.experiments import notebooks, params, run_config
from lib.runner import training
from tests.test_readme import fields
from tests.tiny import SETTINGS, control


def printed(node) -> str:
    """Everything that the cells printed or displayed as text."""
    outputs = [output for cell in node.cells for output in cell.get("outputs", [])]
    data = [output.get("data", {}) for output in outputs]
    return "\n".join(
        [output.get("text", "") for output in outputs]
        + [item.get("text/markdown", item.get("text/plain", "")) for item in data]
    )


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Folder with a run of DRAGO and one of a method that has neither dreams nor reviewer."""
    folder = tmp_path_factory.mktemp("outputs")
    for method in ("drago", "tdmpc"):
        out = folder / method
        params = {
            "method": method,
            "tasks": ["room-1", "room-2"],
            "device": "cpu",
            "overrides": SETTINGS,
            "out_dir": str(out),
        }
        notebooks.run(params, out / "run.ipynb")
    return folder


def test_run_leaves_figures_for_every_question(outputs):
    figures = {path.stem for path in (outputs / "drago" / "figures").glob("*.png")}
    assert figures >= {
        "learning_curves",
        "final_returns",
        "return_matrix",
        "retention_met",
        "model_error",
        "model_accuracy",
        "dream_coverage",
        "dream_rooms",
        "review_reward_2",
        "prediction_score",
        "trajectories",
    }
    run = results.load_run(outputs / "drago")
    assert run.tasks == ("room-1", "room-2")
    assert set(run.summary) == fields()  # the README explains each of them


def test_run_draws_several_seeds_and_says_whose_figure_is_one_runs(outputs, tmp_path):
    # Seed 0 is there already, from the run above, and is kept.
    shutil.copytree(outputs / "tdmpc", tmp_path / "mine-s0")
    params = {
        "method": "tdmpc",
        "tasks": ["room-1", "room-2"],
        "device": "cpu",
        "overrides": SETTINGS,
        "seeds": [0, 1, 2],
        "video": "",
        "out_dir": str(tmp_path / "mine"),
    }
    before = (tmp_path / "mine-s0" / "metrics.jsonl").stat().st_mtime_ns
    text = printed(notebooks.run(params, tmp_path / "mine" / "run.ipynb"))
    assert (tmp_path / "mine-s0" / "metrics.jsonl").stat().st_mtime_ns == before
    assert "| seeds | 0, 1, 2 |" in text and "| runs | mine-s0, mine-s1, mine-s2 |" in text
    for seed in range(3):
        final = results.load_run(tmp_path / f"mine-s{seed}").final_return
        assert f"| seed {seed} | {final[0]:.1f} | {final[1]:.1f} |" in text
    assert "| forgetting |" in text
    assert re.search(r"\| tdmpc \|( \S+ \[\S+, \S+\] \|){4}", text)  # intervals over seeds
    assert "One seed shows no spread" not in text
    figures = {path.stem for path in (tmp_path / "mine" / "figures").glob("*.png")}
    assert figures >= {"learning_curves", "retention_met", "model_error", "prediction_score"}


def test_run_says_what_a_method_does_not_have(outputs):
    text = printed(notebooks.read(outputs / "tdmpc" / "run.ipynb"))
    assert "has no generator" in text and "There was no reviewer" in text
    assert not (outputs / "tdmpc" / "figures" / "dream_coverage.png").exists()


def test_a_finished_run_is_redrawn_without_training(outputs, tmp_path):
    before = (outputs / "tdmpc" / "metrics.jsonl").stat().st_mtime_ns
    params = {
        "method": "tdmpc",
        "tasks": ["room-1", "room-2"],
        "device": "cpu",
        "overrides": SETTINGS,
        "out_dir": str(outputs / "tdmpc"),
    }
    notebooks.run(params, tmp_path / "again.ipynb")
    assert (outputs / "tdmpc" / "metrics.jsonl").stat().st_mtime_ns == before


def test_compare_draws_every_finished_run_below_outputs(outputs, tmp_path):
    (tmp_path / "outputs").symlink_to(outputs)
    params = {"out_dir": str(tmp_path / "compare")}
    text = printed(
        notebooks.run(params, tmp_path / "compare.ipynb", notebooks.COMPARE, cwd=tmp_path)
    )
    assert "| drago | 1 | 0 |" in text and "| tdmpc | 1 | 0 |" in text
    assert "1 seed, no interval" in text and "seeds each are needed" in text
    figures = {path.name for path in (tmp_path / "compare").glob("*.png")}
    assert figures >= {"learning_curves.png", "retention.png", "return_matrices.png"}


def test_compare_without_a_run_says_what_to_do(tmp_path):
    params = {"out_dir": str(tmp_path / "compare")}
    node = notebooks.run(params, tmp_path / "compare.ipynb", notebooks.COMPARE, cwd=tmp_path)
    assert "There is no finished run yet. Start one with" in printed(node)


def test_compare_works_with_a_single_run(outputs, tmp_path):
    params = {"runs": [str(outputs / "drago")], "out_dir": str(tmp_path)}
    node = notebooks.run(params, tmp_path / "compare.ipynb", notebooks.COMPARE)
    assert "nothing to compare it with" in printed(node)


@pytest.fixture(scope="module")
def cheetahs(tmp_path_factory):
    """Folder with a run of TD-MPC and one of DRAGO that learnt to jump, then to run."""
    folder = tmp_path_factory.mktemp("cheetahs")
    sizes = {"budget__env_steps_per_task": 112, "budget__eval_every": 112}
    for method in ("tdmpc", "drago"):
        cfg = control(method, tasks=["jump", "run"], **sizes)
        cfg = config.merge(cfg, {"name": f"{method}-cheetah-quick"})
        training.train(cfg, folder / f"{cfg.name}-s0", tensorboard=False, progress=False)
    return folder


def test_transfer_shows_what_came_of_every_start(cheetahs, tmp_path):
    sizes = {"budget__env_steps_per_task": 560, "budget__eval_every": 280}  # 20 episodes
    sizes |= {"budget__parallel_envs": 10, "budget__pre_rollout": 3}
    cfg = control("tdmpc", learning__updates_per_step=0.1, **sizes)
    given = {
        "tasks": ["jump2run", "jump-and-run"],
        "sources": [str(path) for path in sorted(cheetahs.iterdir(), reverse=True)],
        "overrides": params.from_record(params.record(cfg, run_config.PARAMETERS))["overrides"],
        "device": "cpu",
        "out_dir": str(tmp_path / "out"),
    }
    text = printed(notebooks.run(given, tmp_path / "out" / "transfer.ipynb", notebooks.TRANSFER))
    for trial in ("1 of 6: cheetah-jump2run, scratch", "6 of 6: cheetah-jump-and-run, drago"):
        assert f"{trial}, seed 0: final return" in text
    assert "def reset(self, n: int" in text and "unexplained share" in text
    assert "Mean return after 20 episodes: drago ahead of tdmpc in " in text
    assert "seeds are needed to tell this from chance" in text
    files = {path.name for path in (tmp_path / "out").rglob("*.png")}
    assert files >= {"learning_curves.png", "few_shot.png"}
    assert "beginnings.png" in files or "No pictures: " in text
    told = json.loads((tmp_path / "out" / "transfer.json").read_text())
    assert set(told["starts"]) == {"scratch", "tdmpc", "drago"}
    drago = told["starts"]["drago"]["cheetah-jump2run"]
    assert drago["runs"][0]["seed"] == 0 and "python -m lib transfer" in drago["command"]
    assert "forward transfer" in (tmp_path / "out" / "transfer.md").read_text()


def test_start_here_runs_with_a_small_budget(tmp_path):
    params = {"env_steps_per_task": 160, "out_dir": str(tmp_path)}
    node = notebooks.run(params, tmp_path / "00.ipynb", notebooks.NOTEBOOKS / "00_start_here.py")
    assert "not attempted" in printed(node)
    assert results.load_run(tmp_path / "tdmpc-s1").tasks == ("room-1", "room-2")
