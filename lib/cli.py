"""The command line: run, list, find, resume, compare, transfer, data, export, clean."""

import argparse
import hashlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from lib.core.errors import NotebookFailed, RunInterrupted, UserError
from lib.core.paths import NOTEBOOKS, OUTPUTS, PARAMS, ROOT, from_root, shown
from lib.core.storage import told_at_the_end

if TYPE_CHECKING:
    from lib.core.config import RunConfig
    from lib.experiments import runs

# The commands import what they need themselves: help should not wait for PyTorch.

EXAMPLES = """\
examples:
  python -m lib list
  python -m lib run drago-grid-quick
  python -m lib run grid-quick -p method=ewc
  python -m lib run drago-grid-quick -p seed=3 -p planner.samples=64
  python -m lib run drago-grid-quick -p seed=3 --out outputs/try --fresh
  python -m lib run drago-grid-quick -p seeds=0,1,2
  python -m lib find "train_minigrid.py --cl --plan2explore"
  python -m lib resume outputs/drago-grid-quick-s3
  python -m lib compare outputs/drago-grid-quick-s* outputs/tdmpc-grid-quick-s*
  python -m lib transfer dreamer-v1-sources-quick -p seeds=[0,1,2]
  python -m lib transfer --preset grid-transfer-quick
  python -m lib transfer --tasks jump2run,jump-and-run --seeds 0,1,2 --out outputs/jumps
  python -m lib export outputs/dreamer-v1-sources-quick-s0 --part autoencoder
  python -m lib data make point-mass
  python -m lib clean outputs/try
"""
STOPPING = """
Ctrl-C saves a run and stops it; a second Ctrl-C aborts at once. `resume` goes on after either,
and after a crash, as if nothing had happened.
"""
SEVERAL = """
Several seeds (-p seeds=0,1,2) are trained together in one process. Each has a run folder of its
own, outputs/NAME-s0 and so on, as if it had run alone; finished ones are kept. The notebook about
all of them lies in outputs/NAME-seeds-0-1-2; `resume` and `compare` take it in place of the runs.
"""
TRANSFERRING = """
A STUDY says what a task may begin with: arms, each a params file. What arms build on is taken from
outputs/ where it is finished and just as its own file has it, else it is trained first, once for
each seed. Settings given with -p reach all of these runs; those of the budget reach the new tasks
alone, and those of what is handed over (transfer.omega, meta.freeze_decoder) arms that set some.

Without a study every task is learnt from nothing, and from the world model of each source, once for
each seed. Sources are runs of the same domain and sizes, by
default outputs/{tdmpc,drago}-DOMAIN-quick-sSEED for a quick preset. Tasks such as jump2run begin
where another agent leaves off, by default that of the first source that learnt to jump.

notebooks/10_transfer.py shows what came of it. The same command again goes on where it stopped, and
adds what is asked for on top.
"""
EXPORTING = """
The file holds the part's tensors by name, and says which run, task and configuration they are of.
Settings such as meta.autoencoder and meta.rewards take such files, and run folders as well.
"""
MAKING = """
One file for each task and card.json, which says how they were made. The same command again makes
what is missing, and nothing else.
"""
LISTED = """\
'python -m lib run NAME' starts one of these; NAME is a file, a preset (-p method=METHOD takes
another method than that marked *), or METHOD-PRESET. In the tables F means that there is a file,
o that it runs without one, . that the two do not fit.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    0 done, 1 the notebook failed, 2 something that the message tells how to mend, 130 stopped.
    """
    given = _parser().parse_args(arguments)
    try:
        os.getcwd()  # fails where it has been removed
        given.command(given)
    except RunInterrupted as error:
        return _say(error, 128 + signal.SIGINT)
    except UserError as error:
        return _say(error, 2)
    except NotebookFailed as error:
        return _say(error, 1)
    except KeyboardInterrupt:
        return _say("aborted", 128 + signal.SIGINT)
    except BrokenPipeError:  # whoever read our output, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, a folder that may not be written, a name too long
        return _say(told_at_the_end(error), 2)
    return 0


def _say(message: object, code: int) -> int:
    """Prints one line, in which names that came from outside are only shown."""
    from lib.core.plain import printable

    print(printable(" ".join(str(message).splitlines())), file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    """A parser whose help ends in something that takes a while to find out."""

    also: Callable[[], str] | None = None

    def format_help(self) -> str:
        return super().format_help() + (f"\n{self.also()}\n" if self.also else "")

    def error(self, message: str) -> NoReturn:
        from lib.core.plain import printable

        message = printable(message)
        super().error(message if len(message) <= 300 else f"{message[:300]}...")


def _families() -> str:
    from lib.experiments import catalogue

    return catalogue.families()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m lib",
        description="Runs of the workbook: start, look, go on, compare, tidy up.",
        epilog=EXAMPLES + STOPPING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    def command(function: Any, name: str, about: str, note: str = "") -> "_Parser":
        examples = [line for line in EXAMPLES.splitlines() if f" -m lib {name}" in line]
        sub = commands.add_parser(
            name,
            help=about,
            description=f"{about[0].upper()}{about[1:]}.",
            epilog="\n".join(["examples:", *examples, note]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(command=function)
        return sub

    notebook = {
        "type": Path,
        "default": NOTEBOOKS / "20_run.py",
        "help": "execute a notebook of your own with the parameters of notebooks/20_run.py",
    }
    modules = {
        "metavar": "MODULE",
        "action": "append",
        "default": [],
        "dest": "modules",
        "help": "import a module of your own first, which registers environments with gymnasium; "
        "may be repeated",
    }
    about = "execute one run, or several seeds of it, into folders under outputs/"
    sub = command(run, "run", about, SEVERAL + STOPPING)
    sub.also = _families
    sub.add_argument(
        "params",
        metavar="NAME",
        help="a file below params/, a path, a preset, METHOD-PRESET or PRESET-TASK",
    )
    sub.add_argument(
        "-p",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="replace a parameter (seed=3) or any setting by its dotted name "
        "(planner.samples=64); values are YAML; may be repeated",
    )
    sub.add_argument(
        "--out",
        metavar="DIR",
        help="run folder (default: outputs/NAME-sSEED); of several seeds the notebook's folder, "
        "their runs go to DIR-s0, DIR-s1, ...",
    )
    sub.add_argument(
        "--fresh",
        action="store_true",
        help="throw away the run in that folder, or all seeds, once the new one has begun",
    )
    sub.add_argument("--notebook", **notebook)
    sub.add_argument("--import", **modules)

    command(list_runs, "list", "show what can be run, and the runs there are")

    sub = command(find, "find", "show what does here what a published command does")
    sub.add_argument(
        "words",
        nargs=argparse.REMAINDER,
        metavar="COMMAND",
        help="of an original repository, whole or in part",
    )

    sub = command(resume, "resume", "go on with a run that was stopped or killed", STOPPING)
    sub.add_argument("run", help="its folder, such as outputs/drago-grid-quick-s0")
    sub.add_argument("--notebook", **notebook)
    sub.add_argument("--import", **modules)

    sub = command(compare, "compare", "draw finished runs side by side in a notebook")
    sub.add_argument("runs", nargs="*", metavar="RUN", help="run folders (default: all finished)")
    sub.add_argument("--out", metavar="DIR", help="folder for the result (default: under outputs/)")

    about = "learn new tasks from trained world models and from nothing, and compare"
    sub = command(transfer, "transfer", about, TRANSFERRING + STOPPING)
    sub.add_argument(
        "sources",
        nargs="*",
        metavar="STUDY|SOURCE",
        help="a file below params/studies/ or a path of one, and finished runs to build on",
    )
    sub.add_argument(
        "--preset",
        default="",
        help="what every run is, without a study (default: cheetah-transfer-quick; or "
        "walker-transfer-quick, grid-transfer-quick, cheetah-few-shot-quick, the same without "
        "-quick, and so on)",
    )
    sub.add_argument(
        "--tasks", metavar="A,B", default="", help="default: the study's, or the domain's own four"
    )
    sub.add_argument(
        "--seeds",
        metavar="0,1",
        default="",
        help="default: the study's, or those that all sources come with",
    )
    sub.add_argument(
        "--pre-rollout", metavar="RUN", default="", help="run or checkpoint that acts first"
    )
    sub.add_argument(
        "-p",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="replace a setting in every run by its dotted name (planner.samples=64), the device "
        "(device=cpu) or the seeds (seeds=[0,1]); values are YAML; may be repeated",
    )
    sub.add_argument(
        "--out", metavar="DIR", help="folder for all of it (default: outputs/STUDY or PRESET)"
    )
    sub.add_argument(
        "--notebook",
        type=Path,
        default=NOTEBOOKS / "10_transfer.py",
        help="execute a notebook of your own with the parameters of notebooks/10_transfer.py",
    )

    sub = command(export, "export", "write a part of a trained agent to a file", EXPORTING)
    sub.add_argument("run", metavar="RUN", help="a run folder, or a checkpoint of one")
    sub.add_argument(
        "--part",
        required=True,
        help="of a Dreamer: autoencoder, encoder, decoder, reward, actor, critic or rssm",
    )
    sub.add_argument(
        "--out", metavar="FILE", help="where to (default: parts/PART.safetensors in the run)"
    )
    _data_commands(command(data, "data", "make, look at, import files of experience", MAKING))

    sub = command(clean, "clean", "remove run folders for good")
    sub.add_argument("runs", nargs="+", metavar="RUN", help="folders that run or compare made")
    sub.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def _data_commands(parser: argparse.ArgumentParser) -> None:
    """Adds what can be done with files of experience."""
    what = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    sub = what.add_parser("make", help="play what is not there yet")
    sub.add_argument("world", metavar="WORLD", help="point-mass, metaworld or dmc-states")
    sub.add_argument("--tasks", default="", metavar="A,B", help="these alone (default: all)")
    sub.add_argument("--episodes", type=int, metavar="N", help="of every task (default: by world)")
    sub.add_argument("--processes", type=int, default=0, metavar="N", help="that play side by side")
    sub.add_argument(
        "--no-hold", action="store_true", help="let experts of metaworld go on after a success"
    )
    sub.add_argument("--agent", default="", metavar="RUN", help="whose agent acts, in dmc-states")
    sub.add_argument("--random", action="store_true", help="let chance act, and nobody else")
    sub.add_argument("--out", metavar="DIR", help="folder (default: outputs/data/WORLD)")
    sub = what.add_parser("card", help="print what files are and what they hold, as a table")
    sub.add_argument("folder", metavar="DIR", help="that make wrote")
    sub = what.add_parser("import", help="take what is in another form")
    sub.add_argument("form", metavar="FORM", help="npz (L2M's), lerobot (Parquet) or minari")
    sub.add_argument("source", metavar="SOURCE", help="a file or folder, of minari a name")
    sub.add_argument("--observed", default="", metavar="COLUMN", help="of lerobot")
    other = what.add_parser("export", help="give a task's experience to Minari")
    other.add_argument("name", metavar="NAME", help="such as workbook/door-close-v0")
    for one in (sub, other):
        one.add_argument("--world", required=True, help="point-mass, metaworld or dmc-states")
        one.add_argument("--task", required=True, metavar="NAME", help="whose experience it is")
        one.add_argument("--folder", metavar="DIR", help="(default: outputs/data/WORLD)")


def run(given: argparse.Namespace) -> None:
    """Starts a run, or goes on with it where the folder already holds this very run."""
    from lib.experiments import afresh, catalogue, notebooks, own_modules, params, runs

    own_modules.ask_for(given.modules)
    parameters = catalogue.read(given.params, PARAMS)
    for text in given.overrides:
        params.add_override(parameters, text)
    if given.out:
        parameters["out_dir"] = given.out
    elif parameters.get("out_dir"):
        parameters["out_dir"] = str(ROOT / parameters["out_dir"])
    spec = runs.prepare(parameters, OUTPUTS)
    if _follows(spec):
        return
    if not catalogue.has_file(given.params, PARAMS):
        print(f"{given.params}: {catalogue.in_words(parameters)}")
    _settle(spec.outs, spec.folders)
    if not given.fresh:
        return _go_on(spec, given.notebook)
    notebooks.checked(given.notebook, spec.parameters)
    try:
        afresh.set_aside(spec)
        _go_on(spec, given.notebook)
    except (UserError, NotebookFailed) as error:
        if not _settle(spec.outs, spec.folders):
            raise
        raise type(error)(getattr(error, "problem", "") or str(error)) from error
    except BaseException:
        _settle(spec.outs, spec.folders)
        raise
    afresh.remove(spec.outs)


def _settle(outs: Sequence[Path], runs: Sequence[Path]) -> list[Path]:
    """Puts back runs that `--fresh` set aside for others which did not begin; returns them."""
    from lib.experiments import afresh

    back = afresh.settle(outs, runs)
    for out in back:
        print(f"{shown(out)}: nothing new has begun, so the old run is back", file=sys.stderr)
    return back


def resume(given: argparse.Namespace) -> None:
    """Goes on with the run in a folder, whatever started it."""
    from lib.engine import ranks
    from lib.experiments import afresh, folders, own_modules, requests, runs
    from lib.runner import contents

    own_modules.ask_for(given.modules)
    if not ranks.number():
        for place in (Path(given.run), OUTPUTS / given.run):
            _settle(*afresh.group_of(place))
    out = folders.find_run(given.run, OUTPUTS)
    if asked := folders.asked(out, contents.TRANSFER):
        own = given.notebook if given.notebook != NOTEBOOKS / "20_run.py" else None
        return _compare_starts(
            asked["parameters"] | {"out_dir": from_root(out)},
            own or NOTEBOOKS / "10_transfer.py",
        )
    if asked := folders.asked(out, contents.SEEDS):
        parameters = asked["parameters"]
    elif held := folders.held(out):
        parameters = requests.read(out, held)
    else:
        raise folders.no_run(out)
    spec = runs.prepare(parameters | {"out_dir": str(out)}, OUTPUTS)
    if not _follows(spec):
        _go_on(spec, given.notebook)


def _follows(spec: "runs.RunSpec") -> bool:
    """Learns beside the process that executes the notebook, where this is not that one."""
    from lib.engine import ranks
    from lib.runner import training

    if ranks.number():
        training.follow(spec.configs)
    return ranks.number() > 0


def _go_on(spec: "runs.RunSpec", notebook: Path) -> None:
    """Takes a run, or several seeds, to the end from wherever the folders are, and shows it."""
    from lib.experiments import afresh, drawing, folders, launch, runs, summaries
    from lib.runner.contents import NOTEBOOK
    from lib.runner.run_folder import RunFolder

    there = [_is_there(spec, config, folder) for config, folder in spec.each()]
    done = [summaries.is_finished(folder) for folder in spec.folders]
    for out in spec.outs:
        folders.check_links(out)
    for (config, folder), finished in zip(spec.each(), done, strict=True):
        if not finished and not RunFolder(folder).checkpoints.exists():
            runs.check_sources(config, spec.parameters)
    for note in runs.notes(spec):
        print(note)
    runs.write_request(spec)
    out, about = shown(spec.out), [RunFolder(folder).summary for folder in spec.folders]
    if all(done) and drawing.is_complete(spec.out / NOTEBOOK, about):
        print(f"already finished: {out}")
    else:
        before = summaries.read_progress(RunFolder(spec.out).progress)
        where = f" from {summaries.stands_at(before)}" if before and not all(done) else ""
        doing = "drawing" if all(done) else "going on with" if any(there) else "starting"
        print(f"{doing} {out}{where}", flush=True)
        if spec.together:
            for folder, old in zip(spec.folders, there, strict=True):
                print(f"  {shown(folder)}: {folders.status(folder) if old else 'new'}", flush=True)
        spec.out.mkdir(parents=True, exist_ok=True)

        def look(began: float) -> Any:
            with suppress(UserError):  # tried again in the end, where somebody is told
                afresh.remove_replaced(spec.outs, spec.folders)
            return summaries.read_progress(RunFolder(spec.out).progress, newer_than=began)

        asked = spec.parameters | {"out_dir": from_root(spec.out)}
        launch.execute(asked, spec.out, notebook, look=look, about=about)
    print(f"notebook: {out / NOTEBOOK}")
    print(summaries.table([summaries.summary(folder) for folder in spec.folders]))


def _is_there(spec: "runs.RunSpec", config: "RunConfig", folder: Path) -> bool:
    """Whether a folder holds this very run already; raises UserError if it holds another."""
    from lib.experiments import folders, params
    from lib.runner.run_folder import differences

    held = folders.held(folder)
    if held is None:
        return False
    if different := differences(held, params.record(config, spec.parameters)):
        more = f"; and {len(different) - 4} more" if len(different) > 4 else ""
        raise UserError(
            f"'{shown(folder)}' already holds a different run ({'; '.join(different[:4])}{more}); "
            f"choose another folder with '--out DIR', or throw that run away with '--fresh'"
        )
    return True


def list_runs(given: argparse.Namespace) -> None:
    """Shows what can be run, with what it is for, and runs with how far they are."""
    from lib.core.plain import printable
    from lib.experiments import catalogue, folders

    print(f"{LISTED}\n{catalogue.overview(PARAMS)}")
    there = {}
    for path in sorted(OUTPUTS.glob("*")):
        try:
            if folders.is_ours(path):
                there[printable(path.name)] = folders.status(path)
        except OSError as error:
            there[printable(path.name)] = f"cannot be read: {error.strerror}"
    print(f"\nruns in {shown(OUTPUTS)}/:{'' if there else ' none yet'}")
    for name, status in there.items():
        print(f"  {name:<31} {status}")


def find(given: argparse.Namespace) -> None:
    """Shows our commands for a published one."""
    from lib.experiments import original_commands

    found = original_commands.find(" ".join(given.words))
    print("\n\n".join(original_commands.told(*each) for each in found))
    for note in dict.fromkeys(repository.note for repository, _ in found if repository.note):
        print(f"\n{note}")


def compare(given: argparse.Namespace) -> None:
    """Executes 21_compare over finished runs."""
    from papermill.exceptions import PapermillExecutionError

    from lib.analysis import results
    from lib.experiments import folders, launch, notebooks
    from lib.runner import contents

    asked = [folders.find_run(name, OUTPUTS) for name in given.runs]
    runs = _runs_of(asked)
    for path in runs:
        results.load_run(path)  # says at once what is wrong with a folder
    names = "+".join(path.resolve().name for path in asked) or "all"
    if len(names) > 60:
        names = f"{len(runs)}-runs-{hashlib.sha256(names.encode()).hexdigest()[:8]}"
    out = Path(given.out) if given.out else OUTPUTS / f"compare-{names}"
    folders.check_comparison(out, OUTPUTS)
    name = shown(out)
    parameters = {"runs": [from_root(path) for path in runs], "out_dir": from_root(out)}
    try:
        notebooks.run(parameters, out / contents.COMPARISON, notebooks.COMPARE)
    except PapermillExecutionError as error:
        raise launch.as_it_was(error, name, contents.COMPARISON) from None
    print(f"notebook: {name / contents.COMPARISON}")


def _runs_of(asked: Sequence[Path]) -> list[Path]:
    """Run folders, those of several seeds for the folder that stands for them, each once."""
    from lib.experiments import folders

    found = [run for path in asked for run in folders.runs_of(path)]
    return list({run.absolute(): run for run in found}.values())


def transfer(given: argparse.Namespace) -> None:
    """Executes 10_transfer over finished runs and new tasks, or goes on with it."""
    from lib.experiments import folders, params, studies
    from lib.experiments.transfer import PARAMETERS

    study, names = studies.named_first(given.sources)
    sources = _runs_of([folders.find_run(name, OUTPUTS) for name in names])
    usual = studies.read(study).preset if study else PARAMETERS["preset"]
    parameters: dict[str, Any] = {
        "study": study,
        "preset": given.preset or usual,
        "tasks": [name.strip() for name in given.tasks.split(",") if name.strip()],
        "sources": [from_root(run) for run in sources],
        "seeds": _numbers(given.seeds),
        "out_dir": from_root(Path(given.out)) if given.out else "",
    }
    if given.pre_rollout:
        place = Path(given.pre_rollout)
        place = place if place.is_file() else folders.find_run(given.pre_rollout, OUTPUTS)
        parameters["pre_rollout"] = from_root(place)
    for text in given.overrides:
        params.add_override(parameters, text)
    _compare_starts(parameters, given.notebook)


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UserError(f"--seeds takes whole numbers such as 0,1,2; got {text!r}") from None


def _compare_starts(parameters: dict[str, Any], notebook: Path) -> None:
    """Takes a comparison on new tasks to its end from wherever its folder is."""
    from functools import partial

    from lib.experiments import folders, launch, trials
    from lib.experiments import transfer as comparison
    from lib.runner import contents

    study = comparison.prepare(parameters, OUTPUTS)
    folders.check_links(study.out)
    trials.write_request(study)
    out = shown(study.out)
    print(f"{out}: {folders.status(study.out)}")
    for note in study.notes:
        print(note)
    for source in study.sources if study.parameters["study"] else ():
        print(f"  built on as it is: {shown(source.folder)}")
    for trial in study.made:
        print(f"  trained first: {trial.start}, seed {trial.seed}")
    seeds = ", ".join(str(seed) for seed in study.parameters["seeds"])
    print(f"{', '.join(study.tasks)}; starts {', '.join(study.starts)}; seeds {seeds}", flush=True)
    launch.execute(
        study.parameters,
        study.out,
        notebook,
        contents.TRANSFERRED,
        partial(trials.progress, study),
    )
    print(f"notebook: {out / contents.TRANSFERRED}")


def export(given: argparse.Namespace) -> None:
    """Writes a part of a trained agent to a file for other runs to take."""
    from lib.experiments import folders
    from lib.runner import parts

    place = Path(given.run)
    place = place if place.is_file() else folders.find_run(given.run, OUTPUTS)
    out, tensors = parts.export(str(place), given.part, Path(given.out) if given.out else None)
    numbers = sum(tensor.numel() for tensor in tensors.values())
    print(f"{given.part}: {len(tensors)} tensors, {numbers:,} numbers")
    print(f"file: {shown(out)}")


def data(given: argparse.Namespace) -> None:
    """Makes files of experience, shows what some are, takes or gives some."""
    from lib.experiments import cards
    from lib.experiments import data as files
    from lib.experiments.makers import Recipe

    if given.action == "card":
        print("\n".join(cards.table(given.folder)))
        return
    if given.action in ("import", "export"):
        from lib.experiments import exchange

        folder, task = given.folder or files.DATA / given.world, (given.world, given.task)
        if given.action == "import":
            print(exchange.take(given.form, given.source, *task, folder, given.observed))
        else:
            print(exchange.give(folder, *task, given.name))
        return
    from tqdm import tqdm

    if given.episodes is not None and given.episodes < 1:
        raise UserError(f"{given.episodes} episodes make no file; ask for 1 or more")
    recipe = Recipe(
        episodes=given.episodes or 0,
        random_share=1.0 if given.random else Recipe.random_share,
        hold=not given.no_hold,
        agent=given.agent,
    )
    tasks = [name for name in given.tasks.split(",") if name]
    with tqdm(unit="episode", disable=None, mininterval=1.0) as bar:

        def tell(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        lines = files.make(
            given.world, given.out or "", recipe, tasks, processes=given.processes, tell=tell
        )
        for line in lines:
            bar.write(line)


def clean(given: argparse.Namespace) -> None:
    """Removes what the workbook wrote into folders, after saying what that is and asking."""
    from lib.experiments import cleaning, folders

    plans = cleaning.plan([folders.find_run(name, OUTPUTS) for name in given.runs])
    for line in cleaning.in_words(plans):
        print(line)
    if not given.yes:
        if not sys.stdin.isatty():
            raise UserError("clean asks before it removes anything; say --yes where nobody can")
        if input(f"remove {len(plans)} for good? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing removed")
            return
    cleaning.remove(plans)
    print(f"removed {sum(not plan.folder.exists() for plan in plans)}")
    for plan in plans:
        if plan.folder.exists():
            print(f"'{shown(plan.folder)}' stays for what else it holds: {plan.left()}")
