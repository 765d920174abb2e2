"""What the README and the pages beside it promise is there."""

import argparse
import importlib
import json
import re
import shlex
from importlib.util import find_spec

import pytest

from lib import cli, viewer
from lib.algos.decision_transformer.presets import METHODS as SEQUENCES
from lib.algos.dreamer.presets import METHODS as DREAMERS
from lib.algos.tdmpc.presets import METHODS
from lib.core.errors import UserError
from lib.core.paths import PARAMS, ROOT
from lib.experiments import catalogue
from tests.synthetic import make_run

MOST = 8 * 1024  # bytes of a landing page
BESIDE = (
    "CONTRIBUTING.md",
    "notebooks/README.md",
    "outputs/README.md",
    "outputs/published/README.md",
    "params/README.md",
    "tests/benchmarks/README.md",
)
PAGES = ("README.md", *BESIDE)


def text(page: str) -> str:
    return (ROOT / page).read_text()


def code(page: str) -> list[str]:
    """Lines of a page's fenced blocks, without comments."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text(page), re.DOTALL | re.MULTILINE)
    lines = [re.split(r"\s+# ", line)[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def quoted(page: str) -> list[str]:
    """What stands in backticks in a page's running text."""
    prose = re.sub(r"^```.*?^```", "", text(page), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", prose)


def fields() -> set[str]:
    """Names in the first column of the table of summary.json."""
    table = text("outputs/README.md").split("`summary.json` holds")[1].split("\n## ")[0]
    first = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return set(re.findall(r"`(\w+)`", " ".join(first)))


def test_the_landing_page_is_short_and_leads_to_every_other():
    assert len(text("README.md").encode()) <= MOST
    links = set(re.findall(r"\]\(([^)#]+)", text("README.md")))
    assert set(BESIDE) <= links


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_sections(page):
    missing = []
    for link in re.findall(r"\]\((?!http)([^)]+)\)", text(page)):
        path, _, section = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists():
            missing.append(link)
        elif section:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings]
            missing += [link] if section not in anchors else []
    assert missing == []


def test_the_moving_picture_is_small_and_moves():
    from PIL import Image

    (shown,) = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text("README.md"))
    assert (ROOT / shown).stat().st_size <= 2**20
    with Image.open(ROOT / shown) as picture:
        assert picture.n_frames > 1


@pytest.mark.parametrize("page", PAGES)
def test_files_and_names_of_the_library_are_there(page):
    missing = []
    for name in quoted(page):
        if re.fullmatch(r"(lib|tests|params|notebooks|outputs/published)/[\w./*-]+", name):
            missing += [name] if not list(ROOT.glob(name.rstrip("/"))) else []
        elif re.fullmatch(r"lib(\.\w+)+(\(\w*\))?", name):
            missing += [name] if not _resolves(name.split("(")[0]) else []
    assert missing == []


def _resolves(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parent, _, last = name.rpartition(".")
    return _is_module(name) or (
        _is_module(parent) and hasattr(importlib.import_module(parent), last)
    )


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_those_that_there_are(page, monkeypatch):
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    monkeypatch.setattr(cli, "OUTPUTS", ROOT)
    for line in [*code(page), *quoted(page)]:
        if line.startswith("make "):
            assert line.split()[1] in targets, line
        if found := re.search(r"python -m (lib(?:\.\w+)*)(.*)", line):
            assert find_spec(found[1]), line
            if found[1] == "lib" and found[2]:
                _check(shlex.split(found[2]))


def _check(words: list[str]) -> None:
    """Reads a command as the program does, without running it; what it starts has to exist."""
    given = cli._parser().parse_args(words)
    assert isinstance(given, argparse.Namespace)
    if words[0] == "run" and words[1] != "NAME":
        assert catalogue.read(words[1], PARAMS)


def test_a_command_that_is_none_would_be_found():
    with pytest.raises(SystemExit):
        _check(["walk", "drago-grid-quick"])
    with pytest.raises(UserError, match="did you mean"):
        _check(["run", "drago-grid-quik"])


@pytest.mark.parametrize("page", PAGES)
def test_views_are_those_of_the_viewer(page):
    assert set(re.findall(r"viewer\.(\w+)\(", text(page))) <= set(viewer.__all__)


def test_every_method_is_named_and_no_other():
    tables = re.split(r"\n## Where the methods of ", text("params/README.md"))[1:]
    for table, methods in zip(tables, (METHODS, DREAMERS, SEQUENCES), strict=True):
        first = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
        assert set(re.findall(r"`([\w-]+)`", " ".join(first))) == set(methods)


def test_every_chapter_is_on_the_map_and_no_other():
    chapters = {path.stem for path in (ROOT / "notebooks").glob("*.py")}
    assert set(re.findall(r"notebooks/(\w+)\.ipynb\)", text("README.md"))) == chapters


def test_every_field_of_the_summary_is_explained(tmp_path):
    summary = json.loads((make_run(tmp_path / "run") / "summary.json").read_text())
    assert fields() == set(summary)
