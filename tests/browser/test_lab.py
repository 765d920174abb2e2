"""JupyterLab as `make lab` opens it, in a root of its own."""

import re
import subprocess
import sys
import time

import pytest

from lib.workbook import book
from lib.workbook.lab.server import arguments
from tests.browser import pages

UP = 600  # [s] after which the test gives up on the server


@pytest.fixture(scope="module")
def address(installed, tmp_path_factory):
    """Where a server with two short chapters answers."""
    root = tmp_path_factory.mktemp("workbook")
    folder = pages.write(root, sys.executable, str(root))
    book.build(folder=folder, films=root / "films")
    log = root / "log"
    options = [f"--LabApp.workspaces_dir={root / 'tabs'}", "--no-browser", "--port=0"]
    serve = "import sys; from lib.workbook.lab import server; server.serve(sys.argv[1:])"
    command = [sys.executable, "-c", serve, *arguments("00_short", root), *options]
    with open(log, "w") as file:
        server = subprocess.Popen(command, stdout=file, stderr=file, cwd=root)
    try:
        yield address_in(log, server)
    finally:
        server.terminate()
        server.wait(UP)


def address_in(log, server):
    for _ in range(10 * UP):
        if found := re.search(r"http://\S+(?=\s)", log.read_text()):  # a whole line
            return found.group()
        if server.poll() is not None:
            break
        time.sleep(0.1)
    raise AssertionError(log.read_text())


@pytest.mark.parametrize("name", ["00_short.ipynb", "00_short.py"])
def test_a_chapter_runs_and_its_film_moves(page, address, name):
    # In a workspace of its own, or tabs of the last test come back and take the clicks.
    mine = address.replace("/lab/tree/", f"/lab/workspaces/{name.replace('.', '-')}/tree/")
    page.goto(mine.replace("00_short.ipynb", name))
    assert "/workspaces/" in mine
    sheet = page.locator(".jp-NotebookPanel:visible")
    sheet.get_by_role("heading", name="00 · A short chapter").wait_for()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    sheet.get_by_text("interpreter and folder: True True").wait_for()
    image = sheet.locator(".jupyter-widgets img").first
    image.wait_for()
    shown = image.get_attribute("src")

    def changes() -> str:
        expression = "([it, was]) => it.src !== was"
        page.wait_for_function(expression, arg=[image.element_handle(), shown])
        return image.get_attribute("src")

    sheet.locator(".noUi-handle").first.focus()
    page.keyboard.press("ArrowRight")
    shown = changes()
    sheet.get_by_text("step 1, column 1").wait_for()
    sheet.locator(".widget-play button").first.click()
    changes()
    sheet.get_by_text("step 4, column 4").wait_for()
    assert page.seen.errors == []
    assert page.seen.outside("http://localhost", "ws://localhost") == []
