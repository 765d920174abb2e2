"""The page of original commands: every one of ours resolves, and questions find their answers."""

import argparse
import shlex

import pytest

from lib.cli import main
from lib.core.errors import UserError
from lib.core.paths import PARAMS
from lib.experiments import catalogue, original_commands, params, run_config

ALL = [
    (repository, original)
    for repository in original_commands.REPOSITORIES
    for original in repository.commands
]
OURS = sorted({original.ours for _, original in ALL if " -m lib run " in original.ours})


def words(answers) -> list[str]:
    return [original.ours.removeprefix(original_commands.RUN) for _, original in answers]


@pytest.mark.parametrize("command", OURS)
def test_each_of_our_commands_resolves(command):
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("-p", action="append", default=[])
    said = shlex.split(command)  # python or torchrun
    given = parser.parse_args(said[said.index("run") + 1 :])
    found = catalogue.read(given.name, PARAMS)
    for text in given.p:
        params.add_override(found, text)
    run = run_config.resolve(found)
    assert (
        run.preset.endswith("-full")
        or "transfer" in run.preset
        or run.preset in ("cheetah", "walker")
    ), "a published command has no quick form"


def test_what_is_not_built_says_so_and_nothing_else_is_without_an_answer():
    for repository, original in ALL:
        if not original.ours:
            assert original.differs, f"{repository.name}: {original.command}"


def test_the_page_is_the_table():
    assert (PARAMS / "COMMANDS.md").read_text() == original_commands.page(), (
        "write original_commands.page() to params/COMMANDS.md"
    )


@pytest.mark.parametrize(
    ("repository", "original"), ALL, ids=lambda x: getattr(x, "command", "")[:60]
)
def test_every_published_command_finds_itself_first(repository, original):
    assert original_commands.find(original.command)[0] == (repository, original)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("python src/train.py env=dmcontrol domain=walker", "drago-walker"),
        ("train_minigrid.py --cl --plan2explore …", "dreamer-p2e-minigrid3"),
        ("train_minigrid.py --state_bonus --seed=4 --logdir=mine", "dreamer-visits-minigrid3"),
        (
            "train_minihack.py --cl --plan2explore --expl_intr_scale 0.9 --reservoir_sampling",
            "continual-dreamer-p2e-pixels-minihack4",
        ),
        ("train_minihack.py --num_tasks=8 --cl", "dreamer-minihack8"),
        ("interference.py --proc", "dreamer-interference-random"),
        ("'train.py env=minigrid", "drago-grid-full"),  # a quotation mark without its partner
    ],
)
def test_parts_of_a_command_find_it(question, answer):
    assert words(original_commands.find(question))[0] == answer


def test_what_is_like_nothing_is_told_what_there_is():
    with pytest.raises(UserError, match=r"no published command is like 'hello'; known scripts: .*"):
        original_commands.find("hello")
    with pytest.raises(UserError, match="a published command or a part of it is needed"):
        original_commands.find("python --seed=3")


ATARI = [
    "python dreamerv2/train.py --logdir LOG --task atari_pong --configs defaults atari",
    "python dreamerv2/train.py --logdir LOG --configs defaults atari debug --task=atari_pong",
    "train.py --configs=defaults,atari",
    "train.py --task atari_pong",
    "cd TPC; python dreamerv2/train.py --configs atari",
]


@pytest.mark.parametrize("question", ATARI)
def test_the_layer_of_atari_is_refused_in_one_line_that_says_what_to_run(question, capsys):
    with pytest.raises(UserError, match="'atari' and its games are not reproduced") as said:
        original_commands.find(question)
    assert "\n" not in str(said.value)
    assert main(["find", question]) != 0
    told = capsys.readouterr()
    assert not told.out and "python -m lib run dreamer-pro-dmc" in told.err
    assert catalogue.has_file("dreamer-pro-dmc", PARAMS)


def test_folders_that_are_called_so_are_no_games():
    command = "python dreamerv2/train.py --logdir logs/atari --task dmc_walker_run --configs dmc"
    assert words(original_commands.find(command))


def test_the_command_line_takes_a_command_with_or_without_quotes(capsys):
    assert main(["find", "train_minigrid.py --cl --plan2explore"]) == 0
    quoted = capsys.readouterr().out
    assert main(["find", "train_minigrid.py", "--cl", "--plan2explore"]) == 0
    assert capsys.readouterr().out == quoted
    assert "python -m lib run dreamer-p2e-minigrid3" in quoted
    assert main(["find"]) == 2
    assert "is needed" in capsys.readouterr().err
