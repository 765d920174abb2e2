"""Run folders made up for tests, in the form that the runner leaves behind."""

import json
from pathlib import Path

import numpy as np

TASKS = ("room-1", "room-2", "room-3", "room-4")
OPTIMUM = {"room-1": 60.0, "room-2": 50.0, "room-3": 55.0, "room-4": 52.0}
KEEPS = {"drago": 0.97, "tdmpc": 0.8}  # share of the accuracy kept per later task
BODY_TASKS = ("cheetah-run", "cheetah-jump", "cheetah-run-backwards")
GROWS = {"drago": 1.4, "tdmpc": 6.0}  # factor by which squared errors grow per later task
REPEAT = 4  # env steps of the cheetah that one decision lasts


def grid_cells(size: int = 13) -> np.ndarray:
    """(cells, 2) x, y of the free cells: outer wall, a cross of walls open at its centre."""
    c = size // 2
    open_cells = {(c, c), (c, c - 1), (c - 1, c), (c + 1, c), (c, c + 1)}
    inside = range(1, size - 1)
    free = [(x, y) for y in inside for x in inside if c not in (x, y) or (x, y) in open_cells]
    blocks = {(size // 4, size // 4), (size - 3, 2)}
    return np.array([cell for cell in free if cell not in blocks])


def room_of(cells: np.ndarray, size: int = 13) -> np.ndarray:
    """(cells,) 0..3 for the rooms top-left, top-right, bottom-left, bottom-right; 4 for doors."""
    c = size // 2
    room = (cells[:, 0] > c).astype(int) + 2 * (cells[:, 1] > c)
    return np.where((cells == c).any(1), 4, room)


def make_run(
    folder: Path,
    method: str = "drago",
    seed: int = 0,
    preset: str = "grid-quick",
    tasks: tuple[str, ...] = TASKS,
    size: int = 13,
    **changes: object,
) -> Path:
    """Writes a finished run on the grid; `changes` replace entries of its summary."""
    rng = np.random.default_rng([seed, len(method)])
    folder = Path(folder)
    (folder / "audits").mkdir(parents=True)
    n, keep = len(tasks), KEEPS.get(method, 0.85)
    steps = np.arange(0, 6001, 500)
    shape = 1 - np.exp(-steps / 1200)
    curves = {
        task: {
            "task_env_steps": steps.tolist(),
            "return": (OPTIMUM[task] * shape * rng.uniform(0.92, 0.98)).round(3).tolist(),
        }
        for task in tasks
    }
    final = {task: curves[task]["return"][-1] for task in tasks}
    matrix = [
        [final[tasks[j]] * keep ** (k - j) if j <= k else None for j in range(n)] for k in range(n)
    ]
    cells = grid_cells(size)
    audit, met = [], np.zeros((n, len(cells) * 4, 3), bool)
    for k in range(n):
        audit.append(_audit_row(tasks, k, keep, rng, method))
        met[k] = (np.repeat(room_of(cells, size), 4)[:, None] == k) | (
            rng.random((len(cells) * 4, 3)) < 0.1
        )
        _write_arrays(folder / "audits" / f"task-{k + 1}.npz", cells, met, k, keep, rng, method)
    optimum = {task: OPTIMUM[task] for task in tasks}
    config = {"env": {"domain": "grid", "size": size}}
    kind = {"method": method, "preset": preset, "optimum_is": "exact"}
    return _write(
        folder,
        seed,
        kind | {"optimum": optimum, "return_matrix": matrix, "audit": audit, "config": config},
        curves,
        changes,
    )


def make_body_run(
    folder: Path,
    method: str = "drago",
    seed: int = 0,
    preset: str = "cheetah-quick",
    tasks: tuple[str, ...] = BODY_TASKS,
    env_steps: int = 40_000,
    **changes: object,
) -> Path:
    """Writes a finished run of the cheetah, `env_steps` a task; `changes` as in `make_run`."""
    rng = np.random.default_rng([seed, *method.encode()])
    folder = Path(folder)
    n, grows = len(tasks), GROWS.get(method, 3.0)
    steps = np.linspace(0, env_steps, 11).astype(int) // 1000 * 1000
    curves = {
        task: {
            "task_env_steps": steps.tolist(),
            "return": (
                (1 - np.exp(-steps / 6e4)) * rng.uniform(700, 900) + rng.uniform(0, 30, len(steps))
            ).tolist(),
        }
        for task in tasks
    }
    final = {task: curves[task]["return"][-1] for task in tasks}
    matrix = [
        [final[tasks[j]] / grows ** (0.3 * (k - j)) if j <= k else None for j in range(n)]
        for k in range(n)
    ]
    audit = [_body_audit_row(tasks, k, grows, rng) for k in range(n)]
    for k in range(n):
        _write_body_arrays(folder / "audits" / f"task-{k + 1}.npz", n, k, grows, rng)
    config = {"env": {"domain": "cheetah", "episode_length": 1000, "action_repeat": REPEAT}}
    kind = {"method": method, "preset": preset, "optimum_is": "ceiling"}
    optimum = dict.fromkeys(tasks, 1000.0)
    return _write(
        folder,
        seed,
        kind | {"optimum": optimum, "return_matrix": matrix, "audit": audit, "config": config},
        curves,
        {"decisions": n * env_steps // REPEAT, "dropped_episodes": 1} | changes,
    )


def _write(folder, seed, known, curves, changes) -> Path:
    """The files that runs of every world leave, from what is known of one."""
    tasks, length = list(curves), max(next(iter(curves.values()))["task_env_steps"])
    total = length * len(tasks)
    summary = {
        "name": folder.name,
        "seeds": [seed],
        "status": "complete",
        "env_steps": total,
        "decisions": total,
        "updates": total // 2,
        "dropped_episodes": 0,
        "wall_clock_s": 1.0,
        "seeds_together": 1,
        "hardware": {"cpu": "made up"},
        "commit": "unknown",
        "versions": {"torch": "2.13.0"},
        "tasks": tasks,
        "prepares": 0,
        "success_matrix": [[None] * len(tasks)] * len(tasks),  # neither world knows success
        "success_any_matrix": [[None] * len(tasks)] * len(tasks),
        "final_return": {task: curve["return"][-1] for task, curve in curves.items()},
        "curves": curves,
        "monitor": {},
        **known,
    }
    summary["config"] |= {"seed": seed, "name": folder.name, "device": "cpu"}
    (folder / "summary.json").write_text(json.dumps(summary | changes))
    (folder / "config.yaml").write_text(f"seed: {seed}\n")
    lines = [
        {
            "stage": "train",
            "task": task,
            "env_steps": int(step) + length * k,
            "task_env_steps": int(step),
            "values": {"train/learner/consistency": float(np.exp(-3 * step / length))},
        }
        for k, (task, curve) in enumerate(curves.items())
        for step in curve["task_env_steps"]
    ]
    text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text)
    return folder


def _body_audit_row(tasks, k, grows, rng) -> dict[str, float]:
    row = {}
    for j, task in enumerate(tasks[: k + 1]):
        error = 0.03 * 1.3**j * rng.uniform(0.8, 1.25) * grows ** (k - j)
        row |= {
            f"audit/met-{task}/mse": error,
            f"audit/met-{task}/neg_log_mse": -float(np.log(error)),
            f"audit/met-{task}/unexplained": error / 2,
            f"audit/met-{task}/count": 4000.0,
        }
    return row


def _write_body_arrays(path, tasks, k, grows, rng) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    error = np.full((tasks, 17), np.nan)  # of each number of the observation
    for j in range(k + 1):
        error[j] = 0.05 * grows ** (k - j) * np.where(np.arange(17) < 8, 0.02, 1.0)
        error[j] *= 10 ** rng.normal(0, 0.2, 17)
    obs = {f"eval_obs_{j}": rng.normal(size=(4, 251, 17)).astype("f4") for j in range(k + 1)}
    np.savez_compressed(path, error=error.astype("f4"), **obs)


def _audit_row(tasks, k, keep, rng, method) -> dict[str, float]:
    row = {"audit/all/accuracy": 0.2 * (k + 1), "audit/all/mse": 1e-3 / (k + 1)}
    for room in range(4):
        accuracy = 0.9 * keep ** max(k - room, 0) if room <= k else 0.05
        row[f"audit/room-{room + 1}/accuracy"] = accuracy
        row[f"audit/room-{room + 1}/mse"] = 1e-2 * (1 - accuracy)
    row |= {"audit/doors/accuracy": 0.5, "audit/doors/mse": 1e-3}
    for j, task in enumerate(tasks[: k + 1]):
        row[f"audit/met-{task}/accuracy"] = (0.92 + rng.uniform(-0.02, 0.02)) * keep ** (k - j)
        row[f"audit/met-{task}/mse"] = 1e-4
        row[f"audit/met-{task}/count"] = 200.0
        for quantity, value in {"phantom_share": 0.1, "right_1": 0.95, "right_6": 0.7}.items():
            row[f"plans/{task}/{quantity}"] = value * keep ** (k - j)
        if method == "drago":
            row[f"dream/met-{task}/coverage"] = 0.8 * 0.9 ** (k - j)
    if method == "drago":
        row |= {"dream/valid": 0.9, "dream/met": 0.7}
        row |= {f"dream/room-{room + 1}/share": 1 / (k + 1) * (room <= k) for room in range(4)}
    return row


def _write_arrays(path, cells, met, k, keep, rng, method) -> None:
    states, room = len(cells) * 4, np.repeat(room_of(cells), 4)
    met = met & (np.arange(len(met)) <= k)[:, None, None]
    known = (room <= k) & (rng.random(states) < keep ** np.maximum(k - room, 0))
    right = np.repeat(known[:, None], 3, 1)
    spread = 10 ** rng.normal(0, 0.3, (states, 3))
    error = np.where(right, 2e-5, 2e-2) * spread
    arrays = {"error": error.astype("f4"), "right": right, "met": met, "cells": cells}
    for j in range(k + 1):
        excess = rng.normal(0, 1, states).astype("f4")
        arrays |= {f"plans_excess_{j}": excess, f"plans_phantom_{j}": excess > 1}
        arrays[f"plans_right_{j}"] = np.full((states, 6), 0.7, "f4")
    if method == "drago":
        arrays["dream_count"] = (rng.poisson(5, (states, 3)) * known[:, None]).astype("f4")
        if k:
            reward = np.where(room < k, 0.4, -0.3)[:, None] + rng.normal(0, 0.1, (states, 3))
            arrays["intrinsic"] = reward.astype("f4")
    np.savez_compressed(path, **arrays)
