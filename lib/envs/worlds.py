"""Names of worlds to what builds them: the only module that knows which worlds there are."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from lib.envs.api import Domain
from lib.envs.control import tasks
from lib.envs.control.domain import ControlDomain
from lib.envs.grid import domain
from lib.envs.gym import domain as gym

if TYPE_CHECKING:
    from lib.core.config import EnvConfig

GYM = gym.DOMAINS  # stepped one by one, episodes of any length


def resolve(env: "EnvConfig", entries: Iterable[str | Mapping]) -> tuple[Any, ...]:
    """Task records in the order given, each with .name and .after.

    Raises:
        UserError: an unknown task, one of another world, one given twice, or none.
    """
    if env.domain == "grid":
        return domain.resolve(entries, env.size, env.put_blocks)
    if env.domain in GYM:
        return gym.resolve(env, entries)
    return tasks.resolve(env.domain, entries)


def build(
    env: "EnvConfig", entries: Iterable[str | Mapping], device: torch.device | str = "cpu"
) -> Domain:
    """The world and the tasks that a configuration describes.

    Raises:
        UserError: what `resolve` says, settings that make no world, or MuJoCo is not installed.
    """
    if env.domain == "grid":
        return domain.build(env, entries, device)
    if env.domain in GYM:
        return gym.build(env, entries, device)
    return ControlDomain(env, tasks.resolve(env.domain, entries), device)
