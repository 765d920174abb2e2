"""Which part forgot: curves of probes, averaged over runs."""

import json

import numpy as np

from lib.analysis import probes, results
from tests.synthetic import TASKS, make_run


def probed(folder, seed, quantities):
    """A run that logged probes of the first task twice."""
    make_run(folder, seed=seed)
    lines = [
        {
            "stage": "probe",
            "env_steps": steps,
            "task": TASKS[1],
            "values": {f"probe/{TASKS[0]}/{name}": value + seed for name, value in at.items()},
        }
        for steps, at in zip((100, 200), quantities, strict=True)
    ]
    with (folder / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return results.load_run(str(folder))


def test_every_part_has_a_curve_for_every_earlier_task(tmp_path):
    at = [{"cells": 0.1, "critic_mse": 1.0}, {"cells": 0.2, "critic_mse": 2.0}]
    runs = [probed(tmp_path / f"run-{seed}", seed, at) for seed in (0, 2)]
    found = probes.along(runs)
    assert list(found) == ["world model", "critic"]
    label, curves = found["critic"]
    assert "critic" in label and list(curves) == [TASKS[0]]
    steps, values = curves[TASKS[0]]
    assert steps.tolist() == [100, 200]
    np.testing.assert_allclose(values, [2.0, 3.0])  # seeds 0 and 2 in the mean


def test_without_probes_there_is_nothing(tmp_path):
    assert probes.along([results.load_run(str(make_run(tmp_path / "run")))]) == {}


def test_plans_are_read_by_task_and_by_steps_ahead(tmp_path):
    run = results.load_run(str(make_run(tmp_path / "run")))
    assert run.plan_quantities == ["phantom_share", "right_1", "right_6"]
    found = run.plans("right_6")
    assert np.isnan(found[0, 1]) and found[0, 0] == 0.7
    np.testing.assert_allclose(run.own_plans("right_6"), 0.7)
