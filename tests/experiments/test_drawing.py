"""A run whose notebook or figures are not all there is drawn again, and never trained again."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from lib import cli
from lib.core.paths import NOTEBOOKS, ROOT
from lib.experiments import params, run_config
from tests import drawn
from tests.killing import PATIENCE
from tests.tiny import SETTINGS

STUB = ROOT / "tests" / "stub_drawing.py"
REAL = NOTEBOOKS / "20_run.py"
GIVEN = {"name": "mine", "method": "drago", "tasks": ["room-1", "room-2"], "device": "cpu"}


pytestmark = pytest.mark.usefixtures("outputs")


def trained(out: Path, seed: int = 0) -> None:
    """A run that has been trained, as far as the command line looks."""
    given = run_config.PARAMETERS | GIVEN | {"seed": seed}
    out.mkdir()
    record = params.record(run_config.resolve(given), given)
    (out / "config.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(record))))
    summary = {"status": "complete", "env_steps": 40, "tasks": ["room-1"], "seeds": [seed]}
    summary |= {"optimum": {"room-1": 8.0}, "final_return": {"room-1": 6.0}}
    summary |= {"name": "mine", "method": "drago", "preset": "grid-quick", "return_matrix": [[6.0]]}
    (out / "summary.json").write_text(json.dumps(summary))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    """A run that was drawn by the stub; a copy of it, in whose place others are to be made."""
    out = tmp_path_factory.mktemp("outputs") / "mine-s0"
    trained(out)
    assert cli.main(["resume", str(out), f"--notebook={STUB}"]) == 0
    return out.rename(out.with_name("undisturbed"))


@pytest.fixture
def out(undisturbed) -> Path:
    """A copy of it in the place where it was made."""
    folder = undisturbed.with_name("mine-s0")
    yield shutil.copytree(undisturbed, folder)
    shutil.rmtree(folder)


def resume(out: Path, notebook: Path = STUB) -> None:
    assert cli.main(["resume", str(out), f"--notebook={notebook}"]) == 0


def test_what_is_complete_is_not_drawn_again(out, undisturbed, capsys):
    before = (out / "run.ipynb").stat().st_mtime_ns
    resume(out)
    assert "already finished" in capsys.readouterr().out
    assert (out / "run.ipynb").stat().st_mtime_ns == before


def half(out: Path) -> None:
    """Leaves a notebook of which a cell has not been executed yet."""
    node = json.loads((out / "run.ipynb").read_text())
    del node["metadata"]["complete"]
    node["cells"][-1]["outputs"] = []
    (out / "run.ipynb").write_text(json.dumps(node))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {
    "no notebook": lambda out: (out / "run.ipynb").unlink(),
    "half executed": half,
    "half written": lambda out: cut(out / "run.ipynb"),
    "empty": lambda out: (out / "run.ipynb").write_text(""),
    "a list": lambda out: (out / "run.ipynb").write_text("[]"),
    "brackets": lambda out: (out / "run.ipynb").write_text("[" * 100_000),
    "no notebook's": lambda out: (out / "run.ipynb").write_text('{"metadata": {"complete": 1}}'),
    "a figure gone": lambda out: (out / "figures" / "final_returns.png").unlink(),
    "no figures": lambda out: shutil.rmtree(out / "figures"),
    "a figure cut": lambda out: cut(out / "figures" / "final_returns.png"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_not_complete_is_told_from_what_is(out, damage):
    from lib.experiments import drawing

    about = [out / "summary.json"]
    assert drawing.is_complete(out / "run.ipynb", about)
    DAMAGE[damage](out)
    assert not drawing.is_complete(out / "run.ipynb", about)


def test_a_notebook_about_another_result_is_not_complete(out):
    from lib.experiments import drawing

    (out / "summary.json").write_text("{}")
    assert not drawing.is_complete(out / "run.ipynb", [out / "summary.json"])


def test_what_is_drawn_again_equals_what_was_drawn_at_once(out, undisturbed, capsys):
    (out / "run.ipynb").write_text("{")
    (out / "figures" / "return_matrix.png").unlink()
    resume(out)
    assert f"drawing {out}" in capsys.readouterr().out
    assert drawn.differences(out, undisturbed) == []


def test_several_seeds_are_drawn_again_where_their_notebook_is_not_complete(
    outputs, tmp_path, capsys
):
    for seed in (0, 1):
        trained(outputs / f"mine-s{seed}", seed)
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(GIVEN))
    command = ["run", str(file), "-p", "seeds=0,1", f"--notebook={STUB}"]
    home = outputs / "mine-seeds-0-1"
    assert cli.main(command) == 0
    kept = shutil.copytree(home, tmp_path / "undisturbed")
    assert cli.main(command) == 0
    assert f"already finished: {home}" in capsys.readouterr().out
    cut(home / "run.ipynb")
    (home / "figures" / "return_matrix.png").unlink()
    resume(home)
    assert f"drawing {home}" in capsys.readouterr().out
    assert drawn.differences(home, kept) == []


def killed(out: Path, moment: int, victim: str, notebook: Path = STUB) -> bool:
    """Draws until somebody dies at an event; whether anybody did."""
    arguments = (["resume", str(out), f"--notebook={notebook}"], moment, victim)
    process = drawn.processes().Process(target=drawn.command, args=arguments)
    process.start()
    process.join(PATIENCE)
    return process.exitcode != 0


@pytest.mark.parametrize(("moment", "victim"), [(9, "command"), (16, "kernel")])
def test_a_run_killed_while_drawing_ends_as_one_that_was_not(out, undisturbed, moment, victim):
    for name in ("run.ipynb", "kernel.log"):
        (out / name).unlink()
    shutil.rmtree(out / "figures")
    assert killed(out, moment, victim)
    resume(out)
    assert drawn.differences(out, undisturbed) == []


MOMENTS = 20


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, int]:
    """A run that was trained and drawn without a pause, and the events of drawing it again."""
    folder = tmp_path_factory.mktemp("outputs")
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump(GIVEN | {"overrides": SETTINGS}))
    out = folder / "mine-s0"
    assert cli.main(["run", str(file), "--out", str(out)]) == 0
    kept = shutil.copytree(out, folder / "undisturbed")
    undrawn(out)
    count = drawn.events(lambda: resume(out, REAL))
    shutil.rmtree(out)
    return kept, count


def undrawn(out: Path) -> None:
    """Takes away what drawing leaves."""
    (out / "run.ipynb").unlink()
    shutil.rmtree(out / "figures")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(MOMENTS))
def test_a_run_killed_at_any_moment_of_drawing_ends_as_one_that_was_not(whole, number):
    undisturbed, count = whole
    out = undisturbed.with_name("mine-s0")
    shutil.copytree(undisturbed, out)
    try:
        undrawn(out)
        moment = 1 + number * (count - 1) // (MOMENTS - 1)
        kernel = number % 2 and number < MOMENTS - 1  # which has ended before the last moment
        assert killed(out, moment, "kernel" if kernel else "command", REAL)
        resume(out, REAL)
        assert drawn.differences(out, undisturbed) == []
    finally:
        shutil.rmtree(out)
