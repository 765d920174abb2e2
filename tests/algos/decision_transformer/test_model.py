import math

import pytest
import torch

from lib.algos.decision_transformer.model import (
    DecisionTransformer,
    action_loss,
    decayed,
    mean_state,
    state_features,
)
from lib.algos.decision_transformer.sizes import SIZES, ModelConfig, parameters
from lib.core import config
from lib.core.seeding import generator
from lib.engine.compiling import has_compiler
from tests.sequence_tiny import CFG, B, C, model, window

A, BINS = CFG.actions, CFG.bins


def count(cfg: ModelConfig) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lib.algos.decision_transformer.model.gpt2_init_", lambda *_: None)
        patch.setattr(torch.Tensor, "uniform_", lambda self, *_, **__: self)
        patch.setattr(torch.Tensor, "normal_", lambda self, *_, **__: self)
        with torch.device("meta"):
            made = DecisionTransformer(cfg, generator(0, "init"))
    return sum(p.numel() for p in made.parameters())


def test_the_published_model_has_44_5_million_parameters():
    # Blocks 6 (12 * 768^2 + 13 * 768) = 42,527,232; the rest by hand: two tables of 65 + 1,000
    # rows, state 205 * 768, return and reward 2 * 2 * 768, norms 4 * 768, head 769 * 64.
    rest = 1_065 * 768 + 205 * 768 + 4 * 768 + 4 * 768 + 769 * 64
    idle = 769 * 204 + 2 * 769
    assert parameters(ModelConfig()) == 42_527_232
    assert count(ModelConfig()) == 42_527_232 + rest
    assert count(ModelConfig(idle_heads=True)) == 42_527_232 + rest + idle == 43_716_366
    published = ModelConfig(idle_heads=True, position_table=True)
    assert count(published) == 43_716_366 + 1_024 * 768 == 44_502_798


@pytest.mark.parametrize("name", SIZES)
def test_every_size_can_be_built(name):
    cfg = config.merge(ModelConfig(), SIZES[name])
    assert cfg.width % cfg.heads == 0 and count(cfg) > parameters(cfg)


def test_two_tables_begin_as_pytorch_makes_them():
    made = DecisionTransformer(ModelConfig(layers=1, width=48, heads=2), generator(0, "init"))
    state, action, time = (x.weight.detach() for x in (made.state, made.action, made.time))
    assert float(state.abs().max()) == pytest.approx(204**-0.5, rel=0.01)
    assert float(action[:64].std()) == pytest.approx(1, abs=0.05)
    assert not action[64].any()
    assert float(time.std()) == pytest.approx(0.02, rel=0.05)


def test_tokens_of_a_step_are_state_return_actions_reward_and_share_its_time():
    made, seen = model(), window()
    tokens = made.embed(seen)
    assert tokens.shape == (B, C, 3 + A, CFG.width)
    for row, step in ((0, 0), (3, 2)):
        raw = [
            made.state(seen.state[row, step]),
            made.to_go(seen.to_go[row, step].view(1)),
            *(made.action(seen.action[row, step, a]) for a in range(A)),
            made.reward(seen.reward[row, step].view(1)),
        ]
        time = made.time(seen.time[row, step])
        for place, one in enumerate(raw):
            torch.testing.assert_close(tokens[row, step, place], made.norm(one + time))


def test_an_untrained_model_is_about_as_unsure_as_can_be():
    made, seen = model(), window()
    loss = action_loss(made(seen), seen.action, seen.valid, seen.real)
    assert float(loss.detach()) == pytest.approx(math.log(BINS), abs=0.05)


def test_later_tokens_never_change_what_is_predicted_before_them():
    made, seen = model(), window()
    before = made(seen)
    for step in range(C):
        for dimension in range(A):
            token = seen.action.clone()
            token[:, step, dimension] = (token[:, step, dimension] + 1) % BINS
            after = made(seen._replace(action=token))
            assert torch.equal(after[:, :step], before[:, :step])
            assert torch.equal(after[:, step, : dimension + 1], before[:, step, : dimension + 1])
            later = after[:, step, dimension + 1 :] != before[:, step, dimension + 1 :]
            assert later.any() or dimension == A - 1
        reward = seen.reward.clone()
        reward[:, step] += 1
        after = made(seen._replace(reward=reward))
        assert torch.equal(after[:, : step + 1], before[:, : step + 1])


def test_padding_changes_nothing():
    made, seen = model(), window(padding=1)
    filled = window(seed=1)
    other = seen._replace(
        **{
            name: torch.where(
                seen.valid.view(B, C, *[1] * (getattr(seen, name).dim() - 2)),
                getattr(seen, name),
                getattr(filled, name),
            )
            for name in ("state", "to_go", "action", "reward", "time")
        }
    )
    assert torch.equal(made(seen)[:, 1:], made(other)[:, 1:])


def test_a_loss_counts_valid_steps_and_real_dimensions_alone():
    # Two windows of two steps and two dimensions with two bins, even logits but for one token.
    logits = torch.zeros(2, 2, 2, 2)
    logits[0, 1, 0] = torch.tensor([0.0, math.log(3)])  # 1/4 and 3/4
    action = torch.ones(2, 2, 2, dtype=torch.long)
    action[0, 0] = 9  # padding's token, which no head has
    valid = torch.tensor([[False, True], [False, False]])
    real = torch.tensor([[True, False], [True, True]])
    assert float(action_loss(logits, action, valid, real)) == pytest.approx(-math.log(0.75))
    valid[1, 0] = True  # two more tokens, each of chance 1/2
    told = (-math.log(0.75) + 2 * math.log(2)) / 3
    assert float(action_loss(logits, action, valid, real)) == pytest.approx(told)


def test_decisions_with_what_is_kept_are_those_of_a_whole_pass_for_each_token():
    made = model(width=22, heads=2, actions=5)
    for p in made.parameters():  # small initial weights would decide all alike
        p.data *= 9
    draws = generator(0, "draws")
    seen = window()._replace(action=torch.randint(BINS, (B, C, 5), generator=draws))
    found = made.decide(seen, made.embed(seen), 3)
    slow = seen.action.clone()
    for dimension in range(3):  # what follows in the window is not known yet, and is not read
        whole = made(seen._replace(action=slow, real=torch.ones(B, 5, dtype=torch.bool)))
        slow[:, -1, dimension] = whole[:, -1, dimension].argmax(-1)
    assert torch.equal(found, slow[:, -1, :3])
    assert len(found.unique(dim=0)) > 1


def test_one_row_of_a_position_table_is_all_that_is_read():
    made = model(position_table=True)
    seen = window()
    before = made(seen)
    made.position.weight.data[1:] += 1
    assert torch.equal(made(seen), before)
    made.position.weight.data[0] += torch.linspace(0, 1, CFG.width)
    assert not torch.equal(made(seen), before)


def test_states_are_read_as_a_mean_and_side_by_side():
    seen = window(padding=1)
    tokens = torch.randn(B, C, 3 + A, 2, generator=generator(0, "x"))
    mean = (tokens[:, 1, 0] + tokens[:, 2, 0]) / 2
    torch.testing.assert_close(mean_state(tokens, seen.valid), mean)
    side = torch.cat((torch.zeros(B, 2), tokens[:, 1, 0], tokens[:, 2, 0]), 1)
    assert torch.equal(state_features(tokens, seen.valid), side)


def test_linear_layers_weights_alone_are_decayed():
    names = decayed(model())
    assert {"state.weight", "head.weight", "body.blocks.0.qkv.weight"} <= names
    assert not [n for n in names if n.endswith("bias") or "norm" in n or n.startswith("time")]
    assert "action.weight" not in names and "time.weight" not in names


def test_a_model_learns_one_batch_by_heart():
    made, seen = model(), window()
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-2)
    for _ in range(60):
        loss = action_loss(made(seen), seen.action, seen.valid, seen.real)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1
    assert (made(seen).argmax(-1) == seen.action).float().mean() > 0.95


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute")  # PyTorch's
def test_a_compiled_body_reads_what_the_plain_one_does_and_learns_alike():
    if not has_compiler():
        pytest.skip("no C++ compiler on this machine")
    plain, fast = model().train(), model().train()
    fast.compile_body()
    found = []
    for one in (plain, fast):
        logits = one(window())
        logits.square().mean().backward()
        found.append((logits.detach(), one.body.blocks[0].up.weight.grad))
    for mine, theirs in zip(*found, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)
    assert (
        "fast" not in plain.state_dict() and plain.state_dict().keys() == fast.state_dict().keys()
    )
