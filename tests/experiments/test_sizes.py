"""Sizes that no machine holds end in one line before anything starts."""

import pytest

from lib.algos import registry
from lib.core.errors import UserError
from lib.engine import machine
from lib.experiments import run_config

GIB = 1 << 30
PRESETS = [
    (preset, method)
    for family in map(registry.family, registry.FAMILIES)
    for preset in family.presets
    for method in family.methods
]


@pytest.fixture(autouse=True)
def of_24_gigabytes(monkeypatch):
    monkeypatch.setattr(machine, "total_bytes", lambda device: 24 * GIB)


def refused(overrides: dict, **parameters) -> str:
    with pytest.raises(UserError) as caught:
        run_config.resolve_seeds({"overrides": overrides, "device": "cpu"} | parameters)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 300
    return text


@pytest.mark.parametrize(
    ("preset", "setting", "value"),
    [
        ("grid-quick", "model.width", 99_999_999_999),
        ("grid-quick", "learning.batch", 100_000_000),
        ("grid-quick", "planner.samples", 10**9),
        ("grid-quick", "planner.iterations", 10**9),
        ("grid-quick", "vae.width", 10**9),
        ("grid-quick", "vae.code", 10**15),
        ("grid-quick", "protections.rehearsal.pairs", 10**12),
        ("grid-quick", "budget.eval_episodes", 10**9),
        ("cheetah-quick", "model.width", 9_999_999),
        ("minigrid3-quick", "latent.variables", 10**12),
        ("minigrid3-quick", "latent.classes", 10**12),
        ("minigrid3-quick", "latent.deter", 10**9),
        ("minigrid3-quick", "latent.hidden", 10**9),
        ("minigrid3-quick", "network.code_width", 10**9),
        ("minigrid3-quick", "network.head_width", 10**9),
        ("minigrid3-quick", "network.head_layers", 10**9),
        ("minigrid3-quick", "behaviour.horizon", 10**9),
        ("minigrid3-quick", "update.batch", 100_000_000),
        ("minigrid3-quick", "update.length", 100_000_000),
        ("minigrid3-quick", "budget.eval_episodes", 10**9),
    ],
)
def test_a_size_that_no_machine_holds_is_named_with_what_fits(preset, setting, value):
    text = refused({setting: value}, preset=preset)
    assert f"setting '{setting}': {value}" in text and "25.8 GB" in text
    fits = int(text.rpartition("at most about ")[2])
    assert 0 < fits < value


def test_a_grid_has_a_largest_side():
    assert "env.size': got 1000001, wanted at most 255" in refused({"env.size": 1_000_001})


def test_the_largest_value_that_is_named_is_accepted():
    text = refused({"model.width": 10**6}, preset="grid-quick")
    width = int(text.rpartition("at most about ")[2])
    run_config.check_fits(run_config.resolve({"overrides": {"model.width": width}}))
    refused({"model.width": int(width * 1.03)}, preset="grid-quick")


def test_more_seeds_take_more_memory():
    text = refused({"model.width": 10**6}, preset="grid-quick")
    width = int(text.rpartition("at most about ")[2]) - 1
    assert "model.width" in refused({"model.width": width}, preset="grid-quick", seeds=[0, 1, 2])


def test_two_sizes_that_are_too_large_are_both_named():
    text = refused({"model.width": 10**7, "learning.batch": 10**9}, preset="grid-quick")
    assert "learning.batch" in text and "model.width" in text


def test_a_preset_that_is_too_large_for_a_machine_says_so(monkeypatch):
    monkeypatch.setattr(machine, "total_bytes", lambda device: 1 << 20)
    assert "preset 'grid-full'" in refused({}, preset="grid-full")


@pytest.mark.parametrize(
    "value",
    [99_999_999_999_999_999_999, -(2**63) - 1, 10**400, float("inf"), float("nan")],
    ids=["20 digits", "below", "400 digits", "inf", "nan"],
)
@pytest.mark.parametrize(
    ("preset", "setting"),
    [("minigrid3-quick", "latent.variables"), ("grid-quick", "learning.lr")],
)
def test_numbers_beyond_those_of_libraries_are_refused(preset, setting, value):
    assert setting in refused({setting: value}, preset=preset)


def test_more_elites_than_samples_are_refused():
    text = refused({"planner.elites": 99, "planner.samples": 98}, preset="grid-quick")
    assert "planner.elites 99" in text and "at most 98" in text


@pytest.mark.parametrize(("preset", "method"), PRESETS)
def test_every_preset_fits_a_machine_of_24_gigabytes(preset, method):
    run_config.check_fits(run_config.plain(preset, method))
