"""The site as a reader has it: opened from a folder, without a server, in a browser."""

import re

import pytest

from lib.workbook import book, site
from tests.browser import pages


@pytest.fixture(scope="module")
def root(installed, tmp_path_factory):
    """A site of two short chapters, one of them with a film."""
    root = tmp_path_factory.mktemp("workbook")
    folder, films = pages.write(root), root / "films"
    book.build(folder=folder, films=films)
    (made, _) = site.render(folder, root / "book", films)
    assert made.missing_films == 0
    return root / "book"


@pytest.fixture
def index(root, page):
    page.goto((root / "index.html").as_uri())
    yield page
    assert page.seen.errors == []
    assert page.seen.outside(root.as_uri()) == []


def open_chapter(index):
    """Follows the link to the chapter with a film; its script has run afterwards."""
    index.get_by_role("link", name="00 · A short chapter").click()
    index.wait_for_url(re.compile("00_short.html"))


def test_a_word_leads_to_its_section(index):
    index.keyboard.press("/")
    index.keyboard.type("wombat")
    index.get_by_text("1 section").wait_for()
    assert index.locator("#found mark").first.inner_text() == "wombat"
    index.keyboard.press("ArrowDown")
    index.keyboard.press("Enter")
    index.wait_for_url(re.compile("01_other.html"))
    assert index.locator("math").first.is_visible()
    index.locator("#query").fill("platypus")
    index.get_by_text("nothing found").wait_for()
    index.get_by_role("link", name="Previous").click()
    index.wait_for_url(re.compile("00_short.html"))


def test_a_film_moves_by_keyboard_and_by_itself(index):
    open_chapter(index)
    assert index.get_by_role("link", name="the other chapter").is_visible()
    slider, image = index.locator("input[type=range]").first, index.locator("figure img").first
    first = image.get_attribute("src")
    slider.focus()
    index.keyboard.press("ArrowRight")
    index.wait_for_function("was => document.querySelector('figure img').src !== was", arg=first)
    second = image.get_attribute("src")
    assert slider.input_value() == "1"
    index.get_by_role("button", name=re.compile("play", re.IGNORECASE)).first.click()
    index.wait_for_function("was => document.querySelector('figure img').src !== was", arg=second)


def test_a_phone_shows_it_without_scrolling_sideways(index):
    index.set_viewport_size({"width": 360, "height": 740})
    open_chapter(index)
    index.locator("figure img").first.wait_for()
    too_wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert index.evaluate(too_wide) <= 0
    assert not index.locator(".contents li").first.is_visible()  # folded until it is asked for


def test_everything_to_operate_has_a_name(index):
    open_chapter(index)
    index.locator("figure img").first.wait_for()
    unnamed = """[...document.querySelectorAll("img:not([alt]), input, button, select")].filter(
        (it) => !(it.alt || it.labels?.length || it.ariaLabel || it.textContent.trim()))
        .map((it) => it.outerHTML.slice(0, 100))"""
    assert index.evaluate(unnamed) == []
