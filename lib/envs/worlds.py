"""Names of worlds to what builds them: the only module that knows which worlds there are."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from lib.envs import stream
from lib.envs.api import Domain
from lib.errors import UserError

if TYPE_CHECKING:
    from lib.config import EnvConfig

INSTALL = "pip install mujoco==3.3.0 dm_control==1.0.28"  # up to Python 3.12


def resolve(env: "EnvConfig", entries: Iterable[str | Mapping]) -> tuple[Any, ...]:
    """Task records in the order given, each with .name and .after.

    Raises:
        UserError: an unknown task, one of another world, one given twice, or none.
    """
    if env.domain == "grid":
        return stream.resolve(entries, env.size, env.put_blocks)
    return _control().tasks.resolve(env.domain, entries)


def build(
    env: "EnvConfig", entries: Iterable[str | Mapping], device: torch.device | str = "cpu"
) -> Domain:
    """The world and the tasks that a configuration describes.

    Raises:
        UserError: what `resolve` says, or settings that make no world.
    """
    if env.domain == "grid":
        return stream.build(env, entries, device)
    return _control().domain.ControlDomain(
        env, _control().tasks.resolve(env.domain, entries), device
    )


def _control() -> Any:
    """The control package, which needs MuJoCo."""
    try:
        import lib.envs.control.domain
    except ModuleNotFoundError as error:
        if error.name not in ("mujoco", "dm_control"):
            raise
        raise UserError(
            f"cheetah and walker need {error.name}, which is not installed; use '{INSTALL}' "
            "or choose env.domain grid"
        ) from None
    return lib.envs.control
