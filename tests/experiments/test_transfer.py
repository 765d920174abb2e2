"""Comparisons on new tasks: what they take, what is refused, and that they go on."""

import json
from pathlib import Path

import numpy as np
import pytest

from lib.algos.tdmpc.presets import PRESETS, TRANSFER
from lib.analysis import results, transfer_results
from lib.core import config
from lib.core.errors import UserError
from lib.core.paths import PARAMS
from lib.experiments import catalogue, notebooks, run_config, sources, transfer
from lib.runner import training
from tests.synthetic import make_body_run
from tests.tiny import control
from tests.transfers import asked, overrides

# Preparing -------------------------------------------------------------------------------------


def test_a_study_is_every_task_from_every_start_with_every_seed(learners, tmp_path):
    study = transfer.prepare(asked(tmp_path, tasks=["jump2run", "jump-and-run"]), learners)
    assert [(t.task, t.start, t.seed) for t in study.trials] == [
        (task, start, 0)
        for task in ("cheetah-jump2run", "cheetah-jump-and-run")
        for start in ("scratch", "tdmpc", "drago")
    ]
    scratch, tdmpc, drago, *composite = study.trials
    assert scratch.config.method_name == "scratch" and scratch.parameters["load_from"] == ""
    assert {t.config.method_name for t in (tdmpc, drago)} == {"tdmpc"}
    assert not any(t.config.method.review for t in study.trials)
    assert tdmpc.parameters["load_mode"] == "world-model"
    assert Path(drago.parameters["load_from"]).name == "drago-cheetah-quick-s0"
    # one and the same agent acts first, whatever the learner starts from
    acting = {t.parameters["pre_rollout"] for t in (scratch, tdmpc, drago)}
    assert acting == {str(learners / "tdmpc-cheetah-quick-s0")}
    assert {t.parameters["pre_rollout"] for t in composite} == {""}
    assert drago.folder == tmp_path / "new" / "runs" / "cheetah-jump2run-drago-s0"
    same = [config.to_dict(t.config) | {"name": "", "method_name": ""} for t in study.trials[:3]]
    assert [c | {"method": ""} for c in same] == [same[0] | {"method": ""}] * 3


def test_a_domain_has_tasks_of_its_own(learners, tmp_path):
    study = transfer.prepare(asked(tmp_path, tasks=[]), learners)
    assert [name.removeprefix("cheetah-") for name in study.tasks] == TRANSFER["cheetah"]
    again = transfer.prepare(study.parameters, learners)  # nothing is left to defaults
    assert (again.parameters, again.trials) == (study.parameters, study.trials)


def test_another_agent_may_act_first(learners, tmp_path):
    place = str(learners / "drago-cheetah-quick-s0" / "checkpoints" / "task-1.safetensors")
    study = transfer.prepare(asked(tmp_path, pre_rollout=place), learners)
    assert {trial.parameters["pre_rollout"] for trial in study.trials} == {place}


@pytest.mark.parametrize(
    "preset", [name for name in PRESETS if "transfer" in name or "few" in name]
)
def test_the_runs_that_a_preset_builds_on_can_be_made(preset):
    for method in transfer.study_of(preset).sources:
        source = catalogue.read(f"{method}-{sources.stream_of(preset)}", PARAMS)
        mine = run_config.resolve({"preset": preset, "method": method})
        theirs = run_config.resolve(source)
        assert (mine.model, mine.vae, mine.env) == (theirs.model, theirs.vae, theirs.env)


def test_unfinished_sources_are_not_found(learners, tmp_path):
    told = {"status": "complete", "name": "a", "method": "b", "preset": "c", "seeds": [0]}
    told |= {"tasks": ["d"], "optimum": None, "return_matrix": []}
    for name in ("tdmpc-cheetah-quick-s0", "drago-cheetah-quick-s0", "drago-cheetah-quick-s10"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(json.dumps(told))
    (tmp_path / "drago-cheetah-quick-s2").mkdir()
    found = sources.find("cheetah-transfer-quick", tmp_path, ("tdmpc", "drago"))
    assert [path.name for path in found] == [
        "tdmpc-cheetah-quick-s0",
        "drago-cheetah-quick-s0",
        "drago-cheetah-quick-s10",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"presets": "x"}, "unknown parameter 'presets'.*did you mean 'preset'"),
        ({"preset": "cheetah-transfr"}, "unknown preset.*did you mean 'cheetah-transfer'"),
        ({"tasks": ["jump2runn"]}, "unknown task 'runn'"),
        ({"tasks": ["walk2run"]}, "unknown task 'walk'"),
        ({"tasks": ["walker-run"]}, "belongs to walker, but the domain is cheetah"),
        ({"tasks": ["back2run"]}, "agent trained on 'cheetah-run-backwards'.*no source has learnt"),
        ({"tasks": ["flip"], "pre_rollout": "X"}, "pre_rollout 'X' would act in no task"),
        ({"pre_rollout": "nowhere"}, "no checkpoint '.*nowhere'"),
        (
            {"pre_rollout": "SOURCES/drago-cheetah-quick-s0/checkpoints/task-2.safetensors"},
            "but '.*' learnt 'cheetah-run'",
        ),
        ({"seeds": [0, 3]}, "no source of tdmpc with seed 3; make it with 'python -m lib run "
         "tdmpc-cheetah-quick -p seed=3'"),
        ({"seeds": ["0"]}, "seed '0' is no whole number"),
        ({"sources": ["nowhere"]}, "no run folder '.*nowhere'"),
        ({"sources": ["SOURCES/half"]}, "has not finished.*python -m lib resume"),
        ({"sources": ["SOURCES/scratch"]}, "starts every task from nothing"),
        ({"sources": ["SOURCES/walker"]}, "on the walker, but preset '.*' is about the cheetah"),
        ({"sources": ["SOURCES/big"]}, r"other networks than preset .* \(model.width is 17 there"),
        ({"sources": ["SOURCES/bare"]}, "no checkpoint in '.*bare'"),
        ({"sources": ["SOURCES/other", "SOURCES/drago-cheetah-quick-s1"]}, "no seed that every"),
        ({"sources": ["SOURCES/drago-cheetah-quick-s0", "SOURCES/twin"]}, "both runs of drago"),
        ({"overrides": {"planner.sampels": 3}}, "did you mean 'planner.samples'"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused_before_anything_runs(
    more_sources, tmp_path, changes, message
):
    changes = json.loads(json.dumps(changes).replace("SOURCES", str(more_sources)))
    if "overrides" in changes:
        changes["overrides"] = overrides() | changes["overrides"]
    with pytest.raises(UserError, match=message) as error:
        transfer.prepare(asked(tmp_path, **changes), more_sources)
    assert "\n" not in str(error.value) and not (tmp_path / "new").exists()


@pytest.fixture(scope="module")
def more_sources(learners, tmp_path_factory) -> Path:
    """The two good ones, and others that have something wrong with them."""
    folder = tmp_path_factory.mktemp("more")
    for good in learners.iterdir():
        (folder / good.name).symlink_to(good)
    drago = learners / "drago-cheetah-quick-s0"

    def changed(name: str, **changes) -> None:
        """A copy with another summary, or the run of another configuration."""
        (folder / name).mkdir()
        told = json.loads((drago / "summary.json").read_text())
        (folder / name / "summary.json").write_text(json.dumps(told | changes))
        if name != "bare":
            (folder / name / "checkpoints").symlink_to(drago / "checkpoints")

    changed("half", status="running")
    changed("bare")
    changed("twin")
    changed("other", method="ewc", seeds=[1])
    changed("drago-cheetah-quick-s1", seeds=[2])
    tiny = {"tasks": ["run"], "budget__env_steps_per_task": 56, "budget__eval_episodes": 1}
    runs = {
        "scratch": control("scratch", **tiny),
        "walker": control("drago", "walker", **tiny),
        "big": control("drago", model__width=17, **tiny),
    }
    for name, cfg in runs.items():
        training.train(cfg, folder / name, tensorboard=False, progress=False)
    return folder


def test_without_any_source_the_commands_that_make_them_are_named(tmp_path):
    with pytest.raises(UserError) as error:
        transfer.prepare({"preset": "walker-few-shot"}, tmp_path)
    assert "'python -m lib run tdmpc-walker -p seed=0'" in str(error.value)
    assert "'python -m lib run drago-walker -p seed=0'" in str(error.value)


def test_a_folder_with_other_things_or_other_runs_is_refused(done, learners, tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="holds other things than a comparison.*thesis.tex"):
        transfer.prepare(asked(tmp_path), learners)
    longer = asked(tmp_path, overrides=overrides(budget__env_steps_per_task=168))
    with pytest.raises(UserError, match="already holds a different run.*is 112 there, 168 here"):
        transfer.prepare(longer | {"out_dir": str(done.out)}, learners)


# Reading ---------------------------------------------------------------------------------------


def made(folder: Path, steps: list, returns: list) -> results.Run:
    curves = {"cheetah-run": {"task_env_steps": steps, "return": returns}}
    out = make_body_run(folder, tasks=("cheetah-run",), curves=curves)
    told = json.loads((out / "summary.json").read_text())
    told |= {"curves": curves, "final_return": {"cheetah-run": returns[-1]}}
    (out / "summary.json").write_text(json.dumps(told))
    return results.load_run(out)


def test_the_few_shot_return_lies_on_the_line_between_evaluations(tmp_path):
    # 20 episodes of 1000 steps; 200 at 16,000 and 300 at 24,000 make 250 half-way
    run = made(tmp_path / "a", [0, 8000, 16000, 24000], [10, 100, 200, 300])
    assert transfer_results.few_shot(run, episodes=20) == 250.0
    assert transfer_results.few_shot(run, episodes=16) == 200.0
    assert transfer_results.first_return(run) == 10.0 and transfer_results.last_return(run) == 300.0
    # trapezia of 8,000 steps over returns of at most 1000: (55 + 150 + 250) / 3 / 1000
    assert transfer_results.area(run) == pytest.approx(0.455 / 3)
    assert transfer_results.mean_return(run) == pytest.approx(455 / 3)
    below = made(tmp_path / "c", [0, 8000], [-10, 100])
    assert np.isnan(transfer_results.area(below)) and transfer_results.mean_return(below) == 45.0
    assert np.isnan(transfer_results.few_shot(made(tmp_path / "b", [0, 19000], [0, 1]), 20))


def test_gains_are_forward_transfer_against_the_mean_of_scratch():
    areas = {
        "scratch": np.array([[0.2, np.nan], [0.4, np.nan]]),  # means 0.3 and unknown
        "drago": np.array([[0.65, 0.5], [0.3, np.nan]]),
    }
    gains = transfer_results.gains(areas)
    assert gains.keys() == {"drago"}
    # (0.65 - 0.3) / 0.7 and (0.3 - 0.3) / 0.7
    np.testing.assert_allclose(gains["drago"], [[0.5, np.nan], [0.0, np.nan]], atol=1e-12)
    np.testing.assert_allclose(transfer_results.over_seeds(areas["drago"]), [0.475, 0.5])


def test_foreknowledge_of_a_runs_own_model_is_its_own_audit(done):
    trial = done.trials[2]
    mine = results.load_run(trial.folder)
    told = transfer_results.foreknowledge(trial, mine)
    held = {name: value for name, value in mine.audit[0].items() if "/met-" in name}
    assert told.keys() == held.keys()
    for name in held:
        assert told[name] == pytest.approx(held[name], rel=1e-5)
    before = transfer_results.foreknowledge(trial, done.source("drago", 0))
    blank = transfer_results.foreknowledge(trial, None)
    name = "audit/met-cheetah-jump2run/mse"
    assert len({told[name], before[name], blank[name]}) == 3


def test_the_best_trial_ended_highest(done):
    best = transfer_results.best_trial(done, "cheetah-jump2run", 0)
    finals = [results.load_run(t.folder).final_return[0] for t in done.trials]
    assert best == done.trials[int(np.argmax(finals))]
    assert transfer_results.best_trial(done, "cheetah-jump2run", 1) is None


def test_nothing_can_be_read_before_a_run_is_finished(learners, tmp_path):
    with pytest.raises(UserError, match="none of the 3 runs in '.*' is finished"):
        transfer_results.load(transfer.prepare(asked(tmp_path), learners))


def test_the_notebook_declares_what_a_plan_takes():
    declared = notebooks.parameters(notebooks.TRANSFER)
    assert declared == {name: type(value).__name__ for name, value in transfer.PARAMETERS.items()}
