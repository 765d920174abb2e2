"""What action sequences are promised, and what they pay.

A *phantom plan* is a sequence that is promised more than it pays, by a margin. A planner that finds
one follows it and earns nothing, although its model may predict every single step well: small
errors add up where they are never corrected.

Pure functions. Letters: S states, h steps.
"""

import numpy as np

MARGIN = 0.1  # of what the best sequence from any state pays; a larger excess makes a phantom


def phantoms(promised: np.ndarray, paid: np.ndarray, payable: float) -> np.ndarray:
    """Tells which sequences are phantom plans.

    Args:
        promised, paid: (S,) discounted returns of one sequence from each state.
        payable: the most that any sequence pays from any state; the margin is a share of it.

    Returns:
        (S,) bool.
    """
    return promised - paid > MARGIN * payable


def told_steps(horizon: int) -> list[int]:
    """Returns the steps ahead that metrics tell of: 1, 2, 4, ... and the horizon."""
    doubling = [2**k for k in range(horizon.bit_length()) if 2**k < horizon]
    return [*doubling, horizon]
