"""The drawing of an agent: which bars there are, how they are filled, and what joins them."""

from itertools import pairwise

import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import FancyArrowPatch, Rectangle

from lib.plotting import network
from lib.plotting.network import Layer

pytestmark = pytest.mark.usefixtures("figures")
AGENT = {
    "encoder": [Layer("copy")] * 2,
    "recurrent model": [Layer("columns", 0.5), Layer("copy", label="cell")],
    "decoder": [Layer("copy")] * 3,
    "reward model": [Layer("copy"), Layer("fraction")],
    "critic": [Layer("copy")] * 5,
    "actor": [Layer("copy")] * 4 + [Layer("random")],
}


def bars(ax) -> list[Rectangle]:
    return [patch for patch in ax.patches if isinstance(patch, Rectangle)]


def colours(ax) -> list[str]:
    return [to_hex(bar.get_facecolor()).upper() for bar in bars(ax)]


def arrows(ax) -> list[tuple]:
    found = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    return [patch._posA_posB for patch in found]


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts if text.get_text()]


def test_every_layer_is_a_bar_and_one_whose_columns_differ_is_two():
    ax = network.network(AGENT)
    assert len(bars(ax)) == sum(map(len, AGENT.values())) + 1
    new, copied = bars(ax)[2:4]  # of the recurrent model's first layer, the new part below
    assert new.get_height() == copied.get_height() == network.TALL / 2
    assert copied.get_y() == new.get_y() + new.get_height()
    assert set(AGENT) < set(texts(ax)) and "cell" in texts(ax)


@pytest.mark.parametrize(("share", "new"), [(0.5, 0.5), (0.99, 0.25), (0.0, 0.75)])
def test_a_small_share_can_still_be_seen(share, new):
    ax = network.network({"encoder": [Layer("columns", share)]})
    assert bars(ax)[0].get_height() == pytest.approx(new * network.TALL)


def test_what_became_of_a_layer_is_its_colour_and_the_legend_says_what_is_there():
    layers = [Layer(how) for how in ("copy", "fixed", "fraction", "random", "unheard of")]
    ax = network.network({"encoder": layers})
    found = colours(ax)
    assert len(set(found)) == 4 and found[3] == found[4] == "#FFFFFF"
    said = [text.get_text() for text in network.network(AGENT).get_legend().get_texts()]
    assert said == ["copied", "random + ω source", "new"]
    assert network.network(AGENT, legend=False).get_legend() is None


def test_a_share_is_written_where_there_is_a_fraction_of_it():
    said = texts(network.network(AGENT, omega=0.2))
    assert said.count("ω = 0.2") == 1
    assert not any("ω" in text for text in texts(network.network(AGENT)))


def test_parts_are_joined_by_what_flows_and_heads_say_what_comes_out():
    ax = network.network(AGENT)
    # into the encoder, on to the recurrent model and f, to four heads, out of them, and back
    assert len(arrows(ax)) == 3 + 4 + 4 + 1
    assert {"observation", "reward", "value", "action", "the last action"} <= set(texts(ax))
    alone = network.network({"encoder": [Layer("copy")]})
    assert len(arrows(alone)) == 1 and "action" not in texts(alone)


@pytest.mark.parametrize("many", [1, 2, 3, 4])
def test_models_that_are_read_stand_between_state_and_reward_and_cover_nothing(many):
    read = {f"source {number + 1}": [Layer("fixed")] * 3 for number in range(many)}
    ax = network.network(AGENT | read)
    assert len(arrows(ax)) == 12 + 2 * many
    small = [bar for bar in bars(ax) if bar.get_width() < 0.6 * network.BAR]
    assert len(small) == 3 * many
    heights = sorted({(bar.get_y(), bar.get_y() + bar.get_height()) for bar in small})
    assert all(upper[0] > lower[1] for lower, upper in pairwise(heights))
    direct = network.PLACES["reward model"][1] - network.DIRECT
    assert heights[0][0] > direct and heights[-1][1] < network.PLACES["decoder"][1]


def test_many_layers_become_narrow_and_no_part_reaches_into_the_next():
    ax = network.network(AGENT | {"encoder": [Layer("copy")] * 9})
    encoder = bars(ax)[:9]
    right = max(bar.get_x() + bar.get_width() for bar in encoder)
    assert right < network.PLACES["recurrent model"][0]
    assert all(bar.get_width() > 0.2 for bar in encoder)


def test_a_part_without_a_place_is_drawn_beneath():
    ax = network.network(AGENT | {"explorer": [Layer("random")]})
    assert bars(ax)[-1].get_y() < 0 and ax.get_ylim()[0] == -network.BENEATH
    assert network.network(AGENT).get_ylim()[0] == 0
