import numpy as np
import pytest
import torch

pytest.importorskip("mujoco", reason="needs mujoco and dm_control")
pytest.importorskip("dm_control", reason="needs mujoco and dm_control")

from lib.core.config import EnvConfig
from lib.core.errors import UserError
from lib.envs.control.domain import HELD_OUT, ControlDomain
from lib.envs.control.tasks import resolve

L, A = 17, 6
QUIET = EnvConfig(domain="cheetah", episode_length=1000, action_repeat=4)


def domain(*names: str, **more) -> ControlDomain:
    return ControlDomain(QUIET, resolve("cheetah", names or ("run", "jump")), **more)


def test_a_domain_carries_what_the_learner_asks_for():
    ours = domain("jump", "jump2run")
    assert (ours.obs_dim, ours.actions.size, ours.actions.discrete) == (L, A, False)
    assert (ours.episode_length, ours.action_repeat, ours.grid_size) == (250, 4, None)
    assert [(task.name, task.after) for task in ours.tasks] == [
        ("cheetah-jump", ""),
        ("cheetah-jump2run", "cheetah-jump"),
    ]
    assert (ours.optimum(0), ours.exact_optimum) == (1000.0, False)


def test_the_walkers_episode_is_its_own_length():
    env = EnvConfig(domain="walker", episode_length=1000, action_repeat=2)
    ours = ControlDomain(env, resolve("walker", ["walk"]))
    assert (ours.obs_dim, ours.episode_length, ours.make(0).steps) == (24, 500, 20)


@pytest.mark.parametrize("settings", [{"action_repeat": 3}, {"episode_length": 2}])
def test_an_episode_that_would_end_within_a_decision_is_refused(settings):
    env = EnvConfig(**{"domain": "cheetah", "episode_length": 1000, "action_repeat": 4, **settings})
    with pytest.raises(UserError, match="make episode_length a multiple of action_repeat"):
        ControlDomain(env, resolve("cheetah", ["run"]))


def test_each_task_pays_its_own_reward_for_the_same_motion():
    ours, paid = domain("run", "run-backwards"), []
    for index in (0, 1):
        env = ours.make(index)
        assert env.task is ours.tasks[index] and env.episode_length == 250
        env.reset(11, torch.Generator().manual_seed(0))
        paid.append(env.step(torch.ones(11, A))[1])
    assert not torch.equal(*paid)
    assert (paid[0] > 0).any() and (torch.minimum(*paid) == 0).all()  # nobody runs both ways


@pytest.mark.parametrize(("name", "repeat"), [("cheetah", 4), ("walker", 2)])
def test_poses_found_from_observations_follow_the_body(name, repeat):
    env = EnvConfig(domain=name, episode_length=1000, action_repeat=repeat)
    ours = ControlDomain(env, resolve(name, ["run"]))
    copies, draws = ours.make(0), torch.Generator().manual_seed(0)
    obs, poses = [copies.reset(1, draws)], [copies.pose()[0]]
    for _ in range(23):
        obs.append(copies.step(copies.actions.random(1, draws))[0])
        poses.append(copies.pose()[0])
    found, true = ours.pose_of(torch.cat(obs), poses[0]), np.stack(poses)
    np.testing.assert_array_equal(found[0], true[0])
    root = ours.body.planar.root_x
    gap = np.abs(found - true)
    gap[:, 2] = np.minimum(gap[:, 2], 2 * np.pi - gap[:, 2])  # a full turn looks the same
    assert gap[:, [joint for joint in range(9) if joint != root]].max() < 1e-5
    assert gap[:, root].max() < 0.05  # metres, over about a second of flailing


def test_nothing_is_held_out_at_first_and_training_adds_nothing():
    ours = domain()
    held_out = ours.new_held_out()
    assert held_out.shape == (2, HELD_OUT, 2 * L + A) and held_out.dtype == torch.float32
    ours.record(held_out, 0, torch.zeros(2, 3, L), torch.zeros(2, 3, A))
    assert held_out.isnan().all()
    metrics, arrays = ours.audit(held_out, lambda obs, action: obs)
    assert metrics == {} and np.isnan(arrays["error"]).all()


def numbered(episodes: int, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Episodes whose every number tells which transition it belongs to."""
    first = torch.arange(episodes)[:, None] * steps
    obs = (first + torch.arange(steps + 1)).float()[..., None].expand(-1, -1, L)
    action = -(first + torch.arange(steps)).float()[..., None].expand(-1, -1, A)
    return obs, action


def test_evenly_spaced_transitions_are_held_out_in_place(no_host_reads):
    ours = domain()
    held_out = ours.new_held_out()
    obs, action = numbered(32, 250)  # 8000 transitions: every second one stays
    with no_host_reads():
        ours.hold_out(held_out, 1, obs, action)
    assert held_out[0].isnan().all()
    expected = torch.arange(0, 8000, 2).float()
    for columns, values in ((0, expected), (L, -expected), (L + A, expected + 1)):
        torch.testing.assert_close(held_out[1, :, columns], values)


def test_fewer_transitions_than_there_is_room_for_are_all_kept_and_replace_older_ones():
    ours = domain()
    held_out = ours.new_held_out()
    ours.hold_out(held_out, 0, *numbered(32, 250))
    ours.hold_out(held_out, 0, *numbered(2, 3))
    torch.testing.assert_close(held_out[0, :6, 0], torch.arange(6).float())
    assert held_out[0, 6:].isnan().all()


def test_the_audit_by_hand():
    # Two transitions; only the first two numbers ever change: by 1 and 3, and by 0 and 2. The
    # model predicts no change, so its squared errors are 1, 9 and 0, 4.
    ours = domain()
    held_out = ours.new_held_out()
    obs, after = torch.zeros(2, 1, L), torch.zeros(2, 1, L)
    after[:, 0, :2] = torch.tensor([[1.0, 0.0], [3.0, 2.0]])
    ours.hold_out(held_out, 1, torch.cat((obs, after), 1), torch.zeros(2, 1, A))
    metrics, arrays = ours.audit(held_out, lambda obs, action: obs)
    assert metrics == pytest.approx(
        {
            "audit/met-cheetah-jump/mse": 14 / 2 / L,
            "audit/met-cheetah-jump/neg_log_mse": -(np.log(1 / L) + np.log(13 / L)) / 2,
            # Variances of the changes (1, 3) and (0, 2) are 1 and 1; squared errors 5 and 2.
            "audit/met-cheetah-jump/unexplained": 3.5,
            "audit/met-cheetah-jump/count": 2,
        }
    )
    assert np.isnan(arrays["error"][0]).all()
    np.testing.assert_allclose(arrays["error"][1], [5, 2, *[0] * 15])
    assert arrays["held_out"].shape == held_out.shape and arrays["held_out"].dtype == np.float32


def test_a_perfect_model_explains_everything_and_the_mean_change_nothing():
    ours = domain()
    held_out = ours.new_held_out()
    draws = torch.Generator().manual_seed(0)
    obs = torch.randn(3, 8, L, generator=draws)
    ours.hold_out(held_out, 0, obs, torch.zeros(3, 7, A))
    held = held_out[0, :21]
    truth, change = held[:, L + A :], held[:, L + A :] - held[:, :L]
    perfect, _ = ours.audit(held_out, lambda obs, action: truth)
    assert perfect["audit/met-cheetah-run/mse"] == 0
    assert perfect["audit/met-cheetah-run/unexplained"] == 0
    assert perfect["audit/met-cheetah-run/neg_log_mse"] == pytest.approx(-np.log(1e-12))
    mean, _ = ours.audit(held_out, lambda obs, action: obs + change.mean(0))
    assert mean["audit/met-cheetah-run/unexplained"] == pytest.approx(1, abs=1e-5)


def test_what_is_held_out_follows_the_true_dynamics():
    # The simulator itself, asked for what was held out, makes no mistake worth mentioning.
    ours = domain("run")
    env, draws = ours.make(0), torch.Generator().manual_seed(0)
    obs, action = [env.reset(3, draws)], []
    for _ in range(7):
        action.append(env.actions.random(3, draws))
        obs.append(env.step(action[-1])[0])
    held_out = ours.new_held_out()
    ours.hold_out(held_out, 0, torch.stack(obs, 1), torch.stack(action, 1))

    def simulate(obs: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        env.set_state(env.body.pose_of(obs.numpy()[:, None])[:, 0], obs.numpy()[:, 8:])
        return env.step(action)[0]

    metrics, _ = ours.audit(held_out, simulate)
    assert metrics["audit/met-cheetah-run/count"] == 21
    assert metrics["audit/met-cheetah-run/unexplained"] < 1e-6
