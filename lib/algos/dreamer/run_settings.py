"""A Dreamer run has these settings beside those that all families share (`lib.core.config`)."""

from dataclasses import dataclass, field

from lib.algos.dreamer.objectives import RepresentationConfig
from lib.algos.dreamer.settings import (
    BehaviourConfig,
    BoundaryConfig,
    CloningConfig,
    ExploreConfig,
    LatentConfig,
    MetaConfig,
    NetworkConfig,
    ObjectiveConfig,
    RehearsalConfig,
    ReplayConfig,
    TransferConfig,
    UpdateConfig,
)
from lib.core.config import RunConfig, one_of


@dataclass(frozen=True)
class DreamerRun(RunConfig):
    """One training run of a Dreamer, completely."""

    family: str = one_of("dreamer")
    preset: str = "minigrid3-quick"
    method_name: str = "continual-dreamer"
    latent: LatentConfig = field(default_factory=LatentConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    representation: RepresentationConfig = field(default_factory=RepresentationConfig)
    behaviour: BehaviourConfig = field(default_factory=BehaviourConfig)
    rehearsal: RehearsalConfig = field(default_factory=RehearsalConfig)
    cloning: CloningConfig = field(default_factory=CloningConfig)
    explore: ExploreConfig = field(default_factory=ExploreConfig)
    update: UpdateConfig = field(default_factory=UpdateConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    boundary: BoundaryConfig = field(default_factory=BoundaryConfig)
    transfer: TransferConfig = field(default_factory=TransferConfig)
    meta: MetaConfig = field(default_factory=MetaConfig)

    @property
    def width(self) -> int:
        return max(self.latent.hidden, self.latent.deter, self.network.code_width)

    @property
    def carries(self) -> bool:
        return self.boundary.carry != "nothing"
