"""Examine a world model and its dreams over every transition that a grid has.

Pure functions. Letters: S states, A actions, K tasks, N dreams. `error`, `right`, `met` and
`dream_count` share the shape (S, A), so that any of them can mask or weigh another.

Accuracy is *right-cell accuracy*: the share of transitions whose predicted next observation
rounds to exactly the true next cell and heading.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lib.envs.api import Intrinsic, Predict, Sample
from lib.envs.grid.env import ACTIONS, OBS_DIM
from lib.envs.grid.rooms import ROOMS
from lib.envs.grid.table import GridTable

DREAMS = 20_000  # samples drawn when a generator is examined: about nine per state at size 27
SMALLEST_ERROR = 1e-12  # a perfect prediction scores -log of this, 27.6


@torch.no_grad()
def prediction_errors(table: GridTable, predict: Predict) -> tuple[Tensor, Tensor]:
    """Ask the model for every transition at once.

    Returns:
        error: (S, A) mean squared error over the observation's entries.
        right: (S, A) bool, the prediction rounds to the true next state.
    """
    obs, action, truth = table.transitions()
    predicted = predict(obs, action)
    error = (predicted - truth).square().mean(-1).view(-1, ACTIONS)
    right = table.nearest(predicted).view(-1, ACTIONS) == table.next_state
    return error, right


@torch.no_grad()
def dream_counts(table: GridTable, dreams: Tensor) -> Tensor:
    """(N, L + A) raw dreams to (S, A) long: how many fell on each state and action.

    The observation is rounded to the nearest cell and heading, the action is the largest entry;
    dreams inside walls or blocks are counted nowhere.
    """
    state = table.nearest(dreams[:, :OBS_DIM])
    transition = state * ACTIONS + dreams[:, OBS_DIM:].argmax(-1)
    counts = torch.bincount(transition[state >= 0], minlength=table.states * ACTIONS)
    return counts.view(-1, ACTIONS)


def groups(room: np.ndarray, met: np.ndarray, task_names: Sequence[str]) -> dict[str, np.ndarray]:
    """Named sets of transitions to average over; sets without a member are left out.

    Args:
        room: (S,) room number of each state.
        met: (K, S, A) bool, transitions met in each task.
        task_names: K names.

    Returns:
        "all", each room and "doors", "met-<task>": (S, A) bool masks.
    """
    shape = met.shape[1:]
    sets = {"all": np.ones(shape, dtype=bool)}
    for number, name in enumerate(ROOMS):
        sets[name] = np.broadcast_to((room == number)[:, None], shape)
    for name, mask in zip(task_names, met, strict=True):
        sets[f"met-{name}"] = mask
    return {name: mask for name, mask in sets.items() if mask.any()}


def prediction_metrics(
    error: np.ndarray, right: np.ndarray, sets: dict[str, np.ndarray]
) -> dict[str, float]:
    """Mean squared error, accuracy and mean -log error of each set, `audit/<set>/<metric>`."""
    metrics = {}
    for name, mask in sets.items():
        chosen = error[mask].astype(np.float64)
        metrics[f"audit/{name}/mse"] = float(chosen.mean())
        metrics[f"audit/{name}/accuracy"] = float(right[mask].mean())
        score = -np.log(np.maximum(chosen, SMALLEST_ERROR))
        metrics[f"audit/{name}/neg_log_mse"] = float(score.mean())
        if name.startswith("met-"):
            metrics[f"audit/{name}/count"] = float(mask.sum())
    return metrics


def dream_metrics(
    count: np.ndarray, met: np.ndarray, sets: dict[str, np.ndarray], drawn: int
) -> dict[str, float]:
    """How the dreams lie: on free cells, on what was met, in which room.

    Args:
        count: (S, A) dreams on each transition.
        met: (K, S, A) bool, transitions met in each task.
        sets: masks from `groups`.
        drawn: N, dreams inside walls included; every share is of these.
    """
    metrics = {
        "dream/valid": float(count.sum() / drawn),
        "dream/met": float(count[met.any(0)].sum() / drawn),
    }
    for name, mask in sets.items():
        if name in ROOMS:
            metrics[f"dream/{name}/share"] = float(count[mask].sum() / drawn)
        if name.startswith("met-"):
            metrics[f"dream/{name}/coverage"] = float((count[mask] > 0).mean())
    return metrics


def audit(
    table: GridTable,
    task_names: Sequence[str],
    held_out: Tensor,
    predict: Predict,
    sample: Sample | None = None,
    intrinsic: Intrinsic | None = None,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Everything above at once; see `api.Domain.audit`.

    Args:
        table: the world.
        task_names: K names.
        held_out: (K, S * A) bool, transitions met in each task.
        predict: the world model.
        sample: the generator of experience, if there is one.
        intrinsic: the reviewer's reward, if there is one.

    Returns:
        Flat metrics, and arrays: error (S, A), right (S, A), met (K, S, A), cells (S/4, 2), and
        dream_count (S, A) and intrinsic (S, A) where asked for.
    """
    met = held_out.view(len(task_names), -1, ACTIONS).cpu().numpy()
    error, right = (part.cpu().numpy() for part in prediction_errors(table, predict))
    sets = groups(table.room.cpu().numpy(), met, task_names)
    metrics = prediction_metrics(error, right, sets)
    arrays = {"error": error, "right": right, "met": met, "cells": table.cells.cpu().numpy()}
    if sample is not None:
        count = dream_counts(table, sample(DREAMS)).cpu().numpy()
        metrics |= dream_metrics(count, met, sets, DREAMS)
        arrays["dream_count"] = count
    if intrinsic is not None:
        with torch.no_grad():
            paid = intrinsic(*table.transitions())
        arrays["intrinsic"] = paid.view(-1, ACTIONS).float().cpu().numpy()
    return metrics, arrays
