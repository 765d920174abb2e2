import pytest
import torch

from lib.algos.decision_transformer.keyed import matched, nearness, penalised
from lib.algos.decision_transformer.modulators.api import Context
from lib.algos.decision_transformer.modulators.l2m import L2m, Settings
from lib.core.errors import UserError
from lib.core.seeding import generator
from tests.sequence_tiny import CFG, B, model, tiny, window

QUERY = torch.tensor([[3.0, 0.0]])
KEYS = torch.tensor([[4.0, 3.0], [3.0, 2.0], [0.0, 0.5]])  # cosines 0.8, 3 / sqrt 13, 0


def pool(count: int, tasks: int = 2, **settings) -> L2m:
    return L2m(Settings(pool=count, **settings), Context(CFG, tasks, generator(0, "init")))


@pytest.mark.parametrize(
    ("metric", "told", "order"),
    [
        ("cosine", [0.8, 0.8321, 0], [1, 0, 2]),
        ("euclidean", [-(10**0.5), -2, -(9.25**0.5)], [1, 2, 0]),
        ("manhattan", [-4, -2, -3.5], [1, 2, 0]),
    ],
)
def test_three_measures_of_nearness_by_hand(metric, told, order):
    found = nearness(QUERY, KEYS, metric)[0]
    torch.testing.assert_close(found, torch.tensor(told, dtype=torch.float), atol=1e-4, rtol=0)
    assert found.argsort(descending=True).tolist() == order


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "manhattan"])
def test_of_two_equally_near_the_seldom_chosen_wins_by_every_measure(metric):
    score = nearness(QUERY, torch.tensor([[3.0, 1.0], [3.0, -1.0]]), metric)
    assert float(score[0, 0]) == pytest.approx(float(score[0, 1]))
    found = penalised(score, torch.tensor([0.1, 0.9]), metric)
    assert found.argmax(1).tolist() == [1]


def test_penalties_by_hand():
    # (0.8 + 1) / 2 * 0.25 = 0.225; a distance of 2 is shortened by a quarter.
    weight = torch.tensor([0.25])
    assert float(penalised(torch.tensor([[0.8]]), weight, "cosine")) == pytest.approx(0.225)
    assert float(penalised(torch.tensor([[-2.0]]), weight, "euclidean")) == pytest.approx(-1.5)


def test_chosen_keys_are_drawn_by_the_sum_of_cosines_or_the_mean_distance():
    keys = KEYS[:2].unsqueeze(0)  # one window that chose two
    assert float(matched(QUERY, keys, "cosine")) == pytest.approx(0.8 + 3 / 13**0.5)
    assert float(matched(QUERY, keys, "euclidean")) == pytest.approx(-(10**0.5 + 2) / 2)
    assert float(matched(QUERY, keys, "manhattan")) == pytest.approx(-(1 + 3 + 0 + 2) / 4)


def test_an_oracles_tasks_have_members_for_themselves():
    made = pool(7, tasks=3, oracle=True)  # two for each; the seventh belongs to none
    query = torch.randn(40, CFG.width, generator=generator(1, "query"))
    for task in range(3):
        made.begin_task(task)
        index = made.choose(query, learning=True, task=torch.full((40,), task))
        assert set(index.flatten().tolist()) == {2 * task, 2 * task + 1}
    mixed = made.members(query[:2], torch.tensor([0, 2]))[:, 0].tolist()
    assert mixed[0] in (0, 1) and mixed[1] in (4, 5)
    assert made.labelled and not pool(7).labelled


def test_without_the_penalty_learning_chooses_as_acting_does():
    made = pool(5, count_penalty=False)
    query = torch.randn(B, CFG.width, generator=generator(1, "query"))
    made.begin_task(0)
    made.adapt(query)
    made.begin_task(1)
    assert torch.equal(made.choose(query, learning=True), made.choose(query, learning=False))


def test_windows_are_known_by_their_embedding_or_by_a_layer_of_the_model_alone():
    body, seen = model(), window(padding=1)
    tokens = body.embed(seen)
    asked = {
        source: body.query(tokens, seen.valid, source) for source in ("embedding", "first", "last")
    }
    states = tokens[:, 1:, 0].mean(1)
    torch.testing.assert_close(asked["embedding"], states)
    torch.testing.assert_close(asked["last"], body.read(tokens, seen.valid)[:, 1:, 0].mean(1))
    assert not asked["first"].requires_grad
    assert not torch.allclose(asked["first"], asked["last"])
    body.body.blocks[1].up.bias.data += 1  # the second layer
    again = {source: body.query(tokens, seen.valid, source) for source in asked}
    assert torch.equal(again["first"], asked["first"])
    assert not torch.allclose(again["last"], asked["last"])


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("dt-l2m-oracle", {"modulators__l2m__pool": 1}, "pool 1 has 0 members for each of 2 tasks"),
        ("dt-l2p-prompt", {"modulators__l2p__top": 9}, "pool 7 has 7 members, .* read with 9"),
        (
            "dt-l2m",
            {"modulators__l2m__metric": "cosin"},
            "unknown value for 'modulators.l2m.metric'",
        ),
    ],
)
def test_a_pool_that_is_too_small_is_refused_in_one_line(method, changes, message):
    with pytest.raises(UserError, match=message) as error:
        tiny(method, **changes)
    assert "\n" not in str(error.value)
