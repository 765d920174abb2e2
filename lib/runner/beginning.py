"""The first task of a new run opens, with whatever the agent takes of other runs."""

from collections.abc import Sequence

from lib.algos import registry
from lib.algos.api import Agent, Moved
from lib.runner import parts, warm_start
from lib.runner.warm_start import Start, transfer_of


def begin(agent: Agent, start: Start) -> list[Moved]:
    """Opens an agent's first task, before any update; returns what became of single tensors.

    Another run's world model or agent as it is comes first, then parts of one by the rules of the
    run's section `transfer`, then what its settings name in files. Where tensors were taken one by
    one, all others are told as well.

    Raises:
        UserError: what the agent is to take is missing, or of no use to it.
    """
    mode = start.load_mode
    loaded = warm_start.load_for(agent, start) if mode else {}
    if mode in ("world-model", "agent"):
        transfer_of(agent).load_world_model(loaded["world_model"])
    agent.begin_task(0)
    if mode == "agent":
        transfer_of(agent).load_heads(loaded)
    moved = transfer_of(agent).load_parts(loaded) if mode == "parts" else []
    for foreign in registry.of(agent.cfg).foreign(agent.cfg):
        moved += transfer_of(agent).take(foreign, parts.read(foreign, agent.cfg))
    alone = moved and mode in ("", "parts")  # no whole networks came before
    return moved + _untouched(agent, moved) if alone else moved


def _untouched(agent: Agent, moved: Sequence[Moved]) -> list[Moved]:
    """Returns rows of the tensors that nothing was said of, which are the agent's own."""
    divide, told = registry.of(agent.cfg).parts, {row.name for row in moved}
    if divide is None:
        return []
    parts_of = divide(agent.state_dict(with_replay=False)).values()
    tensors = {name: tensor for part in parts_of for name, tensor in part.items()}
    return [
        Moved(name, "random", tuple(tensor.shape), ())
        for name, tensor in tensors.items()
        if name not in told
    ]
