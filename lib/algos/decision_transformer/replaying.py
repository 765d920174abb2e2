"""Goes along episodes that were played, and says what an agent makes of each step.

Shapes: K episodes, T steps, A numbers of an action, S tasks of the stream.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lib.algos.api import Told
from lib.algos.decision_transformer import acting
from lib.algos.decision_transformer.model import state_features
from lib.algos.decision_transformer.tokens import padded, to_tokens
from lib.algos.decision_transformer.windows import Window

if TYPE_CHECKING:
    from lib.algos.decision_transformer.agent import SequenceAgent


def replayed(
    agent: "SequenceAgent", task: int, obs: Tensor, action: Tensor, reward: Tensor
) -> Iterator[tuple[Window, Window]]:
    """Yields what is read before each decision, and the same with what was decided.

    Args:
        task: whose episodes they are, for its spaces and its return.
        obs: (K, T+1, L). action: (K, T, A). reward: (K, T).
    """
    cfg = agent.cfg.model
    width = agent.parts[task][0].actions.size
    memory = acting.begun(len(obs), cfg, agent.modulator.context.tasks, agent.device)
    for step in range(action.shape[1]):
        memory = agent.observed(memory, obs[:, step], task)
        before = acting.window(memory, width, cfg.bins)
        chosen = to_tokens(padded(action[:, step, :width], cfg.actions), cfg.bins)
        kept = torch.cat((memory.action[:, :-1], chosen.unsqueeze(1)), 1)
        memory = memory._replace(action=kept)
        yield before, acting.window(memory, width, cfg.bins)
        memory = memory._replace(steps=memory.steps + 1)
        memory = agent.observe_reward(memory, reward[:, step])


@torch.no_grad()
def believed(
    agent: "SequenceAgent", task: int, obs: Tensor, action: Tensor, reward: Tensor
) -> Tensor:
    """Returns how likely each task of the stream is after every step, (T, K, S); see `replayed`."""
    agent.model.eval()
    told = []
    for window, _ in replayed(agent, task, obs, action, reward):
        features = agent.model.read(agent.model.embed(window), window.valid)
        told.append(agent.modulator.evidence(state_features(features, window.valid)))
    summed = torch.stack(told).cumsum(0)
    return summed.masked_fill(~agent.modulator.seen(), -torch.inf).softmax(-1)


@torch.no_grad()
def decisions(
    agent: "SequenceAgent",
    obs: Tensor,
    action: Tensor,
    reward: Tensor,
    heads: dict[str, int] | None = None,
) -> Told:
    """Returns the tokens decided along an episode, how likely they were, and which task was acted.

    Args:
        obs: (T+1, L). action: (T, A). reward: (T,).
    """
    agent.model.eval()
    one, task = (obs[None], action[None], reward[None]), heads["task"] if heads else agent.task
    first, width = agent.cfg.pretrain.tasks, agent.parts[task][0].actions.size
    names = [one.name for one in agent.domain.tasks[first:]]
    modulator, (module, belief) = agent.acting_with(task), _modules(agent, task, one)
    tokens, likely, members = [], [], []
    for (before, window), acts in zip(replayed(agent, task, *one), module, strict=True):
        embedded, adapter = agent.model.embed(before), None
        if modulator is not None:
            query = agent.model.query(embedded, before.valid, modulator.query)
            adapter = modulator.acting(query, acts)
            members.append(modulator.members(query, acts))
        features = agent.model.read(agent.model.embed(window), window.valid, adapter)
        chance = agent.model.logits(features)[0, -1, :width].softmax(-1)  # (A, bins)
        token = window.action[0, -1, :width]
        tokens.append(token)
        likely.append(chance.gather(1, token.unsqueeze(1))[:, 0])
    numbers = {f"token of number {i + 1}": torch.stack(tokens)[:, i] for i in range(width)}
    numbers |= {f"its probability, number {i + 1}": torch.stack(likely)[:, i] for i in range(width)}
    words = [
        ", ".join(f"token {t} (p {p:.2f})" for t, p in zip(ts.tolist(), ps.tolist(), strict=True))
        for ts, ps in zip(tokens, likely, strict=True)
    ]
    if belief is not None:
        said = " ".join(f"{i + 1} {name}" for i, name in enumerate(names))
        which = torch.cat(module)
        numbers[f"task it takes this for: {said}"] = which + 1
        numbers["how sure it is of that task"] = belief.gather(1, which.unsqueeze(1))[:, 0]
        words = [
            f"{word}; taken for {names[i]} (p {p[i]:.2f})"
            for word, i, p in zip(words, which.tolist(), belief.tolist(), strict=True)
        ]
    if members and members[0] is not None:
        numbers["member of the pool, the nearest"] = torch.stack(members)[:, 0, 0]
    return Told(numbers, words)


def _modules(
    agent: "SequenceAgent", task: int, episode: tuple[Tensor, Tensor, Tensor]
) -> tuple[list[Tensor], Tensor | None]:
    """Returns which task was acted at every step, (1,) each, and the belief, (T, S) or None."""
    steps, stream = episode[1].shape[1], task - agent.cfg.pretrain.tasks
    modulator = agent.acting_with(task)
    if modulator is None or not modulator.infers:
        return [torch.tensor([stream], device=agent.device)] * steps, None
    belief = believed(agent, task, *episode)[:, 0]
    last = min(steps, agent.cfg.modulator.freeze_after) - 1
    belief = torch.cat((belief[: last + 1], belief[last].expand(steps - last - 1, -1)))
    return list(belief.argmax(-1, keepdim=True)), belief
