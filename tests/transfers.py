"""Comparisons on new tasks that are tiny: what they are asked for."""

from pathlib import Path

from lib.experiments import params, run_config, trials
from tests.tiny import control

SHORT = {"budget__env_steps_per_task": 112, "budget__eval_every": 56}  # 4 episodes of 28 steps
LEARNT = ["cheetah-jump", "cheetah-run"]


def overrides(**changes) -> dict:
    """Those that make every run tiny."""
    cfg = control("tdmpc", budget__pre_rollout=3, **SHORT | changes)
    return params.from_record(params.record(cfg, run_config.PARAMETERS))["overrides"]


def asked(tmp_path: Path, **changes) -> dict:
    given = {"tasks": ["jump2run"], "device": "cpu", "overrides": overrides()}
    return given | {"out_dir": str(tmp_path / "new")} | changes


def run(study: trials.Study) -> None:
    """Trains all of it, without TensorBoard's files."""
    trials.run(study, tensorboard=False)
