import json

import numpy as np
import pytest
import yaml

from lib.analysis import origins, results
from lib.analysis.measures import ACCURACY, ERROR, SCORE, UNEXPLAINED, YARDSTICKS
from lib.core.errors import UserError
from lib.experiments import params, run_config
from tests.synthetic import BODY_TASKS, TASKS, make_body_run, make_run


def test_a_finished_run_comes_back_as_arrays(tmp_path):
    run = results.load_run(make_run(tmp_path / "drago-s3", seed=3))
    assert (run.name, run.method, run.seed, run.tasks) == ("drago-s3", "drago", 3, TASKS)
    np.testing.assert_allclose(run.optimum, [60, 50, 55, 52])
    assert run.return_matrix.shape == (4, 4)
    assert np.isnan(run.return_matrix[0, 1:]).all()
    steps, returns = run.curves["room-2"]
    assert steps[-1] == 6000 and returns[-1] == run.final_return[1]
    assert run.performance()[3, 3] == pytest.approx(run.final_return[3] / 52)


def test_the_audit_becomes_matrices_by_task_met_and_by_room(tmp_path):
    run = results.load_run(make_run(tmp_path / "drago"))
    assert run.met().shape == (4, 4)
    assert np.isnan(run.met()[np.triu_indices(4, 1)]).all()
    assert run.met()[2, 0] == run.audit[2]["audit/met-room-1/accuracy"]
    assert run.rooms() == ["doors", "room-1", "room-2", "room-3", "room-4"]
    assert run.by_room()[1, 1] == run.audit[1]["audit/room-1/accuracy"]
    assert set(run.audit_arrays(0)) >= {"error", "right", "met", "cells", "dream_count"}
    assert run.audit_arrays(7) == {}


def test_the_audit_of_a_body_becomes_errors_and_has_no_rooms(tmp_path):
    run = results.load_run(make_body_run(tmp_path / "cheetah"))
    assert run.measures == (ERROR, UNEXPLAINED, SCORE)
    assert run.met()[2, 0] == run.audit[2]["audit/met-cheetah-run/mse"]
    assert run.met("unexplained")[1, 1] == run.audit[1]["audit/met-cheetah-jump/unexplained"]
    assert np.isnan(run.met()[np.triu_indices(3, 1)]).all()
    assert run.rooms() == [] and run.by_room().shape == (3, 0)
    assert run.audit_arrays(1)["error"].shape == (3, 17)


def test_the_audit_of_a_grid_says_accuracy_first(tmp_path):
    assert results.load_run(make_run(tmp_path / "run")).measures == (ACCURACY,)


def test_a_summary_says_what_its_optimum_is_and_an_old_one_means_exact(tmp_path):
    body = results.load_run(make_body_run(tmp_path / "body"))
    assert body.yardstick is YARDSTICKS["ceiling"]
    assert body.performance()[0, 0] == pytest.approx(body.return_matrix[0, 0] / 1000)
    folder = make_run(tmp_path / "old")
    summary = json.loads((folder / "summary.json").read_text())
    del summary["optimum_is"]
    (folder / "summary.json").write_text(json.dumps(summary))
    assert results.load_run(folder).yardstick is YARDSTICKS["exact"]


def test_an_optimum_of_a_kind_that_nobody_knows_is_refused(tmp_path):
    folder = make_run(tmp_path / "run", optimum_is="exakt")
    with pytest.raises(UserError, match="it/optimum_is is 'exakt', wanted exact or ceiling"):
        results.load_run(folder)


def test_a_logged_series_reads_only_its_own_lines_and_forgives_half_a_last_line(tmp_path):
    folder = make_run(tmp_path / "run")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "tra')
    steps, values = results.load_run(folder).series("train/learner/consistency")
    assert len(steps) == 4 * 13 and values[0] == 1.0 and steps[13] == 6000


def test_unknown_optima_and_missing_numbers_become_nan(tmp_path):
    folder = make_run(tmp_path / "run", optimum={"room-1": None}, final_return={})
    run = results.load_run(folder)
    assert np.isnan(run.optimum).all() and np.isnan(run.final_return).all()


def _empty(folder):
    folder.mkdir()


def _foreign(folder):
    folder.mkdir()
    (folder / "holiday.jpg").touch()


def _stopped(folder):
    make_run(folder)
    (folder / "summary.json").unlink()
    (folder / "progress.json").write_text('{"env_steps": 1200, "env_steps_total": 24000}')


def _running(folder):
    make_run(folder, status="running")


def _broken(folder):
    make_run(folder)
    (folder / "summary.json").write_text('{"name": ')


def _other_summary(folder):
    make_run(folder)
    (folder / "summary.json").write_text('{"name": "x", "status": "complete"}')


@pytest.mark.parametrize(
    "prepare, says",
    [
        (lambda folder: None, "no run folder .*python -m lib list"),
        (_empty, "is empty; start a run"),
        (_foreign, "is not a run's: it holds holiday.jpg"),
        (_stopped, r"has not finished \(1,200 of 24,000 env steps\).*python -m lib resume"),
        (_running, "has not finished.*wait if it is training"),
        (_broken, "damaged or was altered: it cannot be read.*python -m lib resume"),
        (_other_summary, "lacks method, preset, seeds"),
    ],
)
def test_folders_without_a_finished_run_get_one_line_that_says_what_to_do(tmp_path, prepare, says):
    folder = tmp_path / "some-run"
    prepare(folder)
    with pytest.raises(UserError, match=says) as caught:
        results.load_run(folder)
    assert "\n" not in str(caught.value)


def test_complete_runs_skips_what_is_not_a_run_and_says_what_is_unfinished(tmp_path):
    make_run(tmp_path / "b")
    make_run(tmp_path / "a")
    _running(tmp_path / "c")
    (tmp_path / "published").mkdir()
    (tmp_path / "notes.txt").touch()
    runs, left_out = results.complete_runs(tmp_path)
    assert [run.name for run in runs] == ["a", "b"]
    assert len(left_out) == 1 and "has not finished" in left_out[0]
    assert results.complete_runs(tmp_path / "nowhere") == ([], [])


def _runs(tmp_path, *specs):
    made = [make_run(tmp_path / f"run-{i}", **spec) for i, spec in enumerate(specs)]
    return [results.load_run(folder) for folder in made]


def test_seeds_of_one_method_form_a_group(tmp_path):
    runs = _runs(
        tmp_path, {"seed": 1}, {"method": "tdmpc"}, {"seed": 0}, {"seed": 2, "method": "tdmpc"}
    )
    groups = results.group_runs(runs)
    assert [(g.label, [run.seed for run in g.runs]) for g in groups] == [
        ("drago", [0, 1]),
        ("tdmpc", [0, 2]),
    ]
    assert groups[0].stack("return_matrix").shape == (2, 4, 4)
    assert groups[0].stack("met").shape == (2, 4, 4)


def test_a_seed_that_ran_twice_counts_once(tmp_path):
    (group,) = results.group_runs(_runs(tmp_path, {"seed": 0}, {"seed": 0}, {"seed": 1}))
    assert [run.name for run in group.runs] == ["run-0", "run-2"]
    assert [run.name for run in group.repeated] == ["run-1"]


def test_other_presets_tasks_or_settings_are_never_averaged_together(tmp_path):
    runs = _runs(
        tmp_path,
        {},
        {"preset": "grid-full"},
        {"tasks": TASKS[:2]},
        {"config": {"learning": {"batch": 7}}},
        {"method": "tdmpc"},
    )
    labels = [group.label for group in results.group_runs(runs)]
    assert len(labels) == len(set(labels)) == 5
    assert "tdmpc" in labels and "drago grid-full" in labels


def test_how_the_numbers_are_computed_does_not_part_a_group(tmp_path):
    runs = _runs(
        tmp_path,
        {"seed": 0},  # of a version without such settings
        {
            "seed": 1,
            "config": {"env": {"domain": "grid", "size": 13}, "engine": {"graphs": "auto"}},
        },
    )
    assert len(results.group_runs(runs)) == 1


def test_a_groups_curve_covers_what_every_seed_covers(tmp_path):
    short = {"room-1": {"task_env_steps": [0, 1000], "return": [0.0, 10.0]}}
    (group,) = results.group_runs(
        _runs(
            tmp_path,
            {"seed": 0, "tasks": TASKS[:1]},
            {"seed": 1, "tasks": TASKS[:1], "curves": short},
        )
    )
    steps, returns = group.curve("room-1")
    assert steps.tolist() == [0, 500, 1000]
    assert returns[1].tolist() == [0.0, 5.0, 10.0]
    assert group.curve("room-2")[0].size == 0


def test_areas_are_shares_of_the_optimum(tmp_path):
    curve = {"room-1": {"task_env_steps": [0, 100], "return": [0.0, 60.0]}}
    run = results.load_run(make_run(tmp_path / "run", tasks=TASKS[:1], curves=curve))
    # a straight line from 0 to the optimum (60): one half
    assert run.areas() == pytest.approx([0.5])


def test_forward_transfer_needs_scratch_runs_of_the_same_preset(tmp_path):
    runs = _runs(tmp_path, {}, {"method": "scratch", "seed": 0}, {"method": "scratch", "seed": 1})
    groups = results.group_runs(runs)
    drago, scratch = groups
    expected = (drago.stack("areas") - scratch.stack("areas").mean(0)) / (
        1 - scratch.stack("areas").mean(0)
    )
    np.testing.assert_allclose(results.forward_transfer(drago, groups), expected)
    assert results.forward_transfer(drago, groups[:1]) is None


def test_markdown_tables_show_text_as_it_is():
    hostile = "<img src=x onerror=alert(1)>|[x](javascript:alert(1))\n| more"
    table = results.markdown_table(["run", hostile], [[hostile, 3]])
    assert len(table.splitlines()) == 3 and "<" not in table and "](" not in table
    assert all(line.count("|") == 3 for line in table.splitlines())


def test_markdown_tables_have_one_line_a_row():
    table = results.markdown_table(["method", "seeds"], [["drago", 3]])
    assert table.splitlines() == ["| method | seeds |", "|:--|--:|", "| drago | 3 |"]


def test_a_summary_that_holds_a_list_is_refused(tmp_path):
    folder = make_run(tmp_path / "run")
    (folder / "summary.json").write_text(json.dumps([1]))
    with pytest.raises(UserError, match="it is a list, wanted a mapping"):
        results.load_run(folder)


def test_runs_that_started_from_other_runs_are_kept_apart(tmp_path):
    folders = [make_run(tmp_path / f"run-{i}", seed=i) for i in range(4)]
    origins = [
        "outputs/drago-s0",
        "outputs/drago-s1/checkpoints/task-4.safetensors",
        "outputs/tdmpc",
    ]
    for folder, origin in zip(folders, origins, strict=False):
        (folder / "config.yaml").write_text(f"load_mode: world-model\nload_from: {origin}\n")
    groups = results.group_runs([results.load_run(folder) for folder in folders])
    assert {group.label: len(group.runs) for group in groups} == {
        "drago (world-model of drago)": 2,
        "drago (world-model of tdmpc)": 1,
        "drago (from nothing)": 1,
    }


def test_runs_in_which_other_agents_act_first_are_kept_apart(tmp_path):
    folders = [make_body_run(tmp_path / f"run-{i}", seed=i) for i in range(2)]
    (folders[0] / "config.yaml").write_text("pre_rollout: outputs/drago-cheetah-quick-s1\n")
    (folders[1] / "config.yaml").write_text(
        "load_mode: agent\nload_from: outputs/tdmpc-s0\npre_rollout: outputs/drago-s0\n"
    )
    origins = [results.load_run(folder).origin for folder in folders]
    assert origins == ["drago-cheetah-quick acting first", "agent of tdmpc, drago acting first"]


def begun(folder, seed=0, **given):
    """A run of the Dreamer whose config.yaml says what it began with."""
    given = run_config.PARAMETERS | {"preset": "sources-quick", "method": "dreamer-v1"} | given
    cfg = run_config.resolve(given | {"seed": seed})
    held = params.record(cfg, given)
    out = make_body_run(folder, "dreamer-v1", seed, tasks=("cheetah-run",))
    told = json.loads((out / "summary.json").read_text())
    settings = {key: value for key, value in held.items() if key not in origins.START}
    (out / "summary.json").write_text(json.dumps(told | {"config": settings}))
    (out / "config.yaml").write_text(yaml.safe_dump(held))
    return results.load_run(out)


FTL = {"load_mode": "parts", "load_from": "outputs/two-s{seed}"}


def test_seeds_that_took_parts_of_as_many_runs_are_one_group_called_after_what_they_took(tmp_path):
    meta = {"meta.autoencoder": "outputs/two-s{seed}", "meta.rewards": ["outputs/a-s{seed}"]}
    runs = [
        begun(tmp_path / "a", 0),
        *(begun(tmp_path / f"b{seed}", seed, **FTL) for seed in range(2)),
        begun(tmp_path / "c", 0, overrides=meta),
        begun(tmp_path / "d", 1, overrides={**meta, "meta.rewards": ["here/a-s1"]}),
        begun(tmp_path / "e", 0, overrides={**meta, "meta.use_sources": False}),
    ]
    assert {group.label: len(group.runs) for group in results.group_runs(runs)} == {
        "dreamer-v1 (from nothing)": 1,
        "dreamer-v1 (fractional, ω 0.2)": 2,
        "dreamer-v1 (meta-model)": 2,
        "dreamer-v1 (meta-model, control)": 1,
    }
    three = {**FTL, "load_from": "outputs/three-s{seed}"}
    others = [runs[1], begun(tmp_path / "f", 0, **three)]
    assert [group.label for group in results.group_runs(others)] == [
        "dreamer-v1 (fractional, ω 0.2 of two)",
        "dreamer-v1 (fractional, ω 0.2 of three)",
    ]


def test_what_took_parts_is_measured_against_its_own_method_from_nothing(tmp_path):
    runs = [begun(tmp_path / "a"), begun(tmp_path / "b", **FTL)]
    nothing, taken = results.group_runs(runs)
    areas = [run.areas() for run in runs]
    found = results.forward_transfer(taken, [nothing, taken])
    np.testing.assert_allclose(found, [(areas[1] - areas[0]) / (1 - areas[0])])
    assert results.forward_transfer(nothing, [nothing, taken]) is None
    assert results.forward_transfer(taken, [taken]) is None


def test_a_group_counts_env_steps_and_decisions(tmp_path):
    (group,) = results.group_runs(
        [results.load_run(make_body_run(tmp_path / f"run-{i}", seed=i)) for i in range(2)]
    )
    assert (group.env_steps, group.decisions) == (120_000, 30_000)


def test_a_comparison_of_bodies_says_errors_and_what_a_return_is_a_share_of(tmp_path):
    for seed in range(3):
        make_body_run(tmp_path / f"tdmpc-s{seed}", "tdmpc", seed)
    groups = results.group_runs([results.load_run(path) for path in sorted(tmp_path.iterdir())])
    (record,) = json.loads(json.dumps(results.comparison(groups), allow_nan=False)).values()
    assert record["optimum_is"] == "ceiling" and record["tasks"] == list(BODY_TASKS)
    runs, estimates = record["runs"], record["estimates"]
    assert (runs[0]["env_steps"], runs[0]["decisions"]) == (120_000, 30_000)
    assert runs[0]["dropped_episodes"] == 1
    assert not any("accuracy" in name or "optimum" in name for name in estimates)
    end = estimates["share of the most an episode can pay at the end of cheetah-run"]
    returns = [run["final_return"]["cheetah-run"] / 1000 for run in runs]
    assert end["point"] == pytest.approx(np.mean(returns))
    # the factor by which each seed's error has grown, averaged by its logarithm
    errors = [[row["audit/met-cheetah-run/mse"] for row in run["audit"]] for run in runs]
    factors = np.log([row[-1] / row[0] for row in errors])
    grown = estimates["factor by which that error has grown after cheetah-run-backwards"]
    assert grown["point"] == pytest.approx(np.exp(factors.mean()))
    assert (grown["low"], grown["high"]) == pytest.approx(tuple(np.exp(np.sort(factors)[[0, 2]])))
    name = "mean squared error on what was held out in cheetah-run, after cheetah-jump"
    assert estimates[name]["point"] == pytest.approx(
        np.exp(np.mean(np.log([row[1] for row in errors])))
    )
    changes = [name for name in estimates if name.startswith("change of that score")]
    assert len(changes) == 1


def test_a_comparison_of_grids_keeps_the_names_it_has_always_had(tmp_path):
    folders = [make_run(tmp_path / f"run-{i}", seed=i, tasks=TASKS[:2]) for i in range(3)]
    groups = results.group_runs([results.load_run(folder) for folder in folders])
    (record,) = results.comparison(groups).values()
    assert list(record["estimates"]) == [
        "share of the optimum at the end of room-1",
        "share of the optimum at the end of room-2",
        "accuracy on what was met in room-1, after room-1",
        "accuracy on what was met in room-1, after room-2",
        "share of that accuracy kept after room-2",
    ]
    assert record["optimum_is"] == "exact"


def test_a_comparison_keeps_each_seed_with_its_origin_and_the_estimates(tmp_path):
    for seed in range(3):
        make_run(tmp_path / f"tdmpc-s{seed}", "tdmpc", seed)
    groups = results.group_runs([results.load_run(path) for path in sorted(tmp_path.iterdir())])
    (record,) = json.loads(json.dumps(results.comparison(groups), allow_nan=False)).values()
    assert [run["seed"] for run in record["runs"]] == [0, 1, 2]
    assert {"hardware", "commit", "return_matrix", "audit"} <= record["runs"][0].keys()
    for estimate in record["estimates"].values():
        assert estimate["low"] <= estimate["point"] <= estimate["high"]
    assert "python -m lib run" in record["command"]


def test_a_curve_has_a_gap_wherever_the_task_changes():
    steps, values = results.with_gaps([0, 5, 5, 9], [1, 2, 7, 8], ["a", "a", "b", "b"])
    np.testing.assert_array_equal(steps, [0, 5, 5, 5, 9])
    np.testing.assert_array_equal(values, [1, 2, np.nan, 7, 8])
    np.testing.assert_array_equal(results.with_gaps([0, 5], [1, 2])[1], [1, 2])
    assert [len(part) for part in results.with_gaps((), ())] == [0, 0]


def test_a_logged_metric_has_gaps_where_they_are_asked_for(tmp_path):
    folder = make_run(tmp_path / "run")
    rows = [(0, "room-1", 1.0), (4, "room-1", 2.0), (4, "room-2", 0.5)]
    lines = [
        json.dumps({"env_steps": at, "task": task, "values": {"train/loss": value}})
        for at, task, value in rows
    ]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    run = results.load_run(folder)
    assert run.series("train/loss")[1].tolist() == [1, 2, 0.5]
    np.testing.assert_array_equal(run.series("train/loss", gaps=True)[1], [1, 2, np.nan, 0.5])
