"""Rules on names say what a new agent takes of another one, tensor by tensor."""

import pytest
import torch

from lib.algos.dreamer import parameter_transfer, parts
from lib.algos.dreamer.agent import DreamerAgent
from lib.algos.dreamer.parameter_transfer import Rule, rules_of, transfer
from lib.algos.dreamer.settings import TransferConfig
from lib.core.errors import UserError
from lib.core.spaces import ActionSpace
from tests.dreamer_tiny import BOX, PICKS, SYMBOLS, VECTOR, new_agent, ready, tiny

Z = 4  # numbers of the stochastic state


def agent(actions: int = 6, seed: int = 0, method: str = "dreamer-v1", **changes) -> DreamerAgent:
    """A tiny agent that acts with so many numbers; weights and biases are its own everywhere."""
    cfg = tiny(method, seed=seed, **{"latent__variables": Z, **changes})
    made = new_agent(cfg, VECTOR, ActionSpace(actions, discrete=False))
    draws = torch.Generator().manual_seed(100 + seed)
    for adam in made.trained.values():
        adam.row.add_(0.1 * torch.randn(adam.row.shape, generator=draws))
    return made


def tensors(made: DreamerAgent) -> dict[str, torch.Tensor]:
    """Copies of all its tensors."""
    held = parts.named(made.state_dict(with_replay=False))
    return {name: tensor.clone() for name, tensor in held.items()}


def moved(source: DreamerAgent, target: DreamerAgent, **cfg):
    """Tensors of the target, before and after, and of the source."""
    before, theirs, cfg = tensors(target), tensors(source), TransferConfig(**cfg)
    columns = target.networks.modules["model"].rssm.latent.size
    after, rows = transfer(
        theirs, before, parameter_transfer.share_of(cfg), rules_of(cfg, before, columns)
    )
    return before, theirs, after, {row.name: row for row in rows}


def last(name: str, names) -> str:
    """The last layer of a head, without what is of it."""
    return max(
        (n for n in names if n.startswith(f"{name}.net.")), key=lambda n: int(n.split(".")[-2])
    )


# By hand ------------------------------------------------------------------------------------------


def test_every_way_does_what_it_says_on_numbers_that_fit_on_a_page():
    source = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([10.0]), "w": torch.ones(1, 3)}
    target = {"a": torch.zeros(2), "b": torch.tensor([1.0]), "c": torch.tensor([7.0])}
    target["w"] = torch.zeros(1, 5)
    rules = [Rule("a", "copy"), Rule("b", "fraction"), Rule("c", "random"), Rule("w", "columns", 2)]
    found, rows = transfer(source, target, 0.5, rules)
    assert found["a"].tolist() == [1, 2] and found["c"].tolist() == [7]
    assert found["b"].tolist() == [6]  # 1 + 0.5 * 10
    assert found["w"].tolist() == [[1, 1, 0, 0, 0]]
    assert [row.how for row in rows] == ["copy", "fraction", "random", "columns"]
    assert rows[3].note == "2 columns copied, 3 random"
    assert target["b"].item() == 1 and source["b"].item() == 10, "neither side is written to"


def test_the_first_rule_that_names_a_tensor_counts():
    source, target = {"a": torch.ones(1)}, {"a": torch.zeros(1)}
    assert transfer(source, target, 1.0, [Rule("a", "random"), Rule(".*", "copy")])[0]["a"] == 0
    assert transfer(source, target, 1.0, [Rule(".*", "copy"), Rule("a", "random")])[0]["a"] == 1


ONE, TWO = torch.zeros(1), torch.zeros(2)


@pytest.mark.parametrize(
    ("source", "target", "omega", "rules", "message"),
    [
        ({"a": ONE}, {"a": ONE}, 1.5, [Rule("a", "copy")], "omega 1.5: .* between 0 and 1"),
        ({"a": ONE}, {"a": ONE}, -0.1, [Rule("a", "copy")], "omega -0.1"),
        ({"a": ONE}, {"a": ONE, "b": ONE}, 0.2, [Rule("a", "copy")], "no rule .* of 'b'"),
        ({"a": ONE}, {"a": ONE}, 0.2, [Rule("x", "copy"), Rule("a", "copy")], "'x' .* no tensor"),
        ({"a": TWO}, {"a": ONE}, 0.2, [Rule("a", "copy")], r"'a' is \[2\] in the source and \[1\]"),
        ({"a": TWO}, {"a": ONE}, 0.2, [Rule("a", "fraction")], r"\[2\] in the source and \[1\]"),
        ({}, {"a": ONE}, 0.2, [Rule("a", "copy")], "the source has no 'a'"),
        (
            {"a": torch.zeros(2, 3)},
            {"a": torch.zeros(3, 3)},
            0.2,
            [Rule("a", "columns", 2)],
            r"\[2, 3\] in the source and \[3, 3\] here.*2 columns",
        ),
        (
            {"a": torch.zeros(2, 1)},
            {"a": torch.zeros(2, 3)},
            0.2,
            [Rule("a", "columns", 2)],
            "2 columns",
        ),
    ],
)
def test_what_cannot_be_is_one_line(source, target, omega, rules, message):
    with pytest.raises(UserError, match=message) as error:
        transfer(source, target, omega, rules)
    assert "\n" not in str(error.value)


# The table of section 3 -----------------------------------------------------------------------


def test_fractional_transfer_is_the_published_table():
    before, theirs, after, rows = moved(agent(seed=1), agent(), case="ftl", omega=0.2)
    ends = {last(head, after).rpartition(".")[0] for head in ("model.reward_head", "critic")}
    of_actor = last("actor", after).rpartition(".")[0]
    for name, value in after.items():
        end = name.rpartition(".")[0]
        if end in ends:
            assert rows[name].how == "fraction"
            assert torch.equal(value, before[name] + 0.2 * theirs[name])
        elif end == of_actor:
            assert rows[name].how == "random" and torch.equal(value, before[name])
        elif name == "model.rssm.input.weight":
            assert torch.equal(value[:, :Z], theirs[name][:, :Z])
            assert torch.equal(value[:, Z:], before[name][:, Z:])
        else:
            assert rows[name].how == "copy" and torch.equal(value, theirs[name])
    assert len([row for row in rows.values() if row.how == "fraction"]) == 4
    assert len([row for row in rows.values() if row.how == "random"]) == 2


@pytest.mark.parametrize("omega", [0.0, 0.2, 1.0])
def test_a_last_bias_that_begins_at_zero_ends_as_a_share_of_the_sources(omega):
    target = new_agent(
        tiny("dreamer-v1", latent__variables=Z), VECTOR, ActionSpace(6, discrete=False)
    )
    _, theirs, after, _ = moved(agent(seed=1), target, omega=omega)
    for head in ("model.reward_head", "critic"):
        name = last(head, [n for n in after if n.endswith("bias")])
        assert torch.equal(after[name], omega * theirs[name]) and theirs[name].abs().sum() > 0


@pytest.mark.parametrize("cfg", [{"case": "modular"}, {"case": "ftl", "omega": 0.0}])
def test_a_share_of_nothing_leaves_what_heads_answer_as_it_was(cfg):
    source, target = agent(seed=1), agent()
    before, _, after, _ = moved(source, target, **cfg)
    x = torch.randn(11, before["critic.net.0.weight"].shape[0])
    for head in ("model.reward_head", "critic"):
        weight = last(head, [n for n in after if n.endswith("weight")])
        bias = weight.replace("weight", "bias")
        fresh = torch.nn.functional.linear(x, before[weight], before[bias])
        assert torch.equal(torch.nn.functional.linear(x, after[weight], after[bias]), fresh)
    assert not torch.equal(after["critic.net.0.weight"], before["critic.net.0.weight"])


@pytest.mark.parametrize(("theirs", "mine"), [(8, 6), (3, 8), (6, 6)])
def test_any_numbers_of_actions_go_together(theirs, mine):
    source, target = agent(theirs, seed=1), agent(mine)
    before, held, after, rows = moved(source, target)
    weight = "model.rssm.input.weight"
    assert after[weight].shape[1] == Z + mine and held[weight].shape[1] == Z + theirs
    assert torch.equal(after[weight][:, :Z], held[weight][:, :Z])
    assert torch.equal(after[weight][:, Z:], before[weight][:, Z:])
    assert rows[weight].note == f"{Z} columns copied, {mine} random"
    assert torch.equal(after["model.rssm.input.bias"], held["model.rssm.input.bias"])


def test_everything_is_replaced_where_actions_are_as_many():
    _, theirs, after, _ = moved(agent(seed=1), agent(), case="full")
    assert all(torch.equal(value, theirs[name]) for name, value in after.items())
    with pytest.raises(UserError, match=r"'model.rssm.input.weight' .*\(copy\)"):
        moved(agent(8, seed=1), agent(), case="full")


def test_a_share_of_one_is_not_everything():
    before, theirs, after, _ = moved(agent(seed=1), agent(), omega=1.0)
    name = last("critic", [n for n in after if n.endswith("weight")])
    assert torch.equal(after[name], before[name] + theirs[name])
    assert not torch.equal(after[name], theirs[name])


def test_scratch_takes_nothing():
    before, _, after, rows = moved(agent(8, seed=1), agent(), case="scratch")
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    assert {row.how for row in rows.values()} == {"random"}


def test_whole_heads_are_fractions_and_the_whole_actor_stays_random():
    before, theirs, after, rows = moved(agent(seed=1), agent(), scope="whole_head")
    for name, value in after.items():
        if name.startswith(("model.reward_head.", "critic.")):
            assert torch.equal(value, before[name] + 0.2 * theirs[name])
        if name.startswith("actor."):
            assert torch.equal(value, before[name])
    assert rows["model.encoder.net.0.weight"].how == "copy"


# In every Dreamer -----------------------------------------------------------------------------


def taken(method: str, space, actions, **changes):
    """An agent that has taken parts of another one, that one, and what was done."""
    source = ready(tiny(method, seed=1, **changes), space=space, actions=actions)
    source.update(2)
    target = new_agent(tiny(method, **changes), space, actions)
    state = source.state_dict(with_replay=False)
    rows = target.capabilities().transfer.load_parts(state)
    return source, target, {row.name: row.how for row in rows}


@pytest.mark.parametrize(
    ("method", "actions", "changes"),
    [
        ("dreamer", PICKS, {}),
        ("dreamer", PICKS, {"latent__norm": "layer"}),
        ("dreamer-p2e", PICKS, {}),
        ("dreamer-v1", BOX, {}),
        ("tpc", BOX, {}),
        ("dreamer-redundancy", PICKS, {}),
        ("dreamer-pro", PICKS, {}),
    ],
)
def test_the_rules_name_every_tensor_of_every_dreamer(method, actions, changes):
    source, target, how = taken(method, SYMBOLS, actions, **changes)
    named = parts.named(target.state_dict(with_replay=False))
    assert how.keys() == named.keys()
    theirs = parts.named(source.state_dict(with_replay=False))
    for name, value in named.items():
        if how[name] == "copy":
            assert torch.equal(value, theirs[name]), name
    heads = 6 if "model.discount_head.net.0.weight" in named else 4
    assert list(how.values()).count("fraction") == heads
    explores = [name for name in how if not name.startswith(("model.", "actor.", "critic."))]
    assert all(how[name] == "random" for name in explores)


def test_older_copies_are_those_of_what_comes_out_and_nothing_else_is_carried_over():
    _, target, _ = taken("dreamer-pro", SYMBOLS, PICKS)
    for name, row in target.slow.items():
        assert torch.equal(row, target.trained[name].row)
    assert {"critic", "model"} <= target.slow.keys()
    for adam in target.trained.values():
        assert adam.step == 0 and not adam.mean.any() and not adam.square.any()
    assert (target.total_updates, target.total_env_steps, target.replay.episodes) == (0, 0, 0)


def test_a_source_without_what_is_copied_is_refused():
    source = new_agent(tiny("dreamer-v1", objective__discount_head=False))
    target = new_agent(tiny("dreamer-v1", objective__discount_head=True))
    with pytest.raises(UserError, match="the source has no 'model.discount_head"):
        target.capabilities().transfer.load_parts(source.state_dict(with_replay=False))
