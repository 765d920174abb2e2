import pytest
import torch
from torch.nn import functional as F

from lib.algos.decision_transformer.modulators.api import Context
from lib.algos.decision_transformer.modulators.l2m import L2m, Settings
from lib.algos.decision_transformer.sizes import ModelConfig
from lib.core.seeding import generator
from tests.sequence_tiny import CFG, B, model, window

WIDTH = CFG.width


def pool(count: int = 3, cfg: ModelConfig = CFG, **settings) -> L2m:
    return L2m(Settings(pool=count, **settings), Context(cfg, 4, generator(0, "init")))


def test_the_published_pool_has_as_many_parameters_as_published():
    made = pool(30, ModelConfig())
    assert sum(p.numel() for p in made.pool.parameters()) == 13_271_040
    assert sum(p.numel() for p in made.keys) == 23_040
    assert all(float(key.detach().abs().max()) <= 1 for key in made.keys)


def set_keys(made: L2m, rows: torch.Tensor) -> None:
    for key, row in zip(made.keys, rows, strict=True):
        key.data.copy_(row)


def test_the_nearest_key_by_angle_is_chosen():
    made, axes = pool(), torch.eye(WIDTH)
    set_keys(made, torch.stack((9 * axes[0], axes[1], -axes[0])))
    query = torch.stack((axes[0], axes[1] + 0.5 * axes[0], -3 * axes[0]))
    assert made.choose(query, learning=False)[:, 0].tolist() == [0, 1, 2]


def test_after_a_switch_a_key_chosen_too_often_loses_to_an_equal_one():
    made, axes = pool(2), torch.eye(WIDTH)
    set_keys(made, torch.stack((axes[0] + axes[1], axes[0] - axes[1])))
    query = axes[:1].expand(B, WIDTH)  # both keys are 45 degrees away
    made.begin_task(0)
    made.adapt(query)
    assert made.share.tolist() == [1, 0]
    assert made.choose(query, learning=True)[:, 0].tolist() == [0] * B, (
        "the first task counts nothing"
    )
    made.begin_task(1)
    assert made.choose(query, learning=True)[:, 0].tolist() == [1] * B
    assert made.choose(query, learning=False)[:, 0].tolist() == [0] * B, "nor does evaluation"
    made.adapt(query)
    assert made.choose(query, learning=True)[:, 0].tolist() == [1] * B, (
        "weights change at a switch alone"
    )


def test_weights_and_shares_by_hand():
    made, axes = pool(2), torch.eye(WIDTH)
    set_keys(made, axes[:2])
    made.begin_task(0)
    made.adapt(torch.stack((axes[0], axes[0], axes[0], axes[1])))  # 3/4 and 1/4
    made.adapt(torch.stack((axes[1], axes[1])))  # 0 and 1
    assert made.share.tolist() == pytest.approx([3 / 8, 5 / 8])
    made.begin_task(1)  # 1/(3/8) and 1/(5/8), over their sum: 5/8 and 3/8
    assert made.weight.tolist() == pytest.approx([5 / 8, 3 / 8], abs=1e-5)


def test_the_loss_draws_chosen_keys_alone_towards_their_queries():
    made = pool()
    made.begin_task(0)
    query = torch.randn(B, WIDTH, generator=generator(1, "query"))
    index = made.choose(query, learning=True)[:, 0]
    found = made.adapt(query).parts["match"]
    near = [F.cosine_similarity(q, made.keys[int(i)], dim=0) for q, i in zip(query, index)]  # noqa: B905
    torch.testing.assert_close(found, -0.5 * torch.stack(near).mean())
    found.backward()
    for number, key in enumerate(made.keys):
        assert (key.grad is not None) == (number in index.tolist())


def test_what_is_not_chosen_stays_though_it_moved_before():
    """The trap of one tensor for all: Adam moves a row along what it last learnt."""
    made, axes, body = pool(2), torch.eye(WIDTH), model()
    set_keys(made, axes[:2])
    made.begin_task(0)
    optimizer = torch.optim.AdamW(made.parameters(), lr=0.1, weight_decay=0.0)

    def step(query: torch.Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        adapted = made.adapt(query.expand(B, WIDTH))
        (body(window(), adapted.adapter).square().mean() + adapted.parts["match"]).backward()
        optimizer.step()

    step(axes[0] + 0.1 * axes[2])
    kept = [p.detach().clone() for p in (*made.pool[0].parameters(), made.keys[0])]
    assert made.pool[0].q_b.any() and not made.pool[1].q_b.any()
    step(axes[1])
    after = (*made.pool[0].parameters(), made.keys[0])
    assert all(torch.equal(a, b) for a, b in zip(kept, after, strict=True))
    assert made.pool[1].q_b.any()
