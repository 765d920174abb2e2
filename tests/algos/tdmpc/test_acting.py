"""When an agent acts at random, and how it plans for many states at once.

Sizes are those of `tests.tiny`: 3 numbers an observation, 3 one-hot actions or 2 in a box, 19
candidates of which the policy adds 2. E = 5 states where nothing else is said.
"""

import dataclasses

import pytest
import torch

from lib.algos.tdmpc import value as imagined
from lib.algos.tdmpc.agent import ContinualAgent
from lib.algos.tdmpc.model import Heads
from lib.core import planning
from lib.core.noise import NoiseBuffers
from tests.envs.conftest import NoHostReads
from tests.tiny import BOX, PICKS, continuous, in_task, invented, kept_heads, new_agent, tiny

E = 5


def started(**changes) -> ContinualAgent:
    agent = new_agent(tiny("tdmpc", **changes))
    agent.begin_task(0)
    return agent


def acts(agent: ContinualAgent, n: int = 4003, **kwargs) -> torch.Tensor:
    return agent.act(torch.zeros(n, 3), None, **kwargs)[0]


def planner_of(discrete: bool, task: int = 0, **changes) -> ContinualAgent:
    """An agent whose networks say something, past its warm-up, with a horizon of 5."""
    changes = {"planner__horizon": [5], "planner__horizon_ramp": 0} | changes
    agent = in_task(tiny(**changes), task) if discrete else None
    agent = agent or in_task(continuous(**changes), task, actions=BOX)
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in agent.learner.heads.parameters():
            p.add_(0.5 * torch.randn(p.shape, generator=draws))
    agent.update(0)  # takes up the tensors of the task
    return agent


def states(n: int = E, seed: int = 2) -> torch.Tensor:
    return torch.rand(n, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1


# Random or planned -----------------------------------------------------------------------------


def test_warm_up_acts_at_random_and_remembers_no_plan(monkeypatch):
    agent = started()
    monkeypatch.setattr(
        agent.seed_batch.computation.acting, "plan", lambda *a, **k: pytest.fail("planned")
    )
    action, memory = agent.act(torch.zeros(4003, 3), None)
    assert memory is None
    assert action.mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.04)


def test_warm_up_follows_the_action_spaces_chances():
    actions = dataclasses.replace(PICKS, warmup=(0.2, 0.2, 0.6))
    agent = new_agent(tiny("tdmpc"), actions=actions)
    agent.begin_task(0)
    assert acts(agent).mean(0).tolist() == pytest.approx([0.2, 0.2, 0.6], abs=0.04)


def test_evaluation_never_acts_at_random(monkeypatch):
    agent, planned = started(), []
    original = agent.seed_batch.computation.acting.plan
    monkeypatch.setattr(
        agent.seed_batch.computation.acting,
        "plan",
        lambda *a, **k: planned.append(k["explore"]) or original(*a, **k),
    )
    acts(agent, 3, explore=False)
    assert planned == [False]


@pytest.mark.parametrize(
    ("seed_steps", "batch", "episodes", "random"),
    [(14, 11, 0, True), (14, 11, 1, True), (14, 11, 2, False), (0, 11, 1, True), (0, 7, 1, False)],
    ids=["nothing stored", "too few steps", "both", "less than a batch", "a batch"],
)
def test_warm_up_lasts_until_steps_and_stored_transitions_suffice(
    seed_steps, batch, episodes, random
):
    # an episode has 7 steps
    agent = started(learning__seed_steps=seed_steps, learning__batch=batch)
    if episodes:
        agent.store("learner", invented(agent, episodes))
    assert (agent.act(torch.zeros(2, 3), None)[1] is None) == random


def test_a_wrapped_replay_never_acts_at_random_again():
    # the published code tests the write index, which returns to 0 when the ring is full
    agent = started(budget__env_steps_per_task=28, learning__seed_steps=0)
    agent.store("learner", invented(agent, 4))
    assert agent.learner.buffer.next == 0 and agent.learner.buffer.full
    assert agent.act(torch.zeros(2, 3), None)[1] is not None


# What a plan starts from and whose networks it asks --------------------------------------------


def test_the_plan_of_one_step_starts_the_next():
    agent = in_task(continuous(), actions=BOX)
    obs = torch.zeros(5, 3)
    action, memory = agent.act(obs, None)
    assert action.shape == (5, 2) and memory.shape[0] == 5 and memory.shape[2] == 2
    assert agent.act(obs, memory)[0].abs().max() <= 1


def test_a_continuous_plan_starts_from_the_memory_shifted_by_a_step(monkeypatch):
    agent, seen = planner_of(discrete=False), []
    _, memory = agent.act(states(), None)
    refilled = agent.seed_batch.computation.acting._noise

    def silent(*args):
        return {name: torch.zeros_like(part) for name, part in refilled(*args).items()}

    monkeypatch.setattr(agent.seed_batch.computation.acting, "_noise", silent)
    agent.act(states(), memory, trace=lambda i, candidates, *rest: seen.append(candidates[:, 0]))
    assert torch.equal(seen[0][:, :4], memory[:, 1:]) and not seen[0][:, 4].any()


def test_a_plan_over_fewer_steps_leaves_the_rest_of_its_memory_at_zero():
    agent = planner_of(discrete=False, planner__horizon_ramp=140)  # 35 of 140 steps: 1 + 4 / 4
    seen: list[torch.Tensor] = []
    _, memory = agent.act(states(), None, trace=lambda i, c, *rest: seen.append(c))
    assert seen[0].shape[2] == 2 and memory.shape == (E, 5, 2)
    assert memory[:, :2].any() and not memory[:, 2:].any()


def test_acting_with_given_generator_and_heads_leaves_the_agent_alone():
    agent = in_task(tiny())
    before = agent.streams.act.get_state()
    other = kept_heads(agent)
    with torch.no_grad():
        other.heads.reward_net[-1].bias.add_(5.0)
    draws = torch.Generator().manual_seed(0)
    agent.act(torch.zeros(2, 3), None, explore=False, generator=draws, heads=other)
    assert torch.equal(agent.streams.act.get_state(), before)
    assert not agent.learner.heads.reward_net[-1].bias.any()


def test_given_heads_decide_the_action_and_the_agents_own_do_afterwards(monkeypatch):
    agent, used = in_task(tiny()), []
    original = imagined.trajectory_value

    def noted(dynamics, heads, *args, **kwargs):
        used.append(heads.reward_net[-1].bias.item())
        return original(dynamics, heads, *args, **kwargs)

    monkeypatch.setattr(imagined, "trajectory_value", noted)
    one, two = kept_heads(agent), kept_heads(agent)
    for bias, heads in ((5.0, one), (7.0, two)):
        with torch.no_grad():
            heads.heads.reward_net[-1].bias.fill_(bias)
    for heads in (one, two, None, one):
        agent.act(torch.zeros(2, 3), None, explore=False, heads=heads)
    assert used == [5.0, 5.0, 7.0, 7.0, 0.0, 0.0, 5.0, 5.0]  # 2 iterations each


def test_given_heads_act_as_they_would_as_the_agents_own():
    agent = planner_of(discrete=False)
    other = kept_heads(agent)
    with torch.no_grad():
        other.heads.policy_net[-1].bias.add_(1.0)
    acted = acts_from(agent, heads=other)
    assert not torch.equal(acted, acts_from(agent))
    agent.learner.heads.load_state_dict(other.heads.state_dict())
    assert torch.equal(acted, acts_from(agent))


def acts_from(agent: ContinualAgent, seed: int = 3, **kwargs) -> torch.Tensor:
    draws = torch.Generator().manual_seed(seed)
    return agent.act(states(), None, generator=draws, explore=False, **kwargs)[0]


def test_a_plan_sees_what_was_learnt_since_the_last_one():
    agent = planner_of(discrete=False)
    before = acts_from(agent)
    agent.update(3)
    assert not torch.equal(acts_from(agent), before)


# Many states at once ---------------------------------------------------------------------------


@pytest.mark.parametrize("discrete", [True, False], ids=["discrete", "continuous"])
def test_planning_for_many_states_equals_planning_one_by_one(discrete, monkeypatch):
    agent = planner_of(discrete)
    obs = states()
    previous = None if discrete else torch.rand(E, 5, 2)
    acting, played = agent.seed_batch.computation.acting, []
    monkeypatch.setattr(acting, "_noise", lambda *args: played[-1])

    def plan(rows: slice) -> planning.Plan:
        before = None if previous is None else previous[None, rows]
        return acting.plan(
            obs[None, rows], before, role="learner", explore=True, generators=[agent.streams.act]
        )

    layout = planning.PlanNoise.layout(E, 5, agent.actions, agent.cfg.planner)
    everything = NoiseBuffers(layout, 1, "cpu").refill([torch.Generator().manual_seed(4)])
    played.append(everything)
    together = plan(slice(None))
    assert together.action.shape == (1, E, agent.actions.size)
    assert together.mean.shape == (1, E, 5, agent.actions.size)
    assert len(together.mean[0].flatten(1).unique(dim=0)) == E
    along = {"candidates": 2, "guides": 2, "last": 2, "pick": 1, "explore": 1}
    for e in range(E):
        played.append({n: part.chunk(E, along[n])[e] for n, part in everything.items()})
        alone = plan(slice(e, e + 1))
        assert torch.allclose(alone.action[0, 0], together.action[0, e], atol=1e-6)
        assert torch.allclose(alone.mean[0, 0], together.mean[0, e], atol=1e-5)


def test_the_policy_contributes_its_share_of_the_samples_once(monkeypatch):
    # floor(.05 * 512) = 25 beside 512
    calls, seen = [], []
    original = imagined.policy_sequences
    monkeypatch.setattr(
        imagined, "policy_sequences", lambda *a: calls.append(original(*a)) or calls[-1]
    )
    agent = planner_of(
        True,
        planner__samples=512,
        planner__elites=64,
        planner__iterations=3,
        planner__mixture=0.05,
    )
    agent.act(states(1), None, trace=lambda i, candidates, *rest: seen.append(candidates))
    assert [guides.shape for guides in calls] == [(1, 25, 5, 3)]
    assert [c.shape[1] for c in seen] == [537] * 3
    assert all(torch.equal(c[:, 512:], calls[0]) for c in seen)


@pytest.mark.parametrize("likeliest", [True, False])
def test_an_evaluation_asks_the_policy_for_its_likeliest_actions_or_draws(likeliest, monkeypatch):
    # logits .3, .2, .1 in every state: action 0 is sampled in 37 of 100 cases, and likeliest always
    few = {"planner__mixture": 0.2, "planner__iterations": 1}
    agent, seen = planner_of(True, planner__likeliest=likeliest, **few), {}
    with torch.no_grad():
        agent.learner.heads.policy_net[-1].weight.zero_()
        agent.learner.heads.policy_net[-1].bias.copy_(torch.tensor([0.3, 0.2, 0.1]))
    original = imagined.policy_sequences
    for explore in (True, False):
        with monkeypatch.context() as patch:
            patch.setattr(
                imagined,
                "policy_sequences",
                lambda *a, e=explore: seen.setdefault(e, original(*a)),
            )
            agent.act(states(), None, explore=explore, role="learner")
    guides = {explore: found.argmax(-1) for explore, found in seen.items()}
    assert guides[True].unique().tolist() == [0, 1, 2]
    assert guides[False].unique().tolist() == ([0] if likeliest else [0, 1, 2])


def test_the_value_of_the_last_state_is_that_of_the_likeliest_action_in_an_evaluation(monkeypatch):
    agent, asked = planner_of(True, planner__mixture=0.0), {}
    with torch.no_grad():
        agent.learner.heads.policy_net[-1].weight.zero_()
        agent.learner.heads.policy_net[-1].bias.copy_(torch.tensor([0.1, 0.3, 0.2]))
    original = Heads.twin

    def noted(self, critic, z, action):
        asked.setdefault(explore, action.argmax(-1).unique().tolist())
        return original(self, critic, z, action)

    monkeypatch.setattr(Heads, "twin", noted)
    for explore in (True, False):
        agent.act(states(), None, explore=explore, role="learner")
    assert asked == {True: [0, 1, 2], False: [1]}


def test_an_earlier_tasks_heads_plan_to_the_horizon_of_their_own_task():
    # tasks with horizons 5 and 3: the first task's plans look 5 steps ahead in the second as well
    agent = planner_of(False, planner__horizon=[5, 3], planner__mixture=0.0)
    first = kept_heads(agent)
    agent.begin_task(1)
    assert (first.horizon, agent.horizon) == (5, 3)
    seen: list[int] = []

    def noted(iteration, candidates, *_):
        seen.append(candidates.shape[2])

    for heads in (first, None):
        draws = torch.Generator().manual_seed(0)
        options = {"explore": False, "generator": draws, "heads": heads}
        _, memory = agent.act(
            states(), None, trace=lambda i, c, *_: seen.append(c.shape[2]), **options
        )
        assert memory.shape[1] == (5 if heads else 3)
        agent.act(states(), memory, **options)
    assert set(seen[: len(seen) // 2]) == {5} and set(seen[len(seen) // 2 :]) == {3}


def test_no_mixture_means_no_policy_sequences(monkeypatch):
    monkeypatch.setattr(imagined, "policy_sequences", lambda *a: pytest.fail("asked the policy"))
    agent = planner_of(True, planner__mixture=0.0, planner__use_q=False)
    assert acts(agent, E).shape == (E, 3)


def test_horizon_and_noise_floor_follow_the_agents_steps(monkeypatch):
    seen, original = [], planning.gaussian_plan

    def noted(score, z, noise, *args, **kwargs):
        seen.append((noise.candidates.shape[3], kwargs["std_floor"].item(), kwargs["explore"]))
        return original(score, z, noise, *args, **kwargs)

    monkeypatch.setattr(planning, "gaussian_plan", noted)
    changes = {"horizon_ramp": 100, "std_ramp": 100, "min_std": 0.1, "mixture": 0.0}
    agent = planner_of(False, **{f"planner__{name}": value for name, value in changes.items()})
    for step in (0, 50, 100):
        agent.steps = step
        agent.act(states(), None, explore=step == 50, role="learner")
    agent.steps = 99  # of 100: the floor moves on while the horizon stays
    agent.act(states(), None, explore=False)
    assert [s[0] for s in seen] == [1, 3, 5, 4] and [s[2] for s in seen] == [
        False,
        True,
        False,
        False,
    ]
    assert [s[1] for s in seen] == pytest.approx([0.5, 0.3, 0.1, 0.104])


# Nothing waits for the device ------------------------------------------------------------------


@pytest.mark.parametrize(("method", "task"), [("tdmpc", 0), ("drago", 1), ("stored-replay", 1)])
@pytest.mark.parametrize("box", [False, True], ids=["discrete", "continuous"])
def test_acting_and_updating_read_nothing_back_from_the_device(method, task, box):
    agent = in_task(continuous(method), task, actions=BOX) if box else in_task(tiny(method), task)
    agent.update(1)
    role = agent.roles[-1]
    episodes, obs = invented(agent), torch.zeros(5, 3)
    with NoHostReads():
        _, memory = agent.act(obs, None, role=role)
        agent.act(obs, memory, role=role)
        agent.store(role, episodes)
        agent.update(2)
