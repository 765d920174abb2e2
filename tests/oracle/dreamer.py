"""An agent on the plain path: `lib.algos.dreamer.plain` updates it, and it decides one by one.

Tests compare the fast path with it, benchmarks measure the fast path against it. It consumes the
same random numbers in the same order.

Shapes: E episodes, A action.
"""

import torch
from torch import Tensor, nn

from lib.algos.dreamer import plain
from lib.algos.dreamer.acting import Memory
from lib.algos.dreamer.agent import DreamerAgent
from lib.algos.dreamer.rssm import State
from lib.core.noise import NoiseSpec, draw_noise
from tests.oracle import dreamer_formulas as formulas


class PlainDreamer(DreamerAgent):
    """A DreamerAgent that decides for one observation and learns one step at a time."""

    _settled = -1  # tensor_version that the modules belong to

    def _settle(self) -> tuple[plain.Modules, dict[str, plain.Trained]]:
        """The networks as modules whose parameters are views of the rows that are saved."""
        if self._settled != self.tensor_version:
            self._settled = self.tensor_version
            rows = {name: adam.row for name, adam in self.trained.items()}
            rows |= {f"slow_{name}": row for name, row in self.slow.items()}
            self._modules = {name: self._module(name, row) for name, row in rows.items()}
            self._trained = {}
            for name, adam in self.trained.items():
                views = self.networks.flats[name].views
                pairs = zip(views(adam.mean).values(), views(adam.square).values(), strict=True)
                self._trained[name] = plain.Trained(self._modules[name], adam, list(pairs))
        return self._modules, self._trained

    def _module(self, name: str, row: Tensor) -> nn.Module:
        name = name.removeprefix("slow_")
        module = self.networks.empty(name, self.device)
        learns = self.networks.flats[name].views(row)
        fixed = self.networks.flats["fixed"].views(self.fixed["fixed"]) if self.fixed else {}
        for key, parameter in module.named_parameters():
            parameter.data = learns[key] if key in learns else fixed[key]
            parameter.requires_grad_(key in learns)
        return module

    # --- acting --------------------------------------------------------------------------

    @torch.no_grad()
    def act(
        self,
        obs: Tensor,
        memory: Memory | None,
        *,
        role: str = "learner",
        explore: bool = True,
        generator: torch.Generator | None = None,
        heads: None = None,
    ) -> tuple[Tensor, Memory | None]:
        """See `DreamerAgent.act`; one observation after the other."""
        generator, episodes = generator or self.streams.act, len(obs)
        if explore and self.acts_at_random():
            return self.actions.random(episodes, generator, obs.device), None
        name, greedy = self._policy(explore)
        modules, _ = self._settle()
        model, actor = modules["model"], modules[name]
        layout = {"state": self._latent_draw(episodes), "action": self._action_draw(episodes)}
        samples = self.cfg.behaviour.samples
        if likeliest := greedy and samples > 1 and not self.actions.discrete:
            layout["best"] = self._action_draw(samples, episodes)
        if spread := 0.0 if greedy or self.actions.discrete else self.cfg.explore.noise:
            layout["added"] = self._action_draw(episodes)
        noise, kept = draw_noise(layout, generator), []
        for e in range(episodes):
            if memory is None:
                state = self.networks.initial(1, obs.device)
                last = torch.zeros(1, self.actions.size, device=obs.device)
            else:
                z, h, last = (part[e : e + 1] for part in memory)
                state = State(z, h)
            h = formulas.advance(model.rssm, state, last)
            embed = formulas.encode(model.encoder, obs[e : e + 1], self.obs_space)
            stats = formulas.believe(model.rssm, h, embed)
            z = formulas.sample(stats, noise["state"][e : e + 1], self.cfg.latent)
            read, own = torch.cat((z, h), -1), noise["action"][e : e + 1]
            if likeliest:
                action = formulas.likeliest(actor, read, noise["best"][:, e : e + 1])
            else:
                action = formulas.best(actor, read) if greedy else formulas.act(actor, read, own)
            if spread:
                action = (action + spread * noise["added"][e : e + 1]).clip(-1, 1)
            kept.append(Memory(z, h, action))
        memory = Memory(*(torch.cat(each) for each in zip(*kept, strict=True)))
        return memory.action, memory

    def _policy(self, explore: bool) -> tuple[str, bool]:
        """Whose turn it is, and whether it plays its best action."""
        cfg = self.cfg.explore
        collects = "explorer" if cfg.bonus == "plan2explore" else "actor"
        if explore:
            decisions = self.total_env_steps // self.cfg.env.action_repeat
            turn = decisions // self.cfg.budget.parallel_envs
            return ("actor" if cfg.every and turn % cfg.every else collects), False
        return ("actor", True) if cfg.evaluate == "task" else (collects, False)

    def _latent_draw(self, *lead: int) -> NoiseSpec:
        latent = self.cfg.latent
        kind = "uniform" if latent.kind == "categorical" else "normal"
        return NoiseSpec(kind, (*lead, latent.variables))

    def _action_draw(self, *lead: int) -> NoiseSpec:
        if self.actions.discrete:
            return NoiseSpec("uniform", lead)
        return NoiseSpec("normal", (*lead, self.actions.size))

    # --- learning ------------------------------------------------------------------------

    def update(self, n: int) -> None:
        """Runs n updates, every network after the other."""
        modules, trained = self._settle()
        for _ in range(n):
            plain.update(self, modules, trained)
            self.updates += 1
            self.total_updates += 1
            self.updates_due -= 1.0
