"""What a domain shares that stands around another one and changes some of what it does."""

from typing import Any

from lib.envs.api import Domain
from lib.envs.held_out import HoldsOutEpisodes


class Around(HoldsOutEpisodes):
    """A `Domain` that is the one within it, but for what is defined anew.

    What is held out is described in `lib.envs.held_out`, in the spaces of this domain.

    Args:
        domain: the one within, whose episodes may end early.
    """

    def __init__(self, domain: Domain):
        self._domain = domain

    def __getattr__(self, name: str) -> Any:
        if name == "_domain":  # while it is copied there is nothing within yet
            raise AttributeError(name)
        return getattr(self._domain, name)
