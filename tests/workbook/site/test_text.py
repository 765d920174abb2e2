import re
from pathlib import Path

import pytest

from lib.core.errors import UserError
from lib.experiments import notebooks
from lib.workbook.site.text import Renderer, code_block, markdown, plain_block, plain_text

ROOT = Path("/workbook")
HERE, OTHER = ROOT / "notebooks" / "00_here.ipynb", ROOT / "notebooks" / "05_other.ipynb"
PAGES = {path: ROOT / "outputs" / "book" / f"{path.stem}.html" for path in (HERE, OTHER)}


@pytest.fixture
def renderer():
    return Renderer(HERE, PAGES[HERE], PAGES)


@pytest.mark.parametrize(
    ("written", "leads"),
    [
        ("05_other.ipynb", "05_other.html"),
        ("05_other.py", "05_other.html"),
        ("05_other.ipynb#a-part", "05_other.html#a-part"),
        ("#a-part", "#a-part"),
        ("../lib/core/losses.py", "../../lib/core/losses.py"),
        ("https://arxiv.org/abs/1", "https://arxiv.org/abs/1"),
    ],
)
def test_links_lead_from_the_page_to_where_they_led_from_the_notebook(renderer, written, leads):
    assert f'href="{leads}"' in markdown(f"[x]({written})", renderer)


def test_headings_get_anchors_that_never_collide(renderer):
    markdown("# 00 · Start\n\n## What *we* saw\n\n## What we saw", renderer)
    assert renderer.headings == [
        (1, "00-start", "00 · Start"),
        (2, "what-we-saw", "What we saw"),
        (2, "what-we-saw-again", "What we saw"),
    ]


def test_formulas_need_no_script(renderer):
    made = markdown(r"Words $\mathcal L_t = \ln p$ and" + "\n\n$$\\frac12$$\n", renderer)
    assert made.count("<math") == 2 and "<mfrac>" in made and "$" not in made
    assert "<mi>ℒ</mi>" in made
    assert "<mi>ln</mi><mspace" in made  # as far from its argument as in print
    assert markdown(r"$\mathbb R$", renderer).count("ℝ") == 1


@pytest.mark.parametrize(
    ("formula", "reason"),
    [(r"\left( x", "ExtraLeftOrMissingRightError"), (r"\nosuch x", r"\\nosuch is not known")],
)
def test_a_formula_that_cannot_be_set_is_named(renderer, formula, reason):
    wanted = rf"00_here.ipynb: cannot set \${re.escape(formula)}\$: {reason}"
    with pytest.raises(UserError, match=wanted):
        markdown(f"${formula}$", renderer)


@pytest.mark.parametrize(
    "path", sorted(notebooks.NOTEBOOKS.glob("*.py")), ids=lambda path: path.stem
)
def test_every_formula_of_the_chapters_can_be_set(path, renderer):
    for cell in notebooks.read(path).cells:
        if cell.cell_type == "markdown":
            made = re.sub(r"<pre>.*?</pre>|<code>.*?</code>", "", markdown(cell.source, renderer))
            assert "$" not in made and "<merror" not in made and "\\" not in plain_text(made)


def test_code_is_coloured_and_unknown_languages_stay_plain():
    assert '<span class="k">return</span>' in code_block("return 1 < 2", "python")
    assert "1 &lt; 2" in code_block("1 < 2", "no-such-language")


def test_what_was_printed_is_no_markup_and_has_no_colours_of_terminals():
    made = plain_block("\x1b[31m<b>red</b>\x1b[0m\n", "Printed by cell 3")
    assert "<pre>&lt;b&gt;red&lt;/b&gt;</pre>" in made and 'aria-label="Printed by cell 3"' in made


def test_plain_text_is_one_line_without_marks():
    assert plain_text('<p>a <b>b</b>\n&lt; c<a class="anchor" href="#c">#</a></p>') == "a b < c"
