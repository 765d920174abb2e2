import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from lib import viewer
from lib.algos.api import ReviewRule
from lib.algos.tdmpc.reviewer import review_parts
from lib.algos.tdmpc.settings import ReviewerConfig
from lib.analysis import reviewer_reward
from lib.core.errors import UserError
from lib.envs import worlds
from lib.runner import training
from tests.dreamer_tiny import tiny as tiny_dreamer
from tests.synthetic import make_run
from tests.tiny import control, tiny

RULE = ReviewRule(True, 9.0, "squared", sharpness=4.0, cost=0.5, shape="code")


@pytest.fixture(scope="module")
def cfg():
    return tiny("drago", tasks=["room-1", "room-2", "room-3"])


@pytest.fixture(scope="module")
def run(cfg, tmp_path_factory):
    """A finished run of three tasks."""
    out = tmp_path_factory.mktemp("runs") / "drago"
    training.train(cfg, out, tensorboard=False, progress=False)
    return out


@pytest.fixture(scope="module")
def table(cfg):
    return worlds.build(cfg.env, cfg.tasks).table


# Models ---------------------------------------------------------------------------------------


def shifted(by):
    """A model that knows where every transition of a table leads, but for a constant."""
    return lambda table: lambda obs, action: table.transitions()[2] + by


@pytest.mark.parametrize("norm", ["squared", "absolute"])
def test_rewards_are_those_of_the_library(table, norm):
    settings = ReviewerConfig(norm=norm, cost=0.3, sharpness=2.0)
    old, now = shifted(0.01)(table), shifted(0.1)(table)
    rule = replace(RULE, threshold=5.0, norm=norm, cost=0.3, sharpness=2.0)
    found = reviewer_reward.compare("a", table, old, now, rule)
    wanted = review_parts(now, old, *table.transitions(), torch.tensor(5.0), settings)
    for mine, right in zip(found.parts(), wanted, strict=True):
        assert mine.shape == (table.states, 3)
        assert mine.ravel() == pytest.approx(right.numpy(), rel=1e-5)
    error = 0.01 if norm == "absolute" else 1e-4
    assert found.old == pytest.approx(np.full((table.states, 3), error), rel=1e-3)
    assert (found.reward() == found.parts()[0] - found.parts()[1]).all()


def test_the_same_model_twice_pays_where_it_knows(table):
    known = shifted(1e-3)(table)
    found = reviewer_reward.compare("a", table, known, known, RULE)
    assert found.paid().all() and not found.paid(40.0).any()
    exact = reviewer_reward.compare("a", table, shifted(0.0)(table), shifted(0.0)(table), RULE)
    assert exact.reward() == pytest.approx(np.full_like(exact.old, 0.5), abs=1e-6)


def test_visits_count_every_observation_by_its_cell(table):
    cell = 5
    obs = table.obs[[4 * cell, 4 * cell + 3, 4 * cell + 3, 0]].view(2, 2, -1)
    times = reviewer_reward.visits_of(table, obs)
    assert times[cell] == 3 and times[0] == 1 and times.sum() == 4


# Runs -----------------------------------------------------------------------------------------


def test_a_run_is_looked_at_as_each_task_begins_and_ends(run, cfg):
    found = reviewer_reward.of_run(run)
    assert [one.name for one in found] == [
        f"{task}, {moment}"
        for task in ("room-2", "room-3")
        for moment in ("as it begins", "at its end")
    ]
    for begins, ends in zip(found[::2], found[1::2], strict=True):
        assert (begins.old == begins.now).all() and (begins.old == ends.old).all()
        assert (ends.now != ends.old).any() and begins.rule == ends.rule
    assert (found[2].old == found[1].now).all()  # what one task ends with, the next one freezes
    with np.load(run / "audits" / "task-3.npz") as audit:
        assert found[-1].now == pytest.approx(audit["error"], rel=1e-4)
        assert found[-1].reward() == pytest.approx(audit["intrinsic"], abs=1e-5)


def test_visits_are_known_of_the_last_task_alone(run, cfg, table):
    found = reviewer_reward.of_run(run)
    assert [bool(one.visits) for one in found] == [False, False, False, True]
    visits = found[-1].visits
    each = cfg.decisions_per_task // cfg.env.episode_length // 2 * (cfg.env.episode_length + 1)
    assert {role: times.sum() for role, times in visits.items()} == dict.fromkeys(
        ("learner", "reviewer"), each
    )
    with np.load(run / "audits" / "task-3.npz") as audit:
        left = audit["met"][2].any(1).reshape(-1, 4).any(1)  # cells, by the runner's own record
    seen = (visits["learner"] + visits["reviewer"]) > 0
    assert (seen | ~left).all()


def test_one_task_can_be_chosen(run):
    assert [one.name for one in reviewer_reward.of_run(run, "room-2")] == [
        "room-2, as it begins",
        "room-2, at its end",
    ]
    with pytest.raises(UserError, match="unknown reviewed task 'room-1'; known: room-2, room-3"):
        reviewer_reward.of_run(run, "room-1")


@pytest.mark.usefixtures("figures")
def test_a_run_has_a_view(run):
    view = viewer.review(run, "room-3")
    assert view.caption(*view.start).startswith("room-3, at its end, threshold ")
    assert view.picture(*view.start) and view.static().shape == (3, 3)


# What cannot be shown -------------------------------------------------------------------------


def said(folder, capsys, after=""):
    """The one line that a cell prints."""
    assert viewer.review(folder, after) is None
    out = capsys.readouterr().out
    assert out.startswith("Nothing to show: ") and out.count("\n") == 1
    return out


def test_no_run_or_an_unfinished_one_is_one_line(tmp_path, run, capsys):
    assert "no run folder" in said(tmp_path / "nowhere", capsys)
    (tmp_path / "empty").mkdir()
    assert "is empty" in said(tmp_path / "empty", capsys)
    half = tmp_path / "half"
    half.mkdir()
    shutil.copy(run / "config.yaml", half)
    assert "has not finished" in said(half, capsys)


def test_checkpoints_that_are_gone_or_of_another_layout_are_one_line(tmp_path, run, capsys):
    assert "task-1.safetensors" in said(make_run(tmp_path / "bare"), capsys)
    mixed = tmp_path / "mixed"
    shutil.copytree(run, mixed)
    (mixed / "checkpoints" / "task-2.safetensors").write_bytes(b"nothing of ours")
    assert "task-2.safetensors" in said(mixed, capsys)


@pytest.mark.parametrize(
    ("settings", "used", "words"),
    [
        (tiny("tdmpc"), False, "has no reviewer: its method is 'tdmpc'; take a run of drago"),
        (
            control("drago"),
            True,
            "is of the cheetah; a reviewer's reward is drawn on the grid alone",
        ),
        (tiny("drago", tasks=["room-1"]), True, "has one task; a reviewer begins with the second"),
    ],
)
def test_runs_without_a_reviewer_to_show_are_refused(settings, used, words):
    with pytest.raises(UserError, match=words):
        reviewer_reward._check_reviewed("runs/this", settings, replace(RULE, used=used))


def test_a_run_of_a_family_without_reviewers_is_one_line(tmp_path, capsys):
    training.train(tiny_dreamer(), tmp_path / "run", tensorboard=False, progress=False)
    assert "has no reviewer: its method is" in said(tmp_path / "run", capsys)


def test_a_run_without_its_last_checkpoint_shows_no_visits(tmp_path, run):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "checkpoints" / "last.safetensors").unlink()
    assert not reviewer_reward.of_run(copy, "room-3")[-1].visits
