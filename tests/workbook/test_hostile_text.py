"""Names that come from outside are shown wherever pages, figures and lines are made of them."""

import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from matplotlib.text import Text

from lib.analysis import results
from lib.core.plain import escape
from lib.experiments import summaries
from lib.experiments.display import describe
from lib.plotting import charts, intervals, maps, network, speed
from lib.viewer import Dial, View, player
from lib.viewer.base import png
from lib.viewer.browser import Browser
from lib.viewer.film import Scrubber
from lib.viewer.retention import Retention
from lib.workbook import site
from lib.workbook.site.text import Renderer, markdown
from tests.viewer.test_browser import line
from tests.workbook.site.test_build import PICTURE

pytestmark = pytest.mark.usefixtures("figures")

HOSTILE = (
    "_<img src=x onerror=alert(1)></script><script>alert(2)</script>&lt;b&gt;|[c](javascript:d)"
    "![e](http://f.example/g)$\\frac$ '\"\\"
)
MARKS = {"script", "img", "b", "a"}  # of which the name is full
PAGE = Path("page.html")


class Marks(HTMLParser):
    """Collects the elements of a page, their attributes, and what a reader sees."""

    def __init__(self, page: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.seen = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.seen += data

    @property
    def names(self) -> set[str]:
        return {tag for tag, _ in self.found}


def on_a_page(text: str) -> Marks:
    """Markdown as a page of the workbook shows it."""
    return Marks(markdown(text, Renderer(PAGE, PAGE, {})))


def test_a_table_shows_it():
    table = results.markdown_table(["a", HOSTILE], [[HOSTILE, 1], ["b", HOSTILE]])
    page = on_a_page(table)
    assert not page.names & MARKS and page.seen.count("onerror=alert(1)") == 3
    assert page.seen.count(HOSTILE) == 3 and len([tag for tag in page.found if tag[0] == "td"]) == 4


def test_a_headline_shows_it():
    page = on_a_page(f"**{escape(HOSTILE)}**")
    assert not page.names & MARKS and page.seen.strip() == HOSTILE


class Named(View):
    """A view all of whose words are the name."""

    def draw(self, index: int) -> bytes:
        return png(np.zeros((2, 2, 3), np.uint8))

    def caption(self, index: int) -> str:
        return HOSTILE

    def static(self) -> np.ndarray:
        raise NotImplementedError


def test_views_show_it_with_a_kernel_and_without():
    view = Named(Dial(HOSTILE, (HOSTILE, "b")))
    words = Marks(view.widget.children[-1].value)
    assert not words.found and words.seen == HOSTILE
    page = Marks(player.html(view.film()))
    assert sorted(tag for tag, _ in page.found) == sorted(
        ["figure", "script", "img", "figcaption", "style", "script"]
    )
    (image,) = (given for tag, given in page.found if tag == "img")
    assert set(image) == {"src", "alt"} and image["alt"] == HOSTILE
    assert image["src"].startswith("data:image/png;base64,")


def test_a_list_of_runs_shows_it(tmp_path):
    name = HOSTILE.replace("/", "")
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.yaml").write_text(
        "{method_name: drago, preset: grid-quick, seed: 0, tasks: [room-1], budget: {}}"
    )
    (tmp_path / name / "metrics.jsonl").write_text(line(0, 1.0, "a$b$_") + line(10, 2.0, "a$b$_"))
    shown = Browser(tmp_path)
    words = Marks(shown.widget.children[-1].value)
    assert words.names <= {"br"} and name in words.seen
    shown.static()[0].figure.canvas.draw()


def test_scripts_of_pages_set_text_and_never_markup():
    for path in (
        Path(site.__file__).with_name("page.js"),
        Path(player.__file__).parent / "player.js",
    ):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|eval", path.read_text()
        )


def test_a_page_of_a_notebook_shows_what_cells_printed(tmp_path):
    new = nbformat.v4
    outputs = [
        new.new_output("stream", name="stdout", text=HOSTILE),
        new.new_output("execute_result", data={"text/plain": HOSTILE}),
        new.new_output(
            "display_data",
            data={"text/markdown": results.markdown_table([HOSTILE], [[HOSTILE]])},
        ),
        new.new_output("display_data", data={"text/plain": HOSTILE, "image/png": PICTURE}),
        new.new_output("error", ename="E", evalue=HOSTILE, traceback=[HOSTILE]),
    ]
    cells = [new.new_markdown_cell("# Here"), new.new_code_cell("x", outputs=outputs)]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(new.new_notebook(cells=cells), tmp_path / "notebooks" / "00_here.ipynb")
    (tmp_path / "README.md").write_text("# Book")
    site.render(tmp_path / "notebooks", tmp_path / "out", tmp_path / "films")
    page = Marks((tmp_path / "out" / "00_here.html").read_text())
    pictures = [given for tag, given in page.found if tag == "img"]
    assert all(given["src"].startswith("figures/") for given in pictures)
    assert not any(given.keys() & {"onerror", "onload"} for _, given in page.found)
    assert [given for tag, given in page.found if tag == "script"] == [
        {"src": "page.js", "defer": None}
    ]
    assert page.seen.count("onerror=alert(1)") == 5


NAME = "_$\\frac$_"  # no formula that could be set


def scrubber() -> np.ndarray:
    film = Scrubber({NAME: np.zeros((3, 4, 4, 3), np.uint8)}, {NAME: [1, 2, 3]}, title=NAME)
    film.draw(1)
    return film.static()


def retention() -> np.ndarray:
    shown = Retention([NAME, "b"], [[1.0, np.nan], [0.5, 1.0]], title=NAME)
    shown.draw(1)
    return shown.static()


CELLS = np.array([[x, y] for x in range(1, 4) for y in range(1, 4)])
FIGURES = {
    "learning curves": lambda: charts.learning_curves({NAME: ([0, 1], [[1, 2]])}, 3.0, title=NAME),
    "retention curves": lambda: charts.retention_curves(
        {NAME: [[1.0, 0.5]]}, ylabel=NAME, title=NAME
    ),
    "series": lambda: charts.series({NAME: ([0, 1], [1, 2])}, NAME, NAME, NAME),
    "return matrix": lambda: charts.return_matrix(np.eye(2), [NAME, "b"], NAME),
    "return bars": lambda: charts.return_bars([NAME], {NAME: [[1.0]]}, [2.0]),
    "share bars": lambda: charts.share_bars([NAME], {NAME: [1.0]}, NAME, NAME),
    "a map": lambda: maps.grid_map(CELLS, np.arange(9.0), NAME, NAME),
    "trajectories": lambda: maps.trajectories(CELLS, [CELLS[:3]], title=NAME),
    "ratio bars": lambda: speed.ratio_bars([NAME], [2.0], NAME),
    "interval rows": lambda: intervals.interval_rows({NAME: [1.0]}, NAME, NAME, {NAME: 2.0}),
    "network": lambda: network.network({NAME: [network.Layer("copy")]}, NAME),
    "pair bars": lambda: speed.pair_bars([NAME], {NAME: [2.0], "b": [1.0]}, title=NAME),
    "a film": scrubber,
    "retention": retention,
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_show_it(name):
    figure = np.ravel(FIGURES[name]())[0].figure
    figure.canvas.draw()
    said = [text.get_text() for text in figure.findobj(Text)]
    said = [re.sub(r"\s", "", text) for text in said if "frac" in text]
    assert said and all("$" not in text.replace(r"\$", "") for text in said)
    for ax in figure.axes:  # nothing is left out of a legend
        _, labels = ax.get_legend_handles_labels()
        assert not any(label.startswith("_") for label in labels)
    plt.close(figure)


def test_lines_for_a_terminal_have_nothing_to_obey():
    name = f"a\x1b[2J\u202e{HOSTILE}"
    state = {"task": name, "env_steps": 1, "env_steps_total": 2, "phase": name}
    told = {"tasks": [name], "final_return": {name: 1.0}, "optimum": {name: 2.0}}
    for said in (describe(state), summaries.table([told])):
        assert "onerror" in said and not re.search("[\x1b\u202e]", said)
