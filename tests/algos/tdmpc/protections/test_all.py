"""Every protection bites: alone, in every combination, and one that a new file brings.

Two agents are the same until a boundary and get the same experience after it; what one has switched
on must show in the weights of its next updates.
"""

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lib.algos.tdmpc.agent import ContinualAgent
from lib.algos.tdmpc.presets import METHODS
from lib.algos.tdmpc.protections import KNOWN, ProtectionsConfig
from lib.algos.tdmpc.protections.api import Protection
from lib.core import config
from lib.core.paths import ROOT
from tests.tiny import changed, flat, invented, new_agent, tiny

UPDATES = 2  # at the first, today's dynamics still are the old ones and nothing pulls

# What switches each protection on, out of the methods that have it.
ON = {
    name: {f"protections.{name}.{key}": value for key, value in row["protections"][name].items()}
    for row in METHODS.values()
    for name in row.get("protections", {})
}


def acted(cfg: Any) -> ContinualAgent:
    """An agent that has crossed a boundary and learnt, from experience that is always the same."""
    agent = new_agent(cfg)
    for index in range(2):
        agent.begin_task(index)
        for role in agent.roles:
            agent.store(role, invented(agent, seed=index))
        agent.update(UPDATES)
    return agent


def weights(agent: ContinualAgent) -> dict[str, torch.Tensor]:
    """What the agent acts with."""
    learnt = {"dynamics": agent.dynamics.state_dict(), "heads": agent.learner.heads.state_dict()}
    return {name: value.clone() for name, value in flat(learnt).items()}


def differ(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return any(not torch.equal(value, other[name]) for name, value in one.items())


@pytest.fixture(scope="module")
def unprotected() -> dict[str, torch.Tensor]:
    return weights(acted(tiny("tdmpc")))


def test_every_protection_is_off_by_default_and_on_in_some_method():
    assert set(ON) == set(KNOWN) == set(config.to_dict(ProtectionsConfig()))
    assert not any(p.on for p in new_agent(tiny("tdmpc")).known)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "tdmpc"])
def test_every_method_changes_the_next_weights(method, unprotected):
    assert differ(weights(acted(tiny(method))), unprotected)


def switches(names: tuple[str, ...], review: bool) -> dict[str, Any]:
    return {"method.review": review} | {k: v for name in names for k, v in ON[name].items()}


COMBINATIONS = [
    (names, review)
    for count in range(len(KNOWN) + 1)
    for names in itertools.combinations(sorted(KNOWN), count)
    for review in (False, True)
]


@pytest.fixture(scope="module")
def combined() -> dict[tuple[tuple[str, ...], bool], dict[str, torch.Tensor]]:
    """The weights of every combination of protections, with and without a reviewer."""
    found = {}
    for names, review in COMBINATIONS:
        agent = acted(changed(tiny("tdmpc"), **switches(names, review)))
        assert [p.name for p in agent.protections] == list(names)
        assert (agent.reviewer is not None) == review
        found[names, review] = weights(agent)
    return found


@pytest.mark.parametrize("name", [*sorted(KNOWN), "reviewer"])
def test_a_switch_changes_the_next_weights_beside_every_combination_of_the_others(name, combined):
    compared = 0
    for names, review in COMBINATIONS:
        if name in names or (name == "reviewer" and review):
            continue
        more = (names, True) if name == "reviewer" else (tuple(sorted((*names, name))), review)
        assert differ(combined[more], combined[names, review]), (name, names, review)
        compared += 1
    assert compared == len(COMBINATIONS) // 2


@pytest.mark.parametrize("combine", ["separate", "joint"])
def test_both_rehearsals_at_once_pull_as_often_as_both_alone(combine):
    names = ("rehearsal", "stored_replay")
    given = switches(names, False) | {f"protections.{n}.combine": combine for n in names}
    agent = acted(changed(tiny("tdmpc"), **given))
    (steps,) = {int(count) for count in agent.dynamics_adam.step}
    assert steps == UPDATES * (3 if combine == "separate" else 1)


@pytest.mark.parametrize("review", [False, True])
def test_stored_replay_of_a_world_model_from_elsewhere_rehearses_from_its_first_boundary_on(review):
    source = acted(tiny("tdmpc"))
    cfg = changed(tiny("tdmpc"), **switches(("ewc", "stored_replay"), review))
    agent = new_agent(cfg)
    agent.load_world_model(source.state_dict(with_replay=False)["world_model"])
    agent.begin_task(0)
    for role in agent.roles:
        agent.store(role, invented(agent))
    agent.update(1)  # nothing is stored yet, and nothing known of which weight matters
    assert agent.old_dynamics is not None and "train/rehearsal/loss" not in agent.report()
    agent.begin_task(1)
    for role in agent.roles:
        agent.store(role, invented(agent))
    agent.update(1)
    assert "train/rehearsal/loss" in agent.report()


def test_a_hook_that_a_protection_lacks_is_none_and_not_empty():
    for kind in KNOWN.values():
        for hook in ("loss", "own_loss", "bonus", "generate"):
            found = getattr(kind, hook)
            assert found is None or callable(found)
        assert (issubclass(kind, Protection) and kind.loss) or kind.bonus


# A new protection ------------------------------------------------------------------------------

PULL = '''"""An L2 pull of the dynamics' weights towards those of the old dynamics."""

from dataclasses import dataclass

import torch

from lib.algos.tdmpc.protections.api import Given, Protection, Term
from lib.core.config import at_least


@dataclass(frozen=True)
class Settings:
    """Weights stay near where they were."""

    strength: float = at_least(0, 0.0)  # times the squared distance; 0: off


class Pull(Protection):
    """Pulls every weight alike."""

    Settings = Settings

    @property
    def on(self) -> bool:
        return self.settings.strength > 0

    def loss(self, given: Given) -> Term:
        """The squared distance of all weights from the old ones."""
        pairs = zip(given.dynamics.parameters(), given.old_dynamics.parameters(), strict=True)
        squares = [(now - old).square().sum() for now, old in pairs]
        return Term(self.settings.strength * torch.stack(squares).sum(), {})


PROTECTION = Pull
'''

PROBE = """
import torch
from tests.algos.tdmpc.protections.test_all import acted, differ, weights
from tests.tiny import changed, tiny
from lib.algos.tdmpc.protections import KNOWN
from lib.core.seeding import Streams

assert "l2_to_old" in KNOWN
free = acted(tiny("tdmpc"))
zero = acted(tiny("l2", **{"protections.l2_to_old.strength": 0.0}))
held = acted(tiny("l2", **{"protections.l2_to_old.strength": 1.0e6}))
assert not differ(weights(free), weights(zero)), "strength 0 is no protection"
assert differ(weights(zero), weights(held)), "strength 1e6 changes nothing"
far = [
    sum((a - b).square().sum().item() for a, b in zip(
        agent.dynamics.parameters(), agent.old_dynamics.parameters()))
    for agent in (zero, held)
]
assert far[1] < far[0], far
print("bites")
"""


def test_a_new_protection_is_one_new_file_and_one_row_and_bites(tmp_path):
    shutil.copytree(ROOT / "lib", tmp_path / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("tests", "params"):
        (tmp_path / part).symlink_to(Path(ROOT) / part)
    folder = tmp_path / "lib" / "algos" / "tdmpc"
    (folder / "protections" / "l2_to_old.py").write_text(PULL)
    presets, row = folder / "presets.py", '"l2": {"protections": {"l2_to_old": {"strength": 1.0}}},'
    table = "METHODS: dict[str, Sections] = {\n"
    assert table in presets.read_text()
    presets.write_text(presets.read_text().replace(table, f"{table}    {row}\n"))
    (tmp_path / "probe.py").write_text(PROBE)
    told = subprocess.run(
        [sys.executable, "probe.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0 and "bites" in told.stdout, told.stderr
