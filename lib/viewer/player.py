"""Puts a view on a page without a kernel: all its pictures, and a script that turns its dials.

The page asks for nothing from anywhere. Buttons and sliders are the browser's own, so that Tab
and the arrow keys work; what a picture shows is said in words below it, and to screen readers.
"""

import html as markup
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.viewer.base import SPEEDS

HERE = Path(__file__).parent


def html(film: Mapping[str, Any]) -> str:
    """Returns a piece of HTML that shows a film; several of them may stand on one page.

    Args:
        film: what `View.film` gives, or the same read from JSON.

    Without JavaScript the first picture and its words are left.
    """
    first = 0
    for dial in film["dials"]:
        first = first * len(dial["labels"]) + dial["start"]
    words = markup.escape(film["captions"][first])
    data = json.dumps({**film, "speeds": SPEEDS}).replace("<", "\\u003c")  # ends no script early
    return (
        f'<figure class="film">'
        f'<script type="application/json">{data}</script>'
        f'<img src="data:image/png;base64,{film["pictures"][first]}" alt="{words}">'
        f"<figcaption>{words}</figcaption>"
        f"</figure>"
        f"<style>{(HERE / 'player.css').read_text()}</style>"
        f"<script>{(HERE / 'player.js').read_text()}</script>"
    )
