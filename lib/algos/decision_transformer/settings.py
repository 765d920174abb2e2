"""A run of a sequence model has these settings beside those that all families share.

An update is a step of the optimiser. The defaults are published values. Source: L2M's release
(ml-jku/L2M), which counts batches instead, two to a step while pre-training.
"""

from dataclasses import dataclass, field

from lib.algos.decision_transformer.modulators import ModulatorsConfig
from lib.algos.decision_transformer.sizes import ModelConfig
from lib.core.config import RunConfig, at_least, one_of


@dataclass(frozen=True)
class DataConfig:
    """How files of experience are read."""

    # Returns and rewards are divided by it: one number for each file, in the order in which tasks
    # name them; the last one repeats. Published: 200 for Meta-World, 100 for dm_control.
    reward_scale: tuple[float, ...] = at_least(1e-9, (200.0,))
    # Windows end at the steps drawn, so that they are padded at an episode's start, as while
    # acting. Published: they begin there, and are padded at an episode's end.
    pad_starts: bool = False


@dataclass(frozen=True)
class PretrainConfig:
    """The first tasks of a run, in which the whole model learns; the stream follows."""

    tasks: int = at_least(0, 1)  # how many; 0: the run starts from another run's model
    batch: int = at_least(1, 256)  # windows of one domain
    domains: int = at_least(1, 2)  # batches of a step, of one domain after the other
    rate: float = at_least(0, 1e-4)
    warm_up: int = at_least(0, 2_000)  # updates over which the rate rises
    last_rate: float = at_least(0, 1e-6)  # where a cosine ends, with the task


@dataclass(frozen=True)
class TuneConfig:
    """The tasks of the stream."""

    batch: int = at_least(1, 256)  # windows
    rate: float = at_least(0, 1e-4)  # constant
    reset_optimizer: bool = False  # forget its moments at every boundary


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW, in both stages."""

    decay: float = at_least(0, 0.01)  # share times the rate, of linear layers' weights alone
    clip: float = at_least(0, 0.25)  # largest global gradient norm
    precision: str = one_of("single", "bf16")  # bf16: products in half precision, on CUDA


@dataclass(frozen=True)
class ModulatorConfig:
    """What learns in the stream."""

    kind: str = "full"  # a file of `modulators`
    freeze_after: int = at_least(1, 10)  # steps of an episode after which an inferred task is kept


@dataclass(frozen=True)
class SequenceRun(RunConfig):
    """One training run of a sequence model, completely."""

    family: str = one_of("decision_transformer")
    preset: str = "point-mass-quick"
    method_name: str = "dt-full"
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    modulator: ModulatorConfig = field(default_factory=ModulatorConfig)
    modulators: ModulatorsConfig = field(default_factory=ModulatorsConfig)

    @property
    def prepares(self) -> int:
        return self.pretrain.tasks

    @property
    def width(self) -> int:
        return self.model.width

    @property
    def carries(self) -> bool:
        return True

    def pretrains(self, task: int) -> bool:
        """Says whether the whole model learns in a task, by its index."""
        return task < self.pretrain.tasks
