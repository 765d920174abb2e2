"""What shapes the representation is one file: its parts, its noise, its copies, its errors."""

import copy
import importlib
import json
import sys

import numpy as np
import pytest
import torch

from lib.algos.dreamer import objectives
from lib.algos.dreamer.agent import DreamerAgent
from lib.algos.dreamer.objectives.api import Context, Evidence, Objective
from lib.algos.dreamer.world_model import WorldModel
from lib.core import config, kinds
from lib.core.errors import UserError
from lib.experiments import run_config
from lib.runner import checkpoint
from lib.runner.training import train
from tests.algos.dreamer.models import SPACES, B, T, batch, noise_of, reached, settings, world
from tests.algos.dreamer.test_equality import assert_alike, held, learn, started
from tests.dreamer_tiny import PICKS, SYMBOLS, invented, new_agent, observations, ready, tiny
from tests.oracle.dreamer import PlainDreamer

CONTRAST = '''
"""States have to tell their own observation from the others of a batch; nothing is drawn."""

import torch
from torch.nn import functional as F

from lib.algos.dreamer.networks import linear
from lib.algos.dreamer.objectives.api import Losses, Objective
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
        return Losses({"contrast": F.cross_entropy(logits, torch.arange(len(logits)))})

    def error(self, features, obs):
        return self.project(features).square().mean(-1)


OBJECTIVE = Contrast
'''


VIEWS = '''
"""Two views, each with cells hidden, swap their prototypes, which are frozen at first."""

import torch
from torch import nn
from torch.nn import functional as F

from lib.algos.dreamer.objectives.api import Losses, Objective
from lib.core.noise import NoiseSpec


class Views(Objective):
    views = 2
    frozen = {"prototypes": 2}

    def __init__(self, context):
        super().__init__(context)
        start = torch.randn(5, context.features, generator=context.generator)
        self.prototypes = nn.Parameter(F.normalize(start, dim=-1))

    def noise(self, records, rows):
        return {"hidden": NoiseSpec("uniform", (rows, 2, 2, 1))}

    def augment(self, obs, noise):
        return torch.where(noise["hidden"] < 0.3, 0, obs)  # symbol 0 instead

    def losses(self, evidence):
        assert evidence.obs.shape[1] == evidence.features.shape[1]
        scores = evidence.features @ self.prototypes.T
        one, two = scores.chunk(2, 1)
        swap = F.cross_entropy(one.flatten(0, 1), two.flatten(0, 1).softmax(-1).detach())
        return Losses({"swap": swap}, {"told": swap.detach()})

    def after_update(self, tensors):
        tensors["prototypes"].copy_(F.normalize(tensors["prototypes"], dim=-1))


OBJECTIVE = Views
'''


NEEDS = {"contrast": "gaussian"}  # objectives to the one kind of latents that they take


def added(folder, monkeypatch, name: str, text: str) -> None:
    """Puts one new file in the folder of objectives, and nothing else."""
    folder.mkdir()
    (folder / f"{name}.py").write_text(text)
    monkeypatch.setattr(objectives, "__path__", [*objectives.__path__, str(folder)])
    found = kinds.found(objectives.__name__, objectives.__path__, "OBJECTIVE")
    monkeypatch.setattr(objectives, "KNOWN", found)
    importlib.invalidate_caches()


@pytest.fixture
def contrast(tmp_path, monkeypatch):
    added(tmp_path / "more", monkeypatch, "telling_apart", CONTRAST)
    yield objectives.KNOWN["telling_apart"]
    sys.modules.pop("lib.algos.dreamer.objectives.telling_apart")


@pytest.fixture
def views(tmp_path, monkeypatch):
    added(tmp_path / "more", monkeypatch, "views", VIEWS)
    yield objectives.KNOWN["views"]
    sys.modules.pop("lib.algos.dreamer.objectives.views")


def test_every_file_with_an_objective_is_known_by_its_name():
    assert set(objectives.KNOWN) >= {"reconstruction"} and "api" not in objectives.KNOWN


def test_an_unknown_objective_is_refused_with_those_there_are():
    with pytest.raises(UserError, match="unknown objective.representation 'drawing'.*reconstr"):
        tiny(objective__representation="drawing")


@pytest.mark.parametrize("name", objectives.KNOWN)
@pytest.mark.parametrize("space", SPACES.values(), ids=lambda s: s.kind)
def test_every_objective_does_what_it_says_of_itself(name, space):
    model = world(settings(NEEDS.get(name, "categorical"), representation=name), space)
    given = batch(space)
    average = copy.deepcopy(model) if model.objective.average is not None else None
    total, _ = model.loss(*given, noise_of(model), average=average)
    assert torch.isfinite(total)
    assert reached(total, model.objective if name != "contrast" else model.encoder)
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
    cfg = tiny(objective__representation="telling_apart")
    train(cfg, tmp_path / "run", progress=False, tensorboard=False)
    lines = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    keys = {key for line in lines for key in line.get("values", line)}
    assert "train/model/contrast" in keys and "train/model/reconstruction" not in keys
    measured = {key.rpartition("/")[2] for key in keys if key.startswith("audit/met-")}
    behaviour = {"critic_mse", "actor_agreement"}
    trusted = {"disagreement", "trust_rank", "trust_rank_by_step"}
    trusted |= {"error_trusted", "error_distrusted"}
    assert measured == {"mistaken", "surprise", "reward_mse", "count"} | behaviour | trusted
    with np.load(tmp_path / "run/audits/task-1.npz") as held:
        assert "open_loop_error" in held
    state, _ = checkpoint.load(tmp_path / "run/checkpoints/last.safetensors")
    saved = state["agent"]
    assert "objective.project.weight" in saved["world_model"]["model"]
    now, slow = saved["world_model"]["model"], saved["slow"]["model"]
    assert not torch.equal(now["encoder.net.0.weight"], slow["encoder.net.0.weight"])


def imagined(agent):
    draws = torch.Generator().manual_seed(0)
    obs = observations(agent.obs_space, 6, draws=draws)
    return agent.capabilities().imagine(obs, agent.actions.random(5, draws), 2, draws, None)


def test_an_agent_that_draws_nothing_says_so(contrast):
    agent = new_agent(tiny(objective__representation="telling_apart"))
    assert imagined(agent).obs is None
    assert imagined(new_agent(tiny())).obs is not None


def test_the_averaged_copy_follows_the_model_at_its_rate(contrast):
    # copy + 0.25 (model - copy), after the model has been stepped
    agent = ready(tiny(objective__representation="telling_apart"))
    before = agent.slow["model"].clone()
    assert torch.equal(before, agent.trained["model"].row)
    agent.update(1)
    row = agent.trained["model"].row
    torch.testing.assert_close(agent.slow["model"], before + 0.25 * (row - before))
    assert not torch.equal(row, before)


@pytest.mark.parametrize("method", ["dreamer", "dreamer-p2e"])
def test_two_views_learn_alike_on_the_plain_path(views, double, method):
    cfg = tiny(method, objective__representation="views", behaviour__starts=0)
    both = [started(cls, cfg, SYMBOLS, PICKS) for cls in (DreamerAgent, PlainDreamer)]
    reports = [learn(agent) for agent in both]
    assert_alike(*reports)
    assert_alike(*(held(agent) for agent in both))


def test_what_is_frozen_starts_to_learn_later_and_stays_of_unit_length(views):
    agent = ready(tiny(objective__representation="views"))

    def prototypes() -> torch.Tensor:
        return agent.state_dict()["world_model"]["model"]["objective.prototypes"].clone()

    before = prototypes()
    agent.update(2)
    torch.testing.assert_close(prototypes(), before)
    agent.update(1)
    assert not torch.allclose(prototypes(), before, rtol=0, atol=1e-6)
    torch.testing.assert_close(prototypes().norm(dim=-1), torch.ones(5))
    assert agent.carried.h.shape == (3, 5)  # of the first view


def test_imagination_starts_in_the_states_of_all_views(views):
    agent = new_agent(tiny(objective__representation="views", behaviour__starts=0))
    noise = agent.networks.noise()
    assert noise["posterior"].shape[:2] == (5, 6)  # records, rows of both views
    assert noise["action"].shape == (3, 30) and noise["hidden"].shape == (6, 2, 2, 1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"objective__representation": "prototypes", "representation__prototypes__count": 13},
            r"count 13 is more than the samples of a batch, 3 sequences of 4 records \(12\)",
        ),
        ({"objective__representation": "contrast"}, "'contrast' compares means.*gaussian"),
        (
            {
                "objective__representation": "contrast",
                "latent__kind": "gaussian",
                "representation__contrast__warm_up": 5,
            },
            "warm_up 5 leaves nothing of sequences of 5 records",
        ),
        (
            {
                "objective__representation": "contrast",
                "latent__kind": "gaussian",
                "update__batch": 1,
            },
            "update.batch is 1; take at least 2",
        ),
        (
            {
                "objective__representation": "contrast",
                "latent__kind": "gaussian",
                "representation__contrast__rises": 12,
            },
            r"rises 12 times 0.01 \(rise\) would begin below 0, the weight being 0.1",
        ),
        ({"behaviour__sequences": 4}, "sequences 4 is more than those of a batch .*batch 3"),
        (
            {"behaviour__sequences": 1},
            r"starts 8 is more than the states of a batch \(1 x 5\)",
        ),
        ({"latent__posterior": "embedding"}, "'embedding' borrows the spread.*'categorical'"),
        ({"latent__posterior": "both"}, "unknown value for 'latent.posterior' 'both'"),
    ],
)
def test_settings_that_do_not_fit_an_objective_are_refused(changes, told):
    with pytest.raises(UserError, match=told):
        tiny(**changes)


def test_the_weight_of_consistency_comes_up_over_pretraining_as_the_original_tpcs():
    # 0.05, to which 0.01 comes with updates 0, 400, 800, 1,200 and 1,600 of 2,000
    full = run_config.plain("dmc-full", "tpc-original")
    model = WorldModel(SPACES["image"], 6, full, torch.Generator())
    wanted = {0: 0.06, 399: 0.06, 400: 0.07, 799: 0.07, 800: 0.08, 1_200: 0.09, 1_599: 0.09}
    wanted |= {1_600: 0.1, 1_999: 0.1, 2_000: 0.1, 99_999: 0.1}
    for updates, weight in wanted.items():
        assert model.objective.scheduled(updates) == {"consistency": pytest.approx(weight)}
    later = WorldModel(SPACES["image"], 6, run_config.plain("dmc-full", "tpc"), torch.Generator())
    assert later.objective.scheduled(0) == {}


def test_the_scheduled_weight_is_the_one_that_counts():
    cfg = config.merge(
        settings("gaussian", representation="contrast"),
        {"representation": {"contrast": {"rises": 5, "consistency": 0.1}}},
    )
    model, given = world(cfg), batch(SPACES["vector"])
    loss = {}
    for name, scheduled in {"end": None, "begin": {"consistency": 0.06}, "none": {}}.items():
        loss[name], kept = model.loss(*given, noise_of(model), scheduled=scheduled)
    assert loss["none"] == loss["end"]
    term = kept.parts["consistency_term"]
    torch.testing.assert_close(loss["end"] - loss["begin"], 0.04 * term, rtol=1e-3, atol=1e-5)


def test_updates_count_for_what_is_scheduled():
    # Pretraining of 4 updates and two steps: the weights are 0.09, 0.09, 0.1, 0.1 and then 0.1.
    changes = {"representation__contrast__rises": 2, "update__pretrain": 4}
    agent = ready(tiny("tpc-original", **changes))
    found = []
    for _ in range(6):
        agent.update(1)
        told = agent.running_means.means()
        found.append(told["model/consistency"] / told["model/consistency_term"])
        agent.running_means.clear()
    assert found == pytest.approx([0.09, 0.09, 0.1, 0.1, 0.1, 0.1], rel=1e-5)


def test_prototypes_are_as_many_as_samples_unless_their_number_is_given():
    # 3 sequences of 5 records, the first of which is left out
    aim = {"objective__representation": "prototypes", "representation__prototypes__count": 0}
    agent = new_agent(tiny(**aim))
    assert agent.module("model").objective.prototypes.shape == (12, 3)
    agent.store("learner", invented(agent))
    agent.count_steps(agent.cfg.update.prefill)
    agent.update(3)
    assert 0 < agent.report()["train/model/prototypes_used"] <= 1
