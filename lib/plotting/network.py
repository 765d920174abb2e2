"""Draws an agent's networks layer by layer, by what became of each layer when a run began.

A part is a row of bars, its layers from input to output: filled where another run's layer was
copied, hatched where a fraction of it was added to random numbers, empty where it is new. Parts
that have a place on the map are joined by arrows; others stand in a row beneath.

                                      decoder
    encoder   recurrent model   f     reward model   (before it the sources' that it reads)
                                      critic
                                      actor
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch, Rectangle

from lib.plotting.charts import BLUE, ORANGE, literal, new_axes

COLUMNS = "columns"  # a layer of which some columns were copied, and the others are new
NEW = "random"
DEEP, SAND, RUST = "#08306B", "#F6DFA8", "#9A6700"
LOOKS: dict[str, tuple[str, dict[str, Any]]] = {
    # What became of a layer, to what the legend calls it and how its bar is filled.
    "copy": ("copied", {"facecolor": BLUE, "edgecolor": BLUE}),
    "fixed": ("copied, and never learns", {"facecolor": DEEP, "edgecolor": DEEP}),
    "fraction": ("random + ω source", {"facecolor": SAND, "edgecolor": ORANGE, "hatch": "////"}),
    NEW: ("new", {"facecolor": "white", "edgecolor": "0.5", "linestyle": (0, (2.2, 1.4))}),
}
INK, FAINT, LINE = "0.15", "0.45", "0.55"

# Map units, of which the drawing has WIDTH times HEIGHT.
WIDTH, HEIGHT = 108.0, 61.0
BAR, GAP, MARGIN = 2.5, 0.75, 1.2  # a bar's width, between bars, around a part's bars
TALL = 7.0  # height of a bar
LEAST = 0.25  # of a bar's height, so that a small share can be seen
BENEATH = 14.0  # room for parts without a place

RECURRENT, REWARD = "recurrent model", "reward model"  # parts that arrows treat apart
PLACES = {  # part to where its row of bars begins, its middle, and how wide it may be
    "encoder": (7.5, 33.0, 11.5),
    RECURRENT: (22.0, 33.0, 26.0),
    "decoder": (76.0, 54.0, 22.0),
    REWARD: (76.0, 40.0, 22.0),
    "critic": (76.0, 26.0, 22.0),
    "actor": (76.0, 12.0, 22.0),
}
SAID = {"decoder": "observation", REWARD: "reward", "critic": "value", "actor": "action"}
STATE, BUS = (51.0, 33.0), 55.0  # all that is known of a moment, and the line to who reads it
# Models that are read: where they begin, between which heights they share the room, and how much of
# it one takes at most, its frame's edges and the gap to the next included.
SOURCES, LOW, HIGH, EACH, EDGES = 57.5, 36.6, 52.6, 6.8, 2.4
DIRECT = 3.7  # how far below the middle of a reward model its own line reaches it then
FLOOR = 4.0  # height of the way back from actions to the recurrent model


class Layer(NamedTuple):
    """One layer of a part."""

    how: str  # what became of it: a key of LOOKS, or COLUMNS
    share: float = 1.0  # where some columns were copied: how many of all
    label: str = ""  # below its bar and those after it


class _Box(NamedTuple):
    """Where a part is drawn."""

    left: float
    right: float
    middle: float
    bottom: float


def network(
    parts: Mapping[str, Sequence[Layer]],
    title: str = "",
    omega: float | None = None,
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draws what became of every layer of an agent.

    Args:
        parts: names to layers. Names that begin with "source" are of models that the reward model
            reads.
        omega: the share of fractions, written beside them.
        legend: say below what the bars mean.
    """
    ax = new_axes(ax, (9.4, 5.2))
    read = [name for name in parts if name.startswith("source")]
    boxes = {name: _part(ax, name, parts[name], *PLACES[name]) for name in PLACES if name in parts}
    boxes |= _read(ax, {name: parts[name] for name in read})
    place, others = PLACES["encoder"][0], [name for name in parts if name not in boxes]
    for name in others:
        place = _part(ax, name, parts[name], place, -BENEATH / 2, 22.0).right + 5.0
    _flow(ax, boxes, read)
    for name, box in boxes.items():
        if omega is not None and any(layer.how == "fraction" for layer in parts[name]):
            ax.text(box.right + 0.9, box.middle + 2.4, f"ω = {omega:g}", color=RUST, fontsize=8)
    ax.set_xlim(0, WIDTH)
    ax.set_ylim(-BENEATH if others else 0, HEIGHT)
    ax.set_axis_off()
    ax.set_title(literal(title), fontsize=11)
    if legend:
        used = {layer.how for layers in parts.values() for layer in layers}
        used |= {"copy", NEW} if COLUMNS in used else set()
        handles = [Patch(label=said, **look) for how, (said, look) in LOOKS.items() if how in used]
        anchor = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.02)}
        ax.legend(handles=handles, ncols=len(handles), fontsize=9, frameon=False, **anchor)
    return ax


def _part(
    ax: Axes, name: str, layers: Sequence[Layer], left: float, middle: float, room: float
) -> _Box:
    """Draws a part's frame, its layers and its name."""
    wide = min(BAR, (room - 2 * MARGIN + GAP) / max(1, len(layers)) - GAP)
    right = left + 2 * MARGIN + len(layers) * (wide + GAP) - GAP
    box = _Box(left, right, middle, middle - TALL / 2 - MARGIN)
    _frame(ax, box)
    for number, layer in enumerate(layers):
        x = left + MARGIN + number * (wide + GAP)
        _bar(ax, layer, x, wide, middle, TALL)
        ax.text(x, box.bottom - 0.7, layer.label, color=FAINT, fontsize=7, va="top")
    above = 2 * middle - box.bottom + 0.7
    ax.text((left + box.right) / 2, above, literal(name), color=INK, ha="center", fontsize=9.5)
    return box


def _read(ax: Axes, parts: Mapping[str, Sequence[Layer]]) -> dict[str, _Box]:
    """Draws small parts one below the other, each with its name before its layers."""
    boxes = {}
    each = min(EACH, (HIGH - LOW) / max(1, len(parts)))
    for number, (name, layers) in enumerate(parts.items()):
        middle, tall = LOW + each * (len(parts) - number - 0.5), each - EDGES
        first = SOURCES + 7.2
        right = first + len(layers) * (BAR + GAP) / 2 + MARGIN / 2
        boxes[name] = box = _Box(SOURCES, right, middle, middle - tall / 2 - EDGES / 3)
        _frame(ax, box)
        ax.text(SOURCES + 0.8, middle, literal(name), color=INK, va="center", fontsize=7.5)
        for at, layer in enumerate(layers):
            _bar(ax, layer, first + at * (BAR + GAP) / 2, BAR / 2, middle, tall)
    return boxes


def _frame(ax: Axes, box: _Box) -> None:
    corner, wide, high = (box.left, box.bottom), box.right - box.left, 2 * (box.middle - box.bottom)
    style = "round,pad=0,rounding_size=0.8"
    look = {"facecolor": "0.97", "edgecolor": "0.75", "linewidth": 0.8, "zorder": 2}
    ax.add_patch(FancyBboxPatch(corner, wide, high, boxstyle=style, **look))


def _bar(ax: Axes, layer: Layer, x: float, wide: float, middle: float, tall: float) -> None:
    """Draws one layer; of one whose columns differ, the copied ones above the new ones."""
    bottom = middle - tall / 2
    pieces = [(layer.how, bottom, tall)]
    if layer.how == COLUMNS:
        new = min(max(1 - layer.share, LEAST), 1 - LEAST) * tall
        pieces = [(NEW, bottom, new), ("copy", bottom + new, tall - new)]
    for how, start, high in pieces:
        look = LOOKS.get(how, LOOKS[NEW])[1]
        ax.add_patch(Rectangle((x, start), wide, high, linewidth=0.9, zorder=3, **look))


def _flow(ax: Axes, boxes: Mapping[str, _Box], read: Sequence[str]) -> None:
    """Draws what flows from part to part, and what comes out."""
    heads = [name for name in SAID if name in boxes]
    if encoder := boxes.get("encoder"):
        _arrow(ax, (1.0, encoder.middle), (encoder.left, encoder.middle))
        _say(ax, 0.4, encoder.middle + 0.9, "obser-\nvation", va="bottom")
    if recurrent := boxes.get(RECURRENT):
        if encoder:
            _arrow(ax, (encoder.right, encoder.middle), (recurrent.left, recurrent.middle))
        _arrow(ax, (recurrent.right, STATE[1]), (STATE[0] - 1.7, STATE[1]))
    if not heads:
        return
    ax.plot(*STATE, "o", markersize=19, color="white", markeredgecolor=INK, zorder=3)
    ax.text(*STATE, "f", color=INK, fontsize=10, style="italic", ha="center", va="center", zorder=4)
    reached = {name: boxes[name].middle for name in (*heads, *read)}
    if read and REWARD in reached:
        reached[REWARD] -= DIRECT
    ends = [*reached.values(), STATE[1]]
    _line(ax, [(STATE[0] + 1.6, STATE[1]), (BUS, STATE[1])])
    _line(ax, [(BUS, min(ends)), (BUS, max(ends))])
    for name, height in reached.items():
        _arrow(ax, (BUS, height), (boxes[name].left, height))
    for name in heads:
        box = boxes[name]
        _arrow(ax, (box.right, box.middle), (box.right + 4.0, box.middle))
        _say(ax, box.right + 4.6, box.middle, SAID[name], va="center")
    for number, name in enumerate(read if REWARD in boxes else ()):
        place = boxes[REWARD].middle + TALL / 2 - 0.6 - number * (TALL / 2) / len(read)
        _arrow(ax, (boxes[name].right, boxes[name].middle), (boxes[REWARD].left, place))
    if recurrent and (actor := boxes.get("actor")):
        x, turn = recurrent.left + MARGIN + BAR / 2, actor.right + 2.0
        _line(ax, [(turn, actor.middle), (turn, FLOOR), (x, FLOOR)])
        _arrow(ax, (x, FLOOR), (x, recurrent.bottom))
        _say(ax, x + 1.2, FLOOR + 0.9, "the last action", va="bottom")


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    look = {"color": LINE, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0, "zorder": 1}
    ax.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=8, **look))


def _line(ax: Axes, points: Sequence[tuple[float, float]]) -> None:
    ax.plot(*zip(*points, strict=True), color=LINE, linewidth=0.9, zorder=1)


def _say(ax: Axes, x: float, y: float, words: str, **look: Any) -> None:
    ax.text(x, y, words, color=FAINT, fontsize=8, **look)
