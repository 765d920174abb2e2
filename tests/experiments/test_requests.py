"""A run that is resumed is asked for the very same things as it was begun with."""

from pathlib import Path

import pytest
import yaml

from lib import cli
from lib.core.errors import RunInterrupted
from lib.experiments import launch, params, requests, run_config, runs
from lib.runner.loop import TrainingLoop
from tests.tiny import SETTINGS

SIZES = SETTINGS | {"budget.env_steps_per_task": 56}
GIVEN = {"method": "tdmpc", "tasks": ["room-1"], "device": "cpu", "overrides": SIZES}


def spec_of(out: Path, **changes) -> runs.RunSpec:
    return runs.prepare(GIVEN | {"out_dir": str(out)} | changes, out.parent)


def train(spec: runs.RunSpec) -> None:
    runs.train(spec, tensorboard=False, progress=False)


def stopped(spec: runs.RunSpec, monkeypatch) -> None:
    """Trains until the second evaluation, and no further."""
    evaluate, seen = TrainingLoop._evaluate, []

    def counted(self, final=False):
        seen.append(final)
        self.stop_asked = len(seen) == 2
        return evaluate(self, final)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "_evaluate", counted)
        with pytest.raises(RunInterrupted):
            train(spec)


def resumed(out: Path, monkeypatch) -> dict:
    """The parameters that `resume` gives to the notebook."""
    given = []
    monkeypatch.setattr(launch, "execute", lambda parameters, *_, **__: given.append(parameters))
    cli.main(["resume", str(out)])
    return given[0]


def films(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("videos/*"))


@pytest.mark.parametrize("video", ["", "final", "every"])
def test_a_resumed_run_has_the_films_of_an_uninterrupted_one(tmp_path, monkeypatch, video):
    whole, halved = (spec_of(tmp_path / name, video=video) for name in ("whole", "halved"))
    train(whole)
    stopped(halved, monkeypatch)
    asked = resumed(halved.out, monkeypatch)
    assert asked == halved.parameters
    train(runs.prepare(asked, tmp_path))
    assert films(halved.out) == films(whole.out)
    assert bool(films(whole.out)) == bool(video)


@pytest.mark.parametrize("home", ["mine", "mine-s1"])
def test_resumed_seeds_have_their_films_together_and_alone(tmp_path, monkeypatch, home):
    whole = spec_of(tmp_path / "whole", video="every", seeds=[0, 1])
    halved = spec_of(tmp_path / "mine", video="every", seeds=[0, 1])
    train(whole)
    stopped(halved, monkeypatch)
    train(runs.prepare(resumed(tmp_path / home, monkeypatch), tmp_path))
    assert films(tmp_path / "mine-s1") == films(tmp_path / "whole-s1") != []


def test_settings_keep_the_names_that_they_were_given(tmp_path):
    spec = spec_of(tmp_path / "mine", env_steps_per_task=84, wandb="offline", load_mode="")
    requests.write(spec.out, spec.configs[0], spec.parameters)
    held = params.record(spec.configs[0], spec.parameters)
    assert requests.read(spec.out, held) == spec.parameters | {"out_dir": ""}


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "preset: nothing", "seed: 1", "seeds: [0, 1]", "video: never", "x: 1"]
)
def test_the_configuration_decides_where_a_request_does_not_fit(tmp_path, text):
    spec = spec_of(tmp_path / "mine")
    held = params.record(spec.configs[0], spec.parameters)
    spec.out.mkdir()
    (spec.out / "request.yaml").write_text(text)
    found = requests.read(spec.out, held)
    assert run_config.resolve(found) == spec.configs[0]
    assert found["video"] == "final"


def test_the_request_of_a_finished_run_stays(tmp_path):
    spec = spec_of(tmp_path / "mine", video="every")
    train(spec)
    before = (spec.out / "request.yaml").read_text()
    train(spec_of(tmp_path / "mine", video=""))
    assert (spec.out / "request.yaml").read_text() == before
    assert yaml.safe_load(before)["video"] == "every"
