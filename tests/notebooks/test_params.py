"""Every file in params/ can start a run: its keys, its types, its values and its comment."""

from pathlib import Path

import pytest
import yaml

from lib import book, families
from lib.tdmpc.presets import METHODS

FILES = sorted((Path(__file__).parents[2] / "params").glob("*.yaml"))


@pytest.fixture(scope="module")
def declared():
    return book.parameters(book.RUN)


def test_the_notebook_declares_what_families_resolve(declared):
    assert set(declared) == set(families.PARAMETERS)
    kinds = {name: type(default).__name__ for name, default in families.PARAMETERS.items()}
    assert declared == kinds


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_params_file_can_start_a_run(path, declared):
    found = yaml.safe_load(path.read_text())
    book.check_parameters(found, declared)
    config = families.resolve(found)
    assert config.name == path.stem
    assert list(config.tasks) == found["tasks"], "tasks are listed, not left to the preset"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_params_file_says_what_where_from_and_how_long(path):
    comment = " ".join(
        line.removeprefix("# ") for line in path.read_text().splitlines() if line.startswith("#")
    )
    assert "Source: " in comment and "Expect: " in comment
    assert "CPU" in comment or "GPU" in comment


def test_every_method_has_a_quick_and_a_full_file():
    names = {path.stem for path in FILES}
    assert {f"{method}-grid-{size}" for method in METHODS for size in ("quick", "full")} <= names


def test_every_transfer_has_a_quick_and_a_full_file():
    names = {path.stem for path in FILES}
    pairs = ("1to2", "1to3", "1to4", "3to4")
    assert {f"grid-transfer{size}-{pair}" for size in ("", "-quick") for pair in pairs} <= names
