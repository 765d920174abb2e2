import math

import pytest
import torch
from torch import nn

from lib.algos.decision_transformer.inference import (
    Mixture,
    contrast,
    draw,
    fit,
    log_likelihood,
    refit,
)
from lib.core.seeding import generator

TASKS, FEATURES, K = 4, 17, 3


def tasks(count: int, seed: int) -> list[torch.Tensor]:
    """Four tasks of two clusters each, well apart; all features have a part in common."""
    places = torch.randn(TASKS, 2, FEATURES, generator=generator(0, "places")) + 2
    draws = generator(seed, "samples")
    found = []
    for task in range(TASKS):
        which = torch.randint(2, (count,), generator=draws)
        found.append(places[task, which] + torch.randn(count, FEATURES, generator=draws) * 0.3)
    return found


def fitted() -> Mixture:
    parts = [fit(x, K, generator(1, "fit")) for x in tasks(300, 1)]
    return Mixture(*(torch.stack(part) for part in zip(*parts, strict=True)))


def accuracy(told) -> float:
    right = [(told(x) == t).float().mean() for t, x in enumerate(tasks(400, 2))]
    return float(torch.stack(right).mean())


def test_two_clusters_are_found_with_their_spread():
    # Around 0 and 10: two points each, one away from their mean on either side.
    x = torch.tensor([[-1.0], [1.0], [9.0], [11.0]])
    found = fit(x, 2, generator(0, "fit"))
    order = found.mean[:, 0].argsort()
    assert found.mean[order, 0].tolist() == [0, 10]
    assert found.variance.flatten().tolist() == [1, 1] and found.weight.tolist() == [0.5, 0.5]


def test_a_likelihood_is_that_of_a_mixture_written_out():
    one = Mixture(torch.tensor([[0.0], [2.0]]), torch.ones(2, 1), torch.tensor([0.25, 0.75]))
    every = Mixture(*(part.unsqueeze(0) for part in one))
    x, spread = 1.5, 1 + 1e-4
    density = [math.exp(-((x - m) ** 2) / (2 * spread)) / math.sqrt(2 * math.pi * spread) for m in
               (0.0, 2.0)]  # fmt: skip
    told = log_likelihood(torch.tensor([[x]]), every)
    assert float(told) == pytest.approx(math.log(0.25 * density[0] + 0.75 * density[1]), abs=1e-5)


def test_gaussians_tell_tasks_that_are_apart():
    held = fitted()
    assert accuracy(lambda x: log_likelihood(x, held).argmax(1)) > 0.99


def head_of(held: Mixture, seen: tuple[int, ...] = tuple(range(TASKS))) -> nn.Linear:
    head, draws = nn.Linear(FEATURES, TASKS), generator(2, "head")
    nn.init.zeros_(head.weight), nn.init.zeros_(head.bias)

    def drawn():
        parts = [draw(Mixture(*(part[t] for part in held)), 256, draws) for t in seen]
        labels = [torch.full((len(x),), t) for t, x in zip(seen, parts, strict=True)]
        return torch.cat(parts), torch.cat(labels)

    refit(head, drawn, 30, draws)
    return head.requires_grad_(False)


def test_a_head_fitted_to_their_samples_is_as_good():
    held = fitted()
    gaussians = accuracy(lambda x: log_likelihood(x, held).argmax(1))
    head = head_of(held)
    assert accuracy(lambda x: head(x).argmax(1)) > gaussians - 0.02


def test_a_head_that_sees_the_task_at_hand_alone_falls_to_chance():
    # What the fork does: real batches of one task carry one label.
    head = head_of(fitted())
    for task, x in enumerate(tasks(300, 3)):
        label = torch.full((len(x),), task)
        optimizer = torch.optim.AdamW(head.requires_grad_(True).parameters(), lr=0.01)
        for _ in range(200):
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(x), label).backward()
            optimizer.step()
    head.requires_grad_(False)
    assert accuracy(lambda x: head(x).argmax(1)) < 0.45
    last = (head(tasks(400, 2)[-1]).argmax(1) == TASKS - 1).float().mean()
    assert float(last) > 0.95


def test_samples_are_around_their_centroids_and_of_none_that_is_empty():
    held = Mixture(torch.tensor([[5.0], [0.0]]), torch.zeros(2, 1), torch.tensor([1.0, 0.0]))
    found = draw(held, 50, generator(0, "draw"))
    assert found.shape == (50, 1) and float((found - 5).abs().max()) < 0.05


def test_contrast_of_a_pair_and_a_centroid_by_hand():
    # Two windows at right angles, one centroid along the first: similarities 1, 0 and 1, 0.
    h, mu = torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.5, 0.0]])
    t = 0.8
    e = math.exp(1 / t)
    told = (math.log((e + 1 + e) / e) + math.log((1 + e + 1) / e)) / 2
    assert float(contrast(h, mu, t)) == pytest.approx(told, abs=1e-6)


def test_without_unit_lengths_a_features_own_similarity_decides_alone():
    h = torch.randn(11, 512, generator=generator(0, "h")).requires_grad_()
    mu = torch.randn(5, 512, generator=generator(1, "h"))
    contrast(h, mu, 0.8).backward()
    assert float(h.grad.abs().max()) > 1e-6
    raw = h.detach().requires_grad_()
    similar = torch.cat((raw @ raw.T, raw @ mu.T), 1) / 0.8
    (torch.logsumexp(similar, 1) - similar.diagonal()).mean().backward()
    assert float(raw.grad.abs().max()) == 0
