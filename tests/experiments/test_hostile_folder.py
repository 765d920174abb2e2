"""A run folder that somebody else made may lie, but neither runs code nor writes elsewhere."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from lib import cli, viewer
from lib.analysis import results
from lib.core import config
from lib.core.errors import UserError
from lib.core.paths import ROOT
from lib.experiments import folders, notebooks, params, run_config, transfer
from lib.runner import checkpoint, contents, training
from tests.tiny import SETTINGS, tiny

STUB = ROOT / "tests" / "stub_run.py"
MODULE = "hostile_payload"
QUALIFIED = f"{MODULE}:CartPole-v1"
# Text that would be a statement if it were put into a notebook's source as it stands.
STATEMENT = f"' + str(__import__('{MODULE}')) + '"


@pytest.fixture(autouse=True)
def payload(tmp_path, monkeypatch):
    """A module that leaves a mark where it is imported; afterwards there must be none."""
    mark, code = tmp_path / "code" / "mark", tmp_path / "code" / f"{MODULE}.py"
    code.parent.mkdir()
    code.write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n")
    monkeypatch.syspath_prepend(code.parent)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)  # of a test that failed
    monkeypatch.setenv("PYTHONPATH", f"{code.parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    yield mark
    assert MODULE not in sys.modules and not mark.exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A whole run to be tampered with."""
    out = tmp_path_factory.mktemp("runs") / "drago-grid-quick-s0"
    cfg = tiny("drago", tasks=["room-1"], budget__env_steps_per_task=28)
    cfg = config.merge(cfg, {"name": "drago-grid-quick"})
    training.train(cfg, out, tensorboard=False, progress=False)
    return out


@pytest.fixture
def victim(finished, outputs) -> Path:
    return shutil.copytree(finished, outputs / finished.name)


def beginning(outputs: Path, **changes) -> Path:
    """A run folder that holds a configuration alone, changed after it was checked."""
    given = run_config.PARAMETERS | {"preset": "debug", "name": "mine"}
    record = json.loads(json.dumps(params.record(run_config.resolve(given), given)))
    out = outputs / "mine-s0"
    out.mkdir()
    (out / "config.yaml").write_text(yaml.safe_dump(record | changes))
    return out


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def refused(capsys, *arguments) -> str:
    assert cli.main([str(part) for part in arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Traceback" not in said
    return said


GYM = {"domain": "gymnasium", "observation": "state", "episode_length": 20}


@pytest.mark.parametrize(
    "changes",
    [
        {"tasks": [QUALIFIED], "env": GYM},
        {"tasks": [{"name": "x", "id": QUALIFIED}], "env": GYM},
        {"tasks": [{"id": "CartPole-v1", "name": "../../x"}], "env": GYM},
        {"tasks": [{"id": "CartPole-v1", "options": {"a": STATEMENT.encode()}}], "env": GYM},
        {"tasks": [{"id": "CartPole-v1", "options": {"a": {STATEMENT}}}], "env": GYM},
        {"tasks": [{"id": "CartPole-v1", "options": {STATEMENT.encode(): 1}}], "env": GYM},
        {"name": "../../x"},
        {"name": "/abs/olute"},
        {"name": "a\0b"},
        {"name": STATEMENT.encode()},
        {"preset": ["debug"]},
        {"method_name": {"a": 1}},
        {"seed": 10**30},
        {"family": f"{MODULE}"},
        {"device": "meta"},
        {"budget": []},
        {"budget": {"lengths": ["a"]}},
        {"env": None},
        {"load_mode": "agent", "load_from": f"{MODULE}:x"},
        {"pre_rollout": 3},
    ],
    ids=str,
)
def test_a_configuration_that_was_changed_is_refused_in_one_line(
    outputs, tmp_path, capsys, changes
):
    out = beginning(outputs, **changes)
    before = everything(tmp_path)
    refused(capsys, "resume", out, f"--notebook={STUB}")
    assert everything(tmp_path) == before
    assert cli.main(["list"]) == 0
    assert folders.status(out)


@pytest.mark.parametrize(
    "text",
    [
        f"!!python/object/apply:importlib.import_module [{MODULE}]",
        f"tasks: !!python/module:{MODULE} ''",
        f"tasks: !!python/name:{MODULE}.x ''",
        "&a [*a]",
        "[" * 3000,
    ],
)
@pytest.mark.parametrize("name", ["config.yaml", "seeds.yaml", "transfer.yaml"])
def test_yaml_makes_nothing_but_plain_values(outputs, tmp_path, capsys, name, text):
    out = beginning(outputs)
    (out / "config.yaml").unlink()
    (out / name).write_text(text)
    before = everything(tmp_path)
    for command in (["resume", out], ["compare", out], ["transfer", out], ["clean", out, "--yes"]):
        refused(capsys, *command)
    assert cli.main(["list"]) == 0
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    "parameters",
    [
        {"tasks": [QUALIFIED], "preset": "debug", "overrides": {"env.domain": "gymnasium"}},
        {"tasks": [{"id": QUALIFIED}], "preset": "debug", "overrides": {"env.domain": "gymnasium"}},
        {"name": "../../x"},
        {"out_dir": "../../x", "name": ".."},
        {"video": STATEMENT},
        {"overrides": {"planner.samples": {"a": 1}}},
        {MODULE: 1},
    ],
    ids=str,
)
def test_what_several_seeds_were_asked_for_is_checked_again(outputs, tmp_path, capsys, parameters):
    out = outputs / "several"
    out.mkdir()
    record = {"parameters": {"seeds": [0, 1]} | parameters, "runs": ["../../../x", "/abs/olute"]}
    (out / contents.SEEDS).write_text(yaml.safe_dump(record))
    before = everything(tmp_path)
    refused(capsys, "resume", out, f"--notebook={STUB}")
    refused(capsys, "compare", out)
    assert cli.main(["list"]) == 0 and everything(tmp_path) == before


@pytest.mark.parametrize(
    "parameters",
    [
        {"preset": [1]},
        {"preset": "debug"},
        {"tasks": ["../../x"]},
        {"tasks": [{"name": "../x", "start": [1, 1], "goal": [2, 3]}]},
        {"sources": [3]},
        {"overrides": {"a": STATEMENT.encode()}},
    ],
    ids=str,
)
def test_what_a_comparison_was_asked_for_is_checked_again(victim, tmp_path, capsys, parameters):
    out = victim.with_name("study")
    out.mkdir()
    asked = {"preset": "grid-transfer-quick", "seeds": [0], "sources": [str(victim)]}
    asked |= {"overrides": SETTINGS | {"budget.env_steps_per_task": 84}} | parameters
    (out / contents.TRANSFER).write_text(yaml.safe_dump({"parameters": asked, "runs": ["../x"]}))
    before = everything(tmp_path)
    refused(capsys, "resume", out, f"--notebook={STUB}")
    assert cli.main(["list"]) == 0 and everything(tmp_path) == before


def test_a_method_becomes_part_of_a_folder_only_if_there_is_one(victim, tmp_path):
    told = json.loads((victim / "summary.json").read_text())
    (victim / "summary.json").write_text(json.dumps(told | {"method": "../../../x"}))
    asked = {"preset": "grid-transfer-quick", "sources": [str(victim)], "device": "cpu"}
    asked["overrides"] = SETTINGS | {"budget.env_steps_per_task": 84}
    before = everything(tmp_path)
    with pytest.raises(UserError, match=r"unknown method '../../../x'"):
        transfer.prepare(asked, tmp_path)
    assert everything(tmp_path) == before


@pytest.fixture
def lying(victim) -> Path:
    """A finished run whose checkpoints say that its task is an environment of another module."""
    for path in (victim / "checkpoints").glob("*.safetensors"):
        state, meta = checkpoint.load(path)
        env = meta["config"]["env"] | {"domain": "gymnasium"}
        meta["config"] |= {"tasks": [QUALIFIED], "env": env}
        path.unlink()
        checkpoint.save(path, state, meta)
    record = yaml.safe_load((victim / "config.yaml").read_text())
    record |= {"tasks": [QUALIFIED], "env": record["env"] | {"domain": "gymnasium"}}
    (victim / "config.yaml").write_text(yaml.safe_dump(record))
    return victim


@pytest.mark.parametrize(
    "given",
    [
        ["-p", "load_mode=world-model", "-p", "load_from=RUN"],
        ["-p", "load_mode=agent", "-p", "load_from=RUN/checkpoints/last.safetensors"],
        ["-p", "pre_rollout=RUN"],
    ],
)
def test_a_run_is_not_started_from_a_checkpoint_that_lies(lying, tmp_path, capsys, given):
    settings = [part for key, value in SETTINGS.items() for part in ("-p", f"{key}={value}")]
    given = [part.replace("RUN", str(lying)) for part in given]
    stub = ROOT / "tests" / "stub_seeds.py"  # which trains
    assert cli.main(["run", "drago-grid-quick", *settings, *given, f"--notebook={stub}"]) != 0
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("view", ["rollout", "plans", "retention", "review"])
def test_viewers_execute_nothing(lying, tmp_path, view, capsys):
    before = everything(tmp_path)
    try:
        getattr(viewer, view)(lying)  # says in a line what is wrong, or shows what it can
    except Exception as error:
        pytest.fail(f"{type(error).__name__}: {error}")
    assert everything(tmp_path) == before


def test_looking_at_runs_and_comparing_them_executes_nothing(lying, tmp_path, capsys):
    before = everything(tmp_path)
    viewer.browse(lying.parent)
    assert results.complete_runs(lying.parent)[0][0].tasks == ("room-1",)
    refused(capsys, "transfer", lying, "--preset", "grid-transfer-quick")
    refused(capsys, "resume", lying, f"--notebook={STUB}")
    assert everything(tmp_path) == before


def test_arrays_are_never_unpickled(victim):
    (path,) = (victim / "audits").glob("*.npz")

    class Payload:
        def __reduce__(self):
            return __import__, (MODULE,)

    np.savez(path, error=np.array([Payload()], dtype=object))
    with pytest.raises(UserError, match="allow_pickle=False"):
        results.load_run(victim).audit_arrays(0)


def test_files_that_python_or_jupyter_would_pick_up_are_left_alone(outputs, capsys):
    given = run_config.PARAMETERS | {"name": "mine"}
    out = outputs / "mine-s0"
    out.mkdir()
    record = params.record(run_config.resolve(given), given)
    (out / "config.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(record))))
    evil = f"import {MODULE}\n"
    names = ("sitecustomize.py", "json.py", "20_run.py", "ipython_config.py", "run.py")
    for name in names:
        (out / name).write_text(evil)
    (out / "lib").mkdir()
    (out / "lib" / "__init__.py").write_text(evil)
    cell = {"cell_type": "code", "source": evil, "metadata": {}, "outputs": [], "id": "a"}
    cell["execution_count"] = None
    whole = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (out / "run.ipynb").write_text(json.dumps(whole))
    assert cli.main(["resume", str(out), f"--notebook={STUB}"]) == 0
    assert MODULE not in (out / "run.ipynb").read_text()


@pytest.mark.parametrize(
    "value", [STATEMENT.encode(), {STATEMENT}, {STATEMENT.encode(): 1}], ids=str
)
def test_parameters_never_become_statements_of_a_notebook(tmp_path, value):
    with pytest.raises(UserError, match="no value|no text"):
        notebooks.run({"tasks": [{"options": value}]}, tmp_path / "run.ipynb", STUB)
    assert not (tmp_path / "run.ipynb").exists()


def test_tuples_reach_a_notebook_as_lists(tmp_path):
    value = {"tasks": [{"start": (1, 2), "pairs": [(STATEMENT, 1)]}], "name": "mine"}
    node = notebooks.run(value | {"out_dir": str(tmp_path)}, tmp_path / "run.ipynb", STUB)
    source = "".join(cell.source for cell in node.cells)
    assert '"start": [1, 2]' in source and '"pairs": [["' in source


def test_text_in_parameters_stays_text(outputs, capsys):
    quoted = f'"{STATEMENT}"\\n${{x}}{{0}}<img src=x onerror=alert(1)>'
    name = "<img src=x onerror=alert(1)>" + STATEMENT
    given = ["-p", f"name={name}", "-p", f"out_dir={outputs / 'here'}", "-p", f"load_from={quoted}"]
    said = refused(capsys, "run", "drago-grid-quick", *given, f"--notebook={STUB}")
    assert "go together" in said
    assert cli.main(["run", "drago-grid-quick", *given[:4], f"--notebook={STUB}"]) == 0
