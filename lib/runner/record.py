"""What a run writes down while it goes: metrics, for people, programs, TensorBoard and W&B.

`metrics.jsonl` is the record: one JSON object a line, keys sorted, no times, so that the same
run gives the same bytes. TensorBoard and W&B show the same numbers. Times go to `timing.jsonl`.
"""

import json
import math
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from lib.core.errors import UserError, unknown
from lib.core.files import atomic_write, open_regular
from lib.core.storage import told_to_the_user
from lib.runner import records
from lib.runner.run_folder import RunFolder

WANDB_MODES = ("", "offline", "online")
WANDB_PROJECT = "continual-model-based-rl"


@dataclass(frozen=True)
class Metric:
    """What a logged number means. A star in the pattern stands for one name, such as a task."""

    pattern: str
    meaning: str
    unit: str
    low: float = -math.inf  # healthy range: outside it, look closer
    high: float = math.inf

    @property
    def label(self) -> str:
        """Text for the axis of a plot."""
        return f"{self.meaning} [{self.unit}]" if self.unit else self.meaning

    def matches(self, name: str) -> bool:
        mine, theirs = self.pattern.split("/"), name.split("/")
        return len(mine) == len(theirs) and all(map(fnmatchcase, theirs, mine))


METRICS = (
    # pattern, meaning, unit, healthy range. First match wins.
    Metric("train/learner/return", "training return, learner", "reward per episode"),
    Metric("train/reviewer/return", "review reward collected", "review reward per episode"),
    Metric("train/reviewer/known_part", "part of it for what the old model knew", "per episode"),
    Metric("train/reviewer/cost_part", "part taken off for what is still known", "per episode"),
    Metric("train/learner/success", "training episodes that reach the goal", "share", 0, 1),
    Metric("train/learner/length", "length of training episodes", "env steps", 0),
    Metric("train/model/total", "world model's loss", "nats", 0, 1e5),
    Metric("train/model/reconstruction", "minus log-likelihood of observations", "nats", 0, 1e5),
    Metric("train/model/reward", "reward loss, half the squared error", "reward^2", 0, 1),
    Metric("train/model/discount", "discount loss, cross-entropy", "nats", 0, 1),
    Metric("train/model/kl", "KL of posterior from prior", "nats", 0.1, 100),
    Metric("train/model/*_entropy", "entropy of the latent", "nats", 0, 1e3),
    Metric("train/ensemble/ensemble", "ensemble's loss, all members", "latent^2", 0, 1e3),
    Metric("train/*/actor", "actor's loss in imagination", "reward"),
    Metric("train/*/critic", "critic's loss in imagination", "reward^2", 0, 1e3),
    Metric("train/*/entropy", "entropy of the policy", "nats", 0, 10),
    Metric("train/behaviour/return", "imagined return", "reward"),
    Metric("train/behaviour/reward", "imagined reward of a step", "reward"),
    Metric("train/exploration/return", "imagined return of the explorer", "reward"),
    Metric("train/exploration/reward", "what the explorer is paid for a step", "reward"),
    Metric("train/behaviour/value", "critic's value of imagined states", "reward"),
    Metric("train/exploration/value", "the same, of the explorer's critic", "reward"),
    Metric("train/*/discount", "imagined discount of a step", "", 0, 1),
    Metric("train/*/*_grad_norm", "gradient norm before clipping", "", 0, 1e3),
    Metric("train/replay/share-*", "share of this task in the replay", "share", 0, 1),
    Metric("train/replay/steps", "stored experience", "env steps", 0),
    Metric("train/replay/episodes", "stored episodes", "episodes", 0),
    Metric("train/turns/*/env_steps", "played of a task that takes turns", "env steps", 0),
    Metric("train/turns/*/episodes", "episodes of such a task that ended", "episodes", 0),
    Metric("train/turns/episodes", "the same of all of them", "episodes", 0),
    Metric("train/replay/discarded", "episodes too short to be stored", "episodes", 0),
    Metric("train/*/consistency", "open-loop prediction error, weighted over steps", "MSE", 0, 1),
    Metric("train/*/reward", "reward prediction error, weighted over steps", "reward^2", 0, 10),
    Metric("train/*/value", "TD error of both critics, weighted over steps", "reward^2", 0, 1e3),
    Metric("train/*/total", "model loss before importance weights", "", 0, 1e3),
    Metric("train/*/weighted", "model loss as trained", "", 0, 1e3),
    Metric("train/*/policy", "policy loss (minus the critics' value)", "reward"),
    Metric("train/*/grad_norm", "gradient norm before clipping", "", 0, 100),
    Metric("train/*/score", "prediction score, -log MSE over the window", "nats", 3, 28),
    Metric("train/planner/score_bf16", "the same in a search's half precision", "nats", 3, 28),
    Metric("train/reviewer/threshold", "review threshold of this task", "nats", 3, 28),
    Metric("train/reviewer/next_threshold", "review threshold for the next task", "nats", 3, 28),
    Metric("train/vae/reconstruction", "VAE reconstruction error", "MSE", 0, 0.2),
    Metric("train/vae/kl", "VAE KL, mean over the code", "nats", 0, 1),
    Metric("train/rehearsal/loss", "distance from the old dynamics on dreamt pairs", "MSE", 0, 1),
    Metric("train/rehearsal/imitation", "minus log-likelihood of the best dreams", "nats", 0, 20),
    Metric("train/rehearsal/eligible", "starts that are of an earlier task", "share", 0, 1),
    Metric("train/rehearsal/imitated", "starts whose best dream is imitated", "share", 0, 1),
    Metric("train/rehearsal/gain", "what the best dream has over the average", "reward", 0),
    Metric("train/cloning/imitation", "minus log-likelihood of cloned actions", "nats", 0, 20),
    Metric("train/cloning/cloned", "records whose next action is cloned", "share", 0, 1),
    Metric("train/*/action", "cross-entropy of actions' tokens", "nats", 0, 5),
    Metric("train/policy/match", "minus the weighted nearness of queries and keys", "", -3, 9),
    Metric("train/policy/contrast", "weighted nearness to other windows' features", "nats", 0, 1),
    Metric("train/policy/anchor", "weighted distance from earlier tasks' weights", "nats", 0, 10),
    Metric("eval/*/return", "evaluation return", "reward per episode", 0),
    Metric("eval/*/return_std", "spread of the evaluation return", "reward per episode", 0),
    Metric("eval/*/optimum", "mean return that counts as 100 %", "reward per episode", 0),
    Metric("eval/*/success", "evaluation episodes at the goal in the end", "share", 0, 1),
    Metric("eval/*/success_any", "evaluation episodes at the goal at any step", "share", 0, 1),
    Metric("eval/*/length", "length of evaluation episodes", "env steps", 0),
    Metric("monitor/*/return", "evaluation return, whatever is learnt", "reward per episode", 0),
    Metric("monitor/*/return_std", "spread of that return", "reward per episode", 0),
    Metric("monitor/*/success", "the same episodes, at the goal in the end", "share", 0, 1),
    Metric("monitor/*/success_any", "the same episodes, at the goal at any step", "share", 0, 1),
    Metric("monitor/*/length", "length of the same episodes", "env steps", 0),
    Metric("eval_final/*/return", "return with the current world model", "reward per episode", 0),
    Metric("eval_final/*/success", "the same episodes, at the goal in the end", "share", 0, 1),
    Metric("eval_final/*/success_any", "the same episodes, at it at any step", "share", 0, 1),
    Metric("audit/*/mse", "one-step prediction error", "MSE", 0, 1),
    Metric("audit/*/accuracy", "right-cell accuracy of one step", "share", 0, 1),
    Metric("audit/*/neg_log_mse", "one-step prediction score, -log MSE", "nats", 0, 28),
    Metric("audit/*/unexplained", "one-step error over the change's variance", "share", 0, 1),
    Metric("audit/*/cells", "cells of the next view predicted wrongly", "share", 0, 1),
    Metric("audit/*/pixels", "squared error of the next image, colours in 0..1", "MSE", 0, 1),
    Metric("audit/*/surprise", "KL of what is seen from what was expected", "nats", 0, 100),
    Metric("audit/*/reward_mse", "squared error of the reward, as predicted", "reward^2", 0, 1),
    Metric("audit/*/critic_mse", "squared error of the critic, as it predicts", "return^2", 0, 1),
    Metric("audit/*/actor_agreement", "decisions that the actor would take again", "share", 0, 1),
    Metric("audit/*/actor_mse", "distance of the actor from what was done", "MSE", 0, 1),
    Metric("audit/*/disagreement", "disagreement of heads, open loop", "latent units", 0, 1),
    Metric("audit/*/trust_rank", "rank correlation of disagreement and error", "rank", 0, 1),
    Metric("audit/*/trust_rank_by_step", "the same, equally many steps ahead", "rank", 0, 1),
    Metric("audit/*/error_trusted", "open-loop error where heads agree most", "as its error", 0),
    Metric("audit/*/error_distrusted", "the same where they agree least", "as its error", 0),
    Metric("audit/*/inferred_*", "episodes whose task is told so many steps in", "share", 0, 1),
    Metric("audit/*/count", "transitions asked about", "transitions", 0),
    Metric("probe/*/mse", "one-step prediction error, earlier task", "MSE", 0, 1),
    Metric("probe/*/cells", "cells of an earlier task predicted wrongly", "share", 0, 1),
    Metric("probe/*/pixels", "squared error of an earlier task's images", "MSE", 0, 1),
    Metric("probe/*/surprise", "KL of what is seen of an earlier task", "nats", 0, 100),
    Metric("probe/*/reward_mse", "squared error of an earlier task's reward", "reward^2", 0, 1),
    Metric("probe/*/critic_mse", "squared error of the critic, earlier task", "return^2", 0, 1),
    Metric("probe/*/actor_agreement", "decisions taken as in an earlier task", "share", 0, 1),
    Metric("probe/*/actor_mse", "distance from an earlier task's actions", "MSE", 0, 1),
    Metric("probe/*/count", "transitions asked about", "transitions", 0),
    Metric("plans/*/phantoms", "states whose most promising plan is a phantom", "states", 0),
    Metric("plans/*/phantom_share", "share of such plans", "share", 0, 1),
    Metric("plans/*/excess", "what plans are promised beyond what they pay", "reward"),
    Metric("plans/*/regret", "what the best plan pays beyond the most promising", "reward", 0),
    Metric("plans/*/right_*", "right-cell accuracy so many steps ahead", "share", 0, 1),
    Metric("plans/*/unexplained_*", "open-loop error over the change's variance", "share", 0, 1),
    Metric("dream/valid", "dreamt states on a free cell", "share", 0, 1),
    Metric("dream/met", "dreamt pairs that the agent met", "share", 0, 1),
    Metric("dream/*/share", "dreamt states in this room", "share", 0, 1),
    Metric("dream/*/coverage", "met pairs that are dreamt again", "share", 0, 1),
)


def describe(name: str) -> Metric:
    """The entry of `METRICS` for a logged name.

    Raises:
        UserError: no entry matches.
    """
    for metric in METRICS:
        if metric.matches(name):
            return metric
    raise unknown("metric", name, [metric.pattern for metric in METRICS])


class Recorder:
    """Appends to the files of one run folder.

    Args:
        out_dir: the run folder.
        tensorboard: write `tensorboard/` as well.
        wandb_mode: "" for off, "offline" or "online".
        config: shown by W&B beside the curves.
        resume_at: size in bytes of metrics.jsonl at the checkpoint that is being resumed;
            what was written after it is cut off, and will be written again.

    Raises:
        UserError: unknown W&B mode, no W&B key, metrics.jsonl shorter than `resume_at`, full disk.
    """

    def __init__(
        self,
        out_dir: str | Path,
        tensorboard: bool = True,
        wandb_mode: str = "",
        config: Mapping[str, Any] | None = None,
        resume_at: int = 0,
    ):
        self.folder = Path(out_dir)
        self.path = RunFolder(self.folder).metrics
        if wandb_mode not in WANDB_MODES:
            raise unknown("wandb mode", wandb_mode, [mode or '""' for mode in WANDB_MODES])
        with told_to_the_user(self.path):
            self.folder.mkdir(parents=True, exist_ok=True)
            _cut(self.path, resume_at)
        kept = read_metrics(self.path)
        last_step = _step(kept[-1]) if kept else -1
        self._wandb = _wandb(self.folder, wandb_mode, config or {}) if wandb_mode else None
        self._board = _tensorboard(self.folder / "tensorboard", last_step) if tensorboard else None
        self._file = open(self.path, "ab")  # noqa: SIM115 (closed in close)

    def write(self, stage: str, header: Mapping[str, Any], values: Mapping[str, float]) -> None:
        """Adds one record.

        Args:
            stage: "train", "eval", "audit" or "task".
            header: where the run stands; holds at least `env_steps` of the whole run.
            values: metric names to numbers. What is not finite is written as null and named
                under "nonfinite".
        """
        numbers = {name: _number(value) for name, value in values.items()}
        broken = sorted(name for name, value in numbers.items() if not math.isfinite(value))
        record = {"stage": stage, **header, "values": numbers | dict.fromkeys(broken)}
        if broken:
            record["nonfinite"] = broken
        line = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
        with told_to_the_user(self.path, len(line)):
            self._file.write(line.encode() + b"\n")
            if self._board:
                for name, value in numbers.items():
                    self._board.add_scalar(name, value, _step(header))
        if self._wandb:
            self._wandb.log(numbers, step=_step(header))

    def timing(self, **values: Any) -> None:
        """Adds a line to timing.jsonl: whatever depends on the clock."""
        path = RunFolder(self.folder).timing
        with told_to_the_user(path, 200), open(path, "a") as file:
            file.write(json.dumps(values, sort_keys=True) + "\n")

    def flush(self) -> None:
        """Forces everything written so far to the disk."""
        with told_to_the_user(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
            if self._board:
                self._board.flush()

    def offset(self) -> int:
        """Bytes of metrics.jsonl that are safely on the disk; a checkpoint remembers this."""
        self.flush()
        return self._file.tell()

    def close(self) -> None:
        """Flushes and lets go of the files. Closing twice does nothing."""
        if self._file.closed:
            return
        try:
            self.flush()
        finally:
            with told_to_the_user(self.path):
                self._file.close()
            if self._board:
                self._board.close()
            if self._wandb:
                self._wandb.finish()

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Every record of a metrics.jsonl; a last line that a kill left unfinished is ignored.

    Damaged lines are left out, and one printed line says how many.

    Raises:
        UserError: the file is missing, or cannot be read.
    """
    path = Path(path)
    try:
        with open_regular(path) as file:
            lines = file.read().split(b"\n")[:-1]  # what follows the last newline is unfinished
    except FileNotFoundError:
        raise UserError(f"no metrics at '{path}'; give the metrics.jsonl of a run") from None
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror}; put back a copy") from None
    found = [records.metric(line) for line in lines]
    if damaged := [number for number, record in enumerate(found, 1) if record is None]:
        print(
            f"{len(damaged)} of {len(lines)} lines of '{path}' are damaged and left out, the first "
            f"is line {damaged[0]}"
        )
    return [record for record in found if record is not None]


def _cut(path: Path, offset: int) -> None:
    """Shortens a file to its first `offset` bytes, making it if it is not there."""
    with open(path, "ab") as file:
        size = file.tell()
        if size < offset:
            raise UserError(
                f"'{path}' has {size:,} bytes, its checkpoint expects at least {offset:,}; "
                f"put the file back, or start over with '--fresh'"
            )
        file.truncate(offset)


def _step(record: Mapping[str, Any]) -> int:
    """Where curves show a record: env steps, or updates in a run that makes no such steps."""
    return record["updates" if {"updates", "task_updates"} <= record.keys() else "env_steps"]


def _number(value: Any) -> float:
    return value if isinstance(value, int) and not isinstance(value, bool) else float(value)


def _tensorboard(folder: Path, last_step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter  # a second to import, so only when wanted

    # Events of an interrupted run that come after the resumed checkpoint are hidden by
    # TensorBoard once it reads purge_step.
    purge = last_step + 1 if folder.exists() else None
    with told_to_the_user(folder):
        return SummaryWriter(str(folder), purge_step=purge)


def _wandb(folder: Path, mode: str, config: Mapping[str, Any]) -> Any:
    import wandb

    id_file = RunFolder(folder).wandb_id  # the same id after every resume continues the same curves
    if not id_file.exists():
        atomic_write(id_file, uuid.uuid4().hex[:12])
    try:
        if mode == "online" and not wandb.login(prompt=False):
            raise UserError(
                "wandb 'online' needs a key: set WANDB_API_KEY, or use 'offline' and upload "
                "later with 'wandb sync'"
            )
        return wandb.init(
            project=WANDB_PROJECT,
            dir=str(folder),
            id=id_file.read_text().strip(),
            name=folder.name,
            group=config.get("name"),  # the seeds of a run beside each other
            reinit="create_new",  # several runs of one process record at the same time
            resume="allow",
            mode=mode,
            config=dict(config),
            settings=wandb.Settings(silent=True, console="off"),
        )
    except wandb.Error as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"wandb '{mode}' did not start: {reason}; use 'offline' and upload later with "
            f"'wandb sync', or leave wandb off"
        ) from error
