import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from lib import cli
from lib.core.errors import UserError
from lib.core.spaces import ActionSpace, ObsSpace
from lib.experiments import data, exchange
from lib.experiments.makers import Recipe
from lib.replay.buffer import Episodes
from lib.runner import dataset

TASK = ("point-mass", "point-mass-free")  # 8 numbers observed, 2 in an action
SPACES = (ObsSpace("vector", (8,)), ActionSpace(2, False))


def flat(**changes) -> dict[str, np.ndarray]:
    """Seven steps as L2M writes them: episodes of 3 and 2, and two steps of an unfinished one."""
    draws = np.random.default_rng(0)
    arrays = {
        "observations": draws.normal(size=(7, 8)),
        "next_observations": draws.normal(size=(7, 8)),
        "actions": draws.uniform(-1, 1, (7, 2)),
        "rewards": np.arange(7.0),
        "dones": np.array([0, 0, 1, 0, 1, 0, 0], bool),
    } | changes
    return {name: array for name, array in arrays.items() if array is not None}


def written(folder: Path, name: str = "walk.npz", **changes) -> str:
    np.savez(folder / name, **flat(**changes))
    return str(folder / name)


def taken(folder: Path) -> Episodes:
    return dataset.read(folder, TASK[1], *SPACES).episodes


def test_flat_arrays_are_cut_where_they_are_done_and_an_unfinished_tail_is_dropped(tmp_path):
    told = exchange.take("npz", written(tmp_path), *TASK, tmp_path / "out")
    found, arrays = taken(tmp_path / "out"), flat()
    assert told.startswith("point-mass-free: 2 episodes, return 5, best 7")
    assert found.length.tolist() == [3, 2] and not found.terminal.any()
    assert found.reward.tolist() == [[0, 1, 2], [3, 4, 0]]
    seen = np.concatenate((arrays["observations"][3:5], arrays["next_observations"][4:5]))
    assert np.array_equal(found.obs[1, :3].numpy(), seen.astype(np.float32))
    assert torch.equal(found.obs[1, 3], found.obs[1, 2]), "what follows an end repeats it"


def test_what_was_imported_makes_the_windows_that_its_steps_are(tmp_path):
    from lib.algos.decision_transformer.windows import Experience

    exchange.take("npz", written(tmp_path), *TASK, tmp_path / "out")
    kept = Experience(taken(tmp_path / "out"), tuple(range(8)), (8, 2, 64, 2), 1.0, "x", True)
    window, arrays = kept.at(torch.tensor([2, 4])), flat()
    wanted = arrays["observations"][[[1, 2], [3, 4]]].astype(np.float32)
    assert np.array_equal(window.state.numpy(), wanted)
    assert window.to_go.tolist() == [[3, 2], [7, 4]]  # 1 + 2, 2, and 3 + 4, 4


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"actions": None}, "lacks actions and has dones, .*L2M's files have observations"),
        ({"actions": np.full((7, 2), 1.5)}, "holds 1.5 .*outside the bins"),
        ({"rewards": np.full(7, np.nan)}, "rewards of .* hold numbers that are not finite"),
        ({"observations": np.zeros((7, 9)), "next_observations": np.zeros((7, 9))}, "of 9 numbers"),
        ({"dones": np.zeros(7)}, "holds no whole episode"),
        ({"actions": np.zeros((7, 3))}, "actions of 3, and task 'point-mass-free' has 8 and 2"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_one_line(changes, told, tmp_path):
    with pytest.raises(UserError, match=told) as error:
        exchange.take("npz", written(tmp_path, **changes), *TASK, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("form", "source", "told"),
    [
        ("npz", "walk.pkl", "is pickled, and reading it would execute.*numpy.savez.*import npz"),
        ("lerobot", "walk.pt", "is pickled"),
        ("npz", "nowhere.npz", "no file '.*nowhere.npz'; name one that is there"),
        ("npz", "text.npz", "is no file of arrays"),
        ("hdf5", "walk.h5", "unknown form of experience 'hdf5'; known: lerobot, minari, npz"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(form, source, told, tmp_path):
    (tmp_path / "text.npz").write_text("nothing")
    with pytest.raises(UserError, match=told) as error:
        exchange.take(form, str(tmp_path / source), *TASK, tmp_path / "out")
    assert "\n" not in str(error.value)


def test_a_pickle_among_arrays_is_not_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    np.savez(tmp_path / "walk.npz", **flat(rewards=np.array([Evil()] * 7, dtype=object)))
    with pytest.raises(UserError, match="is no file of arrays"):
        exchange.take("npz", str(tmp_path / "walk.npz"), *TASK, tmp_path / "out")
    assert not (tmp_path / "executed").exists()


def test_an_extra_that_is_missing_is_named_with_what_installs_it(monkeypatch, tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for form, source, extra in (
        ("lerobot", tmp_path / "a.parquet", "lerobot"),
        ("minari", "x", "minari"),
    ):
        with pytest.raises(UserError, match=rf"is not installed: pip install -e '.\[{extra}\]'"):
            exchange.take(form, str(source), *TASK, tmp_path / "out")


def test_frames_of_parquet_files_become_episodes(tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="pip install -e '.[lerobot]'")
    parquet = pytest.importorskip("pyarrow.parquet")
    arrays, place = flat(), tmp_path / "data" / "chunk-000"
    place.mkdir(parents=True)
    columns = {
        "observation.state": arrays["observations"].tolist(),
        "action": arrays["actions"].tolist(),
        "next.reward": arrays["rewards"].tolist(),
        "episode_index": [0, 0, 0, 1, 1, 2, 2],
    }
    parquet.write_table(arrow.table(columns), place / "episode_000000.parquet")
    exchange.take("lerobot", str(tmp_path / "data"), *TASK, tmp_path / "out")
    found = taken(tmp_path / "out")
    assert found.length.tolist() == [3, 2, 2] and found.reward[2].tolist() == [5, 6, 0]
    assert torch.equal(found.obs[0, 3], found.obs[0, 2]), "the last frame's follower is not told"
    with pytest.raises(
        UserError, match="lacks pixels and has observation.state, action.*--observed"
    ):
        exchange.take("lerobot", str(tmp_path / "data"), *TASK, tmp_path / "out", "pixels")
    (place / "episode_000000.parquet").write_bytes(b"none")
    with pytest.raises(UserError, match="is no Parquet file"):
        exchange.take("lerobot", str(tmp_path / "data"), *TASK, tmp_path / "out")


def test_what_is_given_to_minari_can_be_taken_from_it(tmp_path, monkeypatch, capsys):
    for name in ("minari", "h5py"):
        pytest.importorskip(name, reason="pip install -e '.[minari]'")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    list(data.make("point-mass", tmp_path / "files", Recipe(episodes=5), ["point-mass-free"]))
    where = ["--world", TASK[0], "--task", TASK[1]]
    given = ["data", "export", "workbook/free-v0", *where, "--folder", str(tmp_path / "files")]
    assert cli.main(given) == 0
    back = ["data", "import", "minari", "workbook/free-v0", *where, "--folder", str(tmp_path / "b")]
    assert cli.main(back) == 0
    assert "5 episodes" in capsys.readouterr().out
    one, other = taken(tmp_path / "files"), taken(tmp_path / "b")
    for name in ("obs", "action", "reward"):
        assert torch.equal(getattr(one, name), getattr(other, name))
    with pytest.raises(UserError, match="no Minari data set 'workbook/none-v0' on this machine"):
        exchange.take("minari", "workbook/none-v0", *TASK, tmp_path / "b")
    with pytest.raises(UserError, match="Minari did not write"):
        exchange.give(tmp_path / "files", *TASK, "workbook/free-v0")
