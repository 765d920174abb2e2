import json
import re

from lib.viewer import player
from tests.viewer.test_base import Colours


def test_a_film_without_javascript_is_its_first_picture_and_its_words():
    film = Colours().film()
    text = player.html(film)
    shown = film["pictures"][2]  # red starts at 1, green at 0, two greens to a red
    assert f'src="data:image/png;base64,{shown}" alt="red 1, green 0"' in text
    assert "<figcaption>red 1, green 0</figcaption>" in text


def test_all_of_it_is_in_the_page_and_nothing_in_it_can_end_the_script():
    film = Colours().film() | {"captions": ["</script><b>&"] * 6}
    text = player.html(film)
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', text)
    assert json.loads(data)["captions"] == film["captions"]
    assert 'alt="&lt;/script&gt;&lt;b&gt;&amp;"' in text
    assert not re.search(r'(src|href)="(?!data:)', text)
