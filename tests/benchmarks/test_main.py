"""The benchmark as a program, at sizes of no use but for tests."""

import re

import pytest
import torch

from lib.analysis import bench
from lib.core.seeding import generator
from lib.envs import worlds
from lib.experiments import run_config
from tests.benchmarks import __main__ as program
from tests.benchmarks import starts
from tests.benchmarks.dreamer import Dream, Dreamers
from tests.benchmarks.engine import Engine, Scale
from tests.benchmarks.learners import Learners, Size, random_episodes
from tests.benchmarks.measure import Effort
from tests.dreamer_tiny import SETTINGS as DREAMER_SETTINGS
from tests.tiny import SETTINGS

CPU = torch.device("cpu")
TINY = Size(
    "grid-quick", 2, tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in SETTINGS.items())
)
SCALE = Scale(
    sizes=(TINY,),
    base=TINY,
    whole=TINY,
    growth=(("E", (1, 2)), ("S", (2,)), ("horizon", (2, 3)), ("width", (7,))),
    bodies=("cheetah-run",),
    effort=Effort(turns=1, seconds=0.0),
    dreams=(Dream("minigrid3-quick", "", tuple(DREAMER_SETTINGS.items())),),
    pictures=(Dream("dmc-debug", "", tuple(DREAMER_SETTINGS.items())),),
)
STARTS = (starts.Start((1.0, 0.1, 0.1), 10.0), starts.Start((2.0, 0.3, 0.1), 20.0), None)


@pytest.fixture
def tiny(monkeypatch):
    """The program with a tiny scale, no processes of its own and no peak to measure."""
    monkeypatch.setattr(program, "scale", lambda *args: SCALE)
    monkeypatch.setattr(program, "peaks", lambda device: {"float32": 100.0})
    monkeypatch.setattr(starts, "both", lambda engine, size: STARTS)


def test_every_part_gives_rows_that_the_page_can_sort(tiny, tmp_path, capsys):
    out = tmp_path / "latest.json"
    assert program.main(["--device", "cpu", "--out", str(out)]) == 0
    found = bench.read(out)
    names = [row.name for row in found.rows]
    assert len(set(names)) == len(names)
    assert {row.group for row in found.rows} == set(bench.PARTS)
    printed = capsys.readouterr().out
    assert all(name in printed for name in names) and "written to" in printed
    units = {"planning": "plans/s", "updates": "updates/s", "growth": "ms", "hours": "h"}
    units |= {"dreamers": "ms", "viewer": "ms"}
    for row in found.rows:
        assert row.unit == units.get(row.group, row.unit)
        assert row.ratio == bench.better(row.unit, row.reference, row.fast)
        assert (row.share_of_peak is not None) == (row.group in ("planning", "updates"))
    assert found.row("memory, grid-quick").ratio == 0.5
    assert {(c.what, c.letter) for c in bench.growths(found.rows)} == {
        ("plan", "E"), ("plan", "S"), ("plan", "horizon"), ("plan", "width"),
        ("update", "S"), ("update", "horizon"), ("update", "width"),
    }  # fmt: skip


def test_parts_alone_leave_the_file_of_all_parts_as_it_is(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "LATEST", tmp_path / "latest.json")
    monkeypatch.setattr(program, "PART", tmp_path / "part.json")
    assert program.main(["--device", "cpu", "--only", "seeds"]) == 0
    (part,) = tmp_path.iterdir()
    found = bench.read(part)
    assert {row.group for row in found.rows} == {"stacked seeds"}
    assert found.told["command"].endswith("--only seeds")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "plan"], "unknown part 'plan'; known: .*did you mean 'plans'"),
        (["--threads", "-1"], "--threads -1: wanted at least 1"),
        (["--publish", "--only", "plans"], "leave out --only"),
        (["--device", "tpu0"], "unknown device 'tpu0'"),
    ],
)
def test_a_wrong_option_is_one_line(arguments, message, capsys):
    assert program.main(arguments) == 1
    said = capsys.readouterr().err
    assert re.search(message, said) and said.count("\n") == 1


def test_a_published_file_is_named_after_the_device(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(program, "PARTS", {"plans": program.PARTS["plans"]})
    monkeypatch.setattr(bench, "PUBLISHED", tmp_path)
    out = tmp_path / "latest.json"
    assert program.main(["--device", "cpu", "--publish", "--out", str(out)]) == 0
    assert (tmp_path / "bench-cpu.json").read_bytes() == out.read_bytes()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("full", [False, True])
def test_every_preset_of_a_scale_is_one_that_runs_have(device, quick, full):
    scale = program.scale(torch.device(device), quick, full)
    assert any(size.full for size in scale.sizes) == (full or device == "cuda")
    for size in (*scale.sizes, scale.base, scale.whole):
        cfg = size.config()
        assert cfg.planner.horizon_ramp == 0 and cfg.learning.seed_steps == 0
        assert cfg.model == size.published().model


def test_what_is_asked_of_a_gpu_is_measured_on_one():
    scale, asked = program.scale(torch.device("cuda"), False, False), program.bench.AIMS
    presets = {size.label for size in (*scale.sizes, *scale.dreams, *scale.pictures)}
    sized = [aim for aim in asked if not aim.row.startswith("viewer")]  # a film has no preset
    assert {aim.row.split(", ")[-1] for aim in sized} <= presets
    cheetah = scale.base.config()
    assert (cheetah.planner.horizon, cheetah.planner.samples) == ((25,), 512)
    assert (cheetah.model.width, cheetah.learning.batch, scale.base.many) == (512, 512, 64)


@pytest.mark.parametrize("form", ["reference", "fast"])
def test_dreamers_learn_and_decide_for_every_seed(form):
    dreamers = Dreamers(SCALE.dreams[0].config(form), form, CPU, seeds=2)
    decide = dreamers.deciding(3)
    decide()
    decide()
    dreamers.update()
    assert [agent.updates for agent in dreamers.agents] == [1, 1]
    assert not any(agent.acts_at_random() for agent in dreamers.agents)


@pytest.mark.parametrize("form", ["reference", "fast"])
def test_learners_plan_learn_and_collect_for_every_seed(form):
    learners = Learners(TINY.config(), form, CPU, task=1, seeds=2)
    assert learners.agents[0].roles == ("learner", "reviewer")
    steps = learners.agents[1].steps
    learners.planning(3, "reviewer")()
    learners.update(1)
    learners.collect(1)
    assert learners.agents[1].updates == 1
    # 2 episodes of 7 decisions by each of two roles
    assert learners.agents[1].steps == steps + 2 * 2 * 7


def test_what_was_measured_once_is_not_measured_again():
    engine, calls = Engine(CPU, SCALE), []
    for _ in range(2):
        engine.once("key", lambda: calls.append(1) or 5)
    assert engine.once("key", lambda: 6) == 5 and calls == [1]


@pytest.mark.slow
def test_the_fast_form_is_faster(capsys):
    scale = program.scale(CPU, quick=True, full=False)
    with capsys.disabled():
        lines = program.measure(["plans", "updates", "environments"], CPU, scale, {"float32": 1.0})
    ratios = {line.row.name: line.row.ratio for line in lines}
    assert ratios["27 x 27 cells, 4,096 copies"] > 100
    assert ratios["updates, reviewed, grid-quick"] > 1


def test_bodies_give_episodes_to_measure_with():
    config = run_config.resolve({"preset": "cheetah-quick", "method": "drago"})
    domain = worlds.build(config.env, config.tasks)
    episodes = random_episodes(domain.make(0), 2, generator(0, "episodes"))
    assert len(episodes.obs) == 2 and bool(episodes.reward.isfinite().all())
