import json
from pathlib import Path

import pytest
import torch

from lib import cli
from lib.core.errors import UserError
from lib.envs import worlds
from lib.experiments import data, makers
from lib.experiments.cards import CARD
from lib.experiments.makers import Maker, Recipe
from lib.replay.buffer import Episodes
from lib.runner import dataset
from tests.sequence_tiny import tiny, world

SMALL = Recipe(episodes=11)
TASKS = makers.MAKERS["point-mass"]().tasks


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but for the time that making them took."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes()
    card = json.loads(found[CARD])
    for told in card["files"].values():
        told.pop("hours")
    return found | {CARD: json.dumps(card).encode()}


def test_every_file_can_be_read_and_holds_what_its_card_says(tmp_path):
    told = list(data.make("point-mass", tmp_path, SMALL))
    card = json.loads((tmp_path / CARD).read_text())
    names = card["files"]
    assert len(told) == len(names) == len(TASKS) and card["made"]["world"] == "point-mass"
    domain = world(tiny(tasks=["pretrain", *names]))
    for index, name in enumerate(names, 1):
        found = dataset.read(tmp_path, name, *domain.task_spaces(index)).episodes
        total = found.reward.sum(1)
        assert len(total) == 11 == names[name]["episodes"]
        assert float(total.max()) == pytest.approx(names[name]["best_return"], abs=1e-3)
        for key, part in {"success": found.success, "success_any": found.reached}.items():
            assert float(part.float().mean()) == pytest.approx(names[name][key], abs=1e-3)
        assert names[name]["random_return"] < names[name]["mean_return"]
        assert found.action.abs().max() <= 1


def test_what_is_there_is_kept_and_what_is_missing_or_altered_is_made_again(tmp_path):
    list(data.make("point-mass", tmp_path, SMALL))
    before = contents(tmp_path)
    gone, altered = (tmp_path / f"point-mass-{name}" for name in ("line", "turn-90"))
    (gone / "about.json").unlink()
    (altered / "reward.npy").write_bytes(b"half")
    kept = (tmp_path / "point-mass-free" / "obs.npy").stat().st_mtime_ns
    told = list(data.make("point-mass", tmp_path, SMALL))
    assert [line.split(":")[0] for line in told if "there already" not in line] == [
        "point-mass-line",
        "point-mass-turn-90",
    ]
    assert len(told) == len(TASKS) and contents(tmp_path) == before
    assert (tmp_path / "point-mass-free" / "obs.npy").stat().st_mtime_ns == kept


def test_a_process_that_was_stopped_goes_on_to_the_same_files(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    list(data.make("point-mass", whole, SMALL))
    making = data.make("point-mass", parts, SMALL)
    next(making), next(making)
    making.close()
    list(data.make("point-mass", parts, SMALL))
    assert contents(whole) == contents(parts)


class Stopped(Exception):
    """Somebody ended the process."""


def pieces(played: list, stop_at: int = 0) -> Maker:
    """A world whose files are made in pieces of four episodes."""

    def play(task, noise, count, draws, recipe):
        played.append(count)
        if len(played) == stop_at:
            raise Stopped
        number = torch.rand(count, 3, generator=draws)
        done = number[:, 0] > 0.5
        return Episodes(torch.rand(count, 4, 2), number.unsqueeze(2), number, None, None, done)

    return Maker(("walk",), play, piece=4)


def test_pieces_that_are_there_are_not_made_again(tmp_path, monkeypatch):
    # Eleven episodes without noise or chance are pieces of 4, 4 and 3; the third one fails once.
    recipe, played, told = Recipe(episodes=11, noises=(0.0,), random_share=0), [], []
    monkeypatch.setitem(makers.MAKERS, "walks", lambda: pieces(played, 3))
    with pytest.raises(Stopped):
        list(data.make("walks", tmp_path, recipe))
    assert list(data.make("walks", tmp_path, recipe, tell=lambda *now: told.append(now)))
    assert played == [4, 4, 3, 3]
    assert told == [(0, 11), (4, 11), (8, 11), (11, 11)]
    assert not (tmp_path / data.PIECES).exists()


@pytest.mark.slow
def test_files_are_the_same_however_many_processes_make_them(tmp_path):
    recipe = Recipe(episodes=7)
    for name, processes in {"one": 1, "two": 2}.items():
        list(data.make("point-mass", tmp_path / name, recipe, (), processes))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_parts_of_every_noise_and_of_chance_are_mixed():
    noises = []

    def play(task, noise, count, draws, recipe):
        noises.append((noise, count))
        number = torch.full((count, 1), -1.0 if noise is None else noise)
        return Episodes(number.view(count, 1, 1), number.view(count, 1, 1), number)

    recipe = Recipe(noises=(0.0, 0.5), random_share=0.05)
    found, chance = data.play(Maker(("x",), play), "x", recipe, 0, 21)
    assert noises == [(0.0, 10), (0.5, 10), (None, 1)] and chance == [-1.0]
    assert found.reward.flatten().tolist() != sorted(found.reward.flatten().tolist())


def test_files_that_were_made_otherwise_are_not_mixed_with_new_ones(tmp_path):
    list(data.make("point-mass", tmp_path, SMALL))
    with pytest.raises(UserError, match="holds files that were made otherwise"):
        list(data.make("point-mass", tmp_path, Recipe(episodes=12)))
    (tmp_path / CARD).write_text("{")
    with pytest.raises(UserError, match="card.json' cannot be read.*remove it"):
        list(data.make("point-mass", tmp_path, SMALL))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("pointmass",), "unknown world.*did you mean 'point-mass'"),
        (("point-mass", "", Recipe(episodes=-1)), "-1 episodes make no file"),
        (("point-mass", "", SMALL, ["fre"]), "unknown task of point-mass 'fre'"),
        (("point-mass", "", Recipe(agent="run")), "made by its experts; leave out the agent"),
        (("dmc-states", "", SMALL, ["dog_walk"]), "'dog_walk' has no controller.*--agent RUN"),
    ],
)
def test_what_cannot_be_made_is_refused(given, told):
    with pytest.raises(UserError, match=told) as error:
        list(data.make(*given))
    assert "\n" not in str(error.value)


def test_the_command_that_a_world_names_makes_its_files(tmp_path, capsys):
    for name in data.MAKERS:
        command = f"python -m lib data make {name}"
        assert worlds.where(lambda world, made=command: world.made_by == made) == [name]
    made = ["data", "make", "point-mass", "--out", str(tmp_path), "--episodes", "5"]
    assert cli.main(made) == 0
    assert "point-mass-free: 5 episodes, success" in capsys.readouterr().out
    assert cli.main(["data", "card", str(tmp_path)]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].startswith("point-mass: noise 0, 0.1, 0.3, 0.5 in equal parts, 5% at random")
    assert len(rows) == 4 + len(TASKS)
    assert "| point-mass-free | controller | 5 | 150 |" in "\n".join(rows)
    assert cli.main(["data", "card", str(tmp_path / "none")]) == 2
    assert cli.main(["data", "make", "mars"]) == 2
    assert cli.main(["data", "make", "point-mass", "--episodes", "0"]) == 2
    assert "known: dmc-states, metaworld, point-mass" in capsys.readouterr().err


def test_an_agent_of_a_run_may_play_where_controllers_are_missing(tmp_path):
    pytest.importorskip("dm_control")

    class Agent:
        def act(self, obs, memory, explore):
            assert obs.shape == (1, 17) and not explore
            memory = (memory or 0) + 1
            return torch.full((1, 6), memory / 10), memory

    from lib.experiments.makers import _Agent

    acts = _Agent.__new__(_Agent)
    acts.agent, acts.repeat, acts.memory, acts.steps = Agent(), 2, None, 0
    found = [float(acts(torch.zeros(1, 17))[0, 0]) for _ in range(5)]
    assert found == pytest.approx([0.1, 0.1, 0.2, 0.2, 0.3])  # each decision lasts two steps
