"""What a run began with, from what its config.yaml holds."""

import pytest

from lib.analysis import origins
from lib.analysis.origins import Origin
from lib.experiments import params, run_config

SMALL = {"preset": "sources-quick", "method": "dreamer-v1"}


def record(**given):
    given = run_config.PARAMETERS | SMALL | given
    return params.record(run_config.resolve(given), given)


PARTS = {"load_mode": "parts", "load_from": "outputs/two-s{seed}"}
META = {"meta.autoencoder": "outputs/two-s{seed}", "meta.rewards": ["x/a-s0", "y/b-s{seed}"]}
CONTROL = META | {"meta.use_sources": False}


@pytest.mark.parametrize(
    ("given", "begins", "sources"),
    [
        ({}, "", ()),
        ({**PARTS}, "fractional, ω 0.2", ("two",)),
        ({**PARTS, "overrides": {"transfer.omega": 0.5}}, "fractional, ω 0.5", ("two",)),
        ({**PARTS, "overrides": {"transfer.case": "modular"}}, "modular", ("two",)),
        (
            {**PARTS, "overrides": {"transfer.case": "modular", "transfer.scope": "whole_head"}},
            "modular, whole heads",
            ("two",),
        ),
        ({**PARTS, "overrides": {"transfer.case": "full"}}, "full", ("two",)),
        ({"load_mode": "agent", "load_from": "o/two-s3"}, "agent", ("two",)),
        ({"overrides": META}, "meta-model", ("two", "a", "b")),
        ({"overrides": CONTROL}, "meta-model, control", ("two", "a", "b")),
        ({"overrides": {"meta.autoencoder": "o/two-s0"}}, "fixed encoder", ("two",)),
        (
            {"overrides": META | {"meta.init_rssm": "o/two-s0", "meta.freeze_decoder": True}},
            "meta-model, fixed decoder, recurrent model",
            ("two", "a", "b"),
        ),
    ],
)  # fmt: skip
def test_a_run_says_in_a_few_words_what_it_took_and_of_whom(given, begins, sources):
    found = origins.of_record(record(**given))
    assert found == Origin(begins, sources)
    assert str(found) == (f"{begins} of {', '.join(sources)}" if begins else "")


def test_who_acts_first_is_said_as_well():
    told = {"load_mode": "agent", "load_from": "o/tdmpc-s0", "pre_rollout": "o/drago-s0"}
    assert str(origins.of_record(told)) == "agent of tdmpc, drago acting first"
    assert str(origins.of_record({"pre_rollout": "o/drago-s0"})) == "drago acting first"


def test_a_source_is_called_by_its_run_without_the_seed():
    for place in ("o/a-s3", "o/a-s{seed}", "a-s3/parts/reward.safetensors", "a"):
        assert origins.source(place) == "a"


def test_where_parts_lie_does_not_tell_runs_apart_but_everything_else_does():
    one, other = (
        record(overrides={"meta.autoencoder": place}) for place in ("o/two-s0", "elsewhere/two-s1")
    )
    plain = [
        origins.without_places({k: v for k, v in held.items() if k not in origins.START})
        for held in (one, other, record())
    ]
    assert plain[0] == plain[1] != plain[2]
    assert origins.without_places({"env": {"size": 3}}) == {"env": {"size": 3}}
