import contextlib
import fcntl
import json
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import nbformat
import pytest
import torch
import yaml

from lib import cli
from lib.core import config
from lib.core.paths import ROOT
from lib.experiments import catalogue, params, run_config
from lib.runner import parts, training
from tests.tiny import SETTINGS, tiny

STUB = ROOT / "tests" / "stub_run.py"
SEEDS_STUB = ROOT / "tests" / "stub_seeds.py"
TRANSFER_STUB = ROOT / "tests" / "stub_transfer.py"


pytestmark = pytest.mark.usefixtures("outputs")


def params_file(folder: Path, **values) -> str:
    path = folder / "mine.yaml"
    path.write_text("# A test. Source: none.\n" + yaml.safe_dump(values))
    return str(path)


def made_run(folder: Path, status: str = "", **given) -> Path:
    """A run folder as the training loop leaves it."""
    parameters = run_config.PARAMETERS | given
    config = run_config.resolve(parameters)
    out = folder / f"{config.name}-s{config.seed}"
    out.mkdir()
    record = params.record(config, parameters)
    (out / "config.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(record))))
    if status:
        summary = {"status": status, "env_steps": 40, "tasks": ["room-1"]}
        summary |= {"optimum": {"room-1": 8.0}, "final_return": {"room-1": 6.0}}
        summary |= {"name": config.name, "method": config.method_name, "preset": config.preset}
        summary |= {"seeds": [config.seed], "return_matrix": [[6.0]]}
        (out / "summary.json").write_text(json.dumps(summary))
    return out


def refusal(capsys, *arguments) -> str:
    """The one line with which a command is refused."""
    assert cli.main([str(a) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    return captured.err


def start(*arguments) -> subprocess.Popen:
    command = [sys.executable, "-m", "lib", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


PATIENCE = 300  # [s] after which a test gives up; nothing that it checks depends on it


def wait_for(condition) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    return False


def stop_after(steps: int, out: Path, outputs: Path) -> threading.Thread:
    """Holds training when it has come so far, until this process has been sent a SIGTERM."""
    (outputs / "hold").write_text(str(steps))

    def send():
        wait_for((outputs / "held").exists)
        os.kill(os.getpid(), signal.SIGTERM)
        wait_for((out / "stop").exists)
        (outputs / "hold").unlink()

    thread = threading.Thread(target=send)
    thread.start()
    return thread


# run -----------------------------------------------------------------------------------------


def test_a_run_leaves_a_notebook_and_says_how_it_went(tmp_path, outputs, capsys):
    file = params_file(tmp_path, name="mine", seed=1)
    code = cli.main(["run", file, "-p", "seed=3", "-p", "planner.samples=64", f"--notebook={STUB}"])
    assert code == 0
    out = outputs / "mine-s3"
    printed = capsys.readouterr().out
    assert f"starting {out}\nnotebook: {out / 'run.ipynb'}\n" in printed
    assert printed.splitlines()[-2].split() == ["room-1", "7.0", "8.0", "88%"]
    assert printed.splitlines()[-1].split() == ["room-2", "-", "-", "-"]
    notebook = nbformat.read(out / "run.ipynb", 4)
    assert f"seed 3, samples 64, in {ROOT.name}" in str(notebook.cells)
    assert not (out / "stop").exists()


def test_a_run_works_from_any_folder_and_writes_where_the_user_is(tmp_path, monkeypatch, capsys):
    file = params_file(tmp_path, name="mine")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["run", file, "--out", "here", f"--notebook={STUB}"]) == 0
    assert "notebook: here/run.ipynb" in capsys.readouterr().out
    assert (tmp_path / "here" / "summary.json").exists()


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("user-error", 2, "tasks: got nothing; name one\n"),
        ("non-finite", 2, "non-finite loss\n"),
        ("bug", 1, "ZeroDivisionError: division by zero; the cell is marked in "),
        ("dead", 1, "the notebook's kernel died, perhaps for lack of memory; give the command"),
        ("crash", 1, "the notebook's kernel died, saying "),
    ],
)
def test_a_failing_notebook_gives_one_line_and_stays_where_it_was(
    tmp_path, outputs, capfd, name, code, message
):
    assert cli.main(["run", params_file(tmp_path, name=name), f"--notebook={STUB}"]) == code
    lines = capfd.readouterr().err.splitlines()
    assert lines[-1].startswith(message.rstrip("\n")) and "Traceback" not in "".join(lines)
    notebook = nbformat.read(outputs / f"{name}-s0" / "run.ipynb", 4)
    if name not in ("dead", "crash"):
        assert "papermill-error-cell" in str(notebook.cells)


@pytest.mark.parametrize(
    ("before", "why"),
    [
        ("export HOME=/proc", "set HOME (now '/proc') to a folder that can be written"),
        ("ulimit -n 40", "let more files be open with 'ulimit -n 4096'"),
    ],
)
def test_a_kernel_that_does_not_start_is_one_line(tmp_path, before, why):
    run = f"-m lib run {params_file(tmp_path, name='mine')} --notebook={STUB} --out={tmp_path}/x"
    code = f"{before}; exec {sys.executable} {run}"
    ended = subprocess.run(["bash", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("the notebook's kernel did not start, saying ")
    assert f"{why} and give the command that started it again" in ended.stderr
    assert cli.main([*run.split()[2:-1], f"--out={tmp_path}/x"]) == 0  # which was the advice


@pytest.mark.parametrize("place", ["/proc/x", "file/x", "link", "link/x"])
@pytest.mark.parametrize("seeds", [[], ["-p", "seeds=0,1"]])
def test_a_place_where_nothing_can_be_made_is_refused_in_one_line(
    tmp_path, outputs, capsys, place, seeds
):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    file, before = params_file(tmp_path, name="mine"), {*tmp_path.rglob("*")}
    out = tmp_path / place  # as it is where it begins with a slash
    said = refusal(capsys, "run", file, *seeds, "--out", out, f"--notebook={STUB}")
    assert "choose another folder with '--out'" in said
    assert {*tmp_path.rglob("*")} - before == {tmp_path / "mine.yaml"} - before


def test_progress_is_printed_where_there_is_no_terminal(tmp_path, capsys):
    assert cli.main(["run", params_file(tmp_path, name="mine"), f"--notebook={STUB}"]) == 0
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("100% ")  # the last one is printed however short the run was
    for part in ("room-1 (1/4) collect", "40/40 env steps", "50 env steps/s", "return 7.0 of 8.0"):
        assert part in line


# Stopping ------------------------------------------------------------------------------------


def test_ctrl_c_in_a_terminal_saves_and_resume_goes_on(tmp_path, capsys):
    out = made_run(tmp_path, name="slow")
    terminal, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("4H", 24, 160, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "lib", "resume", str(out), f"--notebook={STUB}"],
        cwd=ROOT,
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # its own terminal
    )
    os.close(inside)
    said = b""
    while b"env steps/s" not in said:  # the bar
        said += os.read(terminal, 4096)
    os.write(terminal, b"\x03")
    with contextlib.suppress(OSError):  # the end of a terminal
        while chunk := os.read(terminal, 4096):
            said += chunk
    os.close(terminal)
    assert process.wait(PATIENCE) == 130
    text = said.decode()
    assert "%" in text
    assert "saving, then stopping; Ctrl-C again aborts at once" in text
    assert text.rstrip().splitlines()[-1].startswith("stopped at ")
    assert "resume with: python -m lib resume" in text
    assert "Traceback" not in text
    assert not (out / "stop").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_polite_signals_save_as_well(tmp_path, outputs, capsys, number):
    out = made_run(outputs, name="slow")

    def send():
        wait_for((out / "metrics.jsonl").exists)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    before = signal.signal(number, signal.SIG_DFL)  # whoever started the tests may ignore it
    try:
        thread.start()
        assert cli.main(["resume", "slow-s0", f"--notebook={STUB}"]) == 130
        thread.join()
        assert capsys.readouterr().err.splitlines()[-1].startswith("stopped at ")
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_a_signal_that_is_ignored_stays_so(tmp_path, outputs):
    # nohup makes a program ignore the hangup of its terminal, and a run must not stop for it
    out = made_run(outputs, name="mine")
    (outputs / "hold").touch()

    def send():
        wait_for((out / "metrics.jsonl").exists)
        os.kill(os.getpid(), signal.SIGHUP)
        (outputs / "hold").unlink()

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    thread = threading.Thread(target=send)
    try:
        thread.start()
        assert cli.main(["resume", "mine-s0", f"--notebook={STUB}"]) == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        thread.join()
        signal.signal(signal.SIGHUP, before)


def test_a_second_ctrl_c_aborts_at_once(tmp_path, outputs, capsys):
    out = made_run(outputs, name="stubborn")

    def send():
        wait_for((out / "metrics.jsonl").exists)
        os.kill(os.getpid(), signal.SIGINT)
        wait_for((out / "stop").exists)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=send)
    thread.start()
    assert cli.main(["resume", "stubborn-s0", f"--notebook={STUB}"]) == 130
    thread.join()
    assert capsys.readouterr().err.splitlines()[-1] == "aborted"
    assert not alive(int((out / "kernel.pid").read_text()))
    assert not (out / "stop").exists()


def test_no_kernel_outlives_a_killed_command_line(tmp_path):
    out = made_run(tmp_path, name="slow")
    process = start("resume", out, f"--notebook={STUB}")
    counter = out / "metrics.jsonl"
    wait_for(counter.exists)
    process.kill()
    process.communicate()
    pid = int((out / "kernel.pid").read_text())
    wait_for(lambda: not alive(pid))  # it looks once a second
    assert len(counter.read_bytes()) > 0 and not (out / "summary.json").exists()


def test_a_second_process_is_refused_while_the_first_one_runs(tmp_path, outputs, capsys):
    out = made_run(outputs, name="slow")
    process = start("resume", out, f"--notebook={STUB}")
    wait_for((out / "metrics.jsonl").exists)
    assert "in use by another process" in refusal(capsys, "resume", out, f"--notebook={STUB}")
    assert "in use by another process" in refusal(capsys, "clean", out, "--yes")
    cli.main(["list"])
    assert "running, at " in capsys.readouterr().out
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "stopped at" in errors
    cli.main(["list"])
    assert "stopped, at " in capsys.readouterr().out


# The same folder again -----------------------------------------------------------------------


def test_an_unfinished_run_goes_on_and_a_finished_one_is_shown(tmp_path, outputs, capsys):
    out = made_run(outputs, name="mine", method="tdmpc")
    (out / "metrics.jsonl").write_text("x" * 30)
    file = params_file(tmp_path, name="mine", method="tdmpc")
    assert cli.main(["run", file, f"--notebook={STUB}"]) == 0
    assert f"going on with {out}" in capsys.readouterr().out
    assert (out / "metrics.jsonl").read_text() == "x" * 40
    before = (out / "run.ipynb").stat().st_mtime_ns
    assert cli.main(["run", file, f"--notebook={STUB}"]) == 0
    printed = capsys.readouterr().out
    assert f"already finished: {out}" in printed and "88%" in printed
    assert (out / "run.ipynb").stat().st_mtime_ns == before  # nothing was executed


def test_another_run_in_the_folder_is_named_and_kept(tmp_path, outputs, capsys):
    out = made_run(outputs, name="mine", method="tdmpc", overrides={"planner.samples": 32})
    before = sorted(out.rglob("*"))
    message = refusal(capsys, "run", params_file(tmp_path, name="mine", method="ewc"))
    assert "already holds a different run" in message
    assert "protections.ewc.strength is 0.0 there, 10000.0 here" in message
    assert "planner.samples is 32 there, 128 here" in message
    assert "'--out DIR'" in message and "'--fresh'" in message
    assert sorted(out.rglob("*")) == before


def test_fresh_throws_the_old_run_away(tmp_path, outputs, capsys):
    out = made_run(outputs, status="complete", name="mine")
    (out / "metrics.jsonl").write_text("x" * 99)
    file = params_file(tmp_path, name="mine")
    assert cli.main(["run", file, "--fresh", f"--notebook={STUB}"]) == 0
    assert f"starting {out}" in capsys.readouterr().out
    assert (out / "metrics.jsonl").read_text() == "x" * 40


@pytest.mark.parametrize("fresh", [[], ["--fresh"]])
def test_a_folder_with_other_things_is_left_alone(tmp_path, capsys, fresh):
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "config.yaml").write_text("title: not a run")
    (mine / "chapter.tex").write_text("years of work")
    file = params_file(tmp_path, name="mine")
    message = refusal(capsys, "run", file, "--out", mine, *fresh)
    assert "chapter.tex" in message
    assert "chapter.tex" in refusal(capsys, "clean", mine, "--yes")
    assert (mine / "chapter.tex").exists()
    assert "a file itself" in refusal(capsys, "run", file, "--out", mine / "chapter.tex", *fresh)


def test_resume_recovers_every_parameter_from_the_folder(outputs):
    given = {
        "name": "mine",
        "method": "ewc",
        "seed": 5,
        "env_steps_per_task": 1600,
        "tasks": ["room-2", {"name": "mine", "start": [1, 1], "goal": [2, 3]}],
        "overrides": {"planner.samples": 64, "protections.ewc.strength": 2.0, "learning.lr": 1e-4},
    }
    out = made_run(outputs, **given)
    held = yaml.safe_load((out / "config.yaml").read_text())
    found = params.from_record(held)
    assert found["overrides"] == {
        "budget.env_steps_per_task": 1600,
        "planner.samples": 64,
        "protections.ewc.strength": 2.0,
        "learning.lr": 1e-4,
    }
    assert run_config.resolve(found) == run_config.resolve(run_config.PARAMETERS | given)


def test_resume_continues_wandb_in_the_same_mode(outputs, monkeypatch):
    from lib.experiments import folders

    out = made_run(outputs, name="mine")
    assert folders.wandb_mode(out) == ""
    (out / "wandb-id.txt").write_text("abc")
    assert folders.wandb_mode(out) == "online"
    (out / "wandb" / "offline-run-1-abc").mkdir(parents=True)
    assert folders.wandb_mode(out) == "offline"


def test_a_run_of_another_version_cannot_be_resumed(outputs, capsys):
    out = made_run(outputs, name="mine")
    text = (out / "config.yaml").read_text()
    (out / "config.yaml").write_text(text.replace("samples: 128", "sample_count: 128"))
    assert "does not fit this version" in refusal(capsys, "resume", out)


def test_a_section_in_place_of_a_setting_is_no_run_of_this_version(outputs, capsys):
    out = made_run(outputs, name="mine")
    record = yaml.safe_load((out / "config.yaml").read_text())
    (out / "config.yaml").write_text(yaml.safe_dump(record | {"dataset": {"a": {"b": []}}}))
    assert "does not fit this version" in refusal(capsys, "resume", out)


# Several seeds -------------------------------------------------------------------------------


@pytest.fixture
def seeds_file(tmp_path) -> str:
    """Params of runs that take a second."""
    settings = SETTINGS | {"budget.env_steps_per_task": 28}
    given = {"method": "tdmpc", "tasks": ["room-1"], "device": "cpu", "video": ""}
    return params_file(tmp_path, name="mine", overrides=settings, **given)


def test_several_seeds_are_run_listed_compared_and_cleaned(
    seeds_file, tmp_path, outputs, monkeypatch, capsys
):
    assert cli.main(["run", seeds_file, "-p", "seed=1", f"--notebook={SEEDS_STUB}"]) == 0
    assert cli.main(["run", seeds_file, "-p", "seeds=0,1,2", f"--notebook={SEEDS_STUB}"]) == 0
    home, printed = outputs / "mine-seeds-0-1-2", capsys.readouterr().out
    said = printed[printed.index(f"going on with {home}") :].splitlines()
    assert said[1] == f"  {outputs / 'mine-s0'}: new"
    assert said[2].startswith(f"  {outputs / 'mine-s1'}: finished, 28 env steps")
    assert said[4] == f"notebook: {home / 'run.ipynb'}"
    assert " ".join(said[5].split()) == "task mean of the seeds lowest highest optimum share"
    finals = [
        json.loads((outputs / f"mine-s{seed}" / "summary.json").read_text())["final_return"]
        for seed in range(3)
    ]
    values = [final["room-1"] for final in finals]
    wanted = [f"{value:.1f}" for value in (sum(values) / 3, min(values), max(values))]
    assert said[6].split()[:4] == ["room-1", *wanted]

    cli.main(["list"])
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert ["mine-seeds-0-1-2", "seeds 0, 1, 2 together, 3 of 3 finished"] in lines
    shown = [line[0] for line in lines if line and line[0].startswith("mine-s")]
    assert shown == [*(f"mine-s{seed}" for seed in range(3)), "mine-seeds-0-1-2"]

    asked = []
    monkeypatch.setattr("lib.experiments.notebooks.run", lambda given, *_: asked.append(given))
    assert cli.main(["compare", "mine-seeds-0-1-2", "mine-s1"]) == 0
    assert asked[0]["runs"] == [str(outputs / f"mine-s{seed}") for seed in range(3)]
    capsys.readouterr()

    assert cli.main(["clean", "mine-seeds-0-1-2", "mine-s0", "--yes"]) == 0
    assert "only the notebook about them; mine-s1, mine-s2 stay" in capsys.readouterr().out
    assert {path.name for path in outputs.iterdir()} >= {"mine-s1", "mine-s2"}
    assert not home.exists() and not (outputs / "mine-s0").exists()


def test_several_seeds_stop_politely_and_go_on(seeds_file, tmp_path, outputs, capsys):
    home, slow = outputs / "here", ["-p", "budget.env_steps_per_task=1400"]
    slow += ["-p", "learning.capacity=84", "-p", "budget.eval_every=1400"]

    thread = stop_after(100, home, outputs)
    command = ["run", seeds_file, "-p", "seeds=0,1", *slow, "--out", str(home)]
    assert cli.main([*command, f"--notebook={SEEDS_STUB}"]) == 130
    thread.join()
    captured = capsys.readouterr()
    last = captured.err.splitlines()[-1]
    assert "of task 'room-1' in each of seeds 0, 1, saved; resume with: python -m lib" in last
    assert last.endswith(f"resume {home}") and not (home / "stop").exists()
    assert "2 seeds, room-1 (1/1) " in captured.err and "/2,800 env steps" in captured.err
    cli.main(["list"])
    printed = capsys.readouterr().out
    assert "seeds 0, 1 together, 0 of 2 finished; stopped; resume it" in printed
    assert printed.count(" of 1,400 env steps; resume it") == 2  # each of them as a run

    other = ["run", seeds_file, "-p", "seeds=0,1", *slow, "-p", "planner.samples=64", "--out", home]
    assert f"'{outputs / 'here-s0'}' already holds a different run" in refusal(capsys, *other)

    asked = yaml.safe_load((home / "seeds.yaml").read_text())
    assert asked["runs"] == ["../here-s0", "../here-s1"]
    assert cli.main(["resume", str(home), f"--notebook={STUB}"]) == 0  # which trains nothing
    assert f"going on with {home} from " in capsys.readouterr().out


def test_fresh_throws_all_seeds_away_and_no_other(seeds_file, outputs, capsys):
    command = ["run", seeds_file, "-p", "seeds=0,1", f"--notebook={STUB}"]
    assert cli.main(command) == 0
    for name in ("mine-s0", "mine-s1", "mine-s2", "mine-seeds-0-1"):
        (outputs / name).mkdir(exist_ok=True)
        (outputs / name / "run.ipynb").touch()
        (outputs / name / "old").touch() if name == "mine-s2" else None
    capsys.readouterr()
    assert "holds kernel.pid, metrics.jsonl, summary.json besides a run" in refusal(
        capsys, *command, "--fresh"
    )
    for stray in ("kernel.pid", "metrics.jsonl", "summary.json"):  # of the stub
        (outputs / "mine-seeds-0-1" / stray).unlink()
    assert cli.main([*command, "--fresh"]) == 0
    assert f"starting {outputs / 'mine-seeds-0-1'}" in capsys.readouterr().out
    left = {path.name for path in outputs.iterdir()}
    assert "mine-s2" in left and not {"mine-s0", "mine-s1"} & left


# Bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "-p takes KEY=VALUE, got 'seed'"),
        ("sed=3", "did you mean 'seed'?"),
        ("seed=three", "parameter 'seed': got 'three' of type str, wanted int"),
        ("seed=true", "got True of type bool"),
        ("seeds=0,1,0", "parameter 'seeds': 0 is there twice"),
        ("seeds=[0,-1]", "parameter 'seeds': got -1, wanted whole numbers of 0 or more"),
        ("seeds=many", "parameter 'seeds': got 'many', wanted whole numbers"),
        ("method=drag", "did you mean 'drago'?"),
        ("preset=grid-quik", "did you mean 'grid-quick'?"),
        ("tasks=[room-9]", "room-9"),
        ("planner.sample=3", "did you mean 'planner.samples'?"),
        ("planer.samples=3", "did you mean 'planner'?"),
        ("planner.samples=many", "got 'many' of type str, wanted a whole number"),
        ("env_steps_per_task=7", "env_steps_per_task 7 is not a multiple of"),
        ("overrides=[1", "is not a YAML value"),
        ("overrides=0.5", "parameter 'overrides': got 0.5 of type float, wanted dict"),
        ("overrides={tasks: [room-1]}", "'tasks' is no setting of a section"),
        ("overrides={seed: 5}", "say 'seed: ...' beside overrides, or '-p seed=...'"),
        ("overrides={preset: nothing}", "say 'preset: ...' beside overrides"),
        ("overrides={method_name: ewc}", "say 'method: ...' beside overrides"),
        ("overrides={preset: {a: 1}}", "setting 'preset': got {'a': 1}"),
        ("overrides={planner: 3}", "'planner' is no setting of a section"),
        (
            "tasks=[!!binary QQ==]",
            "is not a YAML value (in line 1: could not determine a constructor",
        ),
        ("tasks=[2020-01-01]", "unknown task '2020-01-01'"),
        ("tasks=[{name: ../x, start: [1, 1], goal: [2, 3]}]", "task name '../x' is no plain file"),
        ("tasks=[[room-1]]", "task ['room-1'] is none; give a name"),
        ("tasks=[{name: [x], start: [1, 1], goal: [2, 3]}]", "task name ['x'] is no text"),
        ("tasks=[{name: '', start: [1, 1], goal: [2, 3]}]", "task name '' is no plain file name"),
        ("tasks=[{name: x, start: [1, 1], goal: [1, 1]}]", "task 'x' starts at its goal [1, 1]"),
        ("tasks=[{id: x, options: {a: .nan}}]", "got nan, wanted a finite number"),
        ("seed=1:30", "got '1:30' of type str"),
        ("seed=017", "got '017' of type str"),
        ("seed=!!int foo", "'foo' is no whole number"),
        ("seed=!!timestamp foo", "could not determine a constructor"),
        ("seed={a: 1, a: 2}", "key 'a' is there twice"),
        (f"seed={'9' * 5000}", "a number of 5,000 digits is too large"),
        (f"seed={'[' * 3000}", "too many lists or mappings in each other"),
        ("learning.batch=1e30", "got 1e+30 of type float, wanted a whole number"),
        (f"env_steps_per_task={10**30}", "is too large"),
        (f"env_steps_per_task={10**18}", "wanted at most 1000000000000"),
        ("planner.samples=0xFFFFFFFFFFFFFFFFFFFF", "is too large; take at most"),
        ("learning.lr=2020-99-99", "got '2020-99-99' of type str, wanted a number"),
        ("device=gpu", "unknown device 'gpu'; known: auto, cpu, cuda, cuda:0"),
        ("device=meta", "unknown device 'meta'"),
        ("video=always", "unknown video 'always'; known: every, final"),
        ("wandb=yes", "unknown wandb 'yes'; known: offline, online"),
        ("load_mode=all", "unknown load_mode 'all'; known: agent, parts, world-model"),
        ("load_mode=agent", "load_mode 'agent' and load_from '' go together"),
        ("pre_rollout=no/such-s0", "make it with 'python -m lib run such -p seed=0'"),
        ("name=..", "name '..' is no plain file name: it begins with a dot"),
        ("name=../../x", "it begins with a dot"),
        ("name=x/../../y", "it contains '/'"),
        ("name=/abs/olute", "name '/abs/olute' is no plain file name: it contains '/'"),
        ("name=.x", "it begins with a dot"),
        ("name=a\0b", "control character"),
        ("name=a\x1bb", "control character"),
        (f"name={'x' * 300}", "it has 300 bytes, of 120 that are allowed"),
    ],
)
def test_a_wrong_override_is_refused_in_one_line(tmp_path, outputs, capsys, override, message):
    file = params_file(tmp_path, name="m")
    assert message in refusal(capsys, "run", file, "-p", override, f"--notebook={STUB}")
    assert {*tmp_path.rglob("*")} == {Path(file), outputs}


def test_paths_that_are_too_long_are_refused_in_one_line(tmp_path, capsys):
    file, long = params_file(tmp_path, name="m"), tmp_path / ("x" * 254)
    before = {*tmp_path.rglob("*")}
    assert "name too long" in refusal(capsys, "run", "x" * 300)
    assert "name too long" in refusal(capsys, "run", file, "--out", f"{long}xx")
    assert "name too long" in refusal(capsys, "run", file, "--out", long, "-p", "seeds=0,1")
    assert "xxx..." in refusal(capsys, "resume", "x" * 300)
    assert {*tmp_path.rglob("*")} == before


@pytest.mark.parametrize("name", ["/etc/passwd", "text.py", "none.ipynb", "deep.ipynb", "tags.py"])
def test_what_is_no_notebook_is_refused_in_one_line(tmp_path, outputs, capsys, name):
    (tmp_path / "text.py").write_bytes(b"\xff\xfe")
    (tmp_path / "none.ipynb").write_text("[]")
    (tmp_path / "deep.ipynb").write_text("[" * 100_000)
    (tmp_path / "tags.py").write_text("# %% tags=3\nx = 1\n")
    file = params_file(tmp_path, name="m")
    message = refusal(capsys, "run", file, "--notebook", tmp_path / name)
    assert "is no notebook; give a percent .py, or an .ipynb" in message


@pytest.mark.parametrize("place", ["/dev/zero", "pipe"])
def test_a_run_never_starts_from_what_has_no_end(tmp_path, outputs, capsys, place):
    os.mkfifo(tmp_path / "pipe")
    given = ["-p", "load_mode=agent", "-p", f"load_from={tmp_path / place}"]
    message = refusal(capsys, "run", params_file(tmp_path, name="m"), *given)
    assert "it is no regular file" in message and not list(outputs.iterdir())


def test_a_wrong_override_stays_wrong_when_a_setting_follows(tmp_path, capsys):
    given = ["-p", "overrides=0.5", "-p", "planner.samples=3"]
    message = refusal(capsys, "run", params_file(tmp_path, name="m"), *given)
    assert "parameter 'overrides': got 0.5 of type float" in message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "../x"}, "name '../x' is no plain file name"),
        ({"overrides": [1]}, "parameter 'overrides': got [1] of type list"),
        ({"seed": "1"}, "parameter 'seed': got '1' of type str"),
    ],
)
def test_a_params_file_is_checked_as_the_command_line_is(
    tmp_path, outputs, capsys, values, message
):
    assert message in refusal(capsys, "run", params_file(tmp_path, **values))
    assert not list(outputs.iterdir())


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoints", "run.ipynb", ".launch-lock"])
def test_nothing_is_written_through_a_link(tmp_path, outputs, capsys, name):
    out, mine = made_run(outputs, name="mine"), tmp_path / "precious"
    (out / name).symlink_to(mine)
    message = refusal(capsys, "resume", out, f"--notebook={STUB}")
    assert f"is a link to '{mine}'" in message and not mine.exists()


def test_a_part_of_a_trained_agent_is_exported(tmp_path, outputs, capsys, monkeypatch):
    asked = []

    def export(source, part, out):
        asked.append((source, part, out))
        return out or Path("there"), {"a": torch.zeros(3, 5), "b": torch.zeros(2)}

    monkeypatch.setattr(parts, "export", export)
    (outputs / "mine-s0").mkdir(parents=True)
    assert cli.main(["export", "mine-s0", "--part", "reward"]) == 0
    assert "reward: 2 tensors, 17 numbers\nfile: there" in capsys.readouterr().out
    out = tmp_path / "mine.safetensors"
    assert cli.main(["export", "mine-s0", "--part", "rssm", "--out", str(out)]) == 0
    source = str(outputs / "mine-s0")
    assert asked == [(source, "reward", None), (source, "rssm", out)]
    assert "unknown run 'mine-s1'" in refusal(capsys, "export", "mine-s1", "--part", "reward")


def test_overrides_are_read_as_yaml_and_text_as_it_stands():
    found = {"overrides": {"env.size": 9}}
    for text in ("name=12", "load_mode=", "device='cpu'", "tasks=[room-1, room-2]", "seed=4"):
        params.add_override(found, text)
    params.add_override(found, "seeds=0,1, 2")
    params.add_override(found, "learning.lr=1e-4")
    params.add_override(found, "env.put_blocks=false")
    assert found == {
        "name": "12",
        "load_mode": "",
        "device": "cpu",
        "tasks": ["room-1", "room-2"],
        "seed": 4,
        "seeds": [0, 1, 2],
        "overrides": {"env.size": 9, "learning.lr": 1e-4, "env.put_blocks": False},
    }


def test_overrides_at_once_keep_those_that_were_said_before():
    found: dict = {"overrides": {"env": {"size": 9}}}
    params.add_override(found, "env.size=11")
    params.add_override(found, "overrides={planner: {samples: 64}, env: {put_blocks: false}}")
    assert found["overrides"] == {
        "env.size": 11,
        "planner.samples": 64,
        "env.put_blocks": False,
    }
    params.add_override(found, "overrides={env: {size: 13}, method: {review: true}}")
    assert found["overrides"]["env.size"] == 13 and run_config.resolve(found).method.review


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\n  method: x: y", "not valid YAML: in line 2"),
        ("- seed", "holds list, wanted lines of 'key: value'"),
        ("", "holds NoneType"),
        ("seeed: 1", "unknown parameter 'seeed'"),
        ("\0", "not valid YAML"),
        ("seed: 1\nname: x\nseed: 2", "in line 3: key 'seed' is there twice"),
        ("seed: 017", "parameter 'seed': got '017' of type str"),
        ("out_dir: 5", "parameter 'out_dir': got 5 of type int, wanted str"),
        ("out_dir: [x]", "parameter 'out_dir': got ['x'] of type list, wanted str"),
        ("a: " + "b" * (1 << 18), "it has more than 262,144 bytes"),
    ],
)
def test_a_damaged_params_file_is_refused_in_one_line(tmp_path, capsys, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert message in refusal(capsys, "run", path)


def test_an_unknown_params_name_is_guessed(capsys):
    assert "did you mean 'drago-grid-quick'?" in refusal(capsys, "run", "drago-grid-quik")
    assert "unknown params file" in refusal(capsys, "run", "no/such/drago-grid-quick.txt")


def test_params_are_found_by_name_with_and_without_ending(tmp_path):
    params_file(tmp_path, seed=7)
    for name in ("mine", "mine.yaml", "params/mine.yaml", str(tmp_path / "mine.yaml")):
        assert catalogue.read(name, tmp_path) == {"seed": 7}


def test_a_run_without_a_file_says_what_it_is(outputs, capsys):
    assert cli.main(["run", "ewc-grid-quick", f"--notebook={STUB}"]) == 0
    out = outputs / "ewc-grid-quick-s0"
    printed = capsys.readouterr().out
    assert printed.startswith(f"ewc-grid-quick: preset grid-quick, method ewc\nstarting {out}\n")
    given = ["grid-quick", "-p", "method=ewc", "-p", "seed=1"]
    assert cli.main(["run", *given, f"--notebook={STUB}"]) == 0
    out = outputs / "ewc-grid-quick-s1"
    printed = capsys.readouterr().out
    assert printed.startswith(f"grid-quick: preset grid-quick, method ewc\nstarting {out}\n")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["grid-quick", "-p", "method=continual-dreamer"], "presets such as minigrid3-full"),
        (["debug", "-p", "method=drago"], "goes with presets such as grid-full, grid-quick"),
        (["grid-quick", "-p", "method=drag"], "did you mean 'drago'?"),
    ],
)
def test_a_method_of_another_family_is_said_to_be_one(outputs, capsys, given, message):
    said = refusal(capsys, "run", *given)
    assert "unknown method" in said and message in said


# list, compare, clean ------------------------------------------------------------------------


def test_list_shows_what_can_be_run_and_the_runs_there_are(outputs, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "params" / "deep"
    folder.mkdir(parents=True)
    monkeypatch.setattr(cli, "PARAMS", folder.parent)
    params_file(folder, seed=7)
    (folder / "damaged.yaml").write_text("# Broken.\na: b: c")
    assert cli.main(["list"]) == 0
    assert "none yet" in capsys.readouterr().out
    made_run(outputs, status="complete", name="done")
    made_run(outputs, name="half")
    for other in ("compare-all", "thesis"):
        (outputs / other).mkdir()
    (outputs / "thesis" / "config.yaml").write_text("title: not a run")  # and so it is not listed
    assert cli.main(["list"]) == 0
    printed = capsys.readouterr().out
    lines = [line.split(maxsplit=1) for line in printed.splitlines()]
    assert ["mine", "A test"] in lines and ["damaged", "Broken"] in lines
    assert ["done-s0", "finished, 40 env steps, 75% of the optimum"] in lines
    assert ["half-s0", "stopped, before its first env step; resume it"] in lines
    assert len(printed[printed.index("\nruns in ") :].splitlines()) == 4
    assert max(map(len, printed.splitlines())) <= 100 + len(str(outputs))


def test_an_unknown_run_is_guessed(outputs, capsys):
    made_run(outputs, name="mine")
    for command in ("resume", "compare", "clean"):
        assert "did you mean 'mine-s0'?" in refusal(capsys, command, "mine-s1")


def test_compare_refuses_an_unfinished_run_at_once(outputs, capsys):
    made_run(outputs, name="mine")
    assert "has not finished" in refusal(capsys, "compare", "mine-s0")
    assert [path.name for path in outputs.iterdir()] == ["mine-s0"]


def test_clean_takes_comparisons_too(outputs, capsys):
    folder = outputs / "compare-all"
    folder.mkdir()
    (folder / "compare.ipynb").write_text("{}")
    assert cli.main(["clean", "compare-all", "--yes"]) == 0
    assert "a comparison" in capsys.readouterr().out
    assert not folder.exists()


def test_clean_removes_only_what_it_is_given(outputs, capsys):
    first, second = made_run(outputs, name="one"), made_run(outputs, name="two")
    assert "--yes" in refusal(capsys, "clean", "one-s0")  # nobody is there to ask
    assert first.exists()
    assert cli.main(["clean", "one-s0", "--yes"]) == 0
    assert not first.exists() and second.exists()


@pytest.mark.parametrize(("answer", "kept"), [("", True), ("n", True), ("yes", False)])
def test_clean_asks_first(outputs, monkeypatch, capsys, answer, kept):
    out = made_run(outputs, name="one")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    assert cli.main(["clean", str(out)]) == 0
    assert out.exists() == kept


def test_clean_follows_no_link(outputs, tmp_path, capsys):
    out = made_run(outputs, name="one")
    (outputs / "link").symlink_to(out)
    assert "is a link" in refusal(capsys, "clean", "link", "--yes")
    assert out.exists()


# transfer ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory) -> Path:
    """A finished run on the grid."""
    out = tmp_path_factory.mktemp("runs") / "drago-grid-quick-s0"
    cfg = config.merge(tiny("drago", tasks=["room-1"]), {"name": "drago-grid-quick"})
    training.train(cfg, out, tensorboard=False, progress=False)
    return out


@pytest.fixture
def source(tiny_run, outputs) -> Path:
    """The same in the test's own outputs/, to build on."""
    return shutil.copytree(tiny_run, outputs / tiny_run.name)


def transfer(*more) -> list[str]:
    """A command whose runs are as tiny as the source."""
    settings = SETTINGS | {"budget.env_steps_per_task": 84, "device": "cpu"}
    tiny = [part for key, value in settings.items() for part in ("-p", f"{key}={value}")]
    given = ["--preset", "grid-transfer-quick", "--tasks", "room-1to2", *tiny, *map(str, more)]
    return ["transfer", *given, f"--notebook={TRANSFER_STUB}"]


def test_a_comparison_stops_politely_goes_on_and_leaves_a_notebook(source, outputs, capsys):
    out = outputs / "grid-transfer-quick"

    thread = stop_after(0, out, outputs)
    assert cli.main(transfer("drago-grid-quick-s0")) == 130
    thread.join()
    captured = capsys.readouterr()
    assert f"{out}: transfer, 0 of 2 runs finished\n" in captured.out
    assert "room-1to2, scratch, seed 0 (1/2) " in captured.err
    last = captured.err.splitlines()[-1]
    assert last.startswith("stopped in run 1 of 2: room-1to2, scratch, seed 0, saved; resume with")
    assert last.endswith(f"python -m lib resume {out}") and not (out / "stop").exists()

    assert cli.main(["resume", str(out), f"--notebook={TRANSFER_STUB}"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == f"notebook: {out / 'transfer.ipynb'}"
    *_, line = captured.err.splitlines()
    assert line.startswith("100% room-1to2, drago, seed 0 (2/2) done, ")
    assert "168/168 env steps" in line  # of both runs together
    code = nbformat.read(out / "transfer.ipynb", 4).cells[3].source
    assert 'tasks = ["room-1to2"]' in code and "seeds = [0]" in code
    assert f'sources = ["{source}"]' in code

    cli.main(["list"])
    assert "grid-transfer-quick             transfer, 2 of 2" in capsys.readouterr().out
    assert cli.main(["clean", "grid-transfer-quick", "--yes"]) == 0
    assert "transfer, 2 of 2 runs finished" in capsys.readouterr().out and not out.exists()


def test_a_study_makes_its_sources_first_goes_on_and_is_cleaned_as_a_whole(
    outputs, tmp_path, capsys
):
    settings = SETTINGS | {"budget.env_steps_per_task": 84}
    learner = {"params": "grid-transfer-quick-1to2", "overrides": settings}
    place = {"load_from": "outputs/old-s{seed}"}
    study = {
        "arms": {
            "scratch": learner | {"load_mode": "", "load_from": ""},
            "old": learner | {"load_mode": "world-model"} | place,
        },
        "sources": {
            "old": {"params": "drago-grid-quick", "tasks": ["room-1"], "overrides": settings}
        },
    }
    path, out = tmp_path / "mine.yaml", outputs / "mine"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    more = ["-p", "seeds=[4]", "-p", "device=cpu", f"--notebook={TRANSFER_STUB}"]
    assert cli.main(["transfer", str(path), *more]) == 0
    said = capsys.readouterr().out
    assert f"{out}: transfer, 0 of 3 runs finished\n  trained first: old, seed 4\n" in said
    assert "room-1to2; starts scratch, old; seeds 4\n" in said
    names = sorted(folder.name for folder in (out / "runs").iterdir())
    assert names == ["old-s4", "room-1to2-old-s4", "room-1to2-scratch-s4"]
    assert cli.main(["resume", str(out), f"--notebook={TRANSFER_STUB}"]) == 0
    assert "transfer, 3 of 3 runs finished" in capsys.readouterr().out
    message = refusal(capsys, "transfer", str(path), "--preset", "debug", *more)
    assert message.startswith(f"preset 'debug': study '{path}' is one of 'grid-transfer-quick'")
    assert cli.main(["clean", "mine", "--yes"]) == 0 and not out.exists()


def test_studies_are_listed_after_the_files(outputs, capsys):
    cli.main(["list"])
    listed = capsys.readouterr().out
    below = listed.split("params/studies/, 'python -m lib transfer NAME' runs one\n")[1]
    assert below.lstrip().startswith("dreamer-v1-sources-advisers")


FITTING = ["-p", "env.episode_length=28", "-p", "budget.env_steps_per_task=56"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["drago-grid-quick-s0", "--seeds", "0,1"], "no source of drago with seed 1; make it with"),
        (["drago-grid-quick-s0", "--seeds", "a"], "--seeds takes whole numbers such as 0,1,2"),
        (["drago-grid-quick-s0", "--tasks", "room-1to9"], "did you mean 'room-1to"),
        (["drago-grid-quick-s0", "--preset", "grid-transfr"], "did you mean 'grid-transfer'"),
        (
            ["drago-grid-quick-s0", "--preset=cheetah-transfer", "--tasks=run", *FITTING],
            "is a run on the grid, but preset 'cheetah-transfer' is about the cheetah",
        ),
        (["drago-grid-quick-s0", "-p", "seed=3"], "did you mean 'seeds'"),
        (["drago-grid-quick-s0", "--pre-rollout", "drago-grid-quick-s0"], "would act in no task"),
        (["drago-grid-quick-s7"], "did you mean 'drago-grid-quick-s0'"),
    ],
)
def test_a_comparison_that_cannot_be_is_refused_in_one_line(source, outputs, capsys, more, message):
    assert message in refusal(capsys, *transfer(*more))
    assert [path.name for path in outputs.iterdir()] == ["drago-grid-quick-s0"]


def test_a_comparison_without_sources_says_how_to_make_them(outputs, capsys):
    message = refusal(capsys, "transfer", "--preset", "cheetah-few-shot-quick")
    assert "'python -m lib run drago-cheetah-quick -p seed=0'" in message


@pytest.mark.parametrize("command", ["run", "list", "resume", "compare", "transfer", "clean"])
def test_every_command_explains_itself(capsys, command):
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert f"python -m lib {command}" in printed.split("examples:")[1]
    if command == "run":
        for part in ("family tdmpc", "grid-quick", "drago*", "family dreamer", "minigrid3-full"):
            assert part in printed


def test_help_does_not_wait_for_heavy_imports():
    code = "import sys, lib.cli; sys.exit('torch' in sys.modules or 'nbformat' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
