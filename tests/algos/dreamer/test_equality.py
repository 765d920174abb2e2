"""The fast Dreamer against the plain one of tests/oracle, and several seeds against each alone.

In double precision both agree to rounding: tolerances are shares of max(1, size). What is left to
chance is drawn alike, so updates and decisions are compared number by number.
"""

from typing import Any

import pytest
import torch

from lib.algos.dreamer.agent import DreamerAgent
from lib.algos.dreamer.run_settings import DreamerRun
from lib.core.seeding import Streams
from lib.core.spaces import ActionSpace, ObsSpace
from lib.engine.seed_batch import SeedBatch
from tests.dreamer_tiny import BOX, PICKS, SYMBOLS, VECTOR, invented, observations, of_seed, tiny
from tests.oracle.dreamer import PlainDreamer
from tests.oracle.ready import apart, copied

EXACT = 1e-10  # double precision, sums in another order
SEEDS = (0, 1, 2)
IMAGES = ObsSpace("image", (64, 64, 3), torch.uint8)
SMALL = {"update__length": 3, "update__batch": 2, "behaviour__starts": 4}  # for images
TPC = {
    "objective__representation": "contrast",
    "latent__kind": "gaussian",
    "latent__posterior": "embedding",
    "objective__kl_scale": 0.0,
}
# Untrained networks promise little: of few dreams some are imitated and some are not.
EASY = {"rehearsal__starts": 5, "rehearsal__dreams": 3, "rehearsal__margin": 0.6}

META = {"meta__autoencoder": "there", "meta__rewards": ["one", "two"], "meta__layers": 2}

VARIATIONS: dict[str, tuple[dict[str, Any], ObsSpace, ActionSpace]] = {
    "discrete": ({}, SYMBOLS, PICKS),
    "pixels": (SMALL, IMAGES, PICKS),
    "plan2explore": ({"method": "dreamer-p2e"}, SYMBOLS, PICKS),
    "plan2explore, pixels alone": ({"method": "dreamer-p2e-pixels"}, SYMBOLS, PICKS),
    "gaussian": ({"latent__kind": "gaussian"}, SYMBOLS, PICKS),
    "gradients through the model": ({}, SYMBOLS, BOX),
    "many samples of an action": ({"behaviour__samples": 3}, SYMBOLS, BOX),
    "reached states alone": (
        {"behaviour__credit": "reached", "behaviour__slow_every": 1},
        SYMBOLS,
        BOX,
    ),
    "judged where it acts": (
        {"behaviour__samples": 3, "behaviour__credit": "current"},
        SYMBOLS,
        BOX,
    ),
    "many samples, exploring": (
        {"behaviour__samples": 3, "method": "dreamer-p2e"},
        SYMBOLS,
        BOX,
    ),
    "gaussian, through the model": ({"latent__kind": "gaussian"}, SYMBOLS, BOX),
    "exploring through the model": ({"method": "dreamer-p2e"}, SYMBOLS, BOX),
    "scores of continuous actions": ({"behaviour__gradient": "reinforce"}, SYMBOLS, BOX),
    "one-hot through the model": ({"behaviour__gradient": "dynamics"}, SYMBOLS, PICKS),
    "rewards shape nothing": ({"objective__reward_shapes": False}, SYMBOLS, PICKS),
    "no discount head": ({"objective__discount_head": False}, SYMBOLS, PICKS),
    "rewards as they are": ({"objective__reward": "identity"}, SYMBOLS, PICKS),
    "rows go on": ({"replay__row_start": "carry"}, SYMBOLS, PICKS),
    "layers normalised": ({"latent__norm": "layer"}, SYMBOLS, PICKS),
    "layers normalised, exploring": (
        {"latent__norm": "layer", "method": "dreamer-p2e"},
        SYMBOLS,
        PICKS,
    ),
    "layers normalised, pixels": ({"latent__norm": "layer", **SMALL}, IMAGES, PICKS),
    "from all states": ({"behaviour__starts": 0}, SYMBOLS, PICKS),
    "exploring from all states": (
        {"behaviour__starts": 0, "method": "dreamer-p2e"},
        SYMBOLS,
        PICKS,
    ),
    "free nats": ({"objective__free_nats": 1.5, "objective__kl_balance": 0.6}, SYMBOLS, PICKS),
    "gradients clipped": ({"update__clip": 0.05}, SYMBOLS, PICKS),
    "prototypes": (
        {"objective__representation": "prototypes", "behaviour__starts": 0},
        SYMBOLS,
        PICKS,
    ),
    "prototypes of pixels": (
        {
            "objective__representation": "prototypes",
            **SMALL,
            "representation__prototypes__count": 4,
        },
        IMAGES,
        PICKS,
    ),
    "contrast": ({**TPC}, SYMBOLS, BOX),
    "contrast of one-hot actions": ({**TPC}, SYMBOLS, PICKS),
    # as the authors of TPC have it, the fourth update being the first after pretraining
    "contrast that comes up, the model alone": (
        {
            **TPC,
            "representation__contrast__rises": 2,
            "update__pretrain": 3,
            "update__pretrains": "model",
            "update__decay": 0.01,
            "behaviour__sequences": 2,
            "behaviour__starts": 0,
            "behaviour__slow_when": "before",
        },
        SYMBOLS,
        BOX,
    ),
    "few states of few sequences": (
        {
            "behaviour__sequences": 1,
            "behaviour__starts": 3,
            "objective__representation": "prototypes",
        },
        SYMBOLS,
        PICKS,
    ),
    "the model alone, exploring": (
        {"method": "dreamer-p2e", "update__pretrain": 2, "update__pretrains": "model"},
        SYMBOLS,
        PICKS,
    ),
    "redundancy": ({"objective__representation": "redundancy"}, SYMBOLS, PICKS),
    "rehearsing": ({"method": "continual-dreamer-rehearsal", **EASY}, SYMBOLS, PICKS),
    "rehearsing and exploring": (
        {"method": "dreamer-p2e", "rehearsal__weight": 0.5, "rehearsal__of": "all", **EASY},
        SYMBOLS,
        PICKS,
    ),
    "rehearsing in a box": (
        {"method": "continual-dreamer-rehearsal", "objective__discount_head": False, **EASY},
        SYMBOLS,
        BOX,
    ),
    "a plain GRU": ({"latent__cell": "gru"}, SYMBOLS, PICKS),
    "a plain GRU, softplus, gaussian": (
        {"latent__cell": "gru", "latent__kind": "gaussian", "latent__std": "softplus"},
        SYMBOLS,
        BOX,
    ),
    "softplus, gaussian": ({"latent__kind": "gaussian", "latent__std": "softplus"}, SYMBOLS, BOX),
    "contrast with a plain GRU": ({**TPC, "latent__cell": "gru"}, SYMBOLS, BOX),
    "rectified convolutions": ({"network__convolution": "relu", **SMALL}, IMAGES, PICKS),
    "heads of their own depth": (
        {"network__reward_layers": 2, "network__critic_layers": 3},
        SYMBOLS,
        PICKS,
    ),
    "noise while collecting": ({"explore__noise": 0.3}, SYMBOLS, BOX),
    "cloning": ({"method": "continual-dreamer-cloning"}, SYMBOLS, PICKS),
    "cloning two views in a box": (
        {"method": "continual-dreamer-cloning", "objective__representation": "prototypes"},
        SYMBOLS,
        BOX,
    ),
    "reading fixed heads": (META, SYMBOLS, BOX),
    "reading fixed heads, a fixed decoder": (
        META | {"meta__freeze_decoder": True, "latent__cell": "gru", "update__decay": 0.01},
        SYMBOLS,
        BOX,
    ),
    "reading fixed heads, exploring": (META | {"method": "dreamer-p2e"}, SYMBOLS, PICKS),
    "a fixed encoder": ({"meta__autoencoder": "there"}, SYMBOLS, PICKS),
    "heavy decay": ({"update__decay": 0.01}, SYMBOLS, PICKS),
}
every_variation = pytest.mark.parametrize("name", VARIATIONS)


def started(cls: type, cfg: DreamerRun, space: ObsSpace, actions: ActionSpace) -> Any:
    """An agent whose prefill is over, with experience of its own."""
    agent = cls(cfg, space, actions, Streams(cfg.seed, "cpu"), "cpu")
    agent.begin_task(0)
    agent.store("learner", invented(agent, seed=cfg.seed))
    agent.count_steps(cfg.update.prefill)
    draws = torch.Generator().manual_seed(cfg.seed)
    rows = [adam.row for adam in agent.trained.values()] + list(agent.fixed.values())
    for row in rows:  # biases start at zero, which would hide mistakes
        row.add_(0.1 * torch.randn(row.shape, generator=draws))
    agent.running_means.clear()
    return agent


def made(cls: type, name: str, **changes: Any) -> Any:
    """An agent of a class with one of the variations."""
    settings, space, actions = VARIATIONS[name]
    return started(cls, tiny(**settings | changes), space, actions)


def learn(agent: Any) -> dict[str, float]:
    """Updates, episodes of another task, updates; returns what would be logged."""
    agent.update(3)
    agent.begin_task(1)
    agent.store("learner", invented(agent, seed=5))
    agent.update(2)
    return agent.report()


def held(agent: Any) -> dict[str, Any]:
    """Everything that an agent would save, but for what it reports."""
    return {name: part for name, part in agent.state_dict().items() if name != "running_means"}


def assert_alike(one: Any, other: Any, tolerance: float = EXACT) -> None:
    assert not apart(one, other, tolerance)


# --- fast and plain ---------------------------------------------------------------------------


@every_variation
def test_updates_equal_the_plain_ones(double, name):
    fast, plain = made(DreamerAgent, name), made(PlainDreamer, name)
    assert_alike(learn(fast), learn(plain))
    assert_alike(held(fast), held(plain))
    assert torch.equal(fast.streams.update.get_state(), plain.streams.update.get_state())
    assert torch.equal(fast.streams.replay.get_state(), plain.streams.replay.get_state())


@pytest.mark.parametrize("actions", [PICKS, BOX], ids=["discrete", "continuous"])
@pytest.mark.parametrize("space", [SYMBOLS, VECTOR], ids=["symbols", "vector"])
def test_one_update_in_single_precision_is_close_to_the_plain_one(space, actions):
    # Adam divides by the root of tiny squares: its steps differ more than the gradients do.
    fast, plain = (started(c, tiny(), space, actions) for c in (DreamerAgent, PlainDreamer))
    fast.update(1)
    plain.update(1)
    assert_alike(fast.report(), plain.report(), 1e-4)
    assert_alike(held(fast), held(plain), 1e-3)


def decisions(agent: Any, **options: Any) -> list[Any]:
    """Five of them for four episodes, and what is remembered."""
    draws, memory, told = torch.Generator().manual_seed(7), None, []
    for _ in range(5):
        obs = observations(agent.obs_space, 4, draws=draws)
        action, memory = agent.act(obs, memory, **options)
        told += [action, *memory]
        agent.count_steps(4)
    return told


ACTING = {
    "discrete": {},
    "pixels": {},
    "gradients through the model": {},
    "gaussian": {},
    "layers normalised": {},
    "plan2explore": {"explore__every": 2},
    "plan2explore, pixels alone": {},
}


@pytest.mark.parametrize("explore", [True, False])
@pytest.mark.parametrize("name", ACTING)
def test_decisions_equal_the_plain_ones(double, name, explore):
    agents = [made(cls, name, **ACTING[name]) for cls in (DreamerAgent, PlainDreamer)]
    assert_alike(*(decisions(agent, explore=explore) for agent in agents))
    states = [agent.streams.act.get_state() for agent in agents]
    assert torch.equal(*states)


# --- several seeds ----------------------------------------------------------------------------


def alone_and_together(name: str, **changes: Any) -> tuple[list[DreamerAgent], SeedBatch]:
    """The same seeds, each an agent of its own and all as one batch."""
    settings, space, actions = VARIATIONS[name]
    own = [of_seed(tiny(**settings | changes), seed) for seed in SEEDS]
    alone, joined = ([started(DreamerAgent, cfg, space, actions) for cfg in own] for _ in range(2))
    return alone, SeedBatch(joined)


def assert_learn_alike(alone: list[DreamerAgent], seeds: SeedBatch, tolerance: float) -> None:
    seeds.update(5)
    for one, other in zip(seeds.agents, alone, strict=True):
        other.update(5)
        assert_alike(one.report(), other.report(), tolerance)
        assert_alike(one.state_dict(), other.state_dict(), tolerance)


@every_variation
def test_a_batch_learns_what_its_seeds_learn_alone(double, name):
    assert_learn_alike(*alone_and_together(name), EXACT)


def test_a_batch_in_single_precision_stays_close_to_its_seeds():
    assert_learn_alike(*alone_and_together("discrete"), 2e-3)


@pytest.mark.parametrize("explore", [True, False])
@pytest.mark.parametrize("name", ["discrete", "pixels", "gradients through the model"])
def test_a_batch_acts_as_its_seeds_do_alone(double, name, explore):
    alone, seeds = alone_and_together(name)
    draws, memory, memories = torch.Generator().manual_seed(7), None, [None] * len(alone)
    for _ in range(3):
        obs = observations(alone[0].obs_space, len(alone), 4, draws=draws)
        action, memory = seeds.act(obs, memory, explore=explore)
        for seed, agent in enumerate(alone):
            own, memories[seed] = agent.act(obs[seed], memories[seed], explore=explore)
            assert_alike([action[seed], memory[1][seed]], [own, memories[seed][1]], 1e-12)


def test_one_seed_of_a_batch_goes_on_alone(double):
    _, seeds = alone_and_together("plan2explore")
    seeds.update(2)
    leaving = seeds.agents[1]
    alone = started(DreamerAgent, leaving.cfg, SYMBOLS, PICKS)
    alone.load_state_dict(copied(leaving.state_dict()))
    alone.streams.load_state_dict(leaving.streams.state_dict())
    seeds.update(2)
    alone.update(2)
    assert_alike(alone.state_dict(), leaving.state_dict(), 1e-12)
