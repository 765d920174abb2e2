import pytest

from lib.core.errors import UserError
from lib.envs.grid import rooms

ODD_SIZES = range(9, 29, 2)

# '#' wall, 'B' block, 'S' start and 'G' goal of rooms 1 to 4
MAP_AT_13 = """\
#############
#S....#....S#
#.....#..B..#
#..B..#.....#
#.....#.....#
#...G...G...#
#####...#####
#.......G...#
#...B.#.....#
#....G#..B..#
#.....#.....#
#S....#....S#
#############
"""


def draw(size: int) -> str:
    free, blocks = rooms.open_cells(size), rooms.place_blocks(size)
    tasks = [rooms.named_tasks(size)[name] for name in rooms.CONTINUAL]
    mark = {cell: "." for cell in free} | {cell: "B" for cell in blocks}
    mark |= {task.start: "S" for task in tasks} | {task.goal: "G" for task in tasks}
    lines = ("".join(mark.get((x, y), "#") for x in range(size)) for y in range(size))
    return "".join(f"{line}\n" for line in lines)


def test_the_paper_size_has_561_free_cells():
    assert len(rooms.open_cells(27)) - len(rooms.place_blocks(27)) == 561


def test_the_paper_size_is_not_changed_by_scaling():
    assert rooms.named_tasks(27) == rooms.LISTED_TASKS
    assert rooms.place_blocks(27) == rooms.LISTED_BLOCKS
    assert rooms.room_side(27) == 12


def test_the_openings_are_the_centre_and_its_four_neighbours():
    assert rooms.openings(27) == {(13, 13), (13, 12), (12, 13), (14, 13), (13, 14)}


def test_the_grid_of_13_looks_like_this():
    assert draw(13) == MAP_AT_13
    assert len(rooms.open_cells(13)) - len(rooms.place_blocks(13)) == 101


@pytest.mark.parametrize("size", ODD_SIZES)
def test_at_every_size_all_free_cells_are_connected(size):
    assert rooms.connected(rooms.open_cells(size) - set(rooms.place_blocks(size)))


@pytest.mark.parametrize("size", ODD_SIZES)
def test_at_every_size_each_room_holds_the_same_number_of_blocks(size):
    placed = [rooms.room_of(block, size) for block in rooms.place_blocks(size)]
    expected = max(1, round(5 * ((size // 2 - 1) / 12) ** 2))
    assert [placed.count(room) for room in range(5)] == [0] + [expected] * 4


@pytest.mark.parametrize("size", ODD_SIZES)
@pytest.mark.parametrize("name", rooms.LISTED_TASKS)
def test_at_every_size_starts_and_goals_are_free_and_keep_their_room(name, size):
    listed, task = rooms.LISTED_TASKS[name], rooms.named_tasks(size)[name]
    free = rooms.open_cells(size) - set(rooms.place_blocks(size))
    assert task.start in free and task.goal in free and task.start != task.goal
    assert rooms.room_of(task.start, size) == rooms.room_of(listed.start, 27)
    assert rooms.room_of(task.goal, size) == rooms.room_of(listed.goal, 27)


def test_rooms_are_numbered_like_lines_of_text_and_openings_are_doors():
    cells = [(13, 12), (1, 1), (25, 1), (1, 25), (25, 25)]
    assert [rooms.ROOMS[rooms.room_of(cell, 27)] for cell in cells] == [
        "doors", "room-1", "room-2", "room-3", "room-4",
    ]  # fmt: skip


def test_cells_that_do_not_touch_are_not_connected():
    assert rooms.connected({(1, 1), (1, 2), (2, 2)})
    assert not rooms.connected({(1, 1), (2, 2)})


@pytest.mark.parametrize("size", [7, 12, 0, -13])
def test_a_size_without_a_middle_or_too_small_is_refused_in_one_line(size):
    with pytest.raises(UserError, match=f"grid size {size} .* odd numbers from 9") as error:
        rooms.check_size(size)
    assert "\n" not in str(error.value)
