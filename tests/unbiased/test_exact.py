"""An estimator is unbiased exactly where it says so: by enumeration of the joint law of its points, in float64."""

import pytest
import torch
from catalogue import (
    BERNOULLI,
    CATEGORICAL,
    KINDS,
    SIZES,
    enumerable,
    logits_of,
    make,
    noisy,
    outcomes,
    relative_bias,
    table_function,
)

import discretegrad as dg

# 8 categories, 3 variables and 2 points are 2 ** 18 outcomes, seconds each; 5 categories are 2 ** 14, and as odd.
# More points are enumerated on fewer variables.
FAST, SLOW = 2**14, 2**21


def declared(catalogue, unbiased, latent="categorical"):
    """Those that can be enumerated for some number of categories."""
    built = {name: make(name, latent) for name in catalogue}
    return [
        name
        for name, estimator in built.items()
        if estimator.unbiased == unbiased and enumerable(estimator, categories=2)
    ]


def sizes(name, least, most):
    """(categories, variables) where so many joint outcomes can be enumerated."""
    return [
        (categories, variables)
        for categories, variables in SIZES
        if enumerable(make(name, categories=categories), categories)
        and least < outcomes(make(name, categories=categories), variables, categories) <= most
    ]


def assert_unbiased(name, categories, variables, kind):
    f, logits = table_function(variables, categories), logits_of(kind, variables, categories)
    assert relative_bias(make(name, categories=categories), f, logits) < 1e-10


@pytest.mark.parametrize("turn", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("start", "name"), list(enumerate(declared(CATEGORICAL, True))))
def test_declared_unbiased_is_unbiased(start, name, turn):
    """At every size with one of the kinds, which three turns make all of them."""
    for categories, variables in sizes(name, 0, FAST):
        place = sum(divmod(SIZES.index((categories, variables)), len(KINDS)))
        assert_unbiased(name, categories, variables, KINDS[(start + place + turn) % len(KINDS)])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "categories", "variables"),
    [(name, *size) for name in declared(CATEGORICAL, True) for size in sizes(name, FAST, SLOW)],
)
def test_declared_unbiased_is_unbiased_on_more_outcomes(name, categories, variables, kind):
    assert_unbiased(name, categories, variables, kind)


def with_law():
    """(name, categories): 3 of them, or 2 where only the noise of two can be enumerated."""
    for name in CATEGORICAL:
        for categories in (3, 2):
            estimator = make(name, categories=categories)
            if isinstance(estimator, dg.Composition) and (noisy(estimator) or enumerable(estimator, categories)):
                yield name, categories
                break


@pytest.mark.parametrize(("name", "categories"), list(with_law()))
def test_laws_sum_to_one(name, categories):
    """Outcomes that an enumeration forgets would be counted as if they were unbiased."""
    coupling = make(name, categories=categories).coupling
    for kind in KINDS:
        law = coupling.law(logits_of(kind, 2, categories))
        if law is not None:
            total = law.probabilities.sum(-1)
            torch.testing.assert_close(
                total, torch.ones_like(total), rtol=1e-12, atol=0, msg=lambda m, kind=kind: f"{kind}: {m}"
            )


@pytest.mark.parametrize("saturated", [False, True])
@pytest.mark.parametrize("variables", [1, 2, 3])
@pytest.mark.parametrize("name", declared(BERNOULLI, True, latent="bernoulli"))
def test_declared_unbiased_is_unbiased_on_bernoulli(name, variables, saturated):
    f, logits = table_function(variables, 2), torch.randn(variables, dtype=torch.float64)
    if saturated:
        logits[0] = 12.0
        logits[1:2] = -800.0
        logits[2:3] = torch.inf
    assert relative_bias(make(name, "bernoulli"), f, logits) < 1e-10


@pytest.mark.parametrize("name", declared(CATEGORICAL, False))
def test_declared_biased_is_biased(name):
    """The negative control of the test above, and the reason of the declaration."""
    f = curved(table_function(2, 5))
    # All negative, so that the logit of least absolute value is the largest: the greediest stick comes first.
    biases = [relative_bias(make(name), f, -3 * torch.randn(2, 5, dtype=torch.float64).abs()) for _ in range(10)]
    assert max(biases) > 0.01


@pytest.mark.parametrize("name", declared(BERNOULLI, False, latent="bernoulli"))
def test_declared_biased_is_biased_on_bernoulli(name):
    f = curved(table_function(3, 2))
    assert relative_bias(make(name, "bernoulli"), f, torch.randn(3, dtype=torch.float64)) > 0.01


def curved(f):
    """Cubic in the one-hots, with other weights for each: on multilinear f straight-through has no bias, on quadratic
    f ReinMax has none."""

    def cubic(points):
        entries = points.flatten(1)
        weight = torch.arange(1.0, 1.0 + entries.shape[1], dtype=points.dtype)
        return f(points.square()) + (weight * entries.pow(3)).sum(1)

    return cubic


def test_importance_weights_are_exact_until_a_stick_takes_more_than_half():
    """DisARM-IW in any order is unbiased while every stick before the parting node leaves half behind."""
    f = table_function(1, 4)
    mild = torch.tensor([[0.15, 0.2, 0.3, 0.35]], dtype=torch.float64).log()
    greedy = torch.tensor([[0.55, 0.2, 0.15, 0.1]], dtype=torch.float64).log()
    assert relative_bias(dg.DisARMIW(order=None), f, mild) < 1e-10
    assert relative_bias(dg.DisARMIW(order=None), f, greedy) > 0.05


@pytest.mark.parametrize(
    "name", ["rloo-2", "tree-balanced", "tree-huffman", "sb-ascending", "tree-2-pairs", "double-cv"]
)
def test_covariance_agrees_with_a_sample(name):
    """The oracle's second moments against 200,000 draws; 6 standard errors of the sample variance."""
    estimator, f, logits = make(name, categories=3), table_function(2, 3), logits_of("ordinary", 2, 3)
    exact = dg.exact.moments(estimator, f, logits).total_variance
    many = logits.expand(200_000, 2, 3).clone().requires_grad_()
    draw = estimator.sample(many)
    values = torch.stack([f(points) for points in draw.points])
    (gradients,) = torch.autograd.grad(estimator.surrogate(draw, values).sum(), many)
    squares = (gradients - dg.exact.gradient(f, logits)).square().sum((-1, -2))
    assert abs(squares.mean() - exact) < 6 * squares.std() / len(squares) ** 0.5


@pytest.mark.parametrize("name", [name for name in CATEGORICAL if noisy(make(name))])
def test_moments_of_continuous_points_are_refused(name):
    with pytest.raises(ValueError, match="continuous"):
        dg.exact.moments(make(name), table_function(1, 2), torch.zeros(1, 2))


@pytest.mark.parametrize("event_dims", [0, 1, 2])
def test_exact_estimator_is_the_oracle(event_dims):
    """With batch dimensions, and with as many variables as `event_dims` says."""
    event = (2, 3)[2 - event_dims :]
    batch = (4, 5)
    logits = torch.randn(*batch, *event, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(*event, 3, dtype=torch.float64)
    dims = tuple(range(-1 - len(event), 0))

    def f(points):
        return (points * weight).sum(dims).square()

    values = dg.Exact(event_dims)(f, logits)
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    assert values.shape == batch
    for b in torch.cartesian_prod(torch.arange(4), torch.arange(5)).tolist():
        one = logits[tuple(b)].detach()
        torch.testing.assert_close(values[tuple(b)].detach(), dg.exact.expectation(f, one), rtol=1e-12, atol=0)
        torch.testing.assert_close(gradient[tuple(b)], dg.exact.gradient(f, one), rtol=1e-10, atol=1e-14)


def test_what_f_does_on_forbidden_values_does_not_matter():
    """f is NaN there, and the oracle, the moments and the exact estimator agree all the same."""
    logits = torch.tensor([[0.0, -torch.inf, 1.0]], dtype=torch.float64)

    def f(points):
        return (points[..., 0, :] @ torch.tensor([0.0, 5.0, 1.0], dtype=torch.float64)) + 0 / (1 - points[..., 0, 1])

    p = float(torch.tensor(1.0).double().sigmoid())
    expected = torch.tensor([[-p * (1 - p), 0.0, p * (1 - p)]], dtype=torch.float64)
    for got in (
        dg.exact.gradient(f, logits),
        dg.exact.moments(dg.RLOO(), f, logits).mean,
        dg.exact.moments(dg.Exact(), f, logits).mean,
    ):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-15)


def test_enumerations_that_would_not_end_are_refused():
    with pytest.raises(ValueError, match=r"16\*\*7 joint ones"):
        dg.exact.expectation(lambda points: points.sum((-1, -2)), torch.zeros(7, 16))
    with pytest.raises(ValueError, match=r"16\*\*8 joint ones"):
        dg.exact.moments(dg.DisARMTree(), lambda points: points.sum((-1, -2)), torch.zeros(8, 4))
