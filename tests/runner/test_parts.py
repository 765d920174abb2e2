"""Runs that take parts of others: exported files, rules on parameters, fixed parts, kills.

Two pendulums in turn are the source, one with two actions; the target has three.
"""

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from lib.algos.api import Foreign, Moved
from lib.core import config
from lib.core.errors import UserError
from lib.envs.pendulum.batch import PendulumBatch
from lib.runner import checkpoint, contents, parts, training, warm_start
from lib.runner.run_folder import RunFolder
from tests import dreamer_killing, killing, tiny
from tests.dreamer_tiny import tiny as small
from tests.run_folders import assert_same_run, summary

SOURCES = {"name": "sources", "turns": ["source-a", "source-b"]}
TARGET = {"name": "aim", "task": "target", "actions": 3}
NEXT = {"name": "next", "task": "target", "actions": 3, "goal": 0.4}
PENDULUM = {
    "env__domain": "pendulum",
    "env__observation": "state",
    "env__episode_length": 22,
    "env__action_repeat": 2,
    "latent__variables": 4,
    "objective__discount_head": False,
}
FTL = {"load_mode": "parts"}


def run(**changes):
    return small("dreamer-v1", **PENDULUM | changes)


def train(cfg, out, **how):
    training.train(cfg, out, tensorboard=False, progress=False, **how)
    return out


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A finished run over two pendulums in turn."""
    return train(run(tasks=[SOURCES]), tmp_path_factory.mktemp("runs") / "source")


@pytest.fixture(scope="module")
def rewards(source, tmp_path_factory):
    """Runs that learnt one pendulum's reward each on the source's encoder: the second stage."""
    out = tmp_path_factory.mktemp("stages")
    for task in SOURCES["turns"]:
        cfg = run(tasks=[task], meta__autoencoder=str(source), meta__freeze_decoder=True)
        train(cfg, out / task)
    return [str(out / task) for task in SOURCES["turns"]]


def agent_in(out, task=1):
    state, _ = checkpoint.load(RunFolder(Path(out)).task_checkpoint(task - 1))
    return {**state["world_model"], **state["learner"]}


# Files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["autoencoder", "encoder", "decoder", "reward", "rssm", "actor"])
def test_a_part_is_a_file_that_says_whose_it_is(source, tmp_path, part):
    out, tensors = parts.export(str(source), part, tmp_path / "part.safetensors")
    meta = checkpoint.load_meta(out)
    assert (meta["part"], meta["finished"]) == (part, "sources")
    assert meta["config"]["tasks"] == [SOURCES]
    stored = safetensors.torch.load_file(out)
    assert {name.removeprefix("tensors/") for name in stored} == tensors.keys()
    held = agent_in(source)
    for name, tensor in tensors.items():
        network, _, own = name.partition(".")
        assert torch.equal(tensor, held[network][own])


def test_a_part_lies_in_its_run_unless_it_is_told_where_and_is_replaced_whole(source, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    for _ in range(2):
        out, _ = parts.export(str(copy), "reward")
        assert out == copy / "parts" / "reward.safetensors"
    assert [path.name for path in out.parent.iterdir()] == ["reward.safetensors"]
    loose = tmp_path / "loose.safetensors"
    shutil.copy(RunFolder(copy).task_checkpoint(0), loose)
    assert parts.export(str(loose), "actor")[0] == tmp_path / "parts" / "actor.safetensors"


def test_what_is_written_into_a_run_is_known_as_its_own():
    known = contents.RUN.written
    for name in ("parts.json", "parts/reward.safetensors", "figures/parts.png"):
        assert known.fullmatch(name)
    assert not known.fullmatch("parts/mine.txt")


def test_a_file_and_its_run_give_the_same(source, tmp_path):
    out, tensors = parts.export(str(source), "reward", tmp_path / "r.safetensors")
    for place in (out, source):
        found = parts.read(Foreign("meta.rewards[0]", "reward", str(place)), run(tasks=["target"]))
        assert found.keys() == tensors.keys()
        assert all(torch.equal(tensors[name], tensor) for name, tensor in found.items())


def test_what_is_no_such_part_is_one_line(source, tmp_path):
    mine = run(tasks=["target"])
    out, _ = parts.export(str(source), "reward", tmp_path / "r.safetensors")

    def read(path, cfg=mine):
        return parts.read(Foreign("meta.autoencoder", "autoencoder", str(path)), cfg)

    with pytest.raises(UserError, match="holds the part 'reward', wanted 'autoencoder'.*export"):
        read(out)
    with pytest.raises(UserError, match="meta.autoencoder: no checkpoint"):
        read(tmp_path / "nowhere.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(out.read_bytes()[:-9])
    with pytest.raises(UserError, match="truncated"):
        read(tmp_path / "bad.safetensors")
    with pytest.raises(UserError, match="observation is 'state' there, 'pixels' here"):
        read(source, run(tasks=["target"], env__observation="pixels", env__image_size=32))
    with pytest.raises(UserError, match="unknown part 'decodr'.*did you mean 'decoder'"):
        parts.export(str(source), "decodr", tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=r"end in \.safetensors"):
        parts.export(str(source), "reward", tmp_path / "x.pkl")
    with pytest.raises(UserError, match="the part 'reward' of an agent alone"):
        train(mine, tmp_path / "out", load_mode="agent", load_from=str(out))


def test_a_family_without_parts_says_so(tmp_path):
    done = train(tiny.tiny("tdmpc", tasks=["room-1"]), tmp_path / "grid")
    with pytest.raises(UserError, match="family 'tdmpc', whose agents have no named parts"):
        parts.export(str(done), "encoder")
    again = tiny.tiny("tdmpc", tasks=["room-1"])
    with pytest.raises(UserError, match="take a 'world-model' or an 'agent' as it is"):
        train(again, tmp_path / "more", load_mode="parts", load_from=str(done))


# Rules on parameters ----------------------------------------------------------------------------


def test_a_run_begins_with_fractions_and_writes_down_what_became_of_every_tensor(source, tmp_path):
    cfg = run(tasks=[TARGET], transfer__omega=0.5, update__prefill=80)
    out = train(cfg, tmp_path / "ftl", load_from=str(source), **FTL)
    assert summary(out)["status"] == "complete"
    table = {row.name: row for row in parts.read_table(out / "parts.json")}
    assert table["model.rssm.input.weight"].note == "4 columns copied, 3 random"
    last = "critic.net.9.weight"  # after three hidden layers, each with a norm
    note = "random + 0.5 source"
    assert table[last] == Moved(last, "fraction", (1, 17), (1, 17), note)
    assert {row.how for row in table.values()} == {"copy", "random", "columns", "fraction"}
    held = agent_in(out)
    assert sum(row.name.startswith("model.") for row in table.values()) == len(held["model"])
    assert len(parts.read_table(out / "parts.json")) == len(table), "each once"


def test_what_the_source_has_learnt_already_is_said(source):
    assert warm_start.learnt_already(run(tasks=[TARGET]), str(source)) == ""
    told = warm_start.learnt_already(run(tasks=["source-b"]), str(source))
    assert told == f"note: '{source}' has learnt source-b already, which this run is to learn"
    for other, known in (
        ({"name": "light", "task": "source-b", "g": 2.0}, False),
        ({"name": "mine", "task": "source-b"}, True),
        ({"name": "source-a", "g": 2.0, "l": 1.0}, True),
        ({"name": "both", "turns": ["source-a", "target"]}, True),
    ):
        assert bool(warm_start.learnt_already(run(tasks=[other]), str(source))) == known
    # a source that is yet to be made is asked alike
    assert warm_start.learnt_already(run(tasks=["target"]), "x", [{"turns": ["target"]}])
    altered = [{"name": "light", "task": "target", "g": 2.0}]
    assert not warm_start.learnt_already(run(tasks=["target"]), "x", altered)


def test_sources_of_other_sizes_and_pictures_are_refused(source, tmp_path):
    with pytest.raises(UserError, match=r"'model.rssm.*' is \[.*\] in the source and \[.*\] here"):
        cfg = run(tasks=[TARGET], latent__deter=6)
        train(cfg, tmp_path / "a", load_from=str(source), **FTL)
    pictures = {"env__observation": "pixels", "env__image_size": 32}
    seen = train(
        run(tasks=["target"], budget__env_steps_per_task=44, **pictures), tmp_path / "pictures"
    )
    larger = pictures | {"env__image_size": 64}
    with pytest.raises(UserError, match=r"env.image_size is 32 there, 64 here"):
        cfg = run(tasks=[TARGET], **larger)
        train(cfg, tmp_path / "b", load_from=str(seen), **FTL)
    with pytest.raises(
        UserError, match=r"^meta.autoencoder: .*env.image_size is 32 there, 64 here"
    ):
        train(run(tasks=[TARGET], meta__autoencoder=str(seen), **larger), tmp_path / "c")


# Fixed parts ------------------------------------------------------------------------------------


def test_three_stages_are_one_trainer_and_what_is_fixed_stays(source, rewards, tmp_path):
    encoder = {n: t for n, t in agent_in(source)["model"].items() if n.startswith("encoder.")}
    cfg = run(
        tasks=[TARGET],
        meta__autoencoder=str(source),
        meta__rewards=rewards,
        meta__init_rssm=str(source),
    )
    out = train(cfg, tmp_path / "target")
    for done in (*rewards, out):
        held = agent_in(done)["model"]
        assert encoder and all(torch.equal(t, held[name]) for name, t in encoder.items())
    held = agent_in(out)["model"]
    for i, place in enumerate(rewards):
        theirs = agent_in(place)["model"]
        for name, tensor in theirs.items():
            if name.startswith("reward_head."):
                own = f"reward_head.sources.{i}.{name.removeprefix('reward_head.')}"
                assert torch.equal(held[own], tensor)
    decoders = [agent_in(place)["model"]["objective.decoder.net.0.weight"] for place in rewards]
    assert torch.equal(*decoders)  # frozen in the second stage
    assert not torch.equal(held["objective.decoder.net.0.weight"], decoders[0])
    table = {row.name: row.how for row in parts.read_table(out / "parts.json")}
    assert table["model.rssm.input.weight"] == "columns"
    # what nothing is said of is told as well: it is the run's own
    new = {name for name, how in table.items() if how == "random"}
    assert {"critic.net.0.weight", "actor.net.0.weight", "model.reward_head.net.0.weight"} <= new
    fixed = {name for name, how in table.items() if how == "fixed"}
    assert fixed and all("encoder" in name or ".sources." in name for name in fixed)


def test_a_run_goes_on_and_acts_without_the_files(source, rewards, tmp_path):
    places = [tmp_path / name for name in ("space", "one", "two")]
    for place, original in zip(places, (str(source), *rewards), strict=True):
        part = "autoencoder" if place.name == "space" else "reward"
        parts.export(original, part, place.with_suffix(".safetensors"))
    space, *heads = [str(place.with_suffix(".safetensors")) for place in places]
    cfg = run(tasks=[TARGET], meta__autoencoder=space, meta__rewards=heads)
    train(cfg, tmp_path / "whole")
    child = killing.processes().Process(
        target=dreamer_killing.train,
        args=(config.to_dict(cfg), str(tmp_path / "broken"), 31),
        kwargs={"world": PendulumBatch},
    )
    child.start()
    child.join(killing.PATIENCE)
    assert child.exitcode == -9
    for place in (space, *heads):
        (tmp_path / place).unlink()
    train(cfg, tmp_path / "broken")
    last = [tmp_path / name / "metrics.jsonl" for name in ("whole", "broken")]
    assert last[0].read_bytes() == last[1].read_bytes()
    trained = warm_start.trained_agent(
        RunFolder(tmp_path / "broken").task_checkpoint(0), torch.device("cpu")
    )
    assert trained.act(torch.zeros(2, 3), None, explore=False)[0].shape == (2, 3)


def test_seeds_take_parts_of_their_own(source, tmp_path):
    for seed in (0, 1):
        shutil.copytree(source, tmp_path / f"source-s{seed}")
    from_each = str(tmp_path / "source-s{seed}")
    cfgs = [run(tasks=[TARGET], seed=seed, meta__autoencoder=from_each) for seed in (0, 1)]
    folders = [tmp_path / str(seed) for seed in (0, 1)]
    training.train_seeds(cfgs, folders, tmp_path, tensorboard=False, progress=False)
    theirs = agent_in(source)["model"]["encoder.net.0.weight"]
    for folder in folders:
        assert torch.equal(agent_in(folder)["model"]["encoder.net.0.weight"], theirs)
        assert json.loads((folder / "parts.json").read_text())["tensors"]


# Kills ------------------------------------------------------------------------------------------


def test_runs_over_several_tasks_and_with_parts_of_others_are_killed_and_end_up_the_same(
    source, tmp_path
):
    cfg, how = run(tasks=[TARGET, NEXT]), {"load_from": str(source), **FTL}
    train(cfg, tmp_path / "whole", **how)
    for number in (9, 40, 0):
        child = killing.processes().Process(
            target=dreamer_killing.train,
            args=(config.to_dict(cfg), str(tmp_path / "broken"), number),
            kwargs={"world": PendulumBatch, "start": how},
        )
        child.start()
        child.join(killing.PATIENCE)
        assert child.exitcode == (-9 if number else 0)
    assert_same_run(tmp_path / "whole", tmp_path / "broken")
    tables = [(tmp_path / name / "parts.json").read_bytes() for name in ("whole", "broken")]
    assert tables[0] == tables[1]
