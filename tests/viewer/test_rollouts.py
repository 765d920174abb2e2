import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from lib import viewer
from lib.core.seeding import generator
from lib.runner.evaluate import play
from lib.runner.training import train
from lib.viewer.film import Scrubber
from lib.viewer.rollouts import (
    DISAGREEMENT,
    NO_PICTURES,
    NONE_STORED,
    REWARD_AHEAD,
    SURPRISE,
    VALUE_AHEAD,
    of_player,
    player,
)
from tests import sequence_tiny
from tests.dreamer_tiny import tiny as tiny_dreamer
from tests.tiny import control, tiny

pytestmark = pytest.mark.usefixtures("figures")
REWARD, VALUE, ERROR = range(3)  # series in this order


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "grid"
    train(tiny("tdmpc"), folder, tensorboard=False, progress=False)
    return folder


@pytest.fixture(scope="module")
def cheetah(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "cheetah"
    train(control("tdmpc"), folder, tensorboard=False, progress=False)
    return folder


@pytest.fixture(scope="module")
def dreamer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "dreamer"
    train(tiny_dreamer(), folder, tensorboard=False, progress=False)
    return folder


@pytest.fixture(scope="module")
def sequence(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs")
    run = sequence_tiny.tiny("dt-hide-lora", sequence_tiny.files(place / "files"))
    train(run, place / "sequence", tensorboard=False, progress=False)
    return place / "sequence"


def played(who, seed=0):
    draws, world = generator(seed, "rollout"), who.domain.make(who.task)
    return play(who.agent, world, 1, draws, explore=False, act_generator=draws)


def series(view):
    return list(view.series.values())


def test_real_and_imagined_stand_beside_each_other(grid):
    view = viewer.rollout(grid)
    assert isinstance(view, Scrubber)
    assert list(view.films) == ["real", "imagined (blue)"] and view.count == 8  # 7 decisions
    assert view.title == "room-2, with the world model as it was after room-2"
    real, imagined = view.films.values()
    assert np.abs(real[0].astype(int) - imagined[0]).mean() < 0.1  # the ghost hides at the start
    assert series(view)[ERROR][0] == 0 and (series(view)[ERROR][1:] > 0).all()
    assert np.isnan(series(view)[REWARD][-1]) and np.isfinite(series(view)[REWARD][:-1]).all()
    assert "reward" not in view.caption(7) and "model error" in view.caption(7)
    assert view.picture(0) != view.picture(5)


def test_imagination_starts_again_from_the_truth(grid):
    who = player(grid)
    assert who.every == who.agent.horizon == 3
    ahead = [line.split()[1] for line in viewer.rollout(grid).captions[1:]]
    assert ahead == ["1", "2", "3", "1", "2", "3", "1"]
    # With a piece of one decision everything imagined is one step of the model.
    view = viewer.rollout(grid, every=1)
    draws, poses = generator(0, "rollout"), []
    world = who.domain.make(who.task)
    played = play(who.agent, world, 1, draws, explore=False, act_generator=draws, poses=poses)
    step = who.agent.capabilities().predict(played.obs[0, :-1], played.action[0])
    wanted = (step - played.obs[0, 1:]).square().mean(-1).numpy()
    np.testing.assert_allclose(series(view)[ERROR][1:], wanted, rtol=1e-4, atol=1e-6)


def test_the_same_seed_is_the_same_episode(grid):
    one, other = (viewer.rollout(grid, seed=3) for _ in range(2))
    assert one.picture(5) == other.picture(5)


def test_an_old_task_is_played_with_a_later_world_model(grid):
    then, now = viewer.rollout(grid, task="room-1"), viewer.rollout(grid, "room-1", "room-2")
    assert now.title == "room-1, with the world model as it was after room-2"
    assert then.title.endswith("after room-1") and then.title.startswith("room-1")
    assert not np.array_equal(series(then)[ERROR], series(now)[ERROR])
    old, late = player(grid, "room-1"), player(grid, "room-1", "room-2")
    for name, kept in old.agent.learner.heads.state_dict().items():
        assert torch.equal(kept, late.agent.learner.heads.state_dict()[name])


def test_a_body_is_drawn_with_its_ghost(cheetah, needs_gl):
    view = viewer.rollout(cheetah)
    real, imagined = view.films.values()
    assert real.shape == imagined.shape == (8, 192, 192, 3)
    assert not np.array_equal(real[3], imagined[3])


def test_without_opengl_the_numbers_stand_alone(cheetah, monkeypatch, capsys):
    monkeypatch.setenv("MUJOCO_GL", "off")
    view = viewer.rollout(cheetah)
    said = capsys.readouterr().out
    assert said.startswith("No pictures, only the numbers: drawing is switched off")
    assert said.count("\n") == 1
    assert not view.films and len(view.series) == 3
    assert view.picture(0) != view.picture(4) and len(view.static()) == 3


def test_what_a_dreamer_imagines_is_decoded(dreamer):
    view = viewer.rollout(dreamer, every=4)
    assert list(view.films) == ["real", "imagined"]
    error = series(view)[ERROR]
    assert error[0] == 0 and ((error >= 0) & (error <= 1)).all()
    assert view.captions[5] == "imagined 1 ahead"


def test_pixels_are_compared_in_colours(tmp_path):
    train(
        tiny_dreamer(env__observation="pixels"),
        tmp_path / "run",
        tensorboard=False,
        progress=False,
    )
    view = viewer.rollout(tmp_path / "run")
    assert view.films["imagined"].shape[1:] == (64, 64, 3)
    assert "mean squared error of the colours" in list(view.series)[ERROR]


@pytest.fixture(scope="module")
def undrawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "undrawn"
    cfg = tiny_dreamer(env__observation="pixels", objective__representation="redundancy")
    train(cfg, folder, tensorboard=False, progress=False)
    return folder


def test_what_is_not_drawn_is_shown_by_the_runs_own_pictures(undrawn):
    who = player(undrawn)
    assert len(who.stored.obs) == 4  # two tasks, two evaluation episodes each
    view = of_player(who)
    _, imagined = view.films
    assert imagined == "imagined: nearest stored picture, not drawn by the model"
    stored = who.domain.obs_space.draw(who.stored.obs).flatten(0, 1).numpy()
    film = view.films[imagined]
    assert np.array_equal(film[0], who.domain.obs_space.draw(played(who).obs[0, 0]).numpy())
    assert all((stored == picture).all((1, 2, 3)).any() for picture in film[1:])
    names = list(view.series)[ERROR:]
    assert names[0].startswith("distance of the nearest stored picture")
    assert names[1:] == [SURPRISE, DISAGREEMENT, REWARD_AHEAD, VALUE_AHEAD]
    surprise, doubt, reward, value = series(view)[ERROR + 1 :]
    for row in (surprise, doubt):
        assert np.isnan(row[0]) and (row[1:] >= 0).all()
    assert np.isnan(reward[-1]) and np.isfinite(reward[:-1]).all()
    assert np.isnan(value[0]) and np.isfinite(value[1:]).all()
    assert view.picture(0) != view.picture(1) and len(view.static()) == 9


def test_without_stored_pictures_reward_and_value_stand_alone(undrawn, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(undrawn, copy)
    (copy / "checkpoints" / "last.safetensors").unlink()
    view = viewer.rollout(copy)
    assert capsys.readouterr().out == f"{NONE_STORED}\n"
    names = [SURPRISE, DISAGREEMENT, REWARD_AHEAD, VALUE_AHEAD]
    assert list(view.films) == ["real"] and list(view.series)[2:] == names


def test_disagreement_stands_beside_the_error_where_an_audit_kept_its_ensemble(dreamer, tmp_path):
    names = list(viewer.rollout(dreamer).series)
    assert names[ERROR].startswith("model error") and names[ERROR + 1] == DISAGREEMENT
    copy = tmp_path / "copy"
    shutil.copytree(dreamer, copy)
    shutil.rmtree(copy / "audits")
    assert DISAGREEMENT not in viewer.rollout(copy).series


def test_an_agent_that_draws_no_pictures_shows_what_happened(grid, capsys):
    who = player(grid)
    can = who.agent.capabilities()
    who.agent.capabilities = lambda: replace(can, imagine=None)
    view = of_player(who)
    assert capsys.readouterr().out == f"{NO_PICTURES}\n"
    assert list(view.films) == ["real"] and len(view.series) == 2
    assert view.picture(0) != view.picture(5) and "value" in view.caption(5)
    who.agent.capabilities = lambda: replace(can, imagine=None, value=None)
    assert [name.split()[0] for name in of_player(who).series] == ["reward"]


def test_an_agent_that_explains_its_decisions_does_so_beside_its_episode(sequence, capsys):
    view = viewer.rollout(sequence, task="point-mass-turn-0", after="point-mass-turn-90")
    assert capsys.readouterr().out == "", "what is told takes the place of an apology"
    names = list(view.series)
    assert names[0] == "reward of the decision" and list(view.films) == ["real"]
    assert "its probability, number 2" in names and "how sure it is of that task" in names
    (taken,) = (row for name, row in view.series.items() if name.startswith("task it takes this"))
    assert set(taken[:-1]) <= {1, 2}, "it knows both tasks: the whole agent is the later one"
    assert "token " in view.caption(0) and "; taken for point-mass-turn-" in view.caption(3)
    assert "agent as it was after point-mass-turn-90" in view.title


def test_a_run_that_was_killed_early_shows_its_last_save(grid, tmp_path):
    copy = tmp_path / "killed"
    shutil.copytree(grid, copy)
    for path in (*(copy / "checkpoints").glob("task-*"), copy / "summary.json"):
        path.unlink()
    view = viewer.rollout(copy)
    assert view.title.startswith("room-2") and "before its first task" in view.title


def test_a_folder_without_such_an_agent_is_one_line(grid, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("mine")
    other = tmp_path / "other"
    shutil.copytree(grid, other)
    wrong = replace(tiny("tdmpc"), model=replace(tiny("tdmpc").model, width=17))
    train(wrong, tmp_path / "wider", tensorboard=False, progress=False)
    name = "task-1.safetensors"
    shutil.copy(tmp_path / "wider" / "checkpoints" / name, other / "checkpoints" / name)
    torn = tmp_path / "torn"
    shutil.copytree(grid, torn)
    newest = torn / "checkpoints" / "task-2.safetensors"
    newest.write_bytes(newest.read_bytes()[:-9])
    capsys.readouterr()
    for folder, options, says in (
        (tmp_path / "empty", {}, "no checkpoint in"),
        (tmp_path / "foreign", {}, "no checkpoint in"),
        (tmp_path / "nowhere", {}, "nowhere"),
        (grid, {"task": "room-9"}, "no agent that learnt 'room-9'"),
        (grid, {"after": "room-9"}, "no agent that learnt 'room-9'"),
        (grid, {"every": -1}, "every -1"),
        (grid / "checkpoints" / name, {"task": "room-2"}, "give its run's folder"),
        (other, {"task": "room-2", "after": "room-1"}, "has another layout"),
        (torn, {}, "is truncated"),
    ):
        assert viewer.rollout(folder, **options) is None
        said = capsys.readouterr().out
        assert said.startswith("Nothing to show: ") and said.count("\n") == 1 and says in said
