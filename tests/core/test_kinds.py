import dataclasses
import sys

import pytest

from lib.core import kinds


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with two kinds, one without settings, and a file that is none."""
    folder = tmp_path / "shapes_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "square.py").write_text(
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True)\n"
        "class Settings:\n    side: int = 3\n"
        "class Square:\n    Settings = Settings\n"
        "SHAPE = Square\n"
    )
    (folder / "point.py").write_text("class Point:\n    Settings = None\nSHAPE = Point\n")
    (folder / "api.py").write_text("class Shape: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "shapes_of_a_test", [str(folder)]
    for name in [name for name in sys.modules if name.startswith("shapes_of_a_test")]:
        del sys.modules[name]


def test_kinds_are_found_by_their_files_names(package):
    found = kinds.found(*package, "SHAPE")
    assert list(found) == ["point", "square"]
    assert [kind.__name__ for kind in found.values()] == ["Point", "Square"]


def test_settings_of_kinds_that_have_some_are_joined(package):
    made = kinds.settings("Shapes", package[0], kinds.found(*package, "SHAPE"), "All shapes.")
    assert [field.name for field in dataclasses.fields(made)] == ["square"]
    assert made().square.side == 3 and made.__doc__ == "All shapes."
    assert (made.__module__, made.__name__) == ("shapes_of_a_test", "Shapes")
    with pytest.raises(dataclasses.FrozenInstanceError):
        made().square = None
