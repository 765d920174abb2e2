import numpy as np
import pytest
import torch

from lib.core.config import EnvConfig, merge
from lib.core.errors import UserError
from lib.envs import api, worlds
from lib.envs.pixels import clips

SMALL = {
    "domain": "dmc",
    "observation": "pixels",
    "episode_length": 10,
    "action_repeat": 2,
    "image_size": 24,
    "render_quality": "fast",
}


def env(**changes) -> EnvConfig:
    return merge(EnvConfig(), {**SMALL, **changes})


def test_a_stream_tells_what_the_runner_asks():
    world = worlds.build(env(), ["walker-run", "cheetah_run"])
    assert [task.name for task in world.tasks] == ["walker_run", "cheetah_run"]
    assert world.episode_length == 5 and world.action_repeat == 2
    assert world.obs_space.shape == (24, 24, 3) and world.obs_space.dtype == torch.uint8
    assert world.actions.size == 6 and not world.actions.discrete
    assert world.optimum(0) == 10 and not world.exact_optimum and world.grid_size is None
    assert api.spaces(world, 1) == (world.obs_space, world.actions)
    made = world.make(1)
    assert made.plan.task.name == "cheetah_run" and made.episode_length == 5


def test_a_task_without_bounds_has_no_optimum():
    assert worlds.build(env(), ["lqr_lqr_2_1"]).optimum(0) is None


def test_the_papers_setting_is_500_decisions_before_full_pictures_of_64():
    papers = merge(
        EnvConfig(),
        {"domain": "dmc", "observation": "pixels", "episode_length": 1000, "action_repeat": 2},
    )
    made = worlds.build(papers, ["walker_run"]).make(0)
    plan = made.plan
    assert (made.episode_length, plan.size, plan.quality) == (500, 64, "full")
    assert (plan.camera, plan.background) == (-1, "plain")


def test_evaluation_has_clips_of_its_own_and_a_plain_background_none():
    moving = worlds.build(env(background="procedural:natural"), ["walker_run"])
    assert moving.make(0).plan.split == "train"
    assert api.evaluation_env(moving, 0).plan.split == "test"
    plain = worlds.build(env(), ["walker_run"])
    assert api.evaluation_env(plain, 0).plan == plain.make(0).plan


def test_bodies_that_differ_take_turns_with_padded_actions(needs_gl, generator):
    entry = {"name": "both", "turns": ["cup_catch", "walker_run"]}
    world = worlds.build(env(episode_length=4, min_actions=7), [entry, "walker_walk"])
    made = world.make(0)
    first = made.reset(2, generator)
    assert first.shape == (2, 24, 24, 3) and made._turn.tolist() == [0, 1]
    for turn in ([1, 0], [0, 1]):
        for _ in range(2):
            made.step(world.actions.random(2, generator))
        assert made.ended.all() and not made.terminal.any()
        made.restart(made.ended, generator)
        assert made._turn.tolist() == turn
    saved, other = made.state_dict(), world.make(0)
    other.load_state_dict({name: part.clone() for name, part in saved.items()})
    action = world.actions.random(2, generator)
    for mine, theirs in zip(made.step(action), other.step(action), strict=True):
        assert torch.equal(mine, theirs)
    made.close()
    other.close()


def test_held_out_episodes_are_kept_and_drawn(needs_gl, generator):
    world = worlds.build(env(background="procedural:drive"), ["walker_run", "walker_walk"])
    made = world.make(1)
    obs, actions, rewards = [made.reset(2, generator)], [], []
    for _ in range(5):
        actions.append(made.actions.random(2, generator))
        seen, reward = made.step(actions[-1])
        obs.append(seen)
        rewards.append(reward)
    held_out = world.new_held_out()
    parts = [torch.stack(part, 1) for part in (obs, actions, rewards)]
    world.record(held_out, 1, parts[0][:, :-1], parts[1])
    assert not held_out["length"].any()
    world.hold_out(held_out, 1, *parts)
    assert held_out["length"].tolist() == [[0] * 4, [5, 5, 0, 0]]
    assert torch.equal(held_out["obs"][1, :2], parts[0])
    poses = world.pose_of(parts[0][0], made.pose()[0])
    with world.scene(1) as scene:
        frame = scene.frame(poses[1])
        assert frame.shape == (96, 96, 3)
        assert np.array_equal(frame[::4, ::4], parts[0][0, 1].numpy())


def test_clips_are_looked_at_before_the_first_episode_and_told_of_once(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(clips, "CACHE", tmp_path / "cache")
    for name in ("train/a", "train/b", "test/c"):
        path = tmp_path / "films" / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, np.zeros((4, 8, 8, 3), np.uint8))
    world = worlds.build(env(background=f"folder:{tmp_path / 'films'}"), ["walker_run"])
    world.make(0)
    world.make_for_evaluation(0)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert told[0].startswith("backgrounds: 2 of 2 train videos")
    assert "shorter than an episode of 6 frames and loop" in told[1]


@pytest.mark.parametrize(
    ("changes", "tasks", "message"),
    [
        ({}, ["walker_rnu"], "unknown dmc task 'walker_rnu'.*did you mean 'walker_run'"),
        ({"background": "natural"}, ["walker_run"], "unknown background 'natural'"),
        ({"episode_length": 11}, ["walker_run"], "an episode of 11 env steps cannot hold"),
    ],
)
def test_settings_that_make_no_world_are_refused_before_it_is_built(changes, tasks, message):
    with pytest.raises(UserError, match=message):
        worlds.resolve(env(**changes), tasks)


def test_what_only_building_finds_is_refused_as_well(tmp_path):
    with pytest.raises(UserError, match="'state': dmc is seen as 'pixels'"):
        worlds.build(env(observation="state"), ["walker_run"])
    with pytest.raises(UserError, match="holds no videos"):
        worlds.build(env(background=f"folder:{tmp_path}"), ["walker_run"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 8}, "'env.image_size': got 8, wanted at least 16"),
        ({"render_quality": "best"}, "unknown value for 'env.render_quality' 'best'"),
        ({"camera": -2}, "'env.camera': got -2, wanted at least -1"),
    ],
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        merge(EnvConfig(), changes, "env.")
