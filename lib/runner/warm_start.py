"""Other runs as starting points: their world model, their agents, or who acts before ours does."""

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib.algos import registry
from lib.algos.api import Agent, Transfer
from lib.core import config as configs
from lib.core.config import RunConfig
from lib.core.errors import UserError, unknown
from lib.core.files import run_folder
from lib.core.seeding import Streams
from lib.engine.seed_batch import forget
from lib.envs import worlds
from lib.envs.api import Domain, VectorEnv
from lib.replay.buffer import Episodes
from lib.runner import checkpoint, expected
from lib.runner.contents import LAST
from lib.runner.run_folder import RunFolder, differences

MEANING = ("domain", "observation", "action_repeat", "size")  # of what a world model predicts
LOAD_MODES = ("", "world-model", "agent", "parts")
SEED = "{seed}"  # in a path: the seed of the run that asks


@dataclass(frozen=True)
class Start:
    """What a run builds on; nothing, unless other runs are named.

    Raises:
        UserError: an unknown mode, or a mode without a source to load from.
    """

    # Take another run's "world-model", the whole "agent", or of that "parts", as the section
    # `transfer` of the run says.
    load_mode: str = ""
    load_from: str = ""  # that run's folder or checkpoint
    pre_rollout: str = ""  # folder or checkpoint of who acts before the learner

    def __post_init__(self) -> None:
        mode, source = self.load_mode, self.load_from
        if mode not in LOAD_MODES:
            raise unknown("load_mode", mode, LOAD_MODES[1:])
        if bool(mode) != bool(source):
            raise UserError(
                f"load_mode {mode!r} and load_from {source!r} go together: give both "
                "(mode 'world-model', 'agent' or 'parts', and a checkpoint or run folder), or "
                "neither"
            )

    def of_seed(self, seed: int) -> "Start":
        """The same for one seed: `{seed}` in a path is that number."""
        load_from, pre_rollout = (
            source.replace(SEED, str(seed)) for source in (self.load_from, self.pre_rollout)
        )
        return Start(self.load_mode, load_from, pre_rollout)

    def record(self, cfg: RunConfig) -> dict[str, Any]:
        """What config.yaml holds of a run: its configuration, and what it builds on."""
        return configs.to_dict(cfg) | asdict(self)


def checkpoint_of(source: str, finished: str = "") -> Path:
    """A checkpoint file as it is; of a run folder the newest finished task, else the last save.

    Args:
        finished: take the checkpoint written when this task ended.

    Raises:
        UserError: there is none.
    """
    path = Path(source)
    if not path.is_dir():
        _check_run_is_there(path)
        return path
    folder = RunFolder(path).checkpoints
    folder = folder if folder.is_dir() else path
    named = {p: re.fullmatch(r"task-(\d+)", p.stem) for p in folder.glob("task-*.safetensors")}
    tasks = sorted((p for p in named if named[p]), key=lambda p: int(named[p][1]))
    if finished:
        ended = {str(checkpoint.load_meta(task).get("finished")): task for task in tasks}
        if finished not in ended:
            raise UserError(
                f"no agent that learnt '{finished}' in '{source}', which finished "
                f"{', '.join(ended) or 'no task'}; name the run that learnt it"
            )
        return ended[finished]
    found = tasks or sorted(folder.glob(LAST))
    if not found:
        raise UserError(
            f"no checkpoint in '{source}'; give a run folder that has finished a task, "
            "or a .safetensors file"
        )
    return found[-1]


def _check_run_is_there(path: Path) -> None:
    """Raises UserError for what looks like a run that has yet to be made, with the command."""
    folder = run_folder(path) if path.suffix else path
    named = re.fullmatch(r"(.+)-s(\d+)", folder.name)
    if named and not folder.exists():
        raise UserError(
            f"no checkpoint '{path}': that run has not been made; make it with "
            f"'python -m lib run {named[1]} -p seed={named[2]}', or name another"
        )


def transfer_of(agent: Agent) -> Transfer:
    """Returns how an agent starts from another run's parts.

    Raises:
        UserError: its family cannot.
    """
    if found := agent.capabilities().transfer:
        return found
    raise UserError(
        f"agents of family '{agent.cfg.family}' cannot start from another run: leave load_mode, "
        "load_from and pre_rollout out"
    )


def load(agent: Agent, path: Path, with_heads: bool) -> tuple[dict[str, Any], RunConfig]:
    """The agent's part of a checkpoint, checked to fit, and the run that it comes from.

    Raises:
        UserError: not a checkpoint, one of another world, or parts of other sizes.
    """
    state, meta = checkpoint.load(path)
    if "config" in meta:  # what is no agent's at all is refused below
        theirs = written_by(meta, path)
        check_same_world(agent.cfg, theirs, path, MEANING)
        check_same_family(agent.cfg, theirs, path)
        transfer_of(agent).check(theirs, path)
    state = agent_in(state, meta, path)
    wanted = transfer_of(agent).template(with_heads)
    parts = expected.mapping(expected.ANYTHING)
    expected.check(state, expected.record({}, dict.fromkeys(wanted, parts)), "agent", path)
    found = {
        part: {name: state.get(part, {}).get(name, {}) for name in names}
        for part, names in wanted.items()
    }
    checkpoint.check_layout(found, wanted, path)
    return state, written_by(meta, path)


def agent_in(state: Any, meta: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Returns the agent's part of a checkpoint's state.

    Raises:
        UserError: it holds no agent.
    """
    if part := meta.get("part"):
        raise UserError(
            f"'{path}' holds the part '{part}' of an agent alone; give a run folder, or a "
            ".safetensors file from the checkpoints/ folder of one"
        )
    expected.check(state, expected.mapping(expected.ANYTHING), "state", path)
    return state.get("agent", state)  # a periodic checkpoint holds the whole run


def load_for(agent: Agent, start: Start) -> dict[str, Any]:
    """The agent's part of the checkpoint that a run starts from, checked to be of use to it.

    Raises:
        UserError: what `load` says, a method that would throw it away, or a generator that was
            never trained and is needed.
    """
    name = agent.cfg.method_name
    if not agent.cfg.carries:
        raise UserError(
            f"method '{name}' starts every task from nothing, so load_mode "
            f"'{start.load_mode}' would be thrown away; use a method that carries its world model "
            "from task to task, such as tdmpc or continual-dreamer"
        )
    path = checkpoint_of(start.load_from)
    if start.load_mode == "parts":
        return _load_loosely(agent, path)
    return load(agent, path, start.load_mode == "agent")[0]


def _load_loosely(agent: Agent, path: Path) -> dict[str, Any]:
    """The agent's part of a checkpoint of which some parts are of use, whatever its sizes are."""
    transfer = transfer_of(agent)
    if transfer.load_parts is None:
        raise UserError(
            f"agents of family '{agent.cfg.family}' take a 'world-model' or an 'agent' as it is; "
            "use one of these load modes instead of 'parts'"
        )
    state, meta = checkpoint.load(path)
    theirs = written_by(meta, path)
    check_same_view(agent.cfg, theirs, path)
    check_same_family(agent.cfg, theirs, path)
    transfer.check(theirs, path)
    state = agent_in(state, meta, path)
    nested = expected.mapping(expected.mapping(expected.TENSOR))
    expected.check(
        state, expected.record({"world_model": nested, "learner": nested}), "agent", path
    )
    return state


def learnt_already(cfg: RunConfig, place: str, tasks: Any = None) -> str:
    """Returns a line where what a run learns is among what its source has learnt, else "".

    Transfer is measured on tasks that the source does not know.

    Args:
        place: the source, a run folder or a checkpoint.
        tasks: what it learns, where it has yet to be made.
    """
    if tasks is None:
        path = checkpoint_of(place)
        tasks = config_in(checkpoint.load_meta(path), path)["tasks"]
    both = sorted(_named(cfg.tasks) & _named(tasks))
    if not both:
        return ""
    return f"note: '{place}' has learnt {', '.join(both)} already, which this run is to learn"


def _named(tasks: Any) -> set[str]:
    """Every task in some entries, by name; one that is altered is another than its original."""
    if isinstance(tasks, str):
        return {tasks}
    if isinstance(tasks, Mapping):
        if "turns" in tasks:
            return _named(tasks["turns"])
        as_it_is = tasks.keys() <= {"name", "task"}
        return {str(tasks[key]) for key in ("name", "task")[: 1 + as_it_is] if key in tasks}
    if not isinstance(tasks, Collection):
        return set()
    return {name for entry in tasks for name in _named(entry)}


def written_by(meta: Mapping[str, Any], path: Path) -> RunConfig:
    """The run that wrote a checkpoint."""
    return registry.from_dict(config_in(meta, path))


def config_in(meta: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """The same as a plain mapping.

    Raises:
        UserError: nothing is said of it.
    """
    if "config" not in meta:
        raise UserError(
            f"'{path}' holds no agent; give a run folder, or a .safetensors file from the "
            "checkpoints/ folder of one"
        )
    return meta["config"]


def check_same_family(mine: RunConfig, theirs: RunConfig, path: Path) -> None:
    """Raises UserError where another run's agent is of another family than ours."""
    if theirs.family != mine.family:
        raise UserError(
            f"'{path}' holds an agent of family '{theirs.family}', and this run's is "
            f"'{mine.family}'; name a run of the same family"
        )


def check_same_world(
    mine: RunConfig, theirs: RunConfig, path: Path, names: Collection[str] = ()
) -> None:
    """Raises UserError where another run's agent comes from another world than ours.

    Args:
        names: settings of the world that must agree; all of them if not given.
    """
    names = names or configs.to_dict(mine.env)
    one, other = ({name: getattr(cfg.env, name) for name in names} for cfg in (theirs, mine))
    if different := differences(one, other, "env."):
        raise UserError(
            f"the agent in '{path}' comes from another world than this run's "
            f"({'; '.join(different[:4])}); name an agent trained in this one"
        )


def check_same_view(mine: RunConfig, theirs: RunConfig, path: Path) -> None:
    """Raises UserError where another run's agent saw its world otherwise, whichever that was."""
    size = ("image_size",) if mine.env.observation == "pixels" else ()
    check_same_world(mine, theirs, path, ("observation", *size))


def trained_agent(path: Path, device: torch.device, domain: Domain | None = None) -> Agent:
    """Returns an agent as a checkpoint holds it, able to act and to be looked at, not to learn.

    Args:
        domain: its world, where that cannot be built from a configuration alone.

    Raises:
        UserError: not a checkpoint of an agent, or one of another layout.
    """
    meta = checkpoint.load_meta(path)
    cfg = written_by(meta, path)
    domain = domain or worlds.build(cfg.env, cfg.tasks, device)
    agent = registry.build_agent(registry.for_acting(cfg), domain, Streams(0, device), device)
    names = [task.name for task in domain.tasks]
    finished = meta.get("finished")
    agent.begin_task(names.index(finished) if finished in names else len(names) - 1)
    state, _ = load(agent, path, with_heads=True)
    transfer = transfer_of(agent)
    transfer.load_world_model(state["world_model"])
    transfer.load_heads(state)
    transfer.finish_schedules()
    return agent


def held_out_episodes(source: str | Path, domain: Domain) -> Episodes | None:
    """Returns the whole evaluation episodes that a run last held out; None where it has none.

    Args:
        source: its folder, or one of its checkpoints.
        domain: its world. One that holds out single transitions has no episodes.

    Raises:
        UserError: the run's last checkpoint is damaged.
    """
    if not hasattr(domain, "held_out_episodes"):
        return None
    path = Path(source)
    path = RunFolder(path).last_checkpoint if path.is_dir() else path.with_name(LAST)
    if not path.is_file():
        return None
    found = domain.held_out_episodes(checkpoint.load_part(path, "held_out"))
    if not len(found["length"]):
        return None
    return Episodes(found["obs"], found["action"], found["reward"], found["length"])


class FirstActor:
    """A trained agent that acts before the learner's episode begins.

    It acts as at the end of its task, a planner with its full horizon. (The published code lets it
    plan with the new run's schedule, which begins at horizon 1.)

    Args:
        path: its checkpoint, of any run in the same world.
        mine: the run in whose world it is to act.
        domain: that world, where it cannot be built from a configuration alone.

    Raises:
        UserError: not a checkpoint of an agent, or one from another world.
    """

    def __init__(
        self,
        path: Path,
        mine: RunConfig,
        device: torch.device,
        domain: Domain | None = None,
    ):
        meta = checkpoint.load_meta(path)
        check_same_world(mine, written_by(meta, path), path)
        self.name = str(meta.get("finished") or "")
        self.agent = trained_agent(path, device, domain)

    def act(self, obs: Tensor, memory: Any, generator: torch.Generator) -> tuple[Tensor, Any]:
        """(n, *shape) to actions (n, A), as while evaluating."""
        return self.agent.act(obs, memory, explore=False, generator=generator)


class PreRollout:
    """A world whose episodes begin where another agent has left off: a `VectorEnv`.

    Source: DRAGO's released code, "jump2run" and its like: the other agent's steps are neither
    rewarded nor stored, and a whole episode follows.

    Where episodes may end early, one that ends under the other agent begins anew, and the other
    agent goes on in it; so the learner always begins in one that lasts. The world's time limit
    counts both agents' decisions.
    """

    def __init__(self, env: VectorEnv, first: FirstActor, decisions: int):
        self.env, self.first, self.decisions = env, first, decisions

    def __getattr__(self, name: str) -> Any:
        """Everything else as of the world itself."""
        return getattr(self.env, name)

    def reset(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, *shape) where the other agent ends up; the generator also draws its actions."""
        obs = self.env.reset(n, generator)
        return self._lead(obs, None, generator)

    def restart(self, which: Tensor, generator: torch.Generator) -> Tensor:
        """The same for the episodes (n,) that are true; the others wait meanwhile."""
        return self._lead(self.env.restart(which, generator), which, generator)

    def _lead(self, obs: Tensor, which: Tensor | None, generator: torch.Generator) -> Tensor:
        """Lets the other agent act in some episodes, or in all (None); (n, *shape) after that."""
        memory, where = None, {} if which is None else {"only": which}
        for _ in range(self.decisions):
            action, memory = self.first.act(obs, memory, generator)
            obs, _ = self.env.step(action, **where)
            if self.env.ended is None:
                continue
            over = self.env.ended if which is None else self.env.ended & which
            if bool(over.any()):
                obs = self.env.restart(over, generator)
                memory = forget(memory, over)
        return obs


def first_checkpoints(source: str, tasks: tuple[Any, ...], cfg: RunConfig) -> dict[int, Path]:
    """Whose agent acts before the learner in each task, by index; empty where nobody does.

    Args:
        source: a checkpoint, or a run folder: the agent that learnt the task which a task such as
            jump2run names, else its last one.

    Raises:
        UserError: a task asks for another agent and none is named, or the wrong one is.
    """
    asking = [task for task in tasks if task.after]
    if not source:
        if asking:
            raise UserError(
                f"task '{asking[0].name}' begins where an agent trained on '{asking[0].after}' "
                "leaves off: name its checkpoint or run folder with pre_rollout"
            )
        return {}
    chosen = {}
    for index, task in enumerate(tasks):
        path = checkpoint_of(source, finished=task.after)
        meta = checkpoint.load_meta(path)
        check_same_world(cfg, written_by(meta, path), path)
        learnt = str(meta.get("finished") or "")
        if task.after and learnt != task.after:
            raise UserError(
                f"task '{task.name}' begins with an agent trained on '{task.after}', but '{path}' "
                f"learnt '{learnt or 'no whole task'}'; name another with pre_rollout"
            )
        chosen[index] = path
    return chosen


def first_actors(
    source: str, domain: Domain, cfg: RunConfig, device: torch.device
) -> dict[int, FirstActor]:
    """Those agents themselves, ready to act; raises what `first_checkpoints` and they raise."""
    paths = first_checkpoints(source, domain.tasks, cfg)
    handed_over = domain if worlds.of(cfg.env).handed_over else None
    loaded = {
        path: FirstActor(path, cfg, device, handed_over) for path in dict.fromkeys(paths.values())
    }
    return {index: loaded[path] for index, path in paths.items()}
