import pytest
import torch
from torch.nn import functional as F

from lib.algos.dreamer.fast.rssm import FastRssm
from lib.algos.dreamer.networks import count
from lib.algos.dreamer.rssm import Observed, Rssm, State
from lib.algos.dreamer.settings import LatentConfig
from lib.core.noise import draw_noise
from tests.algos.dreamer.models import SPACES, A, B, T, batch, generator, settings

E = 23
CASES = [("categorical", "none"), ("categorical", "layer"), ("gaussian", "layer")]


def model(kind: str = "categorical", norm: str = "none", form: type[Rssm] = FastRssm) -> Rssm:
    rssm = form(A, E, settings(kind, norm).latent, generator())
    with torch.no_grad():  # norms that do something
        for name, parameter in rssm.named_parameters():
            if "norm" in name or "bias" in name:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator(1))
    return rssm


def sequence(rssm: Rssm, seed: int = 0):
    """Embeddings, actions, firsts, noise and a state before."""
    draws = generator(seed)
    one = batch(SPACES["vector"], seed)
    noise = draw_noise(rssm.observe_noise(T, B), draws)["posterior"]
    before = State(
        torch.randn(B, rssm.latent.size, generator=draws),
        torch.randn(B, rssm.deter, generator=draws),
    )
    return torch.randn(T, B, E, generator=draws), one.action, one.first, noise, before


def slow_advance(rssm: Rssm, state: State, action: torch.Tensor) -> torch.Tensor:
    """The cell as the equations have it."""
    x = F.elu(rssm.input_norm(rssm.input(torch.cat((state.z, action), -1))))
    parts = rssm.cell_norm(rssm.cell(torch.cat((x, state.h), -1))).chunk(3, -1)
    reset, candidate, update = parts
    gate = torch.sigmoid(update - 1)
    return gate * torch.tanh(torch.sigmoid(reset) * candidate) + (1 - gate) * state.h


@pytest.mark.parametrize(("kind", "norm"), CASES)
def test_observing_equals_a_slow_loop_over_records_and_rows(kind, norm):
    rssm = model(kind, norm)
    embed, action, first, noise, before = sequence(rssm)
    found = rssm.observe(embed, action, first, noise, before)
    for row in range(B):
        state = State(before.z[row], before.h[row])
        for t in range(T):
            acted = action[t, row]
            if first[t, row]:
                state = State(torch.zeros_like(state.z), torch.zeros_like(state.h))
                acted = torch.zeros(A)
            h = slow_advance(rssm, state, acted)
            prior = rssm.prior_out(F.elu(rssm.prior_norm(rssm.prior_hidden(h))))
            hidden = rssm.posterior_hidden(torch.cat((h, embed[t, row])))
            posterior = rssm.posterior_out(F.elu(rssm.posterior_norm(hidden)))
            state = State(rssm.latent.sample(posterior, noise[t, row]), h)
            for mine, theirs in [
                (found.prior[t, row], prior),
                (found.posterior[t, row], posterior),
                (found.state.z[t, row], state.z),
                (found.state.h[t, row], state.h),
            ]:
                torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def gradients(rssm: Rssm, given) -> tuple[Observed, list[torch.Tensor]]:
    """What is observed, and how much every input and parameter moves a sum over all of it."""
    embed, action, first, noise, before = given
    leaves = [x.clone().requires_grad_() for x in (embed, action, *before)]
    found = rssm.observe(*leaves[:2], first, noise, State(*leaves[2:]))
    parts = [*found.state, found.posterior, found.prior]
    draws = generator(9)
    value = sum((x * torch.randn(x.shape, generator=draws, dtype=x.dtype)).sum() for x in parts)
    return found, list(torch.autograd.grad(value, [*leaves, *rssm.parameters()]))


@pytest.mark.parametrize(("kind", "norm"), CASES)
def test_the_fast_form_and_its_gradients_equal_the_readable_one(kind, norm, monkeypatch):
    # single precision is written into both, so "equal" means but for its rounding
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    given = sequence(model(kind, norm))
    given = [x.double() if x.is_floating_point() else x for x in given[:4]] + [
        State(*(part.double() for part in given[4]))
    ]
    both = [gradients(model(kind, norm, form).double(), given) for form in (Rssm, FastRssm)]
    (readable, wanted), (fast, found) = both
    for mine, theirs in zip(
        (*readable.state, readable.posterior, readable.prior),
        (*fast.state, fast.posterior, fast.prior),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)
    for mine, theirs in zip(wanted, found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-10)
    steps = [model(kind, norm, form).double().imagining() for form in (Rssm, FastRssm)]
    imagined = [step(given[4], given[1][0], given[3][0]) for step in steps]
    torch.testing.assert_close(*imagined, rtol=1e-9, atol=1e-11)


def test_a_reset_forgets_the_previous_episode():
    # row 1 starts anew at record 3: what came before may not matter, what comes with it must
    rssm = model()
    embed, action, first, noise, before = sequence(rssm)
    found = rssm.observe(embed, action, first, noise, before)
    other_embed, other_action = embed.clone(), action.clone()
    other_embed[:3, 1], other_action[:4, 1] = 0.0, 0.0  # the action at a first record counts not
    other = rssm.observe(other_embed, other_action, first, noise, before)
    assert torch.equal(found.state.h[3:, 1], other.state.h[3:, 1])
    assert torch.equal(found.prior[3:, 1], other.prior[3:, 1])
    assert not torch.equal(found.state.h[2, 1], other.state.h[2, 1])


def test_the_state_before_counts_only_where_no_episode_starts():
    rssm = model()
    embed, action, first, noise, before = sequence(rssm)
    zeros = rssm.initial(B, like=embed)
    with_first = [rssm.observe(embed, action, first, noise, s).state.h[0] for s in (before, zeros)]
    assert torch.equal(*with_first)
    first = torch.zeros_like(first)
    without = [rssm.observe(embed, action, first, noise, s).state.h[0] for s in (before, zeros)]
    assert not torch.isclose(*without).all(-1).any()


@pytest.mark.parametrize(("kind", "norm"), CASES)
def test_single_steps_give_the_states_of_a_sequence(kind, norm):
    rssm = model(kind, norm)
    embed, action, first, noise, state = sequence(rssm)
    found = rssm.observe(embed, action, first, noise, state)
    for t in range(T):
        record = (part[t : t + 1] for part in (embed, action, first, noise))
        states, _ = rssm.infer(*record, state)
        state = State(*(part[0] for part in states))
        torch.testing.assert_close(found.state.z[t], state.z)
        torch.testing.assert_close(found.state.h[t], state.h)


@pytest.mark.parametrize(("kind", "norm"), CASES)
def test_an_imagined_step_samples_the_prior(kind, norm):
    rssm = model(kind, norm)
    _, action, _, noise, before = sequence(rssm)
    found = rssm.imagining()(before, action[0], noise[0])
    h = slow_advance(rssm, before, action[0])
    torch.testing.assert_close(found.h, h)
    torch.testing.assert_close(found.z, rssm.latent.sample(rssm.prior(h), noise[0]))


def test_features_are_z_then_h_and_the_first_state_is_zero():
    rssm = model()
    state = rssm.initial(B, like=torch.zeros(1))
    assert state.z.shape == (B, 10) and state.h.shape == (B, 17)
    assert not rssm.features(state).any() and rssm.features_size == 27
    read = rssm.features(State(torch.ones(B, 10), state.h))
    assert read[:, :10].all() and not read[:, 10:].any()


def test_inputs_are_left_as_they_are():
    rssm = model()
    given = sequence(rssm)
    kept = [x.clone() for x in (*given[:4], *given[4])]
    rssm.observe(*given)
    assert all(torch.equal(x, y) for x, y in zip((*given[:4], *given[4]), kept, strict=True))


def test_flags_in_another_type_are_caught():
    rssm = model()
    embed, action, first, noise, before = sequence(rssm)
    with pytest.raises(AssertionError, match="first is torch.float32, not bool"):
        rssm.observe(embed, action, first.float(), noise, before)


def test_the_cell_is_normalised_whatever_the_other_layers_are():
    assert model("categorical", "none").cell_norm.eps == 1e-3
    names = [name for name, _ in model("categorical", "none").named_parameters() if "norm" in name]
    assert names == ["cell_norm.weight", "cell_norm.bias"]


def test_the_published_size():
    # 1031*1024 + 1024 = 1,056,768; cell 2048*3072 + 3072 + 2*3072 = 6,300,672; prior and posterior
    # 2 * 1,049,600 and 2560*1024 + 1024 + 1,049,600 = 3,672,064; together 13,128,704
    rssm = Rssm(7, 1536, LatentConfig(), generator())
    assert count(rssm) == 13_128_704
