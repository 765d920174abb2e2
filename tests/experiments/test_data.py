import json

import pytest
import torch

from lib import cli
from lib.core.errors import UserError
from lib.envs import worlds
from lib.experiments import data
from lib.experiments.data import CARD, Recipe
from lib.runner import dataset
from tests.sequence_tiny import tiny, world

SMALL = Recipe(episodes=11)


def test_every_file_can_be_read_and_holds_what_its_card_says(tmp_path):
    told = list(data.make("point-mass", tmp_path, SMALL))
    card = json.loads((tmp_path / CARD).read_text())
    names = card["files"]
    assert len(told) == len(names) == 6 and card["made"]["world"] == "point-mass"
    domain = world(tiny(tasks=["pretrain", *names]))
    for index, name in enumerate(names, 1):
        found = dataset.read(tmp_path, name, *domain.task_spaces(index)).episodes
        total = found.reward.sum(1)
        assert len(total) == 11 == names[name]["episodes"]
        assert float(total.max()) == pytest.approx(names[name]["best_return"], abs=1e-3)
        assert float(found.success.float().mean()) == pytest.approx(
            names[name]["success"], abs=1e-3
        )
        assert found.action.abs().max() <= 1


def test_what_is_there_is_kept_and_what_is_missing_or_altered_is_made_again(tmp_path):
    list(data.make("point-mass", tmp_path, SMALL))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    gone, altered = (tmp_path / f"point-mass-{name}.npz" for name in ("line", "turn-90"))
    gone.unlink()
    altered.write_bytes(b"half")
    kept = (tmp_path / "point-mass-free.npz").stat().st_mtime_ns
    told = list(data.make("point-mass", tmp_path, SMALL))
    assert [": there" in line for line in told] == [True, False, True, False, True, True]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert (tmp_path / "point-mass-free.npz").stat().st_mtime_ns == kept


def test_a_process_that_was_stopped_goes_on_to_the_same_files(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    list(data.make("point-mass", whole, SMALL))
    making = data.make("point-mass", parts, SMALL)
    next(making), next(making)
    making.close()
    list(data.make("point-mass", parts, SMALL))
    for path in whole.iterdir():
        assert path.read_bytes() == (parts / path.name).read_bytes()


def test_parts_of_every_noise_and_of_chance_are_mixed():
    noises = []

    def play(task, noise, count, draws):
        noises.append((noise, count))
        number = torch.full((count, 1), -1.0 if noise is None else noise)
        return data.Episodes(number.view(count, 1, 1), number.view(count, 1, 1), number)

    maker = data.Maker(("x",), play)
    found = data._played(maker, "x", Recipe(episodes=21, noises=(0.0, 0.5), random_share=0.05))
    assert noises == [(0.0, 10), (0.5, 10), (None, 1)]
    assert found.reward.flatten().tolist() != sorted(found.reward.flatten().tolist())


def test_files_that_were_made_otherwise_are_not_mixed_with_new_ones(tmp_path):
    list(data.make("point-mass", tmp_path, SMALL))
    with pytest.raises(UserError, match="holds files that were made otherwise"):
        list(data.make("point-mass", tmp_path, Recipe(episodes=12)))
    (tmp_path / CARD).write_text("{")
    with pytest.raises(UserError, match="card.json' cannot be read.*remove it"):
        list(data.make("point-mass", tmp_path, SMALL))


def test_what_cannot_be_made_is_refused(tmp_path):
    with pytest.raises(UserError, match="unknown world.*did you mean 'point-mass'"):
        list(data.make("pointmass", tmp_path))
    with pytest.raises(UserError, match="0 episodes make no file"):
        list(data.make("point-mass", tmp_path, Recipe(episodes=0)))


def test_the_command_that_a_world_names_makes_its_files(tmp_path, capsys):
    for name in data.MAKERS:
        env = tiny().env
        command = worlds.of(env).made_by.split()
        assert command[:3] == ["python", "-m", "lib"] and command[-1] == name
        assert cli.main([*command[3:], "--out", str(tmp_path), "--episodes", "5"]) == 0
    assert "point-mass-free: 5 episodes, success" in capsys.readouterr().out
    assert cli.main(["data", "make", "mars"]) == 2
    assert "known: point-mass" in capsys.readouterr().err
