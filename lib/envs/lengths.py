"""How many decisions an episode has."""

from lib.core.errors import UserError


def decisions(env_steps: int, action_repeat: int) -> int:
    """Length of an episode in decisions.

    Raises:
        UserError: no steps, or an episode that would end within a decision.
    """
    if env_steps < 1 or action_repeat < 1 or env_steps % action_repeat:
        raise UserError(
            f"an episode of {env_steps} env steps cannot hold decisions of {action_repeat}; "
            "make episode_length a multiple of action_repeat, both 1 or more"
        )
    return env_steps // action_repeat
