"""The parts of a Dreamer that have a name, for other runs to take."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

ENCODER, DECODER = "model.encoder.", "model.objective.decoder."
PARTS: dict[str, tuple[str, ...]] = {
    # To the beginnings of its tensors' names.
    "autoencoder": (ENCODER, DECODER),
    "encoder": (ENCODER,),
    "decoder": (DECODER,),
    "reward": ("model.reward_head.",),
    "actor": ("actor.",),
    "critic": ("critic.",),
    "rssm": ("model.rssm.",),
}


def named(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Returns all tensors of a saved agent that act and predict, as `network.tensor`."""
    networks = {**state["world_model"], **state["learner"]}
    return {f"{n}.{name}": tensor for n, held in networks.items() for name, tensor in held.items()}


def part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Returns the tensors of one part; of a decoder that an agent has not, none."""
    return {key: tensor for key, tensor in tensors.items() if key.startswith(PARTS[name])}


def parts(state: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    """Returns every part of a saved agent that it has whole: see `lib.algos.api.Family.parts`."""
    tensors = named(state)
    return {
        name: part(tensors, name)
        for name, begins in PARTS.items()
        if all(any(key.startswith(begin) for key in tensors) for begin in begins)
    }
