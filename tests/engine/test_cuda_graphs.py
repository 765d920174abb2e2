"""Recorded graphs: plain on a CPU, the same numbers on a GPU; and what may be recorded at all.

Where there is no GPU, `tests.replaying` records the operations of a whole update instead, and
runs them again without any of its Python.
"""

import pytest
import torch

from lib.algos.tdmpc import acting
from lib.algos.tdmpc.agent import ContinualAgent
from lib.algos.tdmpc.presets import METHODS
from lib.engine import seed_batch
from lib.engine.cuda_graphs import WARM_UP, Graphs
from lib.engine.seed_batch import SeedBatch
from tests.oracle.ready import KINDS, apart, episodes, ready, settings, states, with_seed
from tests.replaying import Record, Replays
from tests.tiny import same

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


# --- running ----------------------------------------------------------------------------------


def test_on_a_cpu_every_call_is_plain():
    graphs, calls = Graphs(torch.device("cpu")), []
    for n in range(WARM_UP + 3):
        assert graphs.run("key", lambda n=n: calls.append(n) or n) == n
    assert calls == list(range(WARM_UP + 3)) and not graphs.recorded


@pytest.mark.gpu
@on_gpu
def test_a_replay_computes_with_what_is_in_place_then():
    graphs = Graphs(torch.device("cuda"))
    x, total, python = torch.zeros(5, device="cuda"), torch.zeros(5, device="cuda"), []

    def work():
        python.append(1)
        total.add_(x)
        return total * 2

    for n in range(WARM_UP + 4):
        x.fill_(n)
        out = graphs.run("key", work)
        assert out.tolist() == [n * (n + 1.0)] * 5
    assert len(python) == WARM_UP + 1 and list(graphs.recorded) == ["key"]


@pytest.mark.gpu
@on_gpu
def test_keys_are_recorded_apart():
    graphs, x = Graphs(torch.device("cuda")), torch.ones(5, device="cuda")
    for _ in range(WARM_UP + 2):
        kept = {k: graphs.run(k, lambda k=k: x * k).clone() for k in (2, 3)}
    assert kept[2].sum() == 10 and kept[3].sum() == 15


@pytest.mark.gpu
@on_gpu
def test_nothing_is_recorded_where_it_is_switched_off():
    graphs = Graphs(torch.device("cuda"), enabled=False)
    for _ in range(WARM_UP + 2):
        graphs.run("key", lambda: None)
    assert not graphs.recorded


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_recorded_updates_and_plans_equal_plain_ones_on_a_gpu(method, kind):
    told = []
    for graphs in ("never", "auto"):
        cfg = settings(method, kind, engine__graphs=graphs, learning__ema_every=1)
        told.append(life(ready(ContinualAgent, cfg, device="cuda"), rounds=3))
    assert not apart(*told, 1e-4)


# --- what a graph relies on -------------------------------------------------------------------


def life(agent: ContinualAgent | SeedBatch, rounds: int = 2) -> list:
    """Updates, episodes and plans in turns; everything that can be told of them."""
    agents = agent.agents if isinstance(agent, SeedBatch) else [agent]
    obs, told = states(len(agents), 4).to(agents[0].device), []
    for round_ in range(rounds):
        agent.update(4)
        for one in agents:
            one.store("learner", episodes(one, seed=round_, count=2))
        for role in agents[0].roles:
            memory = None
            for _ in range(3):
                seen = obs if isinstance(agent, SeedBatch) else obs[0]
                action, memory = agent.act(seen, memory, role=role)
                told += [action.clone(), memory.clone()]
    return [*told, *(one.state_dict() for one in agents)]


@pytest.fixture
def replaying(monkeypatch):
    """Switches recording on, the CPU's way; returns every stand-in that was made."""
    made = []

    def make(device, enabled=True):
        made.append(Replays(device))
        return made[-1]

    monkeypatch.setattr(seed_batch, "Graphs", make)
    monkeypatch.setattr(acting, "Graphs", make)
    return made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_replayed_updates_and_plans_equal_plain_ones(request, method, kind):
    # recording also asserts that no operation reads a value, draws, or has a size by value
    cfg = settings(method, kind)
    plain = life(ready(ContinualAgent, cfg))
    made = request.getfixturevalue("replaying")
    assert same(life(ready(ContinualAgent, cfg)), plain) == []
    roles = 2 if cfg.method.review else 1
    assert [len(one.records) for one in made[-2:]] == [2, roles]  # with and without a target step


def test_replayed_updates_and_plans_of_a_batch_equal_plain_ones(request):
    own = [with_seed(settings("drago", "continuous"), seed) for seed in (0, 1)]
    plain = life(SeedBatch([ready(ContinualAgent, cfg) for cfg in own]))
    agents = [ready(ContinualAgent, cfg) for cfg in own]
    request.getfixturevalue("replaying")
    assert same(life(SeedBatch(agents)), plain) == []


def test_a_schedule_reaches_what_is_replayed(request):
    cfg = settings("drago", "continuous", learning__lr_end=0.1, planner__std_ramp=200)
    plain = life(ready(ContinualAgent, cfg))
    request.getfixturevalue("replaying")
    assert same(life(ready(ContinualAgent, cfg)), plain) == []


@pytest.mark.parametrize(
    ("work", "complaint"),
    [
        (lambda x: x.sum().item(), "on the host"),
        (lambda x: x.tolist(), "on the host"),
        (lambda x: bool(x.sum() > 0), "on the host"),
        (lambda x: x[x > 0], "sizes depend on values"),
        (lambda x: x.nonzero(), "sizes depend on values"),
        (lambda x: torch.randn(3), "draws random numbers"),
        (lambda x: x + torch.tensor([1.0, 2.0, 3.0]), "from the host's numbers"),
    ],
    ids=["item", "list", "condition", "mask", "nonzero", "random", "constant"],
)
def test_what_a_graph_cannot_hold_is_refused(work, complaint):
    x = torch.ones(3)
    with pytest.raises(AssertionError, match=complaint):
        Record(lambda: work(x))


def test_a_record_follows_memory_through_views_and_derivatives():
    weight, x = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 5.0])

    def work():
        leaf = weight.detach().requires_grad_()
        with torch.enable_grad():
            (found,) = torch.autograd.grad(torch.exp(leaf * x).sum(), [leaf])
        weight.view(1, 2)[0, 1:].add_(found[1:])
        return found

    plain, replayed = [], []
    for told in (plain, replayed):
        weight.copy_(torch.tensor([1.0, 2.0]))
        record = None
        for n in range(3):
            x.fill_(0.1 * (n + 1))
            if told is plain or record is None:
                record = Record(work) if told is replayed else None
                told.append((record.out if record else work()).clone())
            else:
                told.append(record.replay().clone())
            told.append(weight.clone())
    assert same(replayed, plain) == []
