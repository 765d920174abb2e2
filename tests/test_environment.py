"""The lists of packages agree with each other and with what is installed."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from lib.core.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA = yaml.safe_load((ROOT / "environment.yaml").read_text())["dependencies"]
PINNED = PROJECT["dependencies"]


def installed(name: str) -> str | None:
    try:
        return metadata.version(name).split("+")[0]  # the CPU build of torch says +cpu
    except metadata.PackageNotFoundError:
        return None


def test_conda_users_get_the_same_packages():
    (pip,) = (entry["pip"] for entry in CONDA if isinstance(entry, dict))
    assert pip == PINNED
    assert CONDA[:2] == ["python=3.11", "pip"]


def test_every_package_has_one_exact_version():
    extras = [pin for group in PROJECT["optional-dependencies"].values() for pin in group]
    for pin in PINNED + [pin for pin in extras if not pin.startswith("setuptools")]:
        assert re.fullmatch(r"[A-Za-z0-9_-]+==\d+(\.\d+)+( ; python_version < '3\.13')?", pin)
    names = [pin.split("==")[0].lower() for pin in PINNED]
    assert len(set(names)) == len(names)


@pytest.mark.skipif(
    installed(PROJECT["name"]) is None, reason="imported from the folder, without an install"
)
@pytest.mark.parametrize("pin", PINNED)
def test_what_is_installed_is_what_is_listed(pin):
    name, version = pin.split(" ;")[0].split("==")
    if "python_version <" in pin and sys.version_info >= (3, 13):
        pytest.skip(f"{name} is not installed on this version of Python")
    assert installed(name) == version


def test_only_the_library_is_packaged():
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert found == {"find": {"include": ["lib", "lib.*"]}}
    assert all((path.parent / "__init__.py").exists() for path in ROOT.glob("lib/**/*.py"))


def make(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess:
    """Runs make as from a terminal, even when these tests were started by make themselves."""
    passed_down = ("MAKE", "MFLAGS", "ARGS", "PARAMS", "PYTHON")
    env = {key: value for key, value in os.environ.items() if not key.startswith(passed_down)}
    command = ["make", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@needs_make
def test_plain_make_lists_the_targets():
    shown = make().stdout
    for target in ("run", "test", "lab", "book", "bench", "help"):
        assert re.search(rf"^  make {target} +\w", shown, re.MULTILINE)


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def make_test(folder: Path, python: Path) -> subprocess.CompletedProcess:
    """`make test` in a folder that holds nothing but the Makefile and the project file."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy2(ROOT / name, folder)  # with its time, which make goes by
    return make("test", f"PYTHON={python}", folder=folder)


@needs_make
def test_an_old_python_is_refused_in_one_line_and_leaves_nothing(tmp_path):
    old = script(tmp_path / "old", '[ "$1" = --version ] && echo Python 3.9.2\nexit 1')
    done = make_test(tmp_path, old)
    assert done.returncode != 0
    assert f"Python 3.11 or newer is needed, but '{old}' is Python 3.9.2" in done.stderr
    assert not (tmp_path / ".venv").exists()


@needs_make
def test_a_failed_install_is_tried_again(tmp_path):
    # Its environment has a python that knows pip's version and fails at everything else.
    inside = script(tmp_path / "inside", '[ "$*" = "-m pip --version" ]')
    outside = script(
        tmp_path / "outside",
        f"""\
if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin" && cp {inside} "$3/bin/python"; fi""",
    )
    for _ in range(2):
        done = make_test(tmp_path, outside)
        assert done.returncode != 0
        assert "-m pip install" in done.stdout
        assert "-m pytest" not in done.stdout
        assert not (tmp_path / ".venv" / "installed").exists()


@needs_make
def test_an_install_is_made_once_and_again_when_the_project_changes(tmp_path):
    inside = script(tmp_path / "inside", 'echo "called with $*"')
    outside = script(
        tmp_path / "outside",
        f"""\
if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin" && cp {inside} "$3/bin/python"; fi""",
    )
    first, second = (make_test(tmp_path, outside).stdout for _ in range(2))
    assert "called with -m pip install" in first and "called with -m pytest" in first
    assert "pip install" not in second and "called with -m pytest" in second
    os.utime(tmp_path / ".venv" / "installed", (0, 0))
    assert "called with -m pip install" in make_test(tmp_path, outside).stdout


@needs_make
@pytest.mark.parametrize("fails", ["loadfile", "nbmake", "nothing"])
def test_tests_and_chapters_both_run_whichever_of_them_fails(tmp_path, fails):
    inside = script(
        tmp_path / "inside",
        f"""\
echo "called with $*"
case "$*" in *{fails}*) exit 7;; esac""",
    )
    outside = script(
        tmp_path / "outside",
        f"""\
if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin" && cp {inside} "$3/bin/python"; fi""",
    )
    done = make_test(tmp_path, outside)
    assert "called with -m pytest -n 2 --dist loadfile" in done.stdout
    assert "called with -m pytest -n 2 --dist worksteal --nbmake" in done.stdout
    assert ("Error 7" in done.stderr) == (done.returncode != 0) == (fails != "nothing")


@needs_make
def test_some_tests_alone_run_no_chapters():
    shown = make("-n", "test", "ARGS=tests/runner -x").stdout
    assert shown.rstrip().endswith(".venv/bin/python -m pytest tests/runner -x")


@needs_make
def test_run_passes_its_parameters_on():
    shown = make("-n", "run", "PARAMS=params/x.yaml", "ARGS=-p seed=3").stdout
    assert ".venv/bin/python -m lib run params/x.yaml -p seed=3" in shown
