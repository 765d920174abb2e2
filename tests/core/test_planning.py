"""Planning: known answers in toys, and every batched line against a slow loop.

E = 3 states, N = 7 candidates, h = 5 steps, A = 2 actions, L = 4 numbers where nothing else is
said.
"""

import dataclasses
import itertools
import math

import pytest
import torch

from lib.core import planning
from lib.envs.toys import Clock, point_mass
from tests.tiny import BOX, PICKS

E, N, STEPS, A, L = 3, 7, 5, 2, 4


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of a search, with defaults."""

    samples: int = 512
    elites: int = 64
    iterations: int = 6
    mixture: float = 0.05
    temperature: float = 0.5
    momentum: float = 0.1
    final_noise: str = "clamp"


CFG = Settings(samples=23, elites=5, iterations=4)


def true_score(env):
    """Undiscounted return of action sequences under a toy's own model."""

    def score(z: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        obs = z.unsqueeze(1).expand(-1, actions.shape[1], -1)
        total = torch.zeros(actions.shape[:2], dtype=z.dtype)
        for step in range(actions.shape[2]):
            total = total + env.reward(obs, actions[:, :, step])
            obs = env.predict(obs, actions[:, :, step])
        return total

    return score


def random_numbers(
    draws: torch.Generator,
    cfg: Settings = CFG,
    *,
    discrete: bool = False,
    states: int = E,
    horizon: int = STEPS,
    size: int = A,
) -> planning.PlanNoise:
    """What one plan consumes."""
    space = dataclasses.replace(PICKS if discrete else BOX, size=size)
    return planning.PlanNoise.draw(states, horizon, space, cfg, draws)


def doubled(noise: planning.PlanNoise) -> planning.PlanNoise:
    return planning.PlanNoise(*(part.double() for part in noise))


# Schedules -------------------------------------------------------------------------------------


def test_a_ramp_by_hand():
    # a quarter of the way from .5 to .1 is .4
    assert planning.ramp(0.5, 0.1, 8, 2) == pytest.approx(0.4)
    assert [planning.ramp(0.5, 0.1, 8, step) for step in (0, 8, 99)] == pytest.approx(
        [0.5, 0.1, 0.1]
    )
    assert planning.ramp(0.5, 0.1, 0, 0) == pytest.approx(0.1)


def test_the_horizon_grows_from_one_to_the_longest():
    # 1 + 9 * step / 10000, rounded down
    steps = [0, 1111, 1112, 5000, 9999, 10_000, 10**6]
    grown = [planning.scheduled_horizon(10, 10_000, step) for step in steps]
    assert grown == [1, 1, 2, 5, 9, 10, 10]
    assert planning.scheduled_horizon(10, 0, 0) == 10


# Known answers ---------------------------------------------------------------------------------


def share_gained(env, start: torch.Tensor, earned: torch.Tensor) -> float:
    """What was earned beyond doing nothing, as a share of what the optimum earns beyond it."""
    best = env.best_return(start).float()
    idle = true_score(env)(start, torch.zeros(len(start), 1, env.episode_length, 2))[:, 0]
    return float((earned - idle).sum() / (best - idle).sum())


def test_the_continuous_planner_approaches_the_linear_quadratic_optimum(draws):
    env = point_mass(episode_length=6)
    start = env.reset(13, draws)
    cfg = Settings(samples=256, elites=32, iterations=12, temperature=3.0)
    noise = random_numbers(draws, cfg, states=13, horizon=6)
    plan = planning.gaussian_plan(true_score(env), start, noise, cfg, std_floor=0.01, explore=False)
    earned = true_score(env)(start, plan.mean.unsqueeze(1))[:, 0]
    assert (earned <= env.best_return(start) + 1e-4).all()
    assert share_gained(env, start, earned) > 0.99


def test_planning_anew_at_every_step_earns_nearly_the_linear_quadratic_optimum(draws):
    env = point_mass(episode_length=10)
    start = obs = env.reset(13, draws)
    cfg = Settings(samples=256, elites=32, iterations=10, temperature=3.0)
    earned, mean = torch.zeros(13), None
    for step in range(10):
        noise = random_numbers(draws, cfg, states=13, horizon=10 - step)
        plan = planning.gaussian_plan(
            true_score(env), obs, noise, cfg, previous=mean, std_floor=0.02, explore=False
        )
        mean = plan.mean
        obs, reward = env.step(plan.action)
        earned += reward
    assert share_gained(env, start, earned) > 0.95


def test_the_categorical_planner_finds_the_best_sequence_of_the_clock(draws):
    env = Clock(hours=5)
    start = env.reset(11, draws)
    cfg = Settings(samples=999, elites=16, iterations=3, temperature=10.0)
    noise = random_numbers(draws, cfg, discrete=True, states=11, horizon=3, size=5)
    plan = planning.categorical_plan(true_score(env), start, noise, cfg)
    assert torch.equal(plan.action, env.best_action(start, 0))
    likely = torch.nn.functional.one_hot(plan.mean.argmax(-1), 5).float()
    assert true_score(env)(start, likely.unsqueeze(1)).flatten().tolist() == [3.0] * 11


def test_the_categorical_planner_agrees_with_trying_every_sequence(draws):
    # a score without structure: one random number for each of the 3^3 sequences
    table = torch.randn(27, generator=draws)
    every = torch.eye(3)[torch.tensor(list(itertools.product(range(3), repeat=3)))]

    def score(z, actions):
        return table[(actions.argmax(-1) * torch.tensor([9, 3, 1])).sum(-1)]

    cfg = Settings(samples=199, elites=3, iterations=3, temperature=50.0)
    noise = random_numbers(draws, cfg, discrete=True, states=5, horizon=3, size=3)
    plan = planning.categorical_plan(score, torch.zeros(5, 1), noise, cfg)
    assert torch.equal(plan.action, every[table.argmax(), 0].expand(5, 3))


def test_guides_win_where_no_sample_can(draws):
    # only the exact guide pays, and it competes in every iteration
    guide = torch.full((E, 1, STEPS, A), 0.123)

    def score(z, actions):
        return (actions == 0.123).all(-1).all(-1).float()

    seen = []
    plan = planning.gaussian_plan(
        score,
        torch.zeros(E, L),
        random_numbers(draws),
        dataclasses.replace(CFG, temperature=50.0, elites=1),
        guides=guide,
        explore=False,
        trace=lambda i, candidates, values, best: seen.append(values.amax(1)),
    )
    assert torch.equal(plan.action, guide[:, 0, 0])
    assert len(seen) == CFG.iterations and all((v == 1).all() for v in seen)


# Slow loops ------------------------------------------------------------------------------------


def lumpy(z: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """A score that depends on every state, step and action."""
    flat = actions.flatten(2)
    weights = torch.sin(torch.arange(1.0, flat.shape[-1] + 1, dtype=z.dtype))
    return torch.cos((flat * weights).sum(-1) * 3 + z.sum(-1, keepdim=True)) * 4


def slow_gaussian(z, horizon, cfg, noises, uniform, last, previous, floor, legacy=False):
    """One state of `gaussian_plan`, candidate by candidate, from given random numbers."""
    mean = torch.zeros(horizon, A, dtype=z.dtype)
    if previous is not None:
        for t in range(min(horizon, len(previous)) - 1):
            mean[t] = previous[t + 1]
    std = torch.full_like(mean, 2.0)
    for noise in noises:
        candidates = [(mean + std * noise[n]).clamp(-1, 1) for n in range(cfg.samples)]
        values = [lumpy(z[None], c[None, None]).item() for c in candidates]
        best = sorted(range(cfg.samples), key=lambda n: -values[n])[: cfg.elites]
        top = values[best[0]]
        raw = [math.exp(cfg.temperature * (values[n] - top)) for n in best]
        weights = [w / sum(raw) for w in raw]
        centre = sum(w * candidates[n] for w, n in zip(weights, best, strict=True))
        var = sum(w * (candidates[n] - centre) ** 2 for w, n in zip(weights, best, strict=True))
        mean = cfg.momentum * mean + (1 - cfg.momentum) * centre
        std = var.sqrt().clamp(floor, 2.0)
    chosen, reached = 0, weights[0]
    while reached <= uniform * sum(weights):
        chosen += 1
        reached += weights[chosen]
    action = candidates[best[chosen]][0] + std[0] * last
    return (action if legacy else action.clamp(-1, 1)), mean


@pytest.mark.parametrize("final_noise", ["clamp", "legacy"])
@pytest.mark.parametrize("previous", [None, 3, 8], ids=["first step", "grown", "shrunk"])
def test_the_continuous_planner_equals_the_loop(previous, final_noise, draws):
    cfg = dataclasses.replace(CFG, final_noise=final_noise)
    z = torch.randn(E, L, generator=draws, dtype=torch.float64)
    if previous is not None:
        previous = torch.rand(E, previous, A, generator=draws, dtype=torch.float64) - 0.5
    noise = doubled(random_numbers(draws, cfg))
    plan = planning.gaussian_plan(lumpy, z, noise, cfg, previous=previous, std_floor=0.3)
    assert len(noise.candidates) == cfg.iterations
    for e in range(E):
        action, mean = slow_gaussian(
            z[e],
            STEPS,
            cfg,
            noise.candidates[:, e],
            noise.pick[e].item(),
            noise.explore[e],
            None if previous is None else previous[e],
            0.3,
            legacy=final_noise == "legacy",
        )
        assert torch.allclose(plan.mean[e], mean) and torch.allclose(plan.action[e], action)


def test_the_categorical_planner_equals_the_loop(draws):
    z = torch.randn(E, L, generator=draws, dtype=torch.float64)
    steps, noise = [], doubled(random_numbers(draws, discrete=True))
    plan = planning.categorical_plan(lumpy, z, noise, CFG, trace=lambda *parts: steps.append(parts))
    for e in range(E):
        probs = torch.full((STEPS, A), 1 / A, dtype=z.dtype)
        for iteration, (number, candidates, values, best) in enumerate(steps):
            assert number == iteration and candidates.shape == (E, CFG.samples, STEPS, A)
            order = values[e].argsort(descending=True)[: CFG.elites]
            assert set(order.tolist()) == set(best[e].tolist()) or torch.equal(
                values[e][order], values[e][best[e]]
            )
            # with A = 2 actions the second is taken where the draw exceeds the first one's chance
            second = (noise.candidates[iteration, e] >= probs[:, 0] / probs.sum(-1)).double()
            assert torch.equal(candidates[e, :, :, 1], second)
            raw = [math.exp(CFG.temperature * values[e, n].item()) for n in best[e]]
            mean = sum(w / sum(raw) * candidates[e, n] for w, n in zip(raw, best[e], strict=True))
            probs = 0.1 * probs + 0.9 * mean
        assert torch.allclose(plan.mean[e], probs)
        reached, chosen = raw[0] / sum(raw), 0
        while reached <= noise.pick[e].item():
            chosen += 1
            reached += raw[chosen] / sum(raw)
        assert torch.equal(plan.action[e], candidates[e, best[e][chosen], 0])
    assert torch.allclose(plan.mean.sum(-1), torch.ones((), dtype=z.dtype))


def test_elite_weights_by_hand():
    # scores 3 and 1 are the best two; exp(.5 * 3) : exp(.5 * 1) = e : 1
    index, weight = planning.elite_weights(torch.tensor([[1.0, -9.0, 3.0]]), 2, 0.5)
    assert index.tolist() == [[2, 0]]
    assert weight[0].tolist() == pytest.approx([math.e / (1 + math.e), 1 / (1 + math.e)])


def test_more_elites_than_candidates_takes_them_all():
    index, weight = planning.elite_weights(torch.zeros(E, N), 99, 0.5)
    assert index.shape == (E, N) and torch.allclose(weight, torch.full((E, N), 1 / N))


def test_taking_candidates_equals_the_loop(draws):
    candidates = torch.randn(E, N, STEPS, A, generator=draws)
    index = torch.randint(N, (E, 2), generator=draws)
    taken = planning.take(candidates, index)
    for e in range(E):
        for k in range(2):
            assert torch.equal(taken[e, k], candidates[e, index[e, k]])


def test_the_elite_that_acts_is_drawn_by_its_weight(draws):
    # two actions, scores 0 and log 3 at temperature 1: chances 1/4 and 3/4
    def score(z, actions):
        return actions[:, :, 0, 1] * math.log(3)

    cfg = Settings(samples=1, elites=2, iterations=1, temperature=1.0)
    guides = torch.eye(2).view(1, 2, 1, 2).expand(8009, 2, 1, 2)
    noise = random_numbers(draws, cfg, discrete=True, states=8009, horizon=1)
    plan = planning.categorical_plan(score, torch.zeros(8009, 1), noise, cfg, guides)
    # the sample doubles one of the guides; its two best are then (1, 1) or (1, 0), half each:
    # 1/2 * 1 + 1/2 * 3/4 = 7/8
    assert plan.action[:, 1].mean().item() == pytest.approx(7 / 8, abs=0.02)


# Starting from the last plan -------------------------------------------------------------------


def first_candidates(previous: torch.Tensor | None, horizon: int) -> torch.Tensor:
    """What the first iteration looks at when its noise is zero: the mean it starts from."""
    seen, cfg = [], dataclasses.replace(CFG, iterations=1)
    noise = random_numbers(torch.Generator(), cfg, states=1, horizon=horizon, size=1)
    planning.gaussian_plan(
        lumpy,
        torch.zeros(1, L),
        planning.PlanNoise(*(torch.zeros_like(part) for part in noise)),
        cfg,
        previous=previous,
        trace=lambda i, candidates, *rest: seen.append(candidates),
    )
    return seen[0][0, 0, :, 0]


def test_a_plan_starts_from_the_last_one_shifted_by_a_step():
    previous = torch.tensor([0.1, 0.2, 0.3, 0.4]).view(1, 4, 1)
    starts = [first_candidates(previous, horizon) for horizon in (4, 6, 3, 1)]
    assert starts[0].tolist() == pytest.approx([0.2, 0.3, 0.4, 0.0])
    assert starts[1].tolist() == pytest.approx([0.2, 0.3, 0.4, 0.0, 0.0, 0.0])
    assert starts[2].tolist() == pytest.approx([0.2, 0.3, 0.0])
    assert starts[3].tolist() == [0.0]
    assert first_candidates(None, 4).tolist() == [0.0] * 4


def test_a_categorical_plan_starts_even_at_every_decision(draws):
    seen = []
    cfg = Settings(samples=4001, elites=5, iterations=1)
    noise = random_numbers(draws, cfg, discrete=True, size=3)
    planning.categorical_plan(
        lumpy, torch.zeros(E, L), noise, cfg, trace=lambda i, c, *r: seen.append(c)
    )
    share = seen[0].mean(1)  # (E, h, A); standard error .0075
    assert (share - 1 / 3).abs().max() < 0.035


def test_momentum_keeps_its_share_of_the_old_mean():
    # one candidate, all momentum: the mean never moves; none: it is the candidate
    for momentum, expected in ((1.0, 0.5), (0.0, 1.0), (0.25, 0.25 * 0.5 + 0.75 * 1.0)):
        cfg = Settings(samples=1, elites=1, iterations=1, momentum=momentum)
        guides = torch.tensor([0.0, 1.0]).expand(1, 1, 1, 2)
        noise = random_numbers(torch.Generator(), cfg, discrete=True, states=1, horizon=1)
        plan = planning.categorical_plan(
            lambda z, a: a[..., 1].sum(-1), torch.zeros(1, 1), noise, cfg, guides
        )
        assert plan.mean[0, 0, 1].item() == pytest.approx(expected)


# The last action -------------------------------------------------------------------------------


def act_at_the_edge(explore: bool, final_noise: str, draws: torch.Generator) -> torch.Tensor:
    cfg = dataclasses.replace(CFG, final_noise=final_noise, samples=63)
    plan = planning.gaussian_plan(
        lambda z, a: a.sum((-1, -2)) * 9,
        torch.zeros(501, L),
        random_numbers(draws, cfg, states=501, horizon=1),
        cfg,
        std_floor=0.5,
        explore=explore,
    )
    return plan.action


def test_exploring_adds_noise_that_is_clamped_unless_told_otherwise(draws):
    assert act_at_the_edge(True, "clamp", draws).abs().max() <= 1
    legacy = act_at_the_edge(True, "legacy", draws)
    assert legacy.max() > 1.3  # half of the noise of .5 lies beyond the edge
    quiet = act_at_the_edge(False, "legacy", draws)
    assert quiet.abs().max() <= 1 and quiet.mean() > 0.95


# Scoring sequences -----------------------------------------------------------------------------


def test_one_broken_candidate_does_not_spoil_the_others(draws):
    def score(z, actions):
        value = actions[:, :, 0, 1].clone()
        value[:, 0] = math.nan
        return torch.nan_to_num(value)

    cfg = dataclasses.replace(CFG, temperature=50.0)
    noise = random_numbers(draws, cfg, discrete=True)
    plan = planning.categorical_plan(score, torch.zeros(E, L), noise, cfg)
    assert plan.action[:, 1].tolist() == [1.0] * E


# Random numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize("discrete", [True, False], ids=["discrete", "continuous"])
def test_a_plan_draws_for_every_candidate_guide_and_state(discrete, draws):
    # floor(.11 * 23) = 2 guides for each of E = 3 states
    cfg = dataclasses.replace(CFG, mixture=0.11)
    noise = random_numbers(draws, cfg, discrete=discrete, size=A)
    assert noise.candidates.shape == (4, E, 23, STEPS) + (() if discrete else (A,))
    assert noise.guides.shape == (STEPS, E * 2, A) and noise.last.shape == (4, E * 25, A)
    assert noise.pick.shape == (E,) and noise.explore.shape == (E, A)


@pytest.mark.parametrize("discrete", [True, False], ids=["discrete", "continuous"])
def test_one_hot_actions_take_uniform_numbers_and_others_normal_ones(discrete, draws):
    cfg = dataclasses.replace(CFG, mixture=0.11)
    noise = random_numbers(draws, cfg, discrete=discrete, states=499)
    for part in (noise.candidates, noise.guides, noise.last):
        assert bool(((part >= 0) & (part < 1)).all()) == discrete
    assert ((noise.pick >= 0) & (noise.pick < 1)).all() and (noise.explore < 0).any()


def test_the_policy_contributes_a_twentieth_of_the_samples_rounded_down():
    # floor(.05 * 512) = 25
    counts = [planning.guide_count(Settings(samples=n)) for n in (512, 19)]
    assert counts == [25, 0]
    assert planning.guide_count(Settings(mixture=0.0)) == 0
