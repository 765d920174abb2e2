"""Bad inputs end in a line or two, at once, and leave nothing behind.

`WORKBOOK_FUZZ=5000 pytest tests/fuzz/test_inputs.py` tries as many instead of a few hundred.
"""

import json
import os
import shutil
import signal
import time
import traceback
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lib import cli
from lib.core.plain_yaml import read_yaml
from lib.experiments import notebooks, own_modules, params, run_config, runs
from tests.fuzz.inputs import KINDS, draw_input, written

COUNT = int(os.environ.get("WORKBOOK_FUZZ", 350))
LONGEST = 10  # [s] that one input may take
DEPTH = 6  # folders above outputs/ that are watched


class TooLong(BaseException):
    """An input took longer than it may."""


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Path:
    """Folders of every kind, and no notebook that is ever executed."""
    outputs = tmp_path.joinpath(*"abcde"[: DEPTH - 1], "outputs")
    _furnish(outputs)
    monkeypatch.chdir(outputs)
    monkeypatch.setattr(cli, "OUTPUTS", outputs)
    monkeypatch.setattr(cli, "ROOT", outputs)

    def run(given, out_path, notebook=notebooks.RUN, **options):
        node = notebooks.read(notebook)
        notebooks.check_parameters(given, notebooks.parameters(node))
        if Path(notebook) == notebooks.RUN:
            _check_it_can_be_resumed(given, outputs)

    monkeypatch.setattr(notebooks, "run", run)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv(own_modules.ASKED, '[""]')
    return outputs


def _check_it_can_be_resumed(given: dict, outputs: Path) -> None:
    """What is started is read from its record as the same run."""
    spec = runs.prepare(given, outputs)
    for started in spec.configs[:2]:
        record = json.loads(json.dumps(params.record(started, spec.parameters)))
        held = read_yaml(yaml.safe_dump(record, sort_keys=False))
        assert run_config.resolve(params.from_record(held)) == started


def _furnish(outputs: Path) -> None:
    """A finished run, one that has begun, several seeds, a folder and a file of the user's own."""
    for name in ("finished-s0", "begun-s0", "several", "notes"):
        (outputs / name).mkdir(parents=True, exist_ok=True)
    for name in ("finished", "begun"):
        given = run_config.PARAMETERS | {"name": name, "device": "cpu"}
        record = json.loads(json.dumps(params.record(run_config.resolve(given), given)))
        (outputs / f"{name}-s0" / "config.yaml").write_text(yaml.safe_dump(record))
    summary = {"status": "complete", "env_steps": 40, "tasks": ["room-1"], "name": "finished"}
    summary |= {"optimum": {"room-1": 8.0}, "final_return": {"room-1": 6.0}}
    summary |= {"method": "drago", "preset": "grid-quick", "seeds": [0], "return_matrix": [[6.0]]}
    (outputs / "finished-s0" / "summary.json").write_text(json.dumps(summary))
    asked = {"parameters": run_config.PARAMETERS | {"seeds": [0, 1]}, "runs": ["../finished-s0"]}
    (outputs / "several" / "seeds.yaml").write_text(yaml.safe_dump(asked))
    (outputs / "notes" / "thesis.txt").write_text("years of work")
    (outputs / "file").write_text("mine")


def _all(folder: Path) -> dict[Path, bytes | None]:
    return {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def _around(outputs: Path) -> set[Path]:
    """What lies where nothing may be made."""
    top = outputs.parents[DEPTH - 1]
    return {path for path in top.rglob("*") if not path.is_relative_to(outputs)}


def _is_obeyed(sign: str) -> bool:
    """Whether a terminal would do something instead of showing a character."""
    odd = unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") and sign != "\n"
    return odd or unicodedata.bidirectional(sign) in ("LRE", "RLE", "LRO", "RLO", "LRI", "RLI")


def _complaint(given: list[str], capsys) -> Iterator[str]:
    """Runs a command; yields what is wrong with how it ended."""
    began = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 2 * LONGEST)
    parsed = True
    try:
        code = cli.main(given)
    except SystemExit as error:  # from the parser, which prints the usage as well
        code, parsed = error.code, False
    except TooLong:
        yield "it did not end"
        return
    except BaseException:
        yield traceback.format_exc(limit=-3)
        return
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    out, err = capsys.readouterr()
    if code not in (0, 2):
        yield f"exit status {code}: {err[:300]}"
    if (took := time.monotonic() - began) > LONGEST:
        yield f"it took {took:.0f} s"
    lines = err.splitlines()
    if code == 2 and (not lines or (parsed and len(lines) > 1) or len(err) > 4000):
        yield f"{len(lines)} lines, {len(err)} characters: {err[:300]!r}"
    if "Traceback" in out + err:
        yield err[-500:]
    if odd := [*filter(_is_obeyed, out + err)]:
        yield f"a terminal would obey {odd[:3]!r}"


def _try(seed: int, outputs: Path, before: dict, capsys) -> list[str]:
    """Everything that is wrong with what one input led to."""
    given, text = draw_input(seed)
    written(outputs, text)
    before = before | {outputs / "altered.yaml": text}
    around = _around(outputs)
    wrong = list(_complaint(given, capsys))
    capsys.readouterr()
    after = _all(outputs)
    if lost := [path.name for path in before if path not in after or after[path] != before[path]]:
        config = {"run.ipynb", "seeds.yaml", "transfer.yaml"}  # of runs that may go on
        if lost := [name for name in lost if name not in config and "--fresh" not in given]:
            wrong.append(f"lost or changed: {lost}")
    if _around(outputs) != around:
        wrong.append("something was made outside of the outputs' folder")
    if after.keys() != before.keys():
        shutil.rmtree(outputs)
        _furnish(outputs)
        os.chdir(outputs)
    os.environ[own_modules.ASKED] = '[""]'
    shown = [part if len(part) < 200 else f"{part[:80]}... ({len(part)})" for part in given]
    return [f"{seed}: {shown}: {complaint}" for complaint in wrong]


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=[kind.__name__ for kind in KINDS])
def test_bad_inputs_end_in_a_line_and_leave_nothing_behind(workplace, capsys, kind):
    def stop(number, frame):
        raise TooLong

    handler = signal.signal(signal.SIGALRM, stop)
    before, seeds = _all(workplace), range(kind, COUNT, len(KINDS))
    wrong = [line for seed in seeds for line in _try(seed, workplace, before, capsys)]
    signal.signal(signal.SIGALRM, handler)
    assert not wrong, f"{len(wrong)} of {len(seeds)}:\n" + "\n".join(wrong[:40])
