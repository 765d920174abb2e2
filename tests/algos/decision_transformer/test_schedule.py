import pytest

from lib.algos.decision_transformer.schedule import rate_at
from lib.algos.decision_transformer.settings import PretrainConfig


def test_a_rate_rises_in_a_line_and_falls_along_a_cosine():
    cfg = PretrainConfig(rate=1.0, warm_up=4, last_rate=0.2)
    told = [rate_at(update, 12, cfg) for update in range(13)]
    assert told[:4] == [0.25, 0.5, 0.75, 1.0]
    assert told[4] == 1.0 and told[8] == pytest.approx(0.6) and told[12] == pytest.approx(0.2)
    assert told[4:] == sorted(told[4:], reverse=True)


def test_without_a_rise_it_begins_at_the_top():
    assert rate_at(0, 10, PretrainConfig(rate=0.5, warm_up=0)) == 0.5
