"""Entropy, divergence, mixtures and modes in closed form: forbidden categories, masks, and gradients of all of them."""

import itertools
import math

import pytest
import torch
from catalogue import every, make
from torch.distributions import Bernoulli, Categorical, kl_divergence

from discretegrad.objectives import entropy, kl, unimix

LATENTS = ("categorical", "bernoulli")
LOWEST = torch.finfo(torch.float64).min


def shape_of(latent, *variables, categories=4):
    return variables if latent == "bernoulli" else (*variables, categories)


def law(latent, logits):
    return Bernoulli(logits=logits) if latent == "bernoulli" else Categorical(logits=logits)


def gradients(value, *leaves):
    return torch.autograd.grad(value.sum(), leaves)


@pytest.mark.parametrize("event_dims", [0, 1, 2])
@pytest.mark.parametrize("latent", LATENTS)
def test_entropy_and_kl_against_torch_distributions(latent, event_dims):
    """Values and gradients; the prior's broadcast."""
    logits = torch.randn(shape_of(latent, 5, 2, 3), dtype=torch.float64, requires_grad=True)
    prior = torch.randn(shape_of(latent, 3), dtype=torch.float64, requires_grad=True)
    q, p, uniform = (law(latent, x) for x in (logits, prior.expand(logits.shape), torch.zeros_like(logits)))
    for leaves, got, expected in (
        ([logits], entropy(logits, event_dims, latent), q.entropy()),
        ([logits, prior], kl(logits, prior, event_dims, latent), kl_divergence(q, p)),
        ([logits], kl(logits, None, event_dims, latent), kl_divergence(q, uniform)),
    ):
        expected = expected.flatten(3 - event_dims).sum(-1) if event_dims else expected
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)
        found = [torch.autograd.grad(value.sin().sum(), leaves, retain_graph=True) for value in (got, expected)]
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("off", [-torch.inf, LOWEST])
def test_forbidden_categories_count_nothing(off):
    """As if they were not there: values, first and second derivatives; zero at them."""
    kept = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    prior = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    fill = torch.full((6, 1), off, dtype=torch.float64)
    wide, wide_prior = (torch.cat((x[:, :1], fill, x[:, 1:]), -1).detach().requires_grad_() for x in (kept, prior))
    for got, expected in (
        (entropy(wide, 0), entropy(kept, 0)),
        (kl(wide, wide_prior, 0), kl(kept, prior, 0)),
        (kl(wide, None, 0), kl(kept, None, 0) + math.log(4 / 3)),
    ):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)
        (one,) = torch.autograd.grad(got.square().sum(), wide, create_graph=True)
        (other,) = torch.autograd.grad(expected.square().sum(), kept, create_graph=True)
        assert (one[:, 1] == 0).all()
        torch.testing.assert_close(one[:, [0, 2, 3]], other, rtol=1e-10, atol=1e-12)
        (one,) = gradients(one.square(), wide)
        (other,) = gradients(other.square(), kept)
        torch.testing.assert_close(one[:, [0, 2, 3]], other, rtol=1e-10, atol=1e-12)
        assert (one[:, 1] == 0).all()
    (of_prior,) = gradients(kl(wide, wide_prior), wide_prior)
    assert (of_prior[:, 1] == 0).all()
    assert of_prior.isfinite().all()


@pytest.mark.parametrize("off", [-torch.inf, LOWEST])
def test_what_the_prior_alone_forbids_is_infinitely_far(off):
    logits = torch.zeros(2, 3, dtype=torch.float64)
    prior = torch.tensor([0.0, off, 1.0], dtype=torch.float64)
    assert kl(logits, prior) == torch.inf
    logits[:, 1] = -torch.inf
    assert kl(logits, prior).isfinite()


@pytest.mark.parametrize("latent", LATENTS)
def test_certain_variables_have_no_entropy_and_a_finite_gradient(latent):
    """Extreme logits; rows of nothing but the lowest number are uniform."""
    if latent == "bernoulli":
        logits = torch.tensor([torch.inf, -torch.inf, 3e38, torch.finfo(torch.float32).min, -1e4])
    else:
        low = torch.finfo(torch.float32).min
        logits = torch.tensor([[0.0, -torch.inf], [3e38, low], [low, -3e38], [1e4, 0.0], [-1e8, -2e8]])
    logits.requires_grad_()
    for value in (entropy(logits, 0, latent), kl(logits, None, 0, latent), kl(logits, logits.detach(), 0, latent)):
        assert torch.isin(value, torch.tensor([0.0, 2.0]).log().clamp_min(0.0)).all()
        assert (gradients(value, logits)[0] == 0).all()
    if latent == "categorical":
        row = torch.full((1, 5), torch.finfo(torch.float32).min, requires_grad=True)
        torch.testing.assert_close(entropy(row), torch.tensor(5.0).log())
        torch.testing.assert_close(unimix(row), -torch.full((1, 5), 5.0).log())


@pytest.mark.parametrize("latent", LATENTS)
def test_masked_variables_count_nothing(latent):
    """Whatever their logits and their prior's are."""
    logits = torch.randn(shape_of(latent, 4, 3), dtype=torch.float64)
    mask = torch.tensor([True, False, True])
    off = ~mask if latent == "bernoulli" else ~mask.unsqueeze(-1)
    for shared, function in itertools.product((False, True), (entropy, kl)):
        prior = torch.randn(shape_of(latent, 3) if shared else logits.shape, dtype=torch.float64)
        used = (logits,) if function is entropy else (logits, prior)
        padded = [x.masked_fill(off, torch.nan).requires_grad_() for x in used]
        alone = [x.detach().clone().requires_grad_() for x in used]
        got = function(*padded, latent=latent, mask=mask)
        expected = function(*alone, event_dims=0, latent=latent)[:, mask].sum(-1)
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)
        for one, other in zip(gradients(got, *padded), gradients(expected, *alone), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
            assert (one.masked_fill(~off, 0.0) == 0).all()


@pytest.mark.parametrize("latent", LATENTS)
def test_unimix_is_the_mixture(latent):
    """Its probabilities, normalised, and its gradient by finite differences."""
    logits = torch.randn(shape_of(latent, 5), dtype=torch.float64, requires_grad=True)
    mixed = unimix(logits, 0.1, latent)
    q = law(latent, logits.detach())
    uniform = 1 / 2 if latent == "bernoulli" else 1 / 4
    got = mixed.sigmoid() if latent == "bernoulli" else mixed.exp()
    torch.testing.assert_close(got, 0.9 * q.probs + 0.1 * uniform, rtol=1e-12, atol=1e-14)
    assert torch.autograd.gradcheck(lambda x: unimix(x, 0.1, latent), logits)
    torch.testing.assert_close(unimix(logits, 0.0, latent).detach(), logits if latent == "bernoulli" else q.logits)


def test_unimix_keeps_what_is_forbidden_and_lifts_what_is_improbable():
    for off in (-torch.inf, LOWEST):
        logits = torch.tensor([[0.0, -1e5, off, 1.0]], dtype=torch.float64, requires_grad=True)
        mixed = unimix(logits, 0.3)
        expected = 0.7 * logits.detach().softmax(-1) + 0.1 * torch.tensor([1.0, 1.0, 0.0, 1.0], dtype=torch.float64)
        torch.testing.assert_close(mixed.exp(), expected, rtol=1e-12, atol=0)
        (gradient,) = gradients(mixed[:, [0, 1, 3]].square(), logits)
        assert gradient.isfinite().all()
        assert gradient[0, 2] == 0
    certain = torch.tensor([torch.inf, -torch.inf, 1e5], requires_grad=True)
    mixed = unimix(certain, 0.5, "bernoulli")
    torch.testing.assert_close(mixed.sigmoid(), torch.tensor([1.0, 0.0, 0.75]))
    assert gradients(mixed[2:], certain)[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_is_computed_wide(dtype):
    logits = torch.tensor([[0.0, 1.0, torch.finfo(dtype).min]], dtype=dtype, requires_grad=True)
    for function in (entropy, kl):
        value = function(logits)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, function(logits.double()).float())
        assert gradients(value, logits)[0].dtype == dtype
    assert unimix(logits).dtype == dtype
    assert unimix(logits)[0, 2] == -torch.inf


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda x: entropy(x.long()), "floating-point"),
        (lambda x: entropy(x, 3), r"entropy\(event_dims=3\) needs logits with at least"),
        (lambda x: kl(x, event_dims=-1), "event_dims is a number"),
        (lambda x: kl(x, x.tolist()), "prior must be a floating-point tensor"),
        (lambda x: kl(x, torch.zeros(3)), "prior must be logits that broadcast"),
        (lambda x: kl(x, torch.zeros(2, 5, 3, 4)), "prior must be logits that broadcast"),
        (lambda x: kl(x, mask=torch.ones(2, dtype=torch.bool)), "mask has shape"),
        (lambda x: unimix(x, 1.0), r"number in \[0, 1\)"),
        (lambda x: unimix(x, latent="gaussian"), "latent is one of"),
    ],
)
def test_bad_input_is_refused(call, match):
    with pytest.raises((TypeError, ValueError), match=match):
        call(torch.zeros(5, 3, 4))


def test_all_of_it_compiles():
    """Both latents in one graph."""
    logits = torch.randn(5, 3, requires_grad=True)

    def total(x):
        terms = (entropy(x, 0, latent) + kl(unimix(x, 0.1, latent), None, 0, latent) for latent in LATENTS)
        return sum(value.sum() for value in terms)

    compiled = torch.compile(total, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(logits), total(logits))
    torch.testing.assert_close(gradients(compiled(logits), logits), gradients(total(logits), logits))


@pytest.mark.parametrize(("name", "latent"), every())
def test_the_mode_of_a_draw_is_the_most_probable_point(name, latent):
    """Of every estimator's draws alike, masks included, and without a graph."""
    estimator = make(name, latent, 4)
    mask = torch.tensor([True, True, False])
    logits = torch.randn(shape_of(latent, 5, 3), requires_grad=True)
    draw = estimator.sample(logits, mask=mask)
    mode = draw.mode
    if latent == "bernoulli":
        expected = (logits > 0).float() * mask
    else:
        expected = torch.nn.functional.one_hot(logits.argmax(-1), 4).float() * mask.unsqueeze(-1)
    assert torch.equal(mode, expected)
    assert mode.dtype == logits.dtype
    assert not mode.requires_grad
