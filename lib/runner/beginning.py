"""The first task of a new run opens, with whatever the agent takes of other runs."""

from lib.algos import registry
from lib.algos.api import Agent, Moved
from lib.runner import parts, warm_start
from lib.runner.warm_start import Start, transfer_of


def begin(agent: Agent, start: Start) -> list[Moved]:
    """Opens an agent's first task, before any update; returns what became of single tensors.

    Another run's world model or agent as it is comes first, then parts of one by the rules of the
    run's section `transfer`, then what its settings name in files.

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
    return moved
