import builtins
import sys

import numpy as np
import pytest
import torch

from lib.algos import registry
from lib.algos.tdmpc.presets import PRESETS
from lib.algos.tdmpc.settings import TdmpcRun
from lib.analysis import results
from lib.core.config import merge, to_dict
from lib.core.errors import UserError
from lib.envs import worlds
from lib.envs.api import World
from lib.envs.control.domain import ControlDomain
from lib.envs.grid.domain import GridDomain
from lib.envs.gym.custom import custom_domain
from lib.envs.gym.tasks import GymTask, distinct
from lib.experiments import run_config
from lib.runner import training
from tests.dreamer_tiny import tiny
from tests.envs.gym.worlds import Counting

CHEETAH = merge(TdmpcRun(), PRESETS["cheetah-quick"]).env


def test_a_domain_is_chosen_by_name():
    assert isinstance(worlds.build(TdmpcRun().env, ["room-1"]), GridDomain)
    domain = worlds.build(CHEETAH, ["run", "jump2run"])
    assert isinstance(domain, ControlDomain)
    assert [task.name for task in domain.tasks] == ["cheetah-run", "cheetah-jump2run"]
    assert [task.after for task in domain.tasks] == ["", "cheetah-jump"]


@pytest.mark.parametrize("preset", PRESETS)
def test_every_domain_tells_what_the_runner_asks(preset):
    run = run_config.resolve({"preset": preset, "method": "tdmpc"})
    small = merge(run.env, {"size": 9})
    domain = worlds.build(small, run.tasks)
    assert domain.episode_length * domain.action_repeat == run.env.episode_length
    assert (domain.grid_size is None) == (run.env.domain != "grid")
    assert len(domain.tasks) == len(run.tasks) and domain.exact_optimum == (small.domain == "grid")
    env = domain.make(0)
    assert (env.obs_dim, env.actions, env.episode_length) == (
        domain.obs_dim,
        domain.actions,
        domain.episode_length,
    )


def test_without_mujoco_the_grid_works_and_the_rest_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "mujoco":
            raise ModuleNotFoundError("No module named 'mujoco'", name="mujoco")
        return real(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.startswith("lib.envs.control")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    assert worlds.resolve(TdmpcRun().env, ["room-1"])
    with pytest.raises(UserError, match="mujoco.* not installed; .*pip install"):
        worlds.build(CHEETAH, ["run"])


@pytest.mark.parametrize("domain", ["cheetah", "walker"])
def test_what_a_body_shows_is_enough_to_draw_it(domain):
    world = worlds.build(run_config.resolve({"preset": f"{domain}-full"}).env, ["run"])
    env, draws = world.make(0), torch.Generator().manual_seed(0)
    obs, poses = [env.reset(1, draws)[0]], [env.pose()[0]]
    for _ in range(20):
        obs.append(env.step(env.actions.random(1, draws))[0][0])
        poses.append(env.pose()[0])
    poses, x = np.array(poses), env.body.planar.root_x
    off = world.pose_of(torch.stack(obs), poses[0]) - poses
    assert np.abs(off[:, x]).max() < 0.1 and off[0, x] == 0  # [m]
    joints = np.delete(off, x, axis=1)
    assert np.abs(np.angle(np.exp(1j * joints))).max() < 1e-5  # angles count modulo a turn


def test_a_dream_that_leaves_all_bounds_is_no_error():
    world = worlds.build(merge(TdmpcRun(), PRESETS["walker-quick"]).env, ["run"])
    wild = torch.tensor([0.0, 1e38, float("inf"), float("-inf"), float("nan")])
    poses = world.pose_of(wild[:, None].expand(-1, world.obs_dim), np.zeros(9))
    assert poses.shape == (5, 9) and np.isfinite(poses[0]).all()


# A new world is a folder with a `World`, and one row --------------------------------------------


def counting_world(env, entries, device="cpu"):
    names = [str(entry) for entry in entries]
    made = custom_domain([Counting] * len(names), env.episode_length, device=device)
    return replace_tasks(made, names)


def replace_tasks(made, names):
    made.tasks = tuple(GymTask(name) for name in names)
    return made


ROW = World(
    resolve=lambda env, entries: distinct((GymTask(str(entry)) for entry in entries), "three"),
    build=counting_world,
    ends_early=True,
)


def test_a_new_world_is_one_row_and_a_run_trains_in_it(monkeypatch, tmp_path):
    monkeypatch.setitem(worlds.WORLDS, "counting", ROW)
    run = tiny(env__domain="counting", env__observation="state", tasks=["three", "four"])
    training.train(run, tmp_path, tensorboard=False, progress=False)
    told = results.load_run(tmp_path)
    assert told.tasks == ("three", "four") and told.summary["env_steps"] == 2 * 88
    (tmp_path / "summary.json").unlink()
    training.train(registry.from_dict(to_dict(run)), tmp_path, tensorboard=False, progress=False)


def test_what_a_world_is_not_made_for_is_refused_from_its_row(monkeypatch):
    monkeypatch.setitem(worlds.WORLDS, "counting", ROW)
    with pytest.raises(UserError, match="'visits' counts cells"):
        settings = {"env__domain": "counting", "env__observation": "state", "tasks": ["three"]}
        tiny("dreamer-visits", **settings)
    with pytest.raises(UserError, match="counting is seen as 'state'; use one of these"):
        tiny(env__domain="counting", tasks=["three"])
    with pytest.raises(UserError, match="'counting' is a world for the Dreamers.*walker"):
        run_config.resolve({"preset": "grid-quick", "overrides": {"env.domain": "counting"}})


def test_an_unknown_world_is_refused_with_the_nearest_name():
    env = merge(CHEETAH, {"domain": "minihak"})
    with pytest.raises(UserError, match="unknown value for 'env.domain' 'minihak'.*'minihack'"):
        worlds.resolve(env, ["river"])


@pytest.mark.parametrize("name", worlds.WORLDS)
def test_every_row_is_a_world(name):
    world = worlds.of(merge(CHEETAH, {"domain": name}))
    assert isinstance(world, World) and world.observations
