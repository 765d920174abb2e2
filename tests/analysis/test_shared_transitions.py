import numpy as np
import pytest

from lib.analysis import results, shared_transitions
from lib.runner.training import train
from tests.tiny import control, tiny


def run(cfg, out) -> results.Run:
    train(cfg, out, tensorboard=False, progress=False)
    return results.load_run(out)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[results.Run]:
    """Two learners of one world; the second held out twice as many episodes."""
    folder = tmp_path_factory.mktemp("runs")
    one = run(control("drago"), folder / "one")
    return [one, run(control("tdmpc", budget__eval_episodes=6), folder / "other")]


def test_a_run_alone_is_asked_what_its_own_audit_asked(runs):
    for one in runs:
        np.testing.assert_allclose(
            shared_transitions.shared_errors([one])[0], one.met("mse"), rtol=1e-5
        )


def test_every_model_answers_for_all_transitions_alike(runs):
    errors = shared_transitions.shared_errors(runs)
    assert errors.shape == (2, 2, 2) and np.isnan(errors[:, 0, 1]).all()
    # The first run's model on both sets: 21 transitions of its own, 42 of the other.
    own = shared_transitions.shared_errors(runs[:1])[0]
    held = runs[1].audit_arrays(1)["held_out"][0]
    assert np.isfinite(held).all(1).sum() == 42
    other = (errors[0] * 63 - own * 21) / 42
    assert (other[np.tril_indices(2)] > 0).all()
    assert not np.allclose(errors[0], own, equal_nan=True)


def test_groups_get_their_own_rows(runs):
    groups = results.group_runs(runs)
    found = shared_transitions.errors_by_group(groups)
    assert set(found) == {group.label for group in groups}
    every = shared_transitions.shared_errors([one for group in groups for one in group.runs])
    np.testing.assert_array_equal(np.concatenate(list(found.values())), every)
    told = results.comparison(groups, found)[groups[0].label]["estimates"]
    name = "error on what all runs held out in cheetah-run, after cheetah-run-backwards"
    assert told[name]["point"] == pytest.approx(found[groups[0].label][0, 1, 0])


def test_a_grid_and_runs_without_checkpoints_have_nothing_to_share(tmp_path, runs):
    assert shared_transitions.shared_errors([run(tiny("tdmpc"), tmp_path / "grid")]) is None
    for checkpoint in (runs[0].folder / "checkpoints").glob("task-2*"):
        checkpoint.unlink()
    assert shared_transitions.shared_errors(runs) is None
    assert shared_transitions.errors_by_group(results.group_runs(runs)) == {}
