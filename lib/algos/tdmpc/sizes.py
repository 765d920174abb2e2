"""How many bytes a TD-MPC run takes at least, from its settings alone."""

from lib.algos.tdmpc.settings import TdmpcRun
from lib.replay.generative import Vae

NUMBER = 4  # bytes, single precision
OBS, ACTION = 3, 3  # numbers in the smallest world's observation and action
TRAINED = 4  # a parameter, its gradient and Adam's two moments


def least_bytes(run: TdmpcRun) -> int:
    """Adds up what grows with the settings: networks, replay, an update's batch, a search.

    It is a lower bound: layers' biases, temporary results and the libraries come on top.
    """
    model, plan, learn, width = run.model, run.planner, run.learning, run.model.width
    roles = 2 if run.method.review else 1
    horizon = max(plan.horizon, default=1)
    inner = width * width * (2 if model.crelu else 1)  # the dynamics' middle layer
    heads = TRAINED * 4 * width**2 + 2 * width**2  # reward, two critics, policy; the target
    networks = TRAINED * inner + roles * heads
    networks += TRAINED * Vae.size(OBS + ACTION, run.vae.width, run.vae.code)
    episode = run.env.decisions
    episodes = max(1, min(run.decisions_per_task, learn.capacity) // max(1, episode))
    replay = roles * episodes * episode * (OBS + ACTION + 2)
    pairs = max(run.protections.rehearsal.pairs, run.protections.stored_replay.pairs)
    update = (horizon * learn.batch + pairs) * 2 * width  # both hidden layers' outputs
    states = max(run.budget.parallel_envs, run.budget.eval_episodes)
    sequences = states * plan.samples * horizon
    search = sequences * (plan.iterations + ACTION) + states * plan.samples * width
    return NUMBER * (networks + replay + update + search)
