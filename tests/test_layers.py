"""Who imports whom, as `lib/__init__.py` says it: every import of every module is looked at."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

LIB = Path(__file__).parents[1] / "lib"
BELOW = {
    "core": (),
    "engine": ("core",),
    "envs": ("core",),
    "replay": ("core",),
    "algos": ("core", "engine", "envs", "replay"),
    "plotting": ("core",),
}
BELOW["runner"] = tuple(BELOW)
BELOW["experiments"] = (*BELOW["runner"], "runner")
BELOW["analysis"] = (*BELOW["experiments"], "experiments")
BELOW["viewer"] = (*BELOW["analysis"], "analysis")
BELOW["workbook"] = (*BELOW["viewer"], "viewer")
BELOW["cli"] = (*BELOW["workbook"], "workbook")
BELOW["__main__"] = ("cli",)
SHARED = ("lib.algos", "lib.algos.api", "lib.algos.registry")  # what is in no family


@cache
def modules() -> dict[str, Path]:
    found = {}
    for path in LIB.rglob("*.py"):
        name = ".".join(("lib", *path.relative_to(LIB).with_suffix("").parts))
        found[name.removesuffix(".__init__")] = path
    return found


@cache
def imports(types: bool = True) -> dict[str, set[str]]:
    """Module to the modules of `lib` that it imports anywhere, functions included.

    types: whether what only type checkers read counts too.
    """
    return {name: imported(path.read_text(), types) for name, path in modules().items()}


def imported(source: str, types: bool = True) -> set[str]:
    found, tree = set(), ast.parse(source)
    if not types:
        tree.body = [node for node in tree.body if not for_types(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in modules() else str(node.module))
    return {name for name in found if name == "lib" or name.startswith("lib.")}


def for_types(node: ast.stmt) -> bool:
    """Whether a statement is `if TYPE_CHECKING:`, which never runs."""
    return isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"


def room(module: str) -> str:
    return module.split(".")[1]


def test_every_room_stands_on_the_map():
    rooms = {room(name) for name in modules() if name != "lib"}
    assert rooms == set(BELOW)
    about = (LIB / "__init__.py").read_text()
    assert all(f"\n{name}" in about for name in rooms - {"cli", "__main__"})


def test_rooms_import_only_what_lies_below_them():
    wrong = [
        f"{name} imports {other}"
        for name, others in imports().items()
        for other in others
        if "lib" not in (name, other)
        and room(other) != room(name)
        and room(other) not in BELOW[room(name)]
    ]
    assert wrong == []


def test_families_know_nothing_of_each_other_and_only_they_and_the_chapters_are_named():
    def home(name: str) -> str:
        """The family that a module belongs to; "" for what is in none."""
        inside = name.startswith("lib.algos.") and name not in SHARED
        return name.split(".")[2] if inside else ""

    wrong = [
        f"{name} imports {other}"
        for name, others in imports().items()
        for other in others
        if home(other) and home(other) != home(name) and not name.startswith("lib.workbook.")
    ]
    assert wrong == []


def test_no_imports_go_in_circles():
    # A package is imported before its modules, which is no circle.
    graph = {
        name: {other for other in others if not name.startswith(f"{other}.")}
        for name, others in imports(types=False).items()
    }
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from lib.core import errors, files", {"lib.core.errors", "lib.core.files"}),
        ("from lib.core.errors import UserError", {"lib.core.errors"}),
        ("import lib.cli", {"lib.cli"}),
        ("def f():\n    from lib.core.config import merge", {"lib.core.config"}),
        ("import torch", set()),
    ],
)
def test_imports_are_found_wherever_they_stand(source, found):
    assert imported(source) == found


def test_what_only_type_checkers_read_is_told_apart():
    source = "if TYPE_CHECKING:\n    from lib.core.config import RunConfig\nimport lib.cli"
    assert imported(source) == {"lib.core.config", "lib.cli"}
    assert imported(source, types=False) == {"lib.cli"}
