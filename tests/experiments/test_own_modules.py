"""Environments that a module of one's own registers: only where the command line says so."""

import os
import sys

import gymnasium
import pytest

from lib import cli
from lib.core.errors import UserError
from lib.core.paths import ROOT
from lib.experiments import own_modules
from tests.dreamer_tiny import SETTINGS

STUB = ROOT / "tests" / "stub_seeds.py"  # which trains
CODE = """\
import gymnasium
gymnasium.register(id="OwnPole-v0", entry_point="gymnasium.envs.classic_control:CartPoleEnv")
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a module that registers an environment."""
    (tmp_path / "own_poles.py").write_text(CODE)
    (tmp_path / "broken_poles.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "OUTPUTS", tmp_path / "outputs")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv(own_modules.ASKED, "")
    monkeypatch.delenv(own_modules.ASKED)
    yield tmp_path
    forget()


def forget() -> None:
    sys.modules.pop("own_poles", None)
    gymnasium.registry.pop("OwnPole-v0", None)
    os.environ.pop(own_modules.ASKED, None)


def test_a_run_uses_an_environment_of_ones_own_and_resume_asks_for_it_again(here, capsys):
    settings = {"env.domain": "gymnasium", "env.observation": "state", "explore.bonus": "none"}
    given = [p for key, value in (SETTINGS | settings).items() for p in ("-p", f"{key}={value}")]
    given += ["-p", "tasks=OwnPole-v0", "-p", "name=poles", "-p", "device=cpu", "-p", "video="]
    command = ["run", "debug", "-p", "method=dreamer", *given, f"--notebook={STUB}"]
    assert cli.main(command) == 2
    assert "unknown environment 'OwnPole-v0'" in capsys.readouterr().err
    assert cli.main([*command, "--import", "own_poles"]) == 0  # in the notebook's process, too
    assert "ownpole-v0" in capsys.readouterr().out.splitlines()[-1]
    forget()
    folder = str(here / "outputs" / "poles-s0")
    assert cli.main(["resume", folder]) == 2
    assert "unknown environment 'OwnPole-v0'" in capsys.readouterr().err
    assert cli.main(["resume", folder, "--import", "own_poles"]) == 0
    assert "already finished" in capsys.readouterr().out


def test_ids_with_a_module_are_refused_with_the_way_that_works(here, capsys):
    given = ["-p", "env.domain=gymnasium", "-p", "tasks=['own_poles:OwnPole-v0']"]
    assert cli.main(["run", "debug", *given]) == 2
    said = capsys.readouterr().err
    assert "'--import own_poles' on the command line, and call the environment 'OwnPole-v0'" in said
    assert "own_poles" not in sys.modules


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_poles", "--import no_such_poles: ModuleNotFoundError: No module named"),
        ("broken_poles", "--import broken_poles: ZeroDivisionError: division by zero"),
        ("", "--import : ValueError"),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_in_one_line(here, name, message):
    with pytest.raises(UserError, match=message) as error:
        own_modules.ask_for([name])
    assert "\n" not in str(error.value)
