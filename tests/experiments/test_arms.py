"""Studies laid out and trained: what is made first, and what reaches whom.

Three pendulums with networks of a few units: two sources in turn, and a target.
"""

import re
from pathlib import Path

import pytest

from lib.algos import registry
from lib.analysis import results, transfer_results
from lib.core.errors import NonFiniteError, UserError
from lib.core.paths import PARAMS
from lib.experiments import (
    catalogue,
    folders,
    params,
    run_config,
    runs,
    studies,
    transfer,
    trials,
)
from lib.runner import contents, training
from tests.experiments.test_studies import QUICK, written
from tests.tiny import SETTINGS

TINY = {
    "env.episode_length": 22,
    "budget.env_steps_per_task": 88,
    "budget.eval_every": 44,
    "budget.eval_episodes": 1,
    "budget.report_every": 44,
    "budget.checkpoint_every": 44,
    "latent.variables": 4,
    "latent.deter": 6,
    "latent.hidden": 6,
    "network.code_width": 6,
    "network.head_width": 6,
    "behaviour.horizon": 2,
    "update.batch": 2,
    "update.length": 3,
    "update.env_steps_per_update": 22,
    "update.prefill": 44,
    "update.pretrain": 1,
    "update.burst": 1,
    "replay.capacity": 200,
}
ARMS = ("scratch", "modular", "ftl", "meta", "control")


def asked(tmp_path: Path, **changes) -> dict:
    given = {"study": QUICK, "seeds": [0, 1], "overrides": TINY, "device": "cpu"}
    return given | {"out_dir": str(tmp_path / "new")} | changes


def small(name: str, **changes) -> dict:
    """An arm or a source of tiny networks."""
    return {"params": name, **changes, "overrides": TINY | changes.get("overrides", {})}


# Laying out ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", catalogue.studies(PARAMS))
def test_every_committed_study_can_be_laid_out_and_says_where_it_comes_from(name, tmp_path):
    study = transfer.prepare({"study": name, "out_dir": str(tmp_path / "new")}, tmp_path)
    found = studies.read(name)
    assert study.starts == list(found.arms) and len(study.trials) == len(found.arms) * len(
        study.parameters["seeds"]
    ) * len(study.tasks)
    assert len(study.parameters["seeds"]) >= 3 and "scratch" in study.starts
    comment = (PARAMS / catalogue.STUDIES / f"{name}.yaml").read_text()
    assert "# Source: " in comment and "# Expect: " in comment
    budgets = {(t.config.budget, t.config.env.domain, t.config.method_name) for t in study.trials}
    assert len(budgets) == 1, "arms differ in what they begin with alone"
    assert not any(study.notes), "no target is among its sources"
    assert not (tmp_path / "new").exists()


def test_every_committed_study_stands_in_the_table_beside_the_files():
    table = (PARAMS / "README.md").read_text().split("| study |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `([\w-]+)`", table, re.MULTILINE)) == {*catalogue.studies(PARAMS)}


def test_a_study_is_every_arm_with_every_seed_and_its_sources_once_a_seed(tmp_path):
    study = transfer.prepare(asked(tmp_path), tmp_path)
    assert [(t.start, t.seed) for t in study.trials] == [(arm, s) for arm in ARMS for s in (0, 1)]
    assert {t.task for t in study.trials} == {"target"}
    made = [(t.folder.name, [path.name for path in t.needs]) for t in study.made]
    two = f"{QUICK}-two-s"
    assert sorted(made) == sorted(
        (f"{QUICK}-{name}-s{seed}", [f"{two}{seed}"] if "reward" in name else [])
        for name in ("two", "reward-a", "reward-b")
        for seed in (0, 1)
    )
    places = [folder for folder, _ in made]
    for trial in study.runs:  # what a run needs stands before it
        assert all(places.index(path.name) >= 0 for path in trial.needs)
    for folder, needs in made:
        assert all(places.index(need) < places.index(folder) for need in needs)
    needs = {trial.start: len(trial.needs) for trial in study.trials}
    assert needs == {"scratch": 0, "modular": 1, "ftl": 1, "meta": 3, "control": 3}


def test_arms_differ_in_what_their_files_say_and_begin_with_the_source_of_their_own_seed(tmp_path):
    study = transfer.prepare(asked(tmp_path), tmp_path)
    by = {(t.start, t.seed): t for t in study.trials}
    assert by["modular", 1].parameters["load_mode"] == "parts"
    assert by["ftl", 1].config.transfer.omega == 0.2 and by["ftl", 1].config.transfer.case == "ftl"
    assert not by["control", 0].config.meta.use_sources and by["meta", 0].config.meta.use_sources
    place = runs.sources(by["ftl", 1].config, by["ftl", 1].parameters)[0]
    assert Path(place) == tmp_path / "new" / "runs" / f"{QUICK}-two-s1"
    configs = [by["meta", seed].config for seed in (0, 1)]
    assert configs[0].meta == configs[1].meta, "places are alike in all seeds"
    foreign = registry.of(configs[1]).foreign(configs[1])
    assert [Path(part.path).name for part in foreign] == [
        f"{QUICK}-{name}-s1" for name in ("two", "reward-a", "reward-b")
    ]


def test_settings_reach_those_whom_they_concern(tmp_path):
    more = TINY | {"transfer.scope": "whole_head", "meta.freeze_decoder": True}
    study = transfer.prepare(asked(tmp_path, seeds=[0], overrides=more), tmp_path)
    by = {t.start: t.config for t in study.runs}
    assert {cfg.latent.deter for cfg in by.values()} == {6}, "networks are those of all"
    steps = {start: cfg.budget.env_steps_per_task for start, cfg in by.items()}
    assert {steps[arm] for arm in ARMS} == {88}
    assert steps[f"{QUICK}-two"] == steps[f"{QUICK}-reward-a"] == 10_000
    whole = [start for start, cfg in by.items() if cfg.transfer.scope == "whole_head"]
    assert whole == ["modular", "ftl"]
    frozen = [start for start, cfg in by.items() if cfg.meta.freeze_decoder]
    assert frozen == ["meta", "control"]


def test_tasks_may_be_others_each_a_target_of_its_own(tmp_path):
    light = {"name": "light", "task": "target", "g": 2.0}
    study = transfer.prepare(asked(tmp_path, seeds=[0], tasks=["target", light]), tmp_path)
    assert study.tasks == ["target", "light"] and len(study.trials) == 2 * len(ARMS)
    assert len(study.made) == 3
    again = transfer.prepare(study.parameters, tmp_path)  # nothing is left to defaults
    assert (again.parameters, again.runs) == (study.parameters, study.runs)


def test_a_source_among_whose_tasks_the_target_is_is_said(tmp_path):
    study = transfer.prepare(asked(tmp_path, seeds=[0], tasks=["source-b"]), tmp_path)
    taught = [re.search(r"(\w+)-s0' has learnt source-b already", note) for note in study.notes]
    assert {match[1] for match in taught} == {"two", "b"}, "of the advisers the one that knows it"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "grid-quick"}, "preset 'grid-quick': study '.*' is one of 'sources-quick'"),
        ({"pre_rollout": "x"}, "pre_rollout is said by the arms"),
        ({"tasks": ["targt"]}, "unknown pendulum task 'targt'.*did you mean 'target'"),
        ({"seeds": [0, -1]}, "got -1, wanted whole numbers"),
        ({"seeds": [1, 1]}, "1 is there twice"),
        ({"sources": [3]}, "parameter 'sources': 3 is no folder"),
        ({"sources": ["nowhere-s0"]}, "no run folder '.*nowhere-s0'"),
        ({"overrides": {"latent.detr": 3}}, "did you mean 'latent.deter'"),
        ({"overrides": {"explore.nois": 3}}, "did you mean 'explore.noise'"),
        ({"overrides": {"transfer.omega": 1.5}}, "transfer.omega.*got 1.5, wanted at most 1"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(tmp_path, changes, message):
    with pytest.raises(UserError, match=message) as error:
        transfer.prepare(asked(tmp_path, **changes), tmp_path)
    assert "\n" not in str(error.value) and not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"arms": {"a": QUICK, "b": {"params": QUICK, "tasks": ["source-a"]}}},
            r"arm 'a' of study 'mine' learns \['target'\], and 'b' \['source-a'\]",
        ),
        (
            {"arms": {"a": QUICK, "b": small(f"{QUICK}-ftl", load_from="outputs/nobody-s{seed}")}},
            "no checkpoint '.*outputs/nobody-s0': that run has not been made",
        ),
        (
            {
                "arms": {"a": small(f"{QUICK}-ftl", load_from="outputs/b-s{seed}")},
                "sources": {
                    "b": small(f"{QUICK}-ftl", load_from="outputs/c-s{seed}"),
                    "c": small(f"{QUICK}-ftl", load_from="outputs/b-s{seed}"),
                },
            },
            "run 'b' builds on itself",
        ),
        (
            {
                "arms": {"a": small(f"{QUICK}-ftl", load_from="outputs/b-s{seed}")},
                "sources": {"b": small(f"{QUICK}-two", overrides={"env.observation": "pixels"})},
            },
            "comes from another world than this run's .env.observation is 'pixels' there",
        ),
        (
            {
                "arms": {"a": small(f"{QUICK}-ftl", load_from="outputs/b-s{seed}")},
                "sources": {"b": {"params": "drago-grid-quick"}},
            },
            "another world|family 'tdmpc'",
        ),
    ],
)
def test_arms_that_cannot_be_are_refused_before_anything_runs(tmp_path, said, message):
    given = asked(tmp_path, study=written(tmp_path, **said), overrides={}, seeds=[0])
    with pytest.raises(UserError, match=message) as error:
        transfer.prepare(given, tmp_path)
    assert "\n" not in str(error.value) and not (tmp_path / "new").exists()


def test_a_setting_that_reaches_no_arm_is_refused(tmp_path):
    mine = written(tmp_path, arms={"scratch": QUICK})
    given = asked(tmp_path, study=mine, overrides={"meta.freeze_decoder": True})
    with pytest.raises(UserError, match="'meta.freeze_decoder' reaches no arm of study 'mine'"):
        transfer.prepare(given, tmp_path)


# Training ----------------------------------------------------------------------------


def tiny_study(tmp_path: Path) -> str:
    """A file with two arms on a source, and the source's own advisers in a third."""
    two = "outputs/two-s{seed}"
    meta = {"meta.autoencoder": two, "meta.rewards": ["outputs/adviser-s{seed}"]}
    return written(
        tmp_path,
        arms={
            "scratch": small(QUICK),
            "ftl": small(f"{QUICK}-ftl", load_from=two, overrides={"transfer.omega": 0.5}),
            "meta": small(QUICK, overrides=meta),
        },
        sources={
            "two": small(f"{QUICK}-two", env_steps_per_task=88),
            "adviser": small(
                f"{QUICK}-reward-a",
                env_steps_per_task=88,
                overrides={"meta.autoencoder": two},
            ),
        },
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> trials.Study:
    """A finished comparison with one seed, whose sources it made."""
    home = tmp_path_factory.mktemp("study")
    given = asked(home, study=tiny_study(home), seeds=[0], overrides={})
    study = transfer.prepare(given, home / "outputs")
    trials.run(study, tensorboard=False)
    return study


def test_sources_are_trained_first_and_arms_begin_with_them(done):
    assert folders.status(done.out) == "transfer, 5 of 5 runs finished"
    assert [trial.start for trial in done.made] == ["two", "adviser"]
    found = transfer_results.load(done)
    assert [group.label for group in found["target"]] == ["scratch", "ftl", "meta"]
    began = {group.label: group.first.began for group in found["target"]}
    assert (began["ftl"].begins, began["ftl"].sources) == ("fractional, ω 0.5", ("two",))
    assert (began["meta"].begins, began["meta"].sources) == ("meta-model", ("two", "adviser"))
    assert not began["scratch"].begins
    assert (done.trials[1].folder / "parts.json").is_file()
    told = folders.asked(done.out, contents.TRANSFER)
    assert told["parameters"] == done.parameters and len(told["runs"]) == 5
    assert trials.progress(done)["env_steps_total"] == 5 * 88


def finished_like(done: trials.Study, breaking: str = ""):
    """In place of training: tells of every run that it is finished, as one of `done` is."""
    told = {trial.start: (trial.folder / "summary.json").read_text() for trial in done.runs}

    def train(cfg, folder, **how) -> None:
        if folder.name == breaking:
            raise NonFiniteError("non-finite loss")
        if not (folder / "summary.json").exists():
            (start,) = [s for s in told if folder.name.endswith(f"{s}-s{cfg.seed}")]
            (folder / "summary.json").write_text(told[start])

    return train


def test_the_same_again_trains_nothing_and_a_seed_more_is_added(done, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(training, "Run", lambda *_: pytest.fail("trained again"))
        trials.run(transfer.prepare(done.parameters, done.out.parent), tensorboard=False)
    more = transfer.prepare(done.parameters | {"seeds": [0, 1]}, done.out.parent)
    new = [trial for trial in more.runs if folders.held(trial.folder) is None]
    assert len(more.runs) == 10 and {trial.seed for trial in new} == {1} and len(new) == 5


def test_a_finished_run_below_outputs_is_taken_where_it_is_what_would_be_made(done, tmp_path):
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    (outputs / "two-s0").symlink_to(done.made[0].folder)
    given = asked(tmp_path, study=tiny_study(tmp_path), seeds=[0], overrides={})
    study = transfer.prepare(given, outputs)
    assert [source.folder.name for source in study.sources] == ["two-s0"]
    assert [trial.start for trial in study.made] == ["adviser"]
    again = transfer.prepare(study.parameters, tmp_path / "elsewhere")  # as `resume` asks for it
    assert again.sources == study.sources and again.runs == study.runs
    other = transfer.prepare(given | {"overrides": {"explore.noise": 0.1}}, outputs)
    assert not other.sources and [trial.start for trial in other.made] == ["two", "adviser"]


def test_a_source_may_be_named_and_one_that_nobody_builds_on_is_refused(done, tmp_path):
    given = asked(tmp_path, study=tiny_study(tmp_path), seeds=[0], overrides={"explore.noise": 0.1})
    two, adviser, scratch = (trial.folder for trial in (*done.made, done.trials[0]))
    study = transfer.prepare(given | {"sources": [str(two), str(adviser)]}, tmp_path)
    assert {source.name for source in study.sources} == {"two", "adviser"} and not study.made
    with pytest.raises(UserError, match="called 'mine-target-scratch', and no arm.*adviser, two"):
        transfer.prepare(given | {"sources": [str(scratch)]}, tmp_path)


def test_without_its_source_an_arm_is_left_out(done, tmp_path, monkeypatch, capsys):
    given = asked(tmp_path, study=tiny_study(tmp_path), seeds=[0], overrides={})
    monkeypatch.setattr(trials, "train", finished_like(done, breaking="two-s0"))
    trials.run(transfer.prepare(given, tmp_path))
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "1 of 5: sources, two, seed 0: left out, non-finite loss"
    assert "left out, as" in said[1] and said[1].endswith("two-s0' is, on which it builds")
    assert ["left out" in line for line in said[2:]] == [False, True, True]


# Other families ----------------------------------------------------------------------------


def test_world_models_of_another_family_are_arms_like_any_other(tmp_path):
    """Continual TD-MPC's world model on the grid, made first and handed to a new task."""
    tiny = {key: value for key, value in SETTINGS.items()}
    tiny |= {"budget.env_steps_per_task": 84}
    learner = {"params": "grid-transfer-quick-1to2", "overrides": tiny}
    place = {"load_from": "outputs/drago-s{seed}"}
    drago = {"params": "drago-grid-quick", "tasks": ["room-1"], "overrides": tiny}
    mine = written(
        tmp_path,
        arms={
            "scratch": learner | {"load_mode": "", "load_from": ""},
            "world-model": learner | {"load_mode": "world-model"} | place,
        },
        sources={"drago": drago},
    )
    given = asked(tmp_path, study=mine, seeds=[0], overrides={})
    study = transfer.prepare(given, tmp_path)
    trials.run(study, tensorboard=False)
    (groups,) = transfer_results.load(study).values()
    began = [str(group.first.began) for group in groups]
    assert began == ["", "world-model of drago"]
    gains = transfer_results.gains(
        transfer_results.table(study, {"room-1to2": groups}, transfer_results.area)
    )
    assert list(gains) == ["world-model"]


def test_a_dreamers_world_model_is_handed_over_whole_where_actions_are_alike(tmp_path):
    whole = {"load_mode": "world-model", "load_from": "outputs/two-s{seed}"}
    mine = written(
        tmp_path,
        arms={
            "scratch": small(QUICK),
            "world-model": small(QUICK, **whole, overrides={"env.min_actions": 2}),
        },
        sources={"two": small(f"{QUICK}-two", env_steps_per_task=88)},
    )
    study = transfer.prepare(asked(tmp_path, study=mine, seeds=[0], overrides={}), tmp_path)
    trials.run(study, tensorboard=False)
    assert folders.status(study.out) == "transfer, 3 of 3 runs finished"
    assert str(results.load_run(study.trials[1].folder).began) == "world-model of two"


def test_parameters_of_every_study_lead_back_to_their_runs():
    for name in catalogue.studies(PARAMS):
        for given in (*studies.read(name).arms.values(), *studies.read(name).sources.values()):
            assert given.keys() == run_config.PARAMETERS.keys()
            assert params.record(run_config.resolve(given), given)
