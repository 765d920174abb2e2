"""What shapes the representation is one file: its parts, its noise, its copies, its errors."""

import importlib
import json
import sys

import numpy as np
import pytest
import torch

from lib.algos.dreamer import objectives
from lib.algos.dreamer.objectives.api import Context, Evidence, Objective
from lib.core.errors import UserError
from lib.runner import checkpoint
from lib.runner.training import train
from tests.algos.dreamer.models import SPACES, B, T, batch, noise_of, reached, settings, world
from tests.dreamer_tiny import new_agent, ready, tiny

CONTRAST = '''
"""States have to tell their own observation from the others of a batch; nothing is drawn."""

import torch
from torch.nn import functional as F

from lib.algos.dreamer.networks import linear
from lib.algos.dreamer.objectives.api import Objective
from lib.core.noise import NoiseSpec


class Contrast(Objective):
    average = 0.25
    error_name = "mistaken"

    def __init__(self, context):
        super().__init__(context)
        self.project = linear(context.features, context.embed, context.generator)

    def noise(self, records, rows):
        return {"jitter": NoiseSpec("normal", (records, rows, 1))}

    def losses(self, evidence):
        assert evidence.average is not None and evidence.noise["jitter"].shape[-1] == 1
        told = self.project(evidence.features).flatten(0, 1) + 0.01 * evidence.noise[
            "jitter"
        ].flatten(0, 1)
        seen = evidence.average.encoder(evidence.obs).detach().flatten(0, 1)
        logits = told @ seen.T / seen.shape[-1] ** 0.5
        return {"contrast": F.cross_entropy(logits, torch.arange(len(logits)))}

    def error(self, features, obs):
        return self.project(features).square().mean(-1)


OBJECTIVE = Contrast
'''


@pytest.fixture
def contrast(tmp_path, monkeypatch):
    """One new file in the folder of objectives, and nothing else."""
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "contrast.py").write_text(CONTRAST)
    monkeypatch.setattr(objectives, "__path__", [*objectives.__path__, str(folder)])
    monkeypatch.setattr(objectives, "KNOWN", objectives._found())
    importlib.invalidate_caches()
    yield objectives.KNOWN["contrast"]
    sys.modules.pop("lib.algos.dreamer.objectives.contrast")


def test_every_file_with_an_objective_is_known_by_its_name():
    assert set(objectives.KNOWN) >= {"reconstruction"} and "api" not in objectives.KNOWN


def test_an_unknown_objective_is_refused_with_those_there_are():
    with pytest.raises(UserError, match="unknown objective.representation 'drawing'.*reconstr"):
        tiny(objective__representation="drawing")


@pytest.mark.parametrize("name", objectives.KNOWN)
@pytest.mark.parametrize("space", SPACES.values(), ids=lambda s: s.kind)
def test_every_objective_does_what_it_says_of_itself(name, space):
    model = world(settings(representation=name), space)
    given = batch(space)
    total, _ = model.loss(*given, noise_of(model))
    assert torch.isfinite(total) and reached(total, model.objective)
    features = torch.randn(T, B, model.rssm.features_size)
    error = model.objective.error(features, given.obs)
    assert (error is None) == (model.objective.error_name == "")
    assert error is None or error.shape == (T, B)
    if model.objective.draws:
        drawn = model.objective.predict(features)
        assert drawn.shape[:2] == (T, B)


def test_an_objective_without_losses_says_so():
    cfg = settings()
    bare = Objective(Context(SPACES["vector"], 27, 23, cfg, torch.Generator()))
    with pytest.raises(NotImplementedError, match="Objective defines no losses"):
        bare.losses(Evidence(*[None] * 6))


def test_a_new_objective_is_one_new_file(contrast, tmp_path):
    # trained, audited, saved and resumed, with noise and an averaged copy and without a decoder
    cfg = tiny(objective__representation="contrast")
    train(cfg, tmp_path / "run", progress=False, tensorboard=False)
    lines = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    keys = {key for line in lines for key in line.get("values", line)}
    assert "train/model/contrast" in keys and "train/model/reconstruction" not in keys
    measured = {key.rpartition("/")[2] for key in keys if key.startswith("audit/met-")}
    assert measured == {"mistaken", "surprise", "reward_mse", "count"}
    with np.load(tmp_path / "run/audits/task-1.npz") as held:
        assert "open_loop_error" in held
    state, _ = checkpoint.load(tmp_path / "run/checkpoints/last.safetensors")
    saved = state["agent"]
    assert "objective.project.weight" in saved["world_model"]["model"]
    now, slow = saved["world_model"]["model"], saved["slow"]["model"]
    assert not torch.equal(now["encoder.net.0.weight"], slow["encoder.net.0.weight"])


def test_an_agent_that_draws_nothing_says_so(contrast):
    agent = new_agent(tiny(objective__representation="contrast"))
    assert agent.capabilities().imagine is None
    assert new_agent(tiny()).capabilities().imagine is not None


def test_the_averaged_copy_follows_the_model_at_its_rate(contrast):
    # copy + 0.25 (model - copy), after the model has been stepped
    agent = ready(tiny(objective__representation="contrast"))
    before = agent.slow["model"].clone()
    assert torch.equal(before, agent.trained["model"].row)
    agent.update(1)
    row = agent.trained["model"].row
    torch.testing.assert_close(agent.slow["model"], before + 0.25 * (row - before))
    assert not torch.equal(row, before)
