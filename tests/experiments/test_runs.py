"""What several seeds take, and where they go."""

from pathlib import Path

import pytest
import yaml

from lib.analysis import results
from lib.core.errors import UserError
from lib.experiments import folders, params, run_config, runs
from lib.runner import warm_start
from tests.run_folders import summary
from tests.tiny import tiny


def prepare(out: Path, **given) -> runs.RunSpec:
    return runs.prepare({"method": "tdmpc", "name": "mine"} | given, out)


def tiny_spec(out: Path, seeds: list[int], **given) -> runs.RunSpec:
    cfg = tiny("tdmpc", tasks=["room-1"], budget__env_steps_per_task=28)
    same = params.from_record(params.record(cfg, run_config.PARAMETERS))
    return runs.prepare(same | {"name": "mine", "seeds": seeds, "video": ""} | given, out)


def train(asked: runs.RunSpec) -> list[Path]:
    return runs.train(asked, tensorboard=False, progress=False)


def test_a_single_run_has_one_folder_for_everything(tmp_path):
    for given in ({"seed": 3}, {"seeds": [3]}):
        found = prepare(tmp_path, **given)
        assert found.out == tmp_path / "mine-s3" and found.folders == (found.out,)
        assert not found.together and found.configs[0].seed == 3
        runs.write_request(found)
    assert not list(tmp_path.iterdir())  # nothing needs to be written down about it


def test_several_seeds_have_the_folders_of_single_runs_and_one_more(tmp_path):
    found = prepare(tmp_path, seeds=[2, 0])
    assert found.out == tmp_path / "mine-seeds-2-0" and found.together
    assert found.folders == (tmp_path / "mine-s2", tmp_path / "mine-s0")
    assert [config.seed for config in found.configs] == [2, 0]
    assert {config.name for config in found.configs} == {"mine"}


def test_many_seeds_have_a_short_name(tmp_path):
    found = prepare(tmp_path, name="x" * 120, seeds=list(range(200)))
    assert found.out.name == f"{'x' * 120}-seeds-0-to-199"
    assert found.folders[199] == tmp_path / f"{'x' * 120}-s199"
    odd, even = ([*range(start, 400, 2)] for start in (1, 0))
    names = {prepare(tmp_path, seeds=seeds).out.name for seeds in (odd, even, odd[::-1])}
    assert len(names) == 3 and all(name.startswith("mine-seeds-200-") for name in names)
    inside = prepare(tmp_path, seeds=odd, out_dir=str(prepare(tmp_path, seeds=odd).out))
    assert inside.folders[0] == tmp_path / "mine-s1"


@pytest.mark.parametrize(
    ("place", "runs_at"),
    [("here", "here-s{}"), ("deep/here-seeds-0-1", "deep/here-s{}"), ("", "mine-s{}")],
)
def test_a_folder_of_ones_own_is_for_the_notebook_and_the_runs_lie_beside_it(
    tmp_path, place, runs_at
):
    found = prepare(tmp_path, seeds=[0, 1], out_dir=str(tmp_path / place) if place else "")
    assert found.folders == tuple(tmp_path / runs_at.format(seed) for seed in (0, 1))


def test_what_was_asked_for_is_written_down(tmp_path):
    found = prepare(tmp_path, seeds=[0, 1], load_mode="agent", load_from="x-s{seed}")
    runs.write_request(found)
    told = yaml.safe_load((found.out / "seeds.yaml").read_text())
    assert told["runs"] == ["../mine-s0", "../mine-s1"]
    assert runs.prepare(told["parameters"], tmp_path) == found
    assert folders.runs_of(found.out) == list(found.folders)
    assert folders.runs_of(tmp_path / "mine-s0") == [tmp_path / "mine-s0"]


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    found = prepare(tmp_path, seeds=[0, 1])
    found.out.mkdir()
    (found.out / "thesis.tex").write_text("years of work")
    message = "holds other things than several seeds of a run .thesis.tex"
    with pytest.raises(UserError, match=message):
        runs.write_request(found)
    assert [path.name for path in found.out.iterdir()] == ["thesis.tex"]


def test_seeds_are_trained_into_folders_that_compare_as_single_runs_do(tmp_path):
    asked = tiny_spec(tmp_path, [1, 0])
    assert train(asked) == [folder / "summary.json" for folder in asked.folders]
    found, left_out = results.complete_runs(tmp_path)
    assert [run.seed for run in found] == [0, 1] and left_out == []
    (group,) = results.group_runs(found)
    assert len(group.runs) == 2 and group.curve("room-1")[1].shape[0] == 2
    assert folders.status(asked.out) == "seeds 1, 0 together, 2 of 2 finished"


def test_a_seed_more_is_added_to_those_that_are_there(tmp_path):
    train(tiny_spec(tmp_path, [0]))
    first = summary(tmp_path / "mine-s0")
    asked = tiny_spec(tmp_path, [0, 1])
    runs.write_request(asked)
    assert folders.status(asked.out) == "seeds 0, 1 together, 1 of 2 finished; stopped; resume it"
    train(asked)
    assert summary(tmp_path / "mine-s0") == first
    assert summary(tmp_path / "mine-s1")["seeds"] == [1]


def test_a_run_whose_source_has_learnt_its_task_is_told_so_before_it_begins(tmp_path, monkeypatch):
    where = {"load_mode": "parts", "load_from": "outputs/{seed}"}
    spec = tiny_spec(tmp_path, [4], **where)
    told = lambda cfg, place: f"note: {cfg.seed} from {place}"  # noqa: E731 (one line)
    monkeypatch.setattr(warm_start, "learnt_already", told)
    assert list(runs.notes(spec)) == ["note: 4 from outputs/4"]
    (spec.out / "checkpoints").mkdir(parents=True)  # it has begun, and nothing is taken again
    assert list(runs.notes(spec)) == []
    assert list(runs.notes(tiny_spec(tmp_path / "other", [4]))) == []


def test_advisers_that_know_the_task_are_told_of_and_an_encoder_that_has_seen_it_is_not():
    meta = {"meta.autoencoder": "outputs/two-s{seed}", "meta.rewards": ["outputs/a-s{seed}", "b"]}
    given = run_config.PARAMETERS | {"preset": "sources-quick", "method": "dreamer-v1", "seed": 3}
    given |= {"overrides": meta}
    found = runs.teachers(run_config.resolve(given), given)
    assert [Path(place).name for place in found] == ["a-s3", "b"]
    given |= {"load_mode": "parts", "load_from": "outputs/c-s{seed}", "overrides": {}}
    assert [Path(p).name for p in runs.teachers(run_config.resolve(given), given)] == ["c-s3"]
