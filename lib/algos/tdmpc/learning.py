"""The updates of S agents write stacked tensors in place, one gradient step after the other.

One update is a fixed sequence of operations that a CUDA graph can record: see
`lib.algos.tdmpc.update` for which, and `lib.algos.tdmpc.graph_key` for what differs between them.

Shapes: S seeds lead; H steps of a window, B windows, L observation, A action.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lib.algos.tdmpc.averages import newest_share
from lib.algos.tdmpc.graph_key import GraphKey, noise_layout
from lib.algos.tdmpc.protections.api import Protection
from lib.algos.tdmpc.settings import TdmpcRun
from lib.algos.tdmpc.update import Data, Nets, model_step, policy_step, protection_given
from lib.core.noise import NoiseBuffers
from lib.core.trees import Tree
from lib.engine.minimise import Minimise, Trained
from lib.engine.optim import Adam
from lib.engine.running_means import observation
from lib.engine.seeds import over_seeds, prefixed, stack_as_views
from lib.replay.buffer import Windows, draw_windows


class Step(NamedTuple):
    """Says which loss one gradient step minimises, and over what."""

    loss: Callable[[Nets, Data], tuple[Tensor, Any]]
    networks: tuple[str, ...]  # what it asks for
    trains: tuple[str, ...]  # groups of tensors that move, see `Learning.trained`
    clip: float | None  # largest norm of the gradient


def steps(
    cfg: TdmpcRun, roles: Sequence[str], protections: Sequence[Protection], past: bool
) -> dict[str, Step]:
    """Returns all steps of an update by name; past: whether there are old dynamics."""
    clip, found = cfg.learning.grad_clip, {}
    old = ("old_dynamics",) if past else ()
    own = {p.name: tuple(f"{p.name}:{n}" for n in (*p.trained, *p.frozen)) for p in protections}
    joint = [name for p in protections if p.joint and p.loss for name in own[p.name]]
    for role in roles:
        for name, moved in (("model", ("dynamics",)), ("heads", ())):
            networks, groups = ("dynamics", "heads", *old, *joint), (f"{role}/heads", *moved)
            loss = model_step(cfg, role, bool(moved), protections)
            found[f"{role}/{name}"] = Step(loss, networks, groups, clip)
        found[f"{role}/policy"] = Step(policy_step(cfg), ("heads",), (f"{role}/policy",), clip)
    for p in protections:
        networks, groups = ("dynamics", *old, *own[p.name]), [f"{p.name}:{n}" for n in p.trained]
        if p.own_loss:
            found[f"{p.name}/own"] = Step(_term(p, "own_loss"), networks, tuple(groups), clip)
        if p.loss and not p.joint:
            found[p.name] = Step(_term(p, "loss"), networks, ("dynamics",), None)
    return found


def _term(protection: Protection, name: str) -> Any:
    """Returns a loss of a protection alone. Data: see `Learning.given`."""

    def loss(nets: Nets, data: Data) -> tuple[Tensor, Data]:
        return tuple(getattr(protection, name)(protection_given(protection, nets, data)))

    return loss


class _Role:
    """Stacks what one role owns: heads, their optimisers, replay."""

    def __init__(self, actors: Sequence[Any]):
        self.heads: dict[str, Tensor] = stack_as_views(
            [dict(a.heads.named_parameters()) for a in actors]
        )
        self.storage = stack_as_views([a.buffer.storage for a in actors])
        model, policy = self.only("reward_net.", "q."), self.only("policy_net.")
        self.trained = {
            "heads": _trained(model, [a.heads_adam for a in actors], "heads"),
            "policy": _trained(policy, [a.policy_adam for a in actors], "heads"),
        }
        self.online = list(self.only("q.").values())
        self.target = list(self.only("target_q.").values())

    def only(self, *prefixes: str) -> dict[str, Tensor]:
        """Returns the heads' tensors of some networks."""
        return {k: v for k, v in self.heads.items() if k.startswith(prefixes)}


class _Averages:
    """Stacks what evaluations plan with, where that is an average of what learns."""

    def __init__(self, agents: Sequence[Any], learning: "Learning"):
        own = [a.averages for a in agents]
        self.dynamics: dict[str, Tensor] = stack_as_views(
            [dict(o.dynamics.named_parameters()) for o in own]
        )
        self.heads: dict[str, Tensor] = stack_as_views(
            [dict(o.heads.named_parameters()) for o in own]
        )
        self.held = [*self.dynamics.values(), *self.heads.values()]
        self.newest = [*learning.dynamics.values(), *learning.roles["learner"].heads.values()]

    def follow(self, share: float) -> None:
        """Moves towards the newest."""
        torch._foreach_lerp_(self.held, self.newest, share)


class Learning:
    """Makes the updates of one task. Lives from one task boundary to the next.

    Args:
        agents: S agents in lock-step, whose tensors become views of the stacks made here.
        steps, minimised: the steps of an update by name, and what makes them for S seeds.
    """

    def __init__(
        self,
        agents: Sequence[Any],
        steps: Mapping[str, Step],
        minimised: Mapping[str, Minimise],
    ):
        self.agents, self.steps, self.minimised, first = agents, steps, minimised, agents[0]
        self.cfg: TdmpcRun = first.cfg
        self.protections, self.horizon = first.protections, first.horizon
        self.draws: dict[GraphKey, NoiseBuffers] = {}
        self.sums: dict[str, Tensor] = {}
        self.threshold = stack_as_views([a.threshold for a in agents])
        self.next_threshold = stack_as_views([a.next_threshold for a in agents])
        self.dynamics = stack_as_views([dict(a.dynamics.named_parameters()) for a in agents])
        self.roles = {r: _Role([a.actor(r) for a in agents]) for r in first.roles}
        self.trained = {
            "dynamics": _trained(self.dynamics, [a.dynamics_adam for a in agents], "dynamics")
        }
        for role, own in self.roles.items():
            self.trained |= {f"{role}/{name}": moved for name, moved in own.trained.items()}
        self.averages = _Averages(agents, self) if first.averages else None
        shared = prefixed(dynamics=self.dynamics)
        if first.old_dynamics is not None:
            old = [dict(a.old_dynamics.named_parameters()) for a in agents]
            shared |= prefixed(old_dynamics=stack_as_views(old))
        self.kept: dict[str, Tree] = {}  # what protections read besides networks
        for each in zip(*(a.protections for a in agents), strict=True):
            shared |= self._protection(each)
        self.tensors = {
            role: shared | prefixed(heads=own.heads) for role, own in self.roles.items()
        }

    def _protection(self, each: Sequence[Any]) -> dict[str, Tensor]:
        """Stacks what S agents' protections of one kind hold; returns their networks' tensors."""
        name, found = each[0].name, {}
        self.kept[name] = stack_as_views([p.tensors() for p in each])
        for n in each[0].frozen:
            held = stack_as_views([dict(p.frozen[n].named_parameters()) for p in each])
            found |= prefixed(**{f"{name}:{n}": held})
        for n in each[0].trained:
            own = [p.trained[n] for p in each]
            held = stack_as_views([dict(o.network.named_parameters()) for o in own])
            moved = _trained(held, [o.adam for o in own], f"{name}:{n}")
            self.trained[f"{name}:{n}"] = moved
            found |= moved.tensors
        return found

    # --- what an update takes ----------------------------------------------------------------

    def noise(self, key: GraphKey) -> dict[str, Tensor]:
        """Draws fresh random numbers, at the same addresses for the same key."""
        if key not in self.draws:
            layout = noise_layout(self.agents[0], key)
            device = self.threshold.device
            self.draws[key] = NoiseBuffers(layout, len(self.agents), device)
        return self.draws[key].refill([agent.streams.update for agent in self.agents])

    def draw(self, role: str, uniform: Tensor, rows: int) -> Windows:
        """Draws windows of a role's replay, by priority."""
        beta = self.cfg.learning.priority_beta

        def one(storage: Any, numbers: Tensor) -> Windows:
            return draw_windows(storage, numbers, rows, self.horizon, beta)

        return over_seeds(one, len(self.agents))(self.roles[role].storage, uniform)

    def given(self, protection: Any, noise: dict[str, Tensor]) -> dict[str, Any]:
        """Returns what a protection's losses take beside networks: its tensors and its noise."""
        prefix = f"{protection.name}/"
        own = {n.removeprefix(prefix): v for n, v in noise.items() if n.startswith(prefix)}
        return {"tensors": self.kept[protection.name], "noise": own}

    # --- what an update does -----------------------------------------------------------------

    def step(self, name: str, data: dict[str, Any]) -> tuple[Tensor, Any]:
        """Makes a step; returns the gradients' norms (S,) and what its loss keeps."""
        role = name.split("/")[0]
        tensors = self.tensors[role if role in self.tensors else "learner"]
        trained = [self.trained[group] for group in self.steps[name].trains]
        return self.minimised[name](trained, tensors, data)

    def set_priorities(self, role: str, windows: Windows, scaled_priority: Tensor) -> None:
        """Gives the first windows that were drawn a scaled priority, (S, B)."""
        held = self.roles[role].storage.scaled_priority.flatten(1)
        held.scatter_(1, windows.index[:, : scaled_priority.shape[1]], scaled_priority)

    def follow(self, role: str, share: float) -> None:
        """Moves a role's target critics towards its critics."""
        own = self.roles[role]
        torch._foreach_lerp_(own.target, own.online, share)

    def average(self) -> None:
        """Takes the newest networks into those that evaluations use."""
        if self.averages:
            first = self.agents[0]
            self.averages.follow(newest_share(self.cfg.learning.average, first.updates))

    def log(self, logged: dict[str, dict[str, Tensor]]) -> None:
        """Adds one observation of groups of scalars (S,) to every agent's running means."""
        for group, values in logged.items():
            if group not in self.sums:
                device = self.threshold.device
                self.sums[group] = stack_as_views(
                    [a.running_means.group(group, values, device) for a in self.agents]
                )
            self.sums[group].add_(observation(values))


def _trained(tensors: dict[str, Tensor], adams: Sequence[Adam], network: str) -> Trained:
    """Joins stacked tensors of a network and one optimiser over them."""
    return Trained(prefixed(**{network: tensors}), Adam.joined(adams, tensors.values()))
