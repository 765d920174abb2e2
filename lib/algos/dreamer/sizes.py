"""How many bytes a Dreamer's run takes at least, from its settings alone."""

from lib.algos.dreamer.run_settings import DreamerRun
from lib.envs import worlds

NUMBER = 4  # bytes, single precision
RECORD = 32  # bytes of the smallest stored record
CONVOLUTIONS = {64: 16 * 42, 32: 16 * 2 + 9 * 8}  # weights but the first layer's, depth 1
TRAINED = 4  # a parameter, its gradient and Adam's two moments


def least_bytes(run: DreamerRun) -> int:
    """Adds up what grows with the settings: networks, replay, a batch, imagined rollouts.

    It is a lower bound: biases, temporary results and the libraries come on top.
    """
    latent, net, update, imagine = run.latent, run.network, run.update, run.behaviour
    z = latent.variables * (latent.classes if latent.kind == "categorical" else 1)
    features = latent.deter + z
    cell = 3 * latent.deter * (latent.hidden + latent.deter) + latent.hidden * (3 * z)
    head = features * net.head_width + (net.head_layers - 1) * net.head_width**2
    networks = cell + 4 * head  # reward, discount, actor, critic
    if run.explore.bonus == "plan2explore":
        networks += run.explore.members * (head + net.head_width * z)
    records = update.batch * update.length
    rollouts = imagine.starts or (imagine.sequences or update.batch) * update.length
    states = records + rollouts * imagine.horizon
    state = features + 3 * latent.deter + latent.hidden + 4 * net.head_layers * net.head_width
    picture = RECORD
    per_record = 2 * net.code_layers * net.code_width  # encoder and decoder
    if run.env.observation == "pixels":
        side = run.env.image_size
        networks += 2 * CONVOLUTIONS[side] * net.depth**2  # and about as many of their mirror image
        picture = 3 * side**2  # numbers that an image encoder reads
        per_record = picture + (side // 2 - 1) ** 2 * net.depth  # and the first layer's outputs
    else:
        networks += 2 * (net.code_layers - 1) * net.code_width**2
    decisions = run.budget.steps_before(max(1, len(run.tasks))) // run.env.action_repeat
    record = picture if worlds.of(run.env).sized else RECORD  # others store what they draw from
    stored = record * min(run.replay.capacity, decisions)  # memory is taken as episodes arrive
    acting = max(run.budget.parallel_envs, run.budget.eval_episodes) * features
    return NUMBER * (TRAINED * networks + states * state + records * per_record + acting) + stored
