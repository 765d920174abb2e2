"""Audits examine a world model on episodes that it never learnt from, task by task.

Two questions to the world model. *One step*: having seen everything before, what does it expect to
see next? *Open loop*: having seen the first records, what does it imagine when it is told the
actions alone? And one to what learns from it: do critic and actor still say of an episode what they
said when it was played? Asked of earlier tasks, they tell which part forgot.

Letters: K episodes, T steps, C records of context, F features.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from lib.algos.dreamer.behaviour import Actor, Critic
from lib.algos.dreamer.rssm import State
from lib.algos.dreamer.world_model import WorldModel
from lib.core.noise import NoiseBuffers

CONTEXT = 5  # records seen before imagination goes on alone


@torch.no_grad()
def observe(
    model: WorldModel, obs: Tensor, action: Tensor, generator: torch.Generator
) -> tuple[State, Tensor, Tensor]:
    """Filters episodes from their beginnings.

    Args:
        obs: (T+1, K, *shape) as stored. action: (T, K, A) between them.

    Returns:
        Posterior states (T+1, K, ·), and posterior and prior statistics (T+1, K, P).
    """
    led = torch.cat((action.new_zeros(1, *action.shape[1:]), action))  # into every record
    first = torch.zeros(obs.shape[:2], dtype=torch.bool, device=obs.device)
    first[0] = True
    layout = {"state": model.rssm.latent.noise(*obs.shape[:2])}
    noise = NoiseBuffers(layout, 1, obs.device).refill([generator])["state"][0]
    initial = model.rssm.initial(obs.shape[1], like=led)
    return model.rssm.observe(model.encoder(obs), led, first, noise, initial)


@torch.no_grad()
def one_step(model: WorldModel, state: State, prior: Tensor) -> Tensor:
    """Returns (T+1, K, F), what is expected of every record before it is seen: the latent's mode.

    Args:
        state: (T+1, K, ·) posterior states. prior: (T+1, K, P).
    """
    return model.rssm.features(State(model.rssm.latent.mode(prior), state.h))


@torch.no_grad()
def open_loop(
    model: WorldModel, state: State, action: Tensor, generator: torch.Generator
) -> Tensor:
    """Returns what a model imagines from a state on, told the actions alone: (H, K, F).

    Args:
        state: (K, ·) where it begins. action: (H, K, A).
    """
    layout = {"state": model.rssm.latent.noise(*action.shape[:2])}
    noise = NoiseBuffers(layout, 1, action.device).refill([generator])["state"][0]
    found, step = [], model.rssm.imagining()
    for taken, drawn in zip(action.unbind(), noise.unbind(), strict=True):
        state = step(state, taken, drawn)
        found.append(model.rssm.features(state))
    return torch.stack(found)


def earned(reward: Tensor, length: Tensor, cut: Tensor, value: Tensor, discount: float) -> Tensor:
    """Returns the discounted return from every record of an episode on, its own reward included.

    Args:
        reward: (T, K) on entering records 1 to T, as the critic's targets have it.
        length: (K,) decisions. cut: (K,) bool, whether time ended the episode.
        value: (T+1, K) the critic's, which says how an episode goes on that time ended.

    Returns:
        (T, K) of records 1 to T; beyond an episode's length they mean nothing.
    """
    found, later = [], torch.zeros_like(value[0])
    for record in reversed(range(1, len(value))):
        own = reward[record - 1]
        last = torch.where(cut, value[record], own)
        later = torch.where(length == record, last, own + discount * later)
        found.append(later)
    return torch.stack(found[::-1])


@torch.no_grad()
def audit_behaviour(
    model: WorldModel,
    actor: Actor,
    critic: Critic,
    state: State,
    action: Tensor,
    reward: Tensor,
    length: Tensor,
    cut: Tensor,
) -> dict[str, float]:
    """Compares critic and actor with episodes that were played when their task had been learnt.

    Args:
        state: (T+1, K, ·) posterior states. action: (T, K, A). reward: (T, K).
        length: (K,) decisions. cut: (K,) bool, whether time ended the episode.

    Returns:
        `critic_mse`, of the critic and the return that the episode went on to earn; and how far the
        actor would do what was done: `actor_agreement`, the share of decisions whose likeliest
        action was taken, or `actor_mse` of actions in a box.
    """
    features = model.rssm.features(state)
    value = critic(features)
    there = torch.arange(len(action), device=value.device).unsqueeze(1) < length  # (T, K)
    paid = earned(model.reward_target(reward), length, cut, value, model.discount)
    likeliest = actor.mode(actor(features[:-1]))
    if actor.actions.discrete:
        same = (likeliest.argmax(-1) == action.argmax(-1)).float()
        told = {"actor_agreement": float(same[there].mean())}
    else:
        told = {"actor_mse": float((likeliest - action).square().mean(-1)[there].mean())}
    return {"critic_mse": float((value[1:] - paid).square()[there].mean()), **told}


@torch.no_grad()
def audit(
    model: WorldModel,
    held_out: Mapping[str, Tensor],
    names: Sequence[str],
    generator: torch.Generator,
    behaviour: tuple[Actor, Critic] | None = None,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Examines a model on what was held out of every task so far.

    Args:
        held_out: obs (tasks, K, T+1, *shape), action, reward, length: of a domain.
        names: of the tasks learnt so far.
        behaviour: actor and critic, to be examined as well.

    Returns:
        `audit/met-TASK/...` metrics, and `open_loop_error` (tasks, T+1), the mean error of what is
        imagined after CONTEXT records, NaN where no episode lasts so long. An objective that
        measures no error leaves both out.
    """
    metrics: dict[str, float] = {}
    measured = model.objective.error_name
    steps = held_out["action"].shape[2]
    far = np.full((len(names), steps + 1), np.nan, np.float32)
    for index, name in enumerate(names):
        length = held_out["length"][index]  # (K,)
        longest = int(length.max())
        if not longest:
            continue
        obs = held_out["obs"][index, :, : longest + 1].transpose(0, 1)
        action = held_out["action"][index, :, :longest].transpose(0, 1)
        reward = held_out["reward"][index, :, :longest].transpose(0, 1)
        state, posterior, prior = observe(model, obs, action, generator)
        record = torch.arange(longest + 1, device=obs.device).unsqueeze(1)  # (T+1, 1)
        counts = (record >= 1) & (record <= length)  # records that something led to
        expected = one_step(model, state, prior)
        error = model.objective.error(expected, obs)
        surprise = model.rssm.latent.kl(posterior, prior)
        paid = model.reward(model.rssm.features(state))[1:] - model.reward_target(reward)
        if error is not None:
            metrics[f"audit/met-{name}/{measured}"] = float(error[counts].mean())
        metrics |= {
            f"audit/met-{name}/surprise": float(surprise[counts].mean()),
            f"audit/met-{name}/reward_mse": float(paid.square()[counts[1:]].mean()),
            f"audit/met-{name}/count": float(counts.sum()),
        }
        if behaviour:
            told = audit_behaviour(
                model, *behaviour, state, action, reward, length, length == steps
            )
            metrics |= {f"audit/met-{name}/{part}": value for part, value in told.items()}
        if error is not None and longest > CONTEXT:
            start = State(*(part[CONTEXT - 1] for part in state))
            imagined = open_loop(model, start, action[CONTEXT - 1 :], generator)
            wrong = model.objective.error(imagined, obs[CONTEXT:])
            there = counts[CONTEXT:]
            sums = torch.where(there, wrong, 0.0).sum(1) / there.sum(1)
            far[index, CONTEXT : longest + 1] = sums.cpu().numpy()
    return metrics, {"open_loop_error": far} if measured else {}
