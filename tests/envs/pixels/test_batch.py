import numpy as np
import pytest
import torch

from lib.core.errors import UserError
from lib.envs.pixels import clips
from lib.envs.pixels.batch import PixelBatch
from lib.envs.pixels.copies import Plan
from lib.envs.pixels.processes import Pool
from lib.envs.pixels.suite_env import Outcome
from tests.envs.pixels.conftest import plan

pytestmark = pytest.mark.usefixtures("dm_control")
BACKGROUNDS = ["plain", "procedural:natural", "procedural:rain", "folder"]


@pytest.fixture
def filmed(tmp_path, monkeypatch):
    """Gives a plan a background, of which the folder's is made here."""
    monkeypatch.setattr(clips, "CACHE", tmp_path / "cache")
    for name in "abcde":
        film = np.random.default_rng(ord(name)).integers(0, 256, (7, 24, 24, 3), dtype=np.uint8)
        np.savez(tmp_path / f"{name}.npz", film)

    def made(background: str, **changes) -> Plan:
        text = f"folder:{tmp_path}" if background == "folder" else background
        return plan(background=text, **changes)

    return made


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def played(env: PixelBatch, steps: int, generator: torch.Generator) -> list[torch.Tensor]:
    """Everything that happens in some random decisions, ended copies starting anew."""
    seen = []
    for _ in range(steps):
        seen += env.step(env.actions.random(len(env.ended), generator))
        seen += [env.ended, env.terminal, env.broken, env.success]
        if env.ended.any():
            seen.append(env.restart(env.ended, generator))
    return seen


def same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> bool:
    return len(found) == len(expected) and all(map(torch.equal, found, expected))


def test_an_episode_is_bytes_and_summed_rewards_until_it_is_cut(generator):
    env = PixelBatch(plan("cartpole_balance"), episode_length=3)
    obs = env.reset(2, generator)
    assert obs.shape == (2, 24, 24, 3) and obs.dtype == torch.uint8
    for _ in range(3):
        assert not env.ended.any()
        obs, reward = env.step(torch.zeros(2, 1))
        assert reward.dtype == torch.float32 and (reward > 1).all()  # of two env steps
    assert env.ended.all() and not (env.terminal | env.success | env.broken).any()
    later, reward = env.step(torch.ones(2, 1))
    assert torch.equal(later, obs) and not reward.any()
    assert np.array_equal(env.pose(), obs.reshape(2, -1).numpy())


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_the_same_seed_gives_the_same_pictures(filmed, background):
    runs = []
    for _ in range(2):
        env = PixelBatch(filmed(background), 4)
        runs.append([env.reset(2, draws := seeded()), *played(env, 9, draws)])
    assert same(*runs)


def test_copies_differ_in_body_and_background(generator):
    obs = PixelBatch(plan(background="procedural:texture"), 4).reset(3, generator).float()
    assert all((obs[a] - obs[b]).abs().mean() > 10 for a, b in ((0, 1), (0, 2), (1, 2)))


def test_the_body_stays_before_the_background(filmed):
    pictures = []
    for background in ("plain", "procedural:drive"):
        env = PixelBatch(filmed(background), 4)
        env.reset(1, seeded())
        pictures.append(env.step(torch.zeros(1, 6))[0][0].numpy())
    changed = (pictures[0] != pictures[1]).any(-1)
    assert 0.7 < changed.mean() < 0.98


def test_evaluation_shows_other_clips_than_training(filmed):
    shown = [
        PixelBatch(filmed("folder", split=split), 4).reset(3, seeded())
        for split in ("train", "test")
    ]
    assert not torch.equal(*shown)


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_a_saved_episode_goes_on_as_if_nothing_had_happened(filmed, background):
    env, resumed = (PixelBatch(filmed(background), 6) for _ in range(2))
    env.reset(3, draws := seeded())
    played(env, 4, draws)
    env.restart(torch.tensor([False, True, False]), draws)
    env.step(torch.zeros(3, 6))  # so that copies are in different decisions
    state = env.state_dict()
    assert state["length"].tolist() == [5, 1, 5]
    resumed.load_state_dict(state)
    again = resumed.state_dict()
    assert all(torch.equal(again[name], part) for name, part in state.items())
    assert np.array_equal(resumed.pose(), env.pose())
    assert same(played(resumed, 8, seeded(1)), played(env, 8, seeded(1)))


def test_a_copy_that_has_ended_is_saved_as_such(generator):
    env, resumed = PixelBatch(plan(), 2), PixelBatch(plan(), 2)
    env.reset(2, generator)
    for only in ((True, True), (True, False)):
        env.step(torch.zeros(2, 6), torch.tensor(only))
    state = env.state_dict()
    assert state["ended"].tolist() == [True, False] and not state["physics"][0].any()
    resumed.load_state_dict(state)
    assert torch.equal(resumed.ended, env.ended)
    assert same(played(resumed, 4, seeded(1)), played(env, 4, seeded(1)))


def test_nothing_may_be_saved_before_anything_began():
    env = PixelBatch(plan(), 4)
    env.load_state_dict(PixelBatch(plan(), 4).state_dict())
    assert env.reset(2, seeded()).shape == (2, 24, 24, 3)


def test_a_state_of_another_task_is_told_of(generator):
    env = PixelBatch(plan("cup_catch"), 4)
    env.reset(1, generator)
    with pytest.raises(UserError, match="walker_run cannot be resumed: state .* of another task"):
        PixelBatch(plan(), 4).load_state_dict(env.state_dict())


def test_a_background_that_has_changed_since_is_told_of(generator):
    env = PixelBatch(plan(background="procedural:natural"), 4)
    env.reset(1, generator)
    other = PixelBatch(plan(background="procedural:rain"), 4)
    with pytest.raises(UserError, match="looks different here.*background 'procedural:rain' back"):
        other.load_state_dict(env.state_dict())


def test_several_processes_show_what_one_does():
    runs = []
    for workers in (1, 2):
        env = PixelBatch(plan(background="procedural:natural"), 3, workers=workers)
        runs.append([env.reset(3, draws := seeded()), *played(env, 5, draws)])
        runs[-1] += env.state_dict().values()
        assert env._backend.count == workers
        env.close()
    assert same(*runs)


def test_a_state_of_one_process_goes_on_in_several(generator):
    env = PixelBatch(plan(background="procedural:drive"), 6)
    resumed = PixelBatch(env.plan, 6, workers=2)
    env.reset(2, generator)
    played(env, 3, generator)
    resumed.load_state_dict(env.state_dict())
    assert same(played(resumed, 5, seeded(1)), played(env, 5, seeded(1)))
    resumed.close()


@pytest.mark.parametrize("resumed", [False, True])
def test_an_episode_goes_on_when_a_process_is_gone(generator, capsys, resumed):
    alone = PixelBatch(plan(background="procedural:natural"), 9)
    several = PixelBatch(alone.plan, 9, workers=2)
    for env in (alone, several):
        env.reset(3, draws := seeded())
        played(env, 4, draws)
    if resumed:
        several.load_state_dict(alone.state_dict())
        several.step(torch.zeros(3, 6))
        alone.step(torch.zeros(3, 6))
    several._backend._processes[1].kill()
    assert same(played(several, 6, seeded(1)), played(alone, 6, seeded(1)))
    assert several._backend.count == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "SIGKILL; from here on this process draws alone" in told


def test_what_draws_is_handed_on_when_a_batch_is_dropped(generator):
    pool = Pool()
    env = PixelBatch(plan(), 4, pool=pool)
    env.reset(2, generator)
    backend = env._backend
    del env
    again = PixelBatch(plan(), 4, pool=pool)
    again.reset(2, generator)
    assert again._backend is backend
    again.close()
    assert pool._idle == [backend]
    pool.close()


def test_the_generator_moves_on_by_as_much_whichever_copies_start_anew():
    after = []
    env = PixelBatch(plan(), 4)
    for chosen in ([True, False, False], [True, True, True], [False, False, False]):
        env.reset(3, draws := seeded())
        env.restart(torch.tensor(chosen), draws)
        after.append(torch.rand(1, generator=draws).item())
    assert len(set(after)) == 1


class Scripted:
    """Copies whose decisions end as told."""

    count, usable = 1, True

    def __init__(self, outcomes: list[Outcome]):
        self.outcomes = outcomes

    def run(self, calls):
        picture = np.zeros((24, 24, 3), np.uint8)
        steps = [self.outcomes.pop(0) if call[0] == "step" else None for call in calls]
        return [(picture, outcome) for outcome in steps]


def test_tasks_that_end_are_terminal_and_broken_physics_is_not(generator, monkeypatch):
    outcomes = [Outcome(0.5, True, False), Outcome(0.25, False, True), Outcome(1, False, False)]
    env = PixelBatch(plan(), 4)
    env.reset(3, generator)
    env._backend = Scripted(outcomes)
    _, reward = env.step(torch.zeros(3, 6))
    assert reward.tolist() == [0.5, 0.25, 1.0]
    assert env.ended.tolist() == [True, True, False]
    assert env.terminal.tolist() == [True, False, False]
    assert env.broken.tolist() == [False, True, False]


def test_actions_of_another_shape_are_refused(generator):
    env = PixelBatch(plan(), 4)
    env.reset(2, generator)
    with pytest.raises(ValueError, match=r"actions \(2, 5\); walker_run steps with \(2, 6\)"):
        env.step(torch.zeros(2, 5))
