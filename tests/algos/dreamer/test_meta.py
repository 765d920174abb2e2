"""Fixed parts of other runs: what they are, that they stay, and that checkpoints hold them."""

import copy

import pytest
import torch

from lib.algos.api import Foreign
from lib.algos.dreamer import meta, parts
from lib.algos.dreamer.family import FAMILY
from lib.algos.dreamer.learn_model import learn_model
from lib.core.errors import UserError
from lib.core.spaces import ActionSpace
from tests.dreamer_tiny import BOX, VECTOR, batch_of, new_agent, ready, snapshot, tiny

FIXED = {"meta__autoencoder": "space", "meta__rewards": ["one", "{seed}/two"]}
ENCODER, DECODER = "model.encoder.", "model.objective.decoder."
SOURCES = "model.reward_head.sources."


def run(**changes):
    """A tiny Dreamer 1 with fixed parts."""
    return tiny("dreamer-v1", **{**FIXED, **changes})


def started(**changes):
    return ready(run(**changes), space=VECTOR, actions=BOX)


def tensors(agent):
    held = parts.named(agent.state_dict(with_replay=False))
    return {name: tensor.clone() for name, tensor in held.items()}


def source(seed=7, actions=BOX, **changes):
    """Tensors of another run."""
    return tensors(ready(tiny("dreamer-v1", seed=seed, **changes), space=VECTOR, actions=actions))


# What is fixed ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "fixed"),
    [
        ({"meta__autoencoder": "", "meta__rewards": []}, ()),
        ({"meta__rewards": []}, (ENCODER,)),
        ({}, (ENCODER, SOURCES)),
        ({"meta__freeze_decoder": True}, (ENCODER, DECODER, SOURCES)),
        ({"meta__freeze_decoder": True, "meta__rewards": []}, (ENCODER, DECODER)),
    ],
)
def test_updates_change_everything_but_what_is_fixed(changes, fixed):
    agent = started(**changes)
    before = tensors(agent)
    agent.update(2)
    after = tensors(agent)
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]) == name.startswith(fixed), name


def test_what_is_fixed_is_in_no_optimiser_and_does_not_decay():
    agent = started(update__decay=0.1)
    before = tensors(agent)
    agent.update(1)
    encoder = {name: tensor for name, tensor in before.items() if name.startswith(ENCODER)}
    assert encoder and all(torch.equal(t, tensors(agent)[name]) for name, t in encoder.items())
    learns = set(agent.networks.flats["model"].shapes)
    assert not any(f"model.{name}".startswith((ENCODER, SOURCES)) for name in learns)
    assert agent.trained["model"].mean.shape == agent.trained["model"].row.shape


def test_another_source_head_makes_another_prediction_and_other_gradients():
    one, other = started(), started()
    with torch.no_grad():
        view = other.networks.flats["fixed"].views(other.fixed["fixed"])
        view["reward_head.sources.0.net.0.weight"] += 1
    features = torch.randn(5, 4 + 5 - 2, generator=torch.Generator().manual_seed(0))
    rewards = [agent.module("model").reward(features) for agent in (one, other)]
    assert not torch.equal(*rewards)
    for agent in (one, other):
        agent.update(1)
    assert not torch.equal(one.trained["model"].row, other.trained["model"].row)
    # A head reads h besides; the recurrent model's gradient differs as the head's input does.
    name = "model.rssm.cell.of_input.weight"
    assert not torch.equal(tensors(one)[name], tensors(other)[name])


def test_the_control_is_blind_to_source_heads():
    agents = [started(meta__use_sources=False) for _ in range(2)]
    view = agents[1].networks.flats["fixed"].views(agents[1].fixed["fixed"])
    view["reward_head.sources.0.net.0.weight"].add_(1)
    for agent in agents:
        agent.update(2)
    assert torch.equal(agents[0].trained["model"].row, agents[1].trained["model"].row)


def test_a_world_model_that_learns_alone_leaves_it_too():
    agent = started(meta__freeze_decoder=True)
    before = tensors(agent)
    learn_model(agent, 2)
    for name, tensor in tensors(agent).items():
        stays = name.startswith((ENCODER, DECODER, SOURCES, "actor.", "critic."))
        assert torch.equal(tensor, before[name]) == stays, name


def test_seeds_keep_their_own():
    seeds = batch_of(run(), (0, 1), space=VECTOR, actions=BOX)
    before = [tensors(agent) for agent in seeds.agents]
    seeds.update(1)
    for agent, held in zip(seeds.agents, before, strict=True):
        now = tensors(agent)
        assert all(torch.equal(now[n], t) for n, t in held.items() if n.startswith(ENCODER))
    name = "model.encoder.net.0.weight"
    assert not torch.equal(before[0][name], before[1][name])


def test_a_saved_agent_holds_what_is_fixed_and_goes_on_without_the_files():
    agent = started()
    agent.update(1)
    other = new_agent(run(), VECTOR, BOX)
    other.load_state_dict(snapshot(agent))
    other.streams.load_state_dict(copy.deepcopy(agent.streams.state_dict()))
    for one in (agent, other):
        one.update(1)
    one, two = tensors(agent), tensors(other)
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


# What is taken ----------------------------------------------------------------------------------


def test_a_run_names_what_it_takes_with_its_own_seed():
    assert meta.foreign(run(seed=3)) == (
        Foreign("meta.autoencoder", "autoencoder", "space"),
        Foreign("meta.rewards[0]", "reward", "one", teaches=True),
        Foreign("meta.rewards[1]", "reward", "3/two", teaches=True),
    )
    assert meta.foreign(tiny("dreamer-v1")) == () and FAMILY.foreign is meta.foreign


def test_parts_go_where_they_belong():
    agent, theirs = new_agent(run(meta__init_rssm="first"), VECTOR, BOX), source()
    before, rows = tensors(agent), []
    for wanted in meta.foreign(agent.cfg):
        rows += meta.take(agent, wanted, parts.part(theirs, wanted.part))
    fixed = {row.name for row in rows if row.how == "fixed"}
    assert {row.name for row in rows} - fixed == {
        name for name in before if name.startswith((DECODER, "model.rssm."))
    }, "the encoder and the sources' heads never learn"
    after = tensors(agent)
    for name, tensor in after.items():
        if name.startswith((ENCODER, DECODER)) or (
            name.startswith("model.rssm.") and name != "model.rssm.input.weight"
        ):
            assert torch.equal(tensor, theirs[name]), name
        elif name.startswith(SOURCES):
            own = "model.reward_head." + name.removeprefix(SOURCES).partition(".")[2]
            assert torch.equal(tensor, theirs[own])
        elif name != "model.rssm.input.weight":
            assert torch.equal(tensor, before[name]), name


def test_a_recurrent_model_is_taken_but_for_its_actions():
    changes = {"meta__rewards": [], "meta__init_rssm": "first"}
    agent = new_agent(run(**changes), VECTOR, ActionSpace(5, discrete=False))
    theirs, before = source(actions=ActionSpace(3, discrete=False)), tensors(agent)
    rows = meta.take(agent, meta.foreign(agent.cfg)[-1], parts.part(theirs, "rssm"))
    name, z = "model.rssm.input.weight", agent.networks.modules["model"].rssm.latent.size
    found = tensors(agent)[name]
    assert torch.equal(found[:, :z], theirs[name][:, :z])
    assert torch.equal(found[:, z:], before[name][:, z:])
    assert {row.how for row in rows} == {"copy", "columns"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network__code_width": 11}, r"meta.autoencoder 'space': '.*\[11, 7\] in the source"),
        ({"network__code_layers": 2}, "'space' has 'model.encoder.net.3.bias'.*no place"),
    ],
)
def test_a_part_of_other_sizes_is_refused_and_nothing_is_written(changes, message):
    agent, theirs = new_agent(run(), VECTOR, BOX), source(**changes)
    before, wanted = tensors(agent), meta.foreign(agent.cfg)[0]
    if "layers" in str(changes):  # a deeper encoder; the decoder is left as it would fit
        theirs |= {n: t for n, t in source().items() if n.startswith(DECODER)}
        theirs = {n: t for n, t in theirs.items() if "decoder.net.6" not in n}
    with pytest.raises(UserError, match=message):
        meta.take(agent, wanted, parts.part(theirs, wanted.part))
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors(agent).items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"meta__autoencoder": ""}, "meta.rewards builds on an encoder.*--part autoencoder"),
        (
            {"meta__autoencoder": "", "meta__rewards": [], "meta__freeze_decoder": True},
            "meta.freeze_decoder builds on an encoder",
        ),
        ({"meta__rewards": [], "meta__use_sources": False}, "use_sources false is the control"),
        ({"meta__rewards": ["one", " "]}, r"meta.rewards\[1\] of 2 names no run.*--part reward"),
        ({"meta__rewards": [3]}, "meta.rewards"),
        ({"objective__representation": "redundancy"}, "'redundancy' has no decoder"),
        ({"boundary__carry": "nothing"}, "would be thrown away"),
        ({"meta__layers": 0}, "meta.layers.*at least 1"),
        ({"transfer__omega": 1.2}, "transfer.omega.*got 1.2, wanted at most 1"),
        ({"transfer__case": "fractional"}, "unknown value for 'transfer.case'"),
    ],
)
def test_what_cannot_be_is_one_line(changes, message):
    with pytest.raises(UserError, match=message) as error:
        run(**changes)
    assert "\n" not in str(error.value)
