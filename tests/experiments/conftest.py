"""What tests of comparisons share."""

from pathlib import Path

import pytest

from lib.core import config
from lib.experiments import transfer, trials
from lib.runner import training
from tests.tiny import control
from tests.transfers import LEARNT, SHORT, asked, run


@pytest.fixture(scope="session")
def learners(tmp_path_factory) -> Path:
    """Finished runs of continual TD-MPC and DRAGO, one seed each, that learnt to jump and run."""
    folder = tmp_path_factory.mktemp("outputs")
    for method in ("tdmpc", "drago"):
        cfg = control(method, tasks=LEARNT, **SHORT)
        cfg = config.merge(cfg, {"name": f"{method}-cheetah-quick"})
        training.train(cfg, folder / f"{cfg.name}-s0", tensorboard=False, progress=False)
    return folder


@pytest.fixture(scope="session")
def done(learners, tmp_path_factory) -> trials.Study:
    """A comparison that nobody interrupted."""
    study = transfer.prepare(asked(tmp_path_factory.mktemp("whole")), learners)
    run(study)
    return study
