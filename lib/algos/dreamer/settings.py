"""The settings of a Dreamer's parts are the sections of a run, `lib.algos.dreamer.run_settings`.

The defaults are Continual-Dreamer's on MiniGrid; versions of Dreamer and methods are named changes
in `lib.algos.dreamer.presets`.
"""

from dataclasses import dataclass

from lib.core.config import at_least, one_of, share


@dataclass(frozen=True)
class LatentConfig:
    """The recurrent state-space model: deterministic state h and stochastic state z."""

    kind: str = one_of("categorical", "gaussian")
    variables: int = at_least(1, 32)  # categorical: variables; gaussian: dimensions
    classes: int = at_least(2, 32)  # categorical only: values of each variable
    # gaussian only: standard deviation from a layer's output x, 2 sigmoid(x / 2) or softplus(x),
    # on top of a floor.
    std: str = one_of("sigmoid", "softplus")
    min_std: float = at_least(0, 0.1)
    deter: int = at_least(1, 1024)  # D, width of h
    hidden: int = at_least(1, 1024)  # width of the layers around the recurrent cell
    norm: str = one_of("none", "layer")  # of hidden layers
    cell: str = one_of("normalised", "gru")  # normalised: DreamerV2's GRU; gru: DreamerV1's
    posterior: str = one_of("joint", "embedding")  # what it reads; embedding: TPC's, gaussian only


@dataclass(frozen=True)
class NetworkConfig:
    """Encoder, decoder and heads."""

    depth: int = at_least(1, 48)  # images: channels of the first convolution
    convolution: str = one_of("elu", "relu")  # images: what follows a convolution
    code_width: int = at_least(1, 400)  # vectors and symbols: width of encoder and decoder
    code_layers: int = at_least(1, 4)  # their hidden layers
    head_width: int = at_least(1, 400)  # reward, discount, actor, critic
    head_layers: int = at_least(1, 4)  # of those whose number is not given
    reward_layers: int = at_least(0, 0)  # 0: head_layers
    critic_layers: int = at_least(0, 0)  # 0: head_layers
    # Continuous actions: the actor's standard deviation before tanh is softplus(x + shift) + floor.
    actor_shift: float = 0.0  # DreamerV1: ln(e^5 - 1), so that it begins at 5
    actor_min_std: float = at_least(0, 0.1)


@dataclass(frozen=True)
class ObjectiveConfig:
    """What the world model is trained for."""

    representation: str = "reconstruction"  # a file of lib/algos/dreamer/objectives
    kl_scale: float = at_least(0, 1.0)
    kl_balance: float = share(0.8)  # share of the KL that trains the prior
    free_nats: float = at_least(0, 0.0)  # KL below this is not trained on
    discount_head: bool = True  # predict where episodes end
    reward_shapes: bool = True  # gradients of reward and discount reach the latent
    reward_scale: float = at_least(0, 1.0)  # weight of the reward loss
    reward: str = one_of("tanh", "identity")  # transform of the reward that is predicted


@dataclass(frozen=True)
class BehaviourConfig:
    """Actor and critic, learnt in imagination."""

    gradient: str = one_of("auto", "reinforce", "dynamics")  # auto: by the kind of actions
    discount: float = share(0.99)
    lam: float = share(0.95)  # λ of the returns
    horizon: int = at_least(1, 15)  # H, imagined steps
    starts: int = at_least(0, 0)  # imagination begins in so many states of a batch; 0: in all
    sequences: int = at_least(0, 0)  # of these alone, the first ones of a batch; 0: of all
    entropy: float = at_least(0, 3e-3)  # η, weight of the policy's entropy
    # Whose return judges an action: of the state that it leads to, or of the one it is taken in,
    # as in the code for pixels. The latter has one more action and needs gradients of the dynamics.
    # reached: as next, and the critic leaves out the state that imagination begins in, too.
    credit: str = one_of("next", "current", "reached")
    # Continuous actions: how many samples estimate the entropy, and of how many the likeliest is
    # the best action. 1: the sample that acts, and the tanh of the mean. Published for pixels: 100.
    samples: int = at_least(1, 1)
    slow_every: int = at_least(1, 100)  # updates between two copies to the slow critic
    slow_when: str = one_of("after", "before")  # the first of so many updates; before: TPC's


@dataclass(frozen=True)
class RehearsalConfig:
    """Dream rehearsal: the task's actor imitates the best of what it dreams."""

    weight: float = at_least(0, 0.0)  # of the imitation in the actor's loss; 0: no rehearsal
    of: str = one_of("earlier", "all")  # tasks whose states are dreamt from; all: needs no labels
    starts: int = at_least(1, 16)  # replayed states that are dreamt from in an update
    dreams: int = at_least(2, 4)  # from each of them; the best is imitated
    margin: float = at_least(0, 0.02)  # by which it must beat their average [task units]


@dataclass(frozen=True)
class CloningConfig:
    """Cloning: the task's actor repeats what it once did well in earlier tasks."""

    weight: float = at_least(0, 0.0)  # of the imitation in the actor's loss; 0: no cloning


@dataclass(frozen=True)
class ExploreConfig:
    """What acts while collecting, and what it is paid for."""

    bonus: str = "none"  # or a file of lib/algos/dreamer/exploration
    visits: float = at_least(0, 1.0)  # visits: weight of the bonus
    members: int = at_least(2, 10)  # plan2explore: networks of the ensemble
    intrinsic: float = at_least(0, 0.9)  # plan2explore: weight of the disagreement
    extrinsic: float = at_least(0, 0.9)  # and of the predicted reward
    lr: float = at_least(0, 3e-4)  # of the ensemble
    every: int = at_least(0, 0)  # n > 0: explore one step in n, else the task actor acts; 0: always
    noise: float = at_least(0, 0.0)  # continuous actions: deviation of noise added while collecting
    evaluate: str = one_of("task", "acting")  # task: the task actor's best; acting: as collected


@dataclass(frozen=True)
class UpdateConfig:
    """Batches and optimisers."""

    batch: int = at_least(1, 16)  # B, sequences
    length: int = at_least(2, 50)  # T, records of a sequence
    env_steps_per_update: int = at_least(1, 10)
    burst: int = at_least(1, 1)  # updates are made so many at a time, once they are due
    prefill: int = at_least(0, 10_000)  # random env steps, once, out of the first task's budget
    pretrain: int = at_least(0, 1)  # updates right after them
    pretrains: str = one_of("all", "model")  # what these train; model: actors and critics wait
    model_lr: float = at_least(0, 1e-4)
    actor_lr: float = at_least(0, 8e-5)
    critic_lr: float = at_least(0, 2e-4)
    clip: float = at_least(0, 100.0)  # largest global gradient norm, each optimiser
    epsilon: float = at_least(0, 1e-5)  # Adam's, added before the bias correction as Keras does
    decay: float = at_least(0, 1e-6)  # share that every parameter loses in an update
    precision: str = one_of("single", "bf16")  # bf16: network products in half precision, on CUDA


@dataclass(frozen=True)
class ReplayConfig:
    """What is kept of the past, and what is drawn from it."""

    capacity: int = at_least(1, 2_000_000)  # decisions
    retention: str = one_of("fifo", "reservoir", "random-evict", "coverage")
    sampling: str = one_of("uniform", "recent", "reward", "uncertainty")
    recent_share: float = share(0.5)  # recent: share of draws that favour the newest episodes
    min_length: int = at_least(1, 5)  # decisions; shorter episodes are discarded
    # Episodes that end within `update.length` decisions are stored with their last observation
    # repeated, see lib.replay.padding. For worlds that end early and models without discount head.
    pad: bool = False
    # Parts of episodes are shortened by less than this, and favour an episode's end by as much.
    # The published code uses one number, `minlen`, for this and for the shortest episode kept.
    slack: int = at_least(0, 5)
    row_start: str = one_of("zero", "carry")  # carry: a row begins with the last batch's latent


@dataclass(frozen=True)
class BoundaryConfig:
    """What happens where one task ends and the next begins. Nothing tells the agent by itself."""

    carry: str = one_of("everything", "nothing")  # nothing: a new agent for every task
    reset_optimizers: bool = False  # forget the moments of every optimiser


@dataclass(frozen=True)
class TransferConfig:
    """What `load_mode parts` takes of another run's agent, see `parameter_transfer`."""

    # scratch: nothing; ftl: a share of the last layers of reward and critic, all else but what
    # belongs to actions; modular: the same with a share of 0; full: everything.
    case: str = one_of("ftl", "modular", "full", "scratch")
    omega: float = share(0.2)  # ω of ftl, the share of the source that is added; the authors' value
    scope: str = one_of(
        "last_layer", "whole_head"
    )  # what is shared of a head; the code, the figure


@dataclass(frozen=True)
class MetaConfig:
    """Parts of other runs that stay as they are while this one learns, see `meta`.

    A path is a file that `python -m lib export` wrote, a run folder or a checkpoint; `{seed}` in it
    is the run's own seed.
    """

    autoencoder: str = ""  # whose encoder is fixed, and whose decoder is begun with; "": none
    rewards: tuple[str, ...] = ()  # whose reward heads the run's own reads; none: it is a plain one
    use_sources: bool = True  # False: what they predict counts as 0, the control
    freeze_decoder: bool = False  # the released code trains it on
    init_rssm: str = ""  # whose recurrent model is begun with, but for its actions; "": a fresh one
    layers: int = at_least(1, 1)  # hidden layers of the head that reads others
