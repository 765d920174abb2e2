import dataclasses
import json
import math

import pytest
import yaml

from lib.algos.tdmpc.settings import TdmpcRun
from lib.core.config import EnvConfig, dotted_keys, from_dict, merge, set_dotted, to_dict
from lib.core.errors import UserError

SECTIONS = [
    item.name for item in dataclasses.fields(TdmpcRun) if dataclasses.is_dataclass(item.type)
]


def test_the_defaults_are_the_published_minigrid_settings():
    run = TdmpcRun()
    learning, planner = run.learning, run.planner
    assert (learning.batch, learning.lr, learning.discount, learning.rho) == (512, 1e-3, 0.99, 0.5)
    assert (learning.consistency_coef, learning.reward_coef, learning.value_coef) == (2, 0.5, 0.1)
    assert (learning.grad_clip, learning.ema, learning.ema_every) == (10, 0.01, 40)
    assert (learning.priority_alpha, learning.priority_beta, learning.seed_steps) == (
        0.6,
        0.4,
        5000,
    )
    assert (planner.samples, planner.elites, planner.iterations, planner.horizon) == (
        512,
        64,
        6,
        (10,),
    )
    assert (planner.mixture, planner.temperature, planner.momentum) == (0.05, 0.5, 0.1)
    assert (planner.min_std, planner.horizon_ramp, planner.std_ramp) == (0.05, 10_000, 50_000)
    assert (run.vae.code, run.vae.width, run.vae.beta, run.model.width) == (64, 64, 1.0, 512)
    assert (run.reviewer.threshold, run.reviewer.ratio, run.reviewer.cost) == (9.5, 0.5, 0.5)
    assert (run.reviewer.sharpness, run.reviewer.threshold_decay) == (4.0, 0.9)
    assert (run.env.size, run.env.episode_length, run.budget.env_steps_per_task) == (
        27,
        100,
        300_000,
    )


def test_the_defaults_of_the_options_are_the_recommended_ones():
    run = TdmpcRun()
    assert (run.reviewer.shape, run.reviewer.norm, run.reviewer.count_bonus) == (
        "code",
        "squared",
        "grid",
    )
    rehearsal = run.protections.rehearsal
    assert (rehearsal.combine, rehearsal.match, rehearsal.weight) == (
        "separate",
        "raw",
        1.0,
    )
    assert run.planner.final_noise == "clamp" and run.model.crelu and not run.reviewer.relabel


def test_an_unknown_setting_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match="unknown setting 'planner.sampels'.*planner.samples'"):
        from_dict(TdmpcRun, {"planner": {"sampels": 3}})
    with pytest.raises(UserError, match="did you mean 'planner'"):
        from_dict(TdmpcRun, {"planer": {}})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("learning.batch", 5.0, "got 5.0 of type float, wanted a whole number"),
        ("learning.batch", "5", "got '5' of type str, wanted a whole number"),
        ("learning.batch", True, "got True of type bool, wanted a whole number"),
        ("learning.lr", "1e-4", r"got '1e-4' of type str, wanted a number \(YAML reads 1e-4 as"),
        ("learning.lr", False, "got False of type bool, wanted a number"),
        ("learning.lr", None, "wanted a number"),
        ("learning.first_step_heads", 1, "wanted true or false"),
        ("reviewer.relabel", "yes", "wanted true or false"),
        ("name", 3, "wanted text"),
        ("planner.horizon", [10, 2.5], r"planner.horizon\[1\]': got 2.5 of type float"),
        ("planner.horizon", "ten", r"planner.horizon\[0\]'"),
        ("planner", 3, "setting 'planner' is a section: got 3, wanted a mapping"),
        ("learning.batch", {"size": 3}, "got .*wanted a whole number"),
    ],
)
def test_a_wrong_type_is_refused_in_one_line(key, value, message):
    with pytest.raises(UserError, match=message) as error:
        set_dotted(TdmpcRun(), {key: value})
    assert "\n" not in str(error.value) and key.split(".")[0] in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("learning.batch", 0, "setting 'learning.batch': got 0, wanted at least 1"),
        ("learning.lr", -1.0, "wanted at least 0"),
        ("seed", -1, "wanted at least 0"),
        ("env.size", 7, "wanted at least 9"),
        ("planner.horizon", [10, 0], r"planner.horizon\[1\]': got 0, wanted at least 1"),
        ("learning.lr", math.nan, "learning.lr': got nan"),
        ("learning.lr", math.inf, "learning.lr': got inf, wanted a finite number"),
        ("reviewer.threshold", math.nan, "got nan, wanted a finite number"),
        ("reviewer.threshold", -math.inf, "got -inf, wanted a finite number"),
        ("env.reward", "dens", "unknown value for 'env.reward' 'dens'.*did you mean 'dense'"),
        ("reviewer.count_bonus", "girds", "did you mean 'grid'"),
    ],
)
def test_a_value_out_of_range_is_refused(key, value, message):
    with pytest.raises(UserError, match=message):
        set_dotted(TdmpcRun(), {key: value})


def test_whole_numbers_become_floats_and_lists_tuples():
    run = set_dotted(TdmpcRun(), {"learning.lr": 1, "planner.horizon": [3, 5]})
    assert type(run.learning.lr) is float and run.planner.horizon == (3, 5)
    assert set_dotted(TdmpcRun(), {"planner.horizon": 7}).planner.horizon == (7,)


def test_a_mapping_changes_only_what_it_names():
    run = merge(TdmpcRun(), {"env": {"size": 13}, "name": "a"})
    assert run == dataclasses.replace(TdmpcRun(), name="a", env=EnvConfig(size=13))


def test_later_dotted_overrides_win_and_leave_the_original_alone():
    first = TdmpcRun()
    run = set_dotted(first, {"planner": {"samples": 3}, "planner.samples": 5})
    assert run.planner.samples == 5 and first == TdmpcRun()


def test_tasks_may_be_names_or_mappings():
    tasks = ["room-1", {"name": "mine", "start": [1, 1], "goal": [2, 2]}]
    assert set_dotted(TdmpcRun(), {"tasks": tasks}).tasks == tuple(tasks)


@pytest.mark.parametrize("text", [json, yaml], ids=["json", "yaml"])
def test_a_configuration_survives_being_written_and_read(text):
    run = set_dotted(
        TdmpcRun(),
        {"tasks": ["room-1", {"name": "m", "start": [1, 1], "goal": [2, 2]}], "learning.lr": 3e-7},
    )
    if text is json:
        back = json.loads(json.dumps(to_dict(run)))
    else:
        back = yaml.safe_load(yaml.safe_dump(to_dict(run)))
    assert from_dict(TdmpcRun, back) == run


def test_dotted_keys_name_every_setting_and_each_can_be_set_to_its_own_value():
    run, keys = TdmpcRun(), dotted_keys(TdmpcRun())
    assert "planner.samples" in keys and "seed" in keys and len(set(keys)) == len(keys)
    for key in keys:
        value = run
        for part in key.split("."):
            value = getattr(value, part)
        assert set_dotted(run, {key: value}) == run


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_is_frozen_and_its_defaults_pass_its_own_checks(section):
    part = getattr(TdmpcRun(), section)
    with pytest.raises(dataclasses.FrozenInstanceError):
        part.anything = 1
    assert from_dict(type(part), to_dict(part)) == part


def test_every_section_is_a_dataclass_of_its_own():
    assert set(SECTIONS) >= {"env", "budget", "model", "planner", "learning", "vae", "reviewer"}
