"""A process of several that learn one run, as `torchrun` starts it: `several.py RUN OUT [KILL_AT]`.

The leader kills itself before one of its updates, if it is told to.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch

from lib.algos import registry
from lib.algos.decision_transformer.agent import SequenceAgent
from lib.engine import ranks
from lib.runner import training


def main(described: str, out: str, kill_at: int = -1) -> None:
    """Trains the run, or follows; see above."""
    torch.set_num_threads(1)
    cfg = registry.from_dict(json.loads(Path(described).read_text()))
    if ranks.number():
        training.follow([cfg])
        return
    real, made = SequenceAgent._update, []

    def update(agent: SequenceAgent) -> None:
        made.append(1)
        if len(made) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        real(agent)

    SequenceAgent._update = update
    training.train(cfg, out, tensorboard=False, progress=False)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
