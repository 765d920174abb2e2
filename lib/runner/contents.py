"""The names of all that the workbook writes into a folder, so that only this is removed again.

A folder may hold a run, several seeds of one, a comparison on new tasks, or one of finished runs.
Names are regular expressions of a path within it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lib.core.files import open_regular
from lib.core.storage import holding_nothing

CONFIG = "config.yaml"
REQUEST = "request.yaml"  # the parameters that a run was asked for with
SUMMARY = "summary.json"
PROGRESS = "progress.json"
METRICS = "metrics.jsonl"
TIMING = "timing.jsonl"
EXPORTED = "parts"  # files of single parts of the agent, for other runs
PARTS = "parts.json"  # what became of every tensor where parts of other runs were taken
WANDB_ID = "wandb-id.txt"
STOP = "stop"
CHECKPOINTS = "checkpoints"
VIDEOS = "videos"
LAST = "last.safetensors"  # of the checkpoints
AUDITS = "audits"
FIGURES = "figures"
LOCK = ".lock"  # of a training loop
LAUNCH_LOCK = ".launch-lock"  # of a command that executes a notebook
KERNEL_LOG = "kernel.log"
NOTEBOOK = "run.ipynb"
SEEDS = "seeds.yaml"  # what several seeds of a run, trained together, were asked for
TRANSFER = "transfer.yaml"  # what a comparison of learners on new tasks was asked for
TRANSFERRED = "transfer.ipynb"
TRIALS = "runs"  # of a comparison on new tasks
COMPARISON = "compare.ipynb"

CHECKPOINT_KEY = "workbook-checkpoint"  # the header's only entry: a second has no fixed order
# Every checkpoint goes on like this at byte 8, where safetensors' header begins.
CHECKPOINT_START = f'{{"__metadata__":{{"{CHECKPOINT_KEY}":"'.encode()
FILM = r"(\d+)-.+-(\d{7,})(-imagined)?\.mp4"
_FILES = (CONFIG, REQUEST, SUMMARY, PROGRESS, METRICS, TIMING, PARTS, WANDB_ID)
_SHARED = rf"{re.escape(LOCK)}|{re.escape(LAUNCH_LOCK)}|{re.escape(KERNEL_LOG)}|{STOP}"
_RUN_FIGURES = (
    "learning_curves|final_returns|return_matrix|retention_met|model_error|model_accuracy|"
    r"model_error_by_number|dream_coverage|dream_rooms|review_reward_\d+|prediction_score|"
    r"plans_\d+|trust_calibration|every_task|which_part_forgot|composition|trajectories|parts|"
    "inferred_tasks"
)
_COMPARED_FIGURES = (
    "learning_curves|final_returns|first_task|published|retention|retention_shared|components|"
    r"whole_runs|return_matrices|inferred_tasks|accuracy_maps_\d+|imagined"
)


def _notebook(name: str) -> str:
    """An executed notebook, and what JupyterLab keeps beside it once it was opened."""
    stem = name.removesuffix(".ipynb")
    return rf"{stem}\.ipynb|\.ipynb_checkpoints/{stem}-checkpoint\.ipynb"


_RUN = "|".join(
    (
        _SHARED,
        *(re.escape(name) for name in _FILES),
        rf"{CHECKPOINTS}/(last|previous|best|nonfinite|task-\d+)\.safetensors",
        rf"{AUDITS}/task-\d+\.npz",
        rf"{EXPORTED}/[a-z]+\.safetensors",
        rf"{VIDEOS}/{FILM}",
        r"tensorboard/events\.out\.tfevents\..+",
        r"wandb/.+",
        _notebook(NOTEBOOK),
        rf"{FIGURES}/({_RUN_FIGURES})\.png",
    )
)


FOLDERS = re.compile(
    rf"{CHECKPOINTS}|{AUDITS}|{EXPORTED}|{VIDEOS}|{FIGURES}|{TRIALS}|tensorboard|wandb|world-\d+|"
    r"\.ipynb_checkpoints"
)


@dataclass(frozen=True)
class Kind:
    """A kind of folder that the workbook makes."""

    about: str
    record: str  # the file that says what the folder is; the last one to be removed
    written: re.Pattern[str]  # paths in it


RUN = Kind("a run", CONFIG, re.compile(_RUN))
SEVERAL = Kind(
    "several seeds of a run",
    SEEDS,
    re.compile(
        rf"{_SHARED}|{re.escape(SEEDS)}|{re.escape(PROGRESS)}|{_notebook(NOTEBOOK)}|"
        rf"{FIGURES}/({_RUN_FIGURES})\.png"
    ),
)
STUDY = Kind(
    "a comparison on new tasks",
    TRANSFER,
    re.compile(
        rf"{_SHARED}|transfer\.(yaml|md|json)|whole_runs\.md|{_notebook(TRANSFERRED)}|"
        rf"{FIGURES}/(beginnings|learning_curves|few_shot|whole_runs-[^/]+|parts-[^/]+)\.png|"
        rf"{TRIALS}/[^/]+/({_RUN})"
    ),
)
COMPARED = Kind(
    "a comparison",
    COMPARISON,
    re.compile(
        rf"{_SHARED}|comparison\.json|{_notebook(COMPARISON)}|"
        rf"(world-\d+/)?(({_COMPARED_FIGURES})\.png|(transfer|whole_runs)\.md)"
    ),
)
KINDS = (RUN, SEVERAL, STUDY, COMPARED)
# What may lie in a folder before the record of what it holds does, and after that is gone.
EARLY = (LOCK, LAUNCH_LOCK, KERNEL_LOG, NOTEBOOK, TRANSFERRED, STOP, REQUEST)
PARTIAL = re.compile(r"(^|/)\.([^/]+?)\.partial[^/]*$")  # what a killed process was writing


def is_early(name: str) -> bool:
    """Whether something may lie in a folder that holds nothing yet."""
    return name in EARLY or bool(PARTIAL.search(name))


def is_checkpoint(path: Path) -> bool:
    """Whether a file begins as a checkpoint of the workbook does, whatever follows."""
    with holding_nothing(), open_regular(path) as file:
        return file.read(8 + len(CHECKPOINT_START))[8:] == CHECKPOINT_START
    return False


def entries(folder: Path) -> Iterator[Path]:
    """Everything below a folder but folders that hold something; no link is followed."""
    for path in sorted(folder.iterdir()):
        below = not path.is_symlink() and path.is_dir()
        if below and any(path.iterdir()):
            yield from entries(path)
        else:
            yield path


def is_written_by(kind: Kind, folder: Path, path: Path) -> bool:
    """Whether something in a folder has a name that the workbook writes into those of a kind.

    A link never has, but for stop files and what W&B makes.
    """
    name = path.relative_to(folder).as_posix()
    if path.is_symlink():
        linked = path.name == STOP or name.startswith("wandb/")
        return linked and bool(kind.written.fullmatch(name))
    if path.is_dir():  # an empty one, also where a file belongs
        return bool(FOLDERS.fullmatch(path.name) or kind.written.fullmatch(name))
    whole = PARTIAL.sub(r"\1\2", name)
    return bool(kind.written.fullmatch(name) or kind.written.fullmatch(whole))
