"""The ground plan of the four rooms and their named tasks, as data that any size is scaled from.

Coordinates are (x, y), x to the right and y downwards, as Minigrid counts them. Everything is
listed at the paper's size, 27, and scaled about the centre, so that size 27 is unchanged.

Source: DRAGO (arXiv 2503.04256) and its released environment: walls, openings, blocks, starts
and goals of room-1 to room-4, and the transfers room-1to2 and room-1to3. The other two transfers
are ours, by symmetry.
"""

from dataclasses import dataclass

from lib.core.errors import UserError

Cell = tuple[int, int]

LISTED_SIZE = 27
LISTED_CENTRE = LISTED_SIZE // 2
LISTED_SIDE = LISTED_CENTRE - 1  # 12 cells from the middle wall to the outer wall
SMALLEST_SIZE = 9

ROOMS = ("doors", "room-1", "room-2", "room-3", "room-4")
"""Room of a cell by number: the five openings, then top-left, top-right, bottom-left, -right."""


@dataclass(frozen=True)
class GridTask:
    """A task of the grid: where episodes start (the heading is random) and which cell pays."""

    name: str
    start: Cell
    goal: Cell
    after: str = ""  # no task of the grid asks for another agent to act first


LISTED_TASKS = {
    task.name: task
    for task in (
        GridTask("room-1", (1, 1), (8, 12)),
        GridTask("room-2", (25, 1), (17, 12)),
        GridTask("room-3", (1, 25), (12, 19)),
        GridTask("room-4", (25, 25), (18, 15)),
        GridTask("room-1to2", (11, 8), (14, 9)),
        GridTask("room-1to3", (8, 11), (9, 14)),
        GridTask("room-1to4", (11, 8), (14, 17)),  # ours: goal of 1to2 mirrored into room 4
        GridTask("room-3to4", (11, 18), (14, 17)),  # ours: 1to2 mirrored top to bottom
    )
}

CONTINUAL = ("room-1", "room-2", "room-3", "room-4")
"""The paper's sequence."""

# Five in each room.
LISTED_BLOCKS: tuple[Cell, ...] = (
    (6, 6), (20, 3), (9, 16), (20, 20), (10, 9), (22, 10), (4, 19), (25, 23), (10, 4), (17, 5),
    (7, 23), (16, 17), (5, 2), (17, 2), (4, 8), (20, 8), (4, 15), (23, 16), (5, 22), (18, 23),
)  # fmt: skip


def check_size(size: int) -> None:
    """Raises UserError unless the rooms can be laid out at this size."""
    if size < SMALLEST_SIZE or size % 2 == 0:
        raise UserError(
            f"grid size {size} has no middle or no room for blocks; "
            f"allowed: odd numbers from {SMALLEST_SIZE}; the paper's is {LISTED_SIZE}"
        )


def room_side(size: int) -> int:
    """Cells from the middle wall to the outer wall, also the radius of the dense reward."""
    return size // 2 - 1


def scale(cell: Cell, size: int) -> Cell:
    """A cell listed at 27 moved to a grid of another size, keeping its side of each wall.

    The centre lines stay centre lines, the cells next to them and next to the outer wall stay
    there, and the rest is spread evenly between.
    """

    def scaled(coordinate: int) -> int:
        offset = coordinate - LISTED_CENTRE
        if offset == 0:
            return size // 2
        stretch = (room_side(size) - 1) / (LISTED_SIDE - 1)
        distance = 1 + round((abs(offset) - 1) * stretch)
        return size // 2 + (distance if offset > 0 else -distance)

    return scaled(cell[0]), scaled(cell[1])


def openings(size: int) -> frozenset[Cell]:
    """The five cells where the middle walls are open: the centre and its neighbours."""
    centre = (size // 2, size // 2)
    return frozenset({centre, *_neighbours(centre)})


def room_of(cell: Cell, size: int) -> int:
    """Number of a free cell's room, an index into ROOMS."""
    x, y = cell[0] - size // 2, cell[1] - size // 2
    if x == 0 or y == 0:
        return 0
    return 1 + (x > 0) + 2 * (y > 0)


def named_tasks(size: int) -> dict[str, GridTask]:
    """Every listed task, scaled."""
    return {
        name: GridTask(name, scale(task.start, size), scale(task.goal, size))
        for name, task in LISTED_TASKS.items()
    }


def open_cells(size: int) -> frozenset[Cell]:
    """Cells that are not wall, blocks left aside."""
    centre, inside = size // 2, range(1, size - 1)
    rooms = {(x, y) for x in inside for y in inside if x != centre and y != centre}
    return frozenset(rooms | openings(size))


def place_blocks(size: int) -> tuple[Cell, ...]:
    """The blocks of a grid: as dense as at 27, never in the way of a named task.

    Each room takes the first few listed blocks (all five at 27) whose scaled cell is no start
    or goal of a named task, is not next to an opening, and cuts no free cell off.
    """
    per_room = max(1, round(5 * (room_side(size) / LISTED_SIDE) ** 2))
    tasks = named_tasks(size).values()
    kept_free = {task.start for task in tasks} | {task.goal for task in tasks}
    kept_free |= {cell for opening in openings(size) for cell in _neighbours(opening)}
    free, placed = set(open_cells(size)), []
    for listed in LISTED_BLOCKS:
        block = scale(listed, size)
        in_room = sum(room_of(block, size) == room_of(other, size) for other in placed)
        if in_room == per_room or block in kept_free or block not in free:
            continue
        if connected(free - {block}):
            free.remove(block)
            placed.append(block)
    return tuple(placed)


def connected(cells: set[Cell] | frozenset[Cell]) -> bool:
    """Whether every cell can be walked to from every other."""
    frontier = [next(iter(cells))]
    reached = set(frontier)
    while frontier:
        near = (cells & _neighbours(frontier.pop())) - reached
        reached |= near
        frontier.extend(near)
    return len(reached) == len(cells)


def _neighbours(cell: Cell) -> set[Cell]:
    x, y = cell
    return {(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)}
