"""Named parts of trained agents as files, and what became of them in a run that took some.

A file of a part is a checkpoint that holds one part's tensors alone, by their names in the whole
agent, and says whose it is: the whole configuration, the task that was finished last, the part.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lib.algos import registry
from lib.algos.api import Foreign, Moved
from lib.core.config import RunConfig
from lib.core.errors import UserError, unknown
from lib.core.files import atomic_write
from lib.runner import checkpoint, contents, expected, records, warm_start
from lib.runner.expected import TEXT, WHOLE, each

SUFFIX = ".safetensors"
STATE = expected.record({"tensors": expected.mapping(expected.TENSOR)})
TABLE = expected.record(
    {
        "tensors": each(
            expected.record(
                {"name": TEXT, "how": TEXT, "shape": each(WHOLE), "source": each(WHOLE)}
            )
        )
    }
)


# Files --------------------------------------------------------------------------------------


def export(source: str, part: str, out: Path | None = None) -> tuple[Path, dict[str, Tensor]]:
    """Writes one part of a trained agent to a file of its own; an old one there is replaced.

    Args:
        source: a run folder, whose newest finished task is taken, or a checkpoint.
        part: its name, as the agent's family calls it.
        out: the file; None: `parts/PART.safetensors` in the run's folder, or beside a checkpoint
            that is in none.

    Returns:
        Where it is, and its tensors by name.

    Raises:
        UserError: no such run, checkpoint or part, or the file cannot be written.
    """
    path = warm_start.checkpoint_of(source)
    meta = checkpoint.load_meta(path)
    tensors = _of_agent(path, meta, part)
    home = path.parent.parent if path.parent.name == contents.CHECKPOINTS else path.parent
    out = out or home / contents.EXPORTED / f"{part}{SUFFIX}"
    if out.suffix != SUFFIX:
        raise UserError(f"'{out}' is to be a file of tensors; let its name end in {SUFFIX}")
    about = {"config": meta["config"], "finished": str(meta.get("finished") or ""), "part": part}
    checkpoint.save(out, {"tensors": tensors}, about)
    return out, tensors


def read(wanted: Foreign, mine: RunConfig) -> dict[str, Tensor]:
    """Returns the tensors of a part that a run takes, by their names in the agent they are of.

    Raises:
        UserError: what `check` raises, and damaged tensors.
    """
    path = check(wanted, mine)
    meta = checkpoint.load_meta(path)
    if "part" not in meta:
        return _of_agent(path, meta, wanted.part)
    state, _ = checkpoint.load(path)
    expected.check(state, STATE, "state", path)
    return state["tensors"]


def check(wanted: Foreign, mine: RunConfig) -> Path:
    """Returns where a part is that a run takes: in a file of its own, or in a checkpoint.

    Raises:
        UserError: it is missing, damaged, of another family, seen otherwise, or another part.
    """
    try:
        path = warm_start.checkpoint_of(wanted.path)
        meta = checkpoint.load_meta(path)
        theirs = warm_start.written_by(meta, path)
        warm_start.check_same_view(mine, theirs, path)
        warm_start.check_same_family(mine, theirs, path)
    except UserError as error:
        raise UserError(f"{wanted.setting}: {error}") from None
    if (held := meta.get("part", wanted.part)) != wanted.part:
        raise UserError(
            f"{wanted.setting} '{path}' holds the part '{held}', wanted '{wanted.part}'; make it "
            f"with 'python -m lib export RUN --part {wanted.part}'"
        )
    return path


def _of_agent(path: Path, meta: Mapping[str, Any], part: str) -> dict[str, Tensor]:
    """The tensors of a part of the agent in a checkpoint."""
    cfg = warm_start.written_by(meta, path)
    divide = registry.of(cfg).parts
    if divide is None:
        raise UserError(f"'{path}' is of family '{cfg.family}', whose agents have no named parts")
    state, _ = checkpoint.load(path)
    found = divide(warm_start.agent_in(state, meta, path))
    if part not in found:
        raise unknown("part", part, found, f"of '{path}'")
    return dict(found[part])


# What became of them ------------------------------------------------------------------------


def write_table(path: Path, moved: Sequence[Moved]) -> None:
    """Writes down what was done with every tensor."""
    rows = [row._asdict() for row in moved]
    atomic_write(path, json.dumps({"tensors": rows}, indent=1) + "\n")


def read_table(path: Path) -> list[Moved]:
    """Returns what was done with every tensor when a run began; nothing where it took no parts.

    Raises:
        UserError: the file is damaged.
    """
    found = records.read_json(path, TABLE) or {"tensors": []}
    return [
        Moved(
            row["name"], row["how"], tuple(row["shape"]), tuple(row["source"]), row.get("note", "")
        )
        for row in found["tensors"]
    ]
