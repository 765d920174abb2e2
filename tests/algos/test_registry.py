import pytest
import torch

from lib.algos import registry
from lib.algos.tdmpc.agent import ContinualAgent
from lib.algos.tdmpc.presets import ABOUT, METHODS, PRESETS
from lib.algos.tdmpc.settings import TdmpcRun
from lib.core import config
from lib.core.errors import UserError
from lib.core.seeding import Streams
from lib.engine import machine
from lib.envs.grid.domain import GridDomain
from lib.experiments import run_config
from tests.tiny import SETTINGS, tiny


def resolve(**parameters: object) -> TdmpcRun:
    return run_config.resolve(parameters)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_method_fits_every_preset_and_can_be_written_down(preset, method):
    run = resolve(preset=preset, method=method)
    assert (run.preset, run.method_name, run.name) == (preset, method, f"{method}-{preset}")
    assert config.from_dict(TdmpcRun, config.to_dict(run)) == run
    assert config.merge(run, METHODS[method]) == run  # the row is in it already


def test_every_method_says_what_it_is_and_no_two_are_alike():
    assert ABOUT.keys() == METHODS.keys()
    rows = [str(sorted(row.items())) for row in METHODS.values()]
    assert len(set(rows)) == len(rows)


def test_the_methods_are_those_of_the_comparison():
    assert set(METHODS) >= {
        "scratch",
        "tdmpc",
        "ewc",
        "curiosity",
        "stored-replay",
        "pseudo-rehearsal",
        "drago",
        "drago-no-rehearsal",
        "drago-no-review",
        "multitask",
    }


def test_the_full_preset_is_the_published_one():
    run = resolve(preset="grid-full")
    assert run.tasks == ("room-1", "room-2", "room-3", "room-4")
    assert (run.env, run.planner, run.learning) == (
        TdmpcRun().env,
        TdmpcRun().planner,
        TdmpcRun().learning,
    )


def test_overrides_win_over_method_and_preset():
    run = resolve(
        preset="grid-quick", method="drago", overrides={"method.review": False, "env.size": 15}
    )
    assert not run.method.review and run.env.size == 15


def test_parameters_left_out_or_empty_keep_the_presets_values():
    run = resolve(tasks=[], env_steps_per_task=0, name="")
    assert run == resolve()
    assert resolve(tasks=["room-3"], env_steps_per_task=1600).tasks == ("room-3",)
    assert resolve(env_steps_per_task=1600).budget.env_steps_per_task == 1600


def test_several_seeds_are_runs_that_differ_in_nothing_else():
    several = run_config.resolve_seeds({"method": "ewc", "seeds": [4, 0]})
    assert several == (resolve(method="ewc", seed=4), resolve(method="ewc"))
    assert resolve(method="ewc", seeds=[4, 0]) == several[0]
    assert run_config.resolve_seeds({"seed": 3}) == (resolve(seed=3),)
    assert run_config.resolve_seeds({"seed": 3, "seeds": []}) == (resolve(seed=3),)


CHEETAH = {"preset": "cheetah-quick"}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"sed": 3}, "unknown parameter 'sed'.*did you mean 'seed'"),
        ({"preset": "grid-quik"}, "unknown preset 'grid-quik'.*did you mean 'grid-quick'"),
        ({"method": "drag"}, "unknown method 'drag'.*did you mean 'drago'"),
        ({"seed": "3"}, "parameter 'seed': got '3' of type str, wanted int"),
        ({"seed": True}, "parameter 'seed': got True of type bool, wanted int"),
        ({"seed": -1}, "got -1, wanted at least 0"),
        ({"seeds": 3}, "parameter 'seeds': got 3 of type int, wanted list"),
        ({"seeds": [0, -1]}, "parameter 'seeds': got -1, wanted whole numbers of 0 or more"),
        ({"seeds": [0, "1"]}, "parameter 'seeds': got '1', wanted whole numbers"),
        ({"seeds": [0, True]}, "parameter 'seeds': got True, wanted whole numbers"),
        ({"seeds": [2, 0, 2]}, "parameter 'seeds': 2 is there twice"),
        ({"seed": 3, "seeds": [0, 1]}, r"seed 3 and seeds \[0, 1\] are both given"),
        ({"tasks": "room-1"}, "parameter 'tasks': got 'room-1' of type str, wanted list"),
        ({"overrides": ["a"]}, "parameter 'overrides'.*wanted dict"),
        ({"overrides": {"planner.sampels": 3}}, "did you mean 'planner.samples'"),
        ({"overrides": {"planner": 3}}, "'planner' is no setting of a section"),
        ({"overrides": {"learning.lr": "1e-4"}}, "write 1.0e-4"),
        ({"tasks": ["room-9"]}, "unknown task 'room-9'.*did you mean 'room-"),
        (
            {"tasks": [{"name": "far", "start": [1, 1], "goal": [40, 2]}]},
            r"goal \(40, 2\) lies out",
        ),
        (
            {"tasks": [{"name": "in", "start": [0, 1], "goal": [2, 2]}]},
            r"start \(0, 1\) is on a wall",
        ),
        ({"tasks": ["room-1", "room-1"]}, "listed twice"),
        ({"overrides": {"env.size": 12}}, "grid size 12"),
        ({"env_steps_per_task": -5}, "got -5, wanted at least 1"),
        ({"overrides": {"planner.horizon": []}}, "planner.horizon .* must hold numbers from 1"),
        ({"overrides": {"planner.horizon": [50]}}, "less than an episode's decisions"),
        ({"overrides": {"reviewer.ratio": 0.0}}, "reviewer.ratio 0 leaves the reviewer no rows"),
        ({"overrides": {"reviewer.norm": "absolute"}}, "needs reviewer.shape 'paper'"),
        ({"overrides": {"reviewer.ratio": 1.5}}, "reviewer.ratio.*got 1.5, wanted at most 1"),
        ({"overrides": {"env.domain": "cheeta"}}, "did you mean 'cheetah'"),
        ({"overrides": {"env.action_repeat": 2}}, "a step of the grid is a decision"),
        ({"overrides": {"env.observation": "pixels"}}, "the Dreamer family is for"),
        (CHEETAH | {"overrides": {"env.observation": "pixels"}}, "the Dreamer family is for"),
        (CHEETAH | {"tasks": ["cheetah-runn"]}, "unknown task.*did you mean 'cheetah-run'"),
        (CHEETAH | {"tasks": ["walker-run"]}, "belongs to walker"),
        (CHEETAH | {"overrides": {"env.action_repeat": 3}}, "1000 is not a multiple.*take 999"),
        (CHEETAH | {"overrides": {"model.bounded": True}}, "have no bounds and no cells"),
        (CHEETAH | {"overrides": {"reviewer.count_bonus": "grid"}}, "have no bounds and no cells"),
        (CHEETAH | {"overrides": {"planner.horizon": [250]}}, "numbers from 1 to 249"),
        (CHEETAH | {"start_at": "jmp"}, "unknown task 'jmp'.*one of the run's own"),
        (CHEETAH | {"start_at": "jump"}, "goes on where a run over cheetah-run ended.*load_mode"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(parameters, message):
    with pytest.raises(UserError, match=message) as error:
        run_config.resolve(parameters)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("method", "tasks", "budget", "message"),
    [
        # 2 episodes of 7 steps are 14, with a reviewer 28
        ("tdmpc", ["room-1"], 20, "20 is not a multiple of 14.*take 14 or 28"),
        ("drago", ["room-1", "room-2"], 42, "42 is not a multiple of 28.*reviewer.*take 28 or 56"),
        ("drago", ["room-1", "room-2"], 20, "take 28"),
        ("drago", ["room-1"], 42, ""),
        ("drago", ["room-1", "room-2"], 56, ""),
    ],
)
def test_a_budget_holds_whole_rounds_of_episodes(method, tasks, budget, message):
    changes = {"tasks": tasks, "budget__env_steps_per_task": budget}
    if not message:
        assert tiny(method, **changes).budget.env_steps_per_task == budget
        return
    with pytest.raises(UserError, match=message):
        tiny(method, **changes)


def test_a_single_task_that_starts_from_another_run_has_a_reviewer_too():
    changes = SETTINGS | {"budget.env_steps_per_task": 42}
    given = {"method": "drago", "tasks": ["room-1"], "overrides": changes}
    run_config.resolve(given)
    with pytest.raises(UserError, match="42 is not a multiple of 28"):
        run_config.resolve(given | {"load_mode": "world-model", "load_from": "somewhere"})


def test_the_agent_counts_decisions_and_the_budget_env_steps():
    run = resolve(preset="cheetah-full", method="drago")
    assert run.env.decisions == 250 and run.decisions_per_task == 500_000
    assert resolve(preset="walker-full").decisions_per_task == 300_000


def test_a_run_may_begin_within_its_sequence():
    source = {"load_mode": "world-model", "load_from": "somewhere"}
    run = resolve(preset="cheetah-full", start_at="cheetah-jump", **source)
    assert run.tasks == ("cheetah-jump", "cheetah-run-backwards")
    assert run.planner.horizon == (15, 25)
    assert resolve(preset="cheetah-full", start_at="run").tasks[0] == "cheetah-run"
    last = resolve(preset="walker-full", start_at="stand", **source)
    assert last.tasks == ("walker-stand",) and last.planner.horizon == (15,)
    assert (
        resolve(preset="cheetah-full", method="scratch", start_at="jump").tasks[0].endswith("jump")
    )


def test_devices_are_chosen_by_name():
    assert machine.choose_device("cpu") == torch.device("cpu")
    assert machine.choose_device("auto").type in ("cpu", "cuda")
    with pytest.raises(UserError, match="unknown device 'gpu'"):
        machine.choose_device("gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is an accelerator here")
def test_asking_for_an_accelerator_that_is_not_there_is_an_error():
    with pytest.raises(UserError, match="device 'cuda' was asked for.*use device 'cpu' or 'auto'"):
        machine.choose_device("cuda")


def test_a_configuration_builds_an_agent_and_its_world():
    run = tiny()
    agent, domain = registry.build(run, Streams(0), torch.device("cpu"))
    assert isinstance(agent, ContinualAgent) and isinstance(domain, GridDomain)
    assert (agent.obs_dim, agent.episode_length, agent.grid_size) == (3, 7, 9)
    assert [task.name for task in domain.tasks] == ["room-1", "room-2"]
    assert agent.actions is domain.actions


def test_the_tests_own_sizes_are_known_settings():
    assert set(SETTINGS) <= set(config.dotted_keys(TdmpcRun()))
