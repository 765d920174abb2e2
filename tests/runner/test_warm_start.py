"""Runs that build on others: another agent acts first, a sequence goes on, and what is refused."""

import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from lib.core import config
from lib.core.errors import RunInterrupted, UserError
from lib.core.seeding import generator
from lib.envs import worlds
from lib.envs.gym.custom import custom_domain
from lib.experiments import params, run_config
from lib.runner import checkpoint, evaluate, training, warm_start
from lib.runner.evaluate import play
from lib.runner.record import read_metrics
from lib.runner.run import Run
from tests import dreamer_tiny
from tests.tiny import control, same

ACTING = {"budget__pre_rollout": 5}  # decisions
SEQUENCE = ["cheetah-jump", "cheetah-run", "cheetah-run-backwards"]
ONE = {"budget__env_steps_per_task": 112, "budget__eval_every": 56}  # 2 rounds of 2 x 28 steps
CPU = torch.device("cpu")


def train(cfg, out: Path, **kwargs) -> Path:
    return training.train(cfg, out, tensorboard=False, progress=False, **kwargs)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A finished run that learnt to jump, then to run."""
    out = tmp_path_factory.mktemp("runs") / "source"
    train(control("drago", tasks=["cheetah-jump", "cheetah-run"], **ONE), out)
    return out


def one_task(method: str = "tdmpc", task: str = "jump2run", **changes):
    return control(method, tasks=[task], **ONE, **ACTING, **changes)


class Pusher:
    """Acts first by pushing all joints one way, and remembers what it saw."""

    def __init__(self):
        self.seen = []

    def act(self, obs, memory, generator):
        self.seen.append(obs)
        return torch.full((len(obs), 6), 0.8), memory


# Who acts first --------------------------------------------------------------------------------


def test_an_episode_begins_where_the_other_agent_has_left_off():
    env = control().env
    led, alone = (worlds.build(env, ["cheetah-run"]).make(0) for _ in range(2))
    start = warm_start.PreRollout(led, Pusher(), decisions=3).reset(2, generator(5, "env"))
    obs = alone.reset(2, generator(5, "env"))
    for _ in range(3):
        before = obs
        obs, _ = alone.step(torch.full((2, 6), 0.8))
    assert torch.equal(start, obs) and not torch.equal(start, before)
    assert (led.pose() == alone.pose()).all()


def test_its_steps_are_neither_rewarded_nor_counted():
    env = worlds.build(control().env, ["cheetah-run"]).make(0)
    first = Pusher()
    led = warm_start.PreRollout(env, first, decisions=4)

    class Still:
        def act(self, obs, memory, **_):
            return torch.zeros(len(obs), 6), None

    episodes = play(Still(), led, 2, generator(0, "env"), explore=False)
    assert len(first.seen) == 4
    assert episodes.obs.shape == (2, 8, 17) and episodes.reward.shape == (2, 7)  # a whole episode
    assert not any(torch.equal(episodes.obs[:, 0], seen) for seen in first.seen)
    env.set_state(*state_after(first, 4))
    for step in range(7):
        obs, reward = env.step(torch.zeros(2, 6))
        assert torch.equal(episodes.obs[:, step + 1], obs)
        assert torch.equal(episodes.reward[:, step], reward)


def state_after(first: Pusher, decisions: int):
    env = worlds.build(control().env, ["cheetah-run"]).make(0)
    env.reset(2, generator(0, "env"))
    for _ in range(decisions):
        env.step(torch.full((2, 6), 0.8))
    return env.state()


def test_a_source_acts_with_its_own_heads_and_its_full_horizon(source):
    path = warm_start.checkpoint_of(str(source), finished="cheetah-jump")
    assert path.name == "task-1.safetensors"
    # The learner would plan one step ahead for long; who acts first does not follow its ramp.
    first = warm_start.FirstActor(path, one_task(planner__horizon_ramp=10_000), CPU)
    heads = checkpoint.load(path)[0]["learner"]["heads"]
    assert same(first.agent.learner.heads.state_dict(), heads) == []
    assert first.name == "cheetah-jump"

    obs = torch.zeros(2, 17)
    action, memory = first.act(obs, None, generator(0, "act"))
    assert action.shape == (2, 6) and memory.shape == (2, 3, 6)  # a plan of three steps
    again, _ = first.act(obs, None, generator(0, "act"))
    assert torch.equal(action, again)


def test_a_source_whose_ramps_outlast_its_training_still_plans_as_far_as_it_can(tmp_path):
    cfg = control("tdmpc", tasks=["jump"], planner__horizon_ramp=10_000, **ONE)
    train(cfg, tmp_path)
    first = warm_start.FirstActor(warm_start.checkpoint_of(str(tmp_path)), cfg, CPU)
    assert first.agent.steps == 10_000 > cfg.decisions_per_task


@pytest.fixture
def played(monkeypatch) -> list:
    """Every batch of episodes that the loop plays: role, exploring, whether somebody led it."""
    calls, real = [], evaluate.play_batch

    def spy(batch, envs, count, draws, *, role="learner", explore, **kwargs):
        led = isinstance(envs[0], warm_start.PreRollout)
        calls.append((role, explore, led))
        return real(batch, envs, count, draws, role=role, explore=explore, **kwargs)

    monkeypatch.setattr(evaluate, "play_batch", spy)
    return calls


def test_learner_and_evaluation_are_led_and_the_reviewer_is_not(source, tmp_path, played):
    how = {"load_mode": "world-model", "load_from": str(source), "pre_rollout": str(source)}
    train(one_task("drago"), tmp_path, **how)
    assert set(played) == {
        ("learner", True, True),
        ("learner", False, True),
        ("reviewer", True, False),
    }
    told = json.loads((tmp_path / "summary.json").read_text())
    assert told["tasks"] == ["cheetah-jump2run"]
    assert told["decisions"] == 2 * 2 * 7 and told["env_steps"] == 112  # not one of the leader's


def test_stored_episodes_begin_where_somebody_left_off(source, tmp_path, monkeypatch):
    starts, real = [], warm_start.PreRollout.reset

    def reset(self, n, draws):
        starts.append(real(self, n, draws))
        return starts[-1]

    monkeypatch.setattr(warm_start.PreRollout, "reset", reset)
    train(one_task(), tmp_path, pre_rollout=str(source))
    state, _ = checkpoint.load(tmp_path / "checkpoints" / "last.safetensors")
    stored = state["agent"]["learner"]["buffer"]
    assert stored["obs"].shape == (4, 8, 17)  # four episodes of seven decisions, no more
    known = {tuple(row.tolist()) for batch in starts for row in batch}
    assert {tuple(row.tolist()) for row in stored["obs"][:, 0]} <= known


def test_any_task_can_begin_with_another_agent(source, tmp_path, played):
    train(one_task(task="run-backwards"), tmp_path, pre_rollout=str(source))
    assert all(led for _, _, led in played)


def test_an_interrupted_run_with_a_first_actor_ends_up_the_same(source, tmp_path, monkeypatch):
    how = {"load_mode": "world-model", "load_from": str(source), "pre_rollout": str(source)}
    train(one_task(), tmp_path / "whole", **how)
    cut, real = tmp_path / "cut", evaluate.play_batch
    with monkeypatch.context() as patch:
        calls = []

        def spy(*args, **kwargs):
            calls.append(1)
            if len(calls) == 2:
                (cut / "stop").touch()
            return real(*args, **kwargs)

        patch.setattr(evaluate, "play_batch", spy)
        with pytest.raises(RunInterrupted):
            train(one_task(), cut, **how)
    train(one_task(), cut, **how)
    assert (cut / "metrics.jsonl").read_bytes() == (
        tmp_path / "whole" / "metrics.jsonl"
    ).read_bytes()
    states = [
        checkpoint.load(out / "checkpoints" / "task-1.safetensors")[0]
        for out in (cut, tmp_path / "whole")
    ]
    assert same(*states) == []


@pytest.mark.parametrize(
    ("task", "place", "message"),
    [
        ("jump2run", "", "'cheetah-jump2run' begins where an agent trained on 'cheetah-jump'"),
        ("back2run", "SOURCE", "no agent that learnt 'cheetah-run-backwards' in '.*cheetah-jump, "),
        ("jump2run", "SOURCE/checkpoints/task-2.safetensors", "but '.*' learnt 'cheetah-run'"),
        ("jump2run", "SOURCE/checkpoints/last.safetensors", "learnt 'no whole task'"),
        ("jump2run", "nowhere", "no checkpoint 'nowhere'"),
        (
            "jump2run",
            "EMPTY",
            "no agent that learnt 'cheetah-jump' in '.*', which finished no task",
        ),
        ("jump2run", "OTHER", "holds no agent; give a run folder"),
    ],
)
def test_who_cannot_act_first_is_refused_in_one_line(source, tmp_path, task, place, message):
    (tmp_path / "empty").mkdir()
    checkpoint.save(tmp_path / "other.safetensors", {"weights": torch.zeros(3)})
    for name, path in (("SOURCE", source), ("EMPTY", tmp_path / "empty")):
        place = place.replace(name, str(path))
    place = place.replace("OTHER", str(tmp_path / "other.safetensors"))
    with pytest.raises(UserError, match=message) as error:
        train(one_task(task=task), tmp_path / "out", pre_rollout=place)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "place", ["outputs/drago-mine-s3", "outputs/drago-mine-s3/checkpoints/task-1.safetensors"]
)
def test_a_run_that_has_not_been_made_is_named_with_its_command(tmp_path, place):
    message = "no checkpoint '.*': that run has not been made; make it with 'python -m lib run "
    for name in ("load_from", "pre_rollout"):
        how = {"load_mode": "world-model"} if name == "load_from" else {}
        with pytest.raises(UserError, match=message + "drago-mine -p seed=3'"):
            train(one_task(task="run"), tmp_path / name, **how, **{name: place})


def test_an_agent_of_another_family_is_none_to_start_from():
    dreamer = run_config.resolve({"preset": "minigrid3-quick", "method": "dreamer"})
    drago = run_config.resolve({"preset": "grid-quick", "method": "drago"})
    for mine, theirs in ((drago, dreamer), (dreamer, drago)):
        warm_start.check_same_family(mine, mine, Path("there"))
        told = (
            f"'there' holds an agent of family '{theirs.family}', and this run's is "
            f"'{mine.family}'; name a run of"
        )
        with pytest.raises(UserError, match=told):
            warm_start.check_same_family(mine, theirs, Path("there"))


@pytest.mark.parametrize("changes", [{"env__action_repeat": 2}, {"env__episode_length": 56}])
def test_an_agent_of_another_world_does_not_act_first(source, tmp_path, changes):
    cfg = control(
        "tdmpc", tasks=["jump2run"], **ONE | {"budget__env_steps_per_task": 112}, **changes
    )
    with pytest.raises(UserError, match="comes from another world than this run's"):
        train(cfg, tmp_path, pre_rollout=str(source))


# Whose world model -----------------------------------------------------------------------------


def test_a_world_model_of_the_other_body_is_refused_by_name(source, tmp_path):
    walker = control("tdmpc", "walker", tasks=["walker-run"], **ONE)
    with pytest.raises(UserError, match="env.domain is 'cheetah' there, 'walker' here") as error:
        train(walker, tmp_path, load_mode="world-model", load_from=str(source))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env__action_repeat": 2}, "env.action_repeat is 4 there, 2 here"),
        ({"model__width": 17}, "another layout"),
        ({"vae__code": 7}, "another layout"),
    ],
)
def test_a_world_model_that_means_something_else_is_refused(source, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        train(
            control("tdmpc", tasks=["run"], **ONE, **changes),
            tmp_path,
            load_mode="world-model",
            load_from=str(source),
        )


def test_a_run_begins_in_mid_sequence_with_the_model_of_the_task_before(source, tmp_path):
    whole = control("drago", tasks=SEQUENCE, planner__horizon=[2, 3, 4], **ONE)
    given = params.from_record(params.record(whole, run_config.PARAMETERS))
    cfg = run_config.resolve(given | {"start_at": "run", "load_mode": "world-model"})
    assert cfg.tasks == ("cheetah-run", "cheetah-run-backwards")
    assert cfg.planner.horizon == (3, 4)
    before = source / "checkpoints" / "task-1.safetensors"
    train(cfg, tmp_path, load_mode="world-model", load_from=str(before))
    rows = read_metrics(tmp_path / "metrics.jsonl")
    first = next(row["values"] for row in rows if row["stage"] == "train")
    kept = checkpoint.load(before)[0]["world_model"]["threshold"]
    assert first["train/reviewer/threshold"] == pytest.approx(kept.item())
    assert json.loads((tmp_path / "summary.json").read_text())["tasks"] == list(cfg.tasks)


@pytest.mark.parametrize("name", ["run_backwards", "run-backwards", "cheetah-run-backwards"])
def test_the_task_to_begin_at_is_named_as_tasks_are(name):
    given = {"preset": "cheetah-quick", "method": "scratch", "start_at": name}
    assert run_config.resolve(given).tasks == ("cheetah-run-backwards",)


@pytest.mark.parametrize("domain", ["cheetah", "walker"])
@pytest.mark.parametrize("size", ["", "-quick"])
def test_few_shots_are_twenty_episodes(domain, size):
    cfg = run_config.resolve({"preset": f"{domain}-few-shot{size}", "method": "tdmpc"})
    assert cfg.budget.env_steps_per_task == 20 * cfg.env.episode_length
    assert cfg.budget.env_steps_per_task % cfg.budget.eval_every == 0
    assert cfg.learning.seed_steps == 0


# Worlds whose episodes may end ------------------------------------------------------------------


def test_a_dreamer_acts_first_in_every_kind_of_world(tmp_path):
    source = dreamer_tiny.tiny("dreamer", tasks=["empty-5x5"], budget__env_steps_per_task=44)
    train(source, tmp_path / "source")
    cfg = config.merge(source, {"seed": 1, "budget": {"pre_rollout": 4}})
    for name, place in (("led", "source"), ("cut", "source"), ("alone", "")):
        how = {"pre_rollout": str(tmp_path / place)} if place else {}
        if name == "cut":
            stop_after(3, tmp_path / name, lambda how=how: train(cfg, tmp_path / "cut", **how))
        train(cfg, tmp_path / name, **how)
    led, cut, alone = (tmp_path / name / "metrics.jsonl" for name in ("led", "cut", "alone"))
    assert led.read_bytes() == cut.read_bytes() != alone.read_bytes()
    told = json.loads((tmp_path / "led" / "summary.json").read_text())
    assert told["env_steps"] == 44, "the other agent's steps do not count"


def stop_after(saves: int, out: Path, call) -> None:
    """Stops a run at the given one of its saves."""
    real, seen = Run.save, []

    def save(self):
        real(self)
        seen.append(1)
        if len(seen) == saves:
            (out / "stop").touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "save", save)
        with pytest.raises(RunInterrupted):
            call()


class Counter(gymnasium.Env):
    """Shows how many steps an episode has had, and ends after `seed % 3 + 2` of them."""

    observation_space = gymnasium.spaces.Box(0, 100, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.end, self.count = seed % 3 + 2, 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.count += 1
        return np.full(1, self.count, np.float32), 0.0, self.count == self.end, False, {}


class Idle:
    """Acts first, and remembers for how many decisions."""

    def __init__(self, checks: bool = True):
        self.checks = checks

    def act(self, obs, memory, generator):
        memory = torch.zeros(len(obs), 1) if memory is None else memory
        if self.checks:
            assert torch.equal(memory, obs), "what it remembers begins anew with every episode"
        return torch.eye(2)[torch.zeros(len(obs), dtype=torch.long)], memory + 1


@pytest.mark.parametrize("decisions", [1, 2, 3, 7])
def test_an_episode_that_ends_under_the_other_agent_begins_anew(decisions):
    env = custom_domain(Counter, 20).make(0)
    led = warm_start.PreRollout(env, Idle(), decisions)
    obs = led.reset(32, generator(0, "env"))
    assert not led.ended.any() and led.obs_space is env.obs_space
    if decisions == 1:
        assert (obs == 1).all()
    if decisions == 3:  # ends after 2, then one more; after 3, just begun; after 4, still on
        ends = torch.tensor([(int(seed) % 3) + 2 for seed in env.state_dict()["seed"]])
        assert set(obs.flatten().tolist()) == {0, 1, 3} and (obs[:, 0] < ends).all()


def test_episodes_that_go_on_wait_while_the_other_agent_acts_in_new_ones():
    env = custom_domain(Counter, 20).make(0)
    led = warm_start.PreRollout(env, Idle(checks=False), 1)  # some have had more steps
    led.reset(9, generator(1, "env"))
    obs, _ = led.step(torch.eye(2)[torch.zeros(9, dtype=torch.long)])
    over = led.ended
    assert 0 < over.sum() < 9
    after = led.restart(over, generator(2, "env"))
    assert (after[over] == 1).all() and torch.equal(after[~over], obs[~over])
    assert not led.ended.any()
