"""Background clips for training, and others for evaluation."""

from lib.core.errors import unknown

SPLITS = ("train", "test")


def check_split(split: str) -> None:
    """Raises UserError unless it is "train" or "test"."""
    if split not in SPLITS:
        raise unknown("split of backgrounds", split, SPLITS)
