"""What enumeration cannot see: that the samplers draw from the laws that the oracle enumerates."""

import pytest
import torch
from calibration import FALSE_ALARM, assert_law, assert_mean, draws_to_detect
from catalogue import (
    BERNOULLI,
    CATEGORICAL,
    USER_TREES,
    drawn_where,
    enumerable,
    logits_of,
    make,
    slow_where,
    table_function,
    truth,
)
from scipy import stats

import discretegrad as dg

COUPLINGS = {
    "independent": dg.Independent(2),
    "balanced": dg.Tree(),
    "balanced-descending": dg.Tree(order="descending"),
    "huffman": dg.Tree("huffman"),
    "user": dg.Tree(USER_TREES[5]),
    "sticks": dg.StickBreaking(),
    "sticks-ascending": dg.StickBreaking("ascending"),
    "copula": dg.Copula(2),
}
KINDS = ("ordinary", "forbidden", "saturated")
UNBIASED = [
    (name, latent)
    for latent, catalogue in (("categorical", CATEGORICAL), ("bernoulli", BERNOULLI))
    for name in catalogue
    if make(name, latent, 3).unbiased and name != "exact"
]
CASES = [(*one, dtype) for one in UNBIASED for dtype in (torch.float32, torch.float64)]
# What is enumerated in float64, draws from laws that `test_samplers.py` tests; the noise of the others is the same in
# both.
LONG = [(*one, torch.float64) for one in UNBIASED]
LONG += [(*one, torch.float32) for one in UNBIASED if enumerable(make(*one, 3), 2 if one[1] == "bernoulli" else 3)]
COMPARISONS = 2 * len(COUPLINGS) * len(KINDS) + 2 * len(UNBIASED) + 6
BIAS = 0.02


@pytest.mark.parametrize(("name", "dtype", "kind"), drawn_where(list(COUPLINGS), [torch.float32, torch.float64], KINDS))
def test_samplers_draw_from_the_law_that_is_enumerated(name, dtype, kind):
    coupling, logits = COUPLINGS[name], logits_of(kind, 1, 5)[0]
    first, second = coupling.draw(logits.to(dtype).expand(400_000, 5)).indices
    law = coupling.law(logits)
    assert torch.equal(law.outcomes, torch.cartesian_prod(torch.arange(5), torch.arange(5)))
    # float32 rounds probabilities below 1e-7 as it likes; the law has no such cells but impossible ones.
    assert_law(first * 5 + second, law.probabilities, COMPARISONS)


def test_pairs_of_one_draw_are_independent_of_each_other():
    logits = logits_of("ordinary", 1, 5)[0]
    a, b, c, d = dg.Tree(num_pairs=2).draw(logits.expand(400_000, 5)).indices
    pair = dg.Tree().law(logits).probabilities
    one = logits.softmax(-1)
    assert_law(a * 5 + b, pair, COMPARISONS)
    assert_law(c * 5 + d, pair, COMPARISONS)
    for i, j in ((a, c), (b, d)):
        assert_law(i * 5 + j, torch.outer(one, one).flatten(), COMPARISONS)


def gradients(estimator, f, logits, count):
    leaf = logits.expand(count, *logits.shape).clone().requires_grad_()
    draw = estimator.sample(leaf)
    values = torch.stack([f(points) for points in draw.points])
    return torch.autograd.grad(estimator.surrogate(draw, values).sum(), leaf)[0].flatten(1)


@pytest.mark.parametrize(("name", "latent", "dtype"), slow_where(LONG, CASES))
def test_sampled_gradients_have_the_true_mean(name, latent, dtype):
    """End to end, along the true gradient: a bias of 2 % of it is noticed with probability 0.999."""
    estimator = make(name, latent, 3)
    f = table_function(2, 2 if latent == "bernoulli" else 3)
    logits = torch.randn(2, dtype=torch.float64) if latent == "bernoulli" else logits_of("ordinary", 2, 3)
    along = truth(estimator, f, logits).flatten()
    pilot = gradients(estimator, f, logits, 20_000) @ along
    needed = int(1.1 * draws_to_detect(BIAS, along @ along, pilot.std(), COMPARISONS))
    assert needed < 20_000_000
    chunks = [
        gradients(estimator, f, logits.to(dtype), min(500_000, needed - start)).double() @ along
        for start in range(0, needed, 500_000)
    ]
    assert_mean(torch.cat(chunks), along @ along, BIAS, COMPARISONS)


def test_the_calibrated_tests_can_fail():
    """Negative control: a 2 % bias and a wrong law are noticed."""
    samples = torch.randn(1_000_000, dtype=torch.float64) + 1.0
    assert_mean(samples, 1.0, BIAS, COMPARISONS)
    with pytest.raises(AssertionError, match="standard errors"):
        assert_mean(samples, 1.02, BIAS, COMPARISONS)
    with pytest.raises(AssertionError, match="needs"):
        assert_mean(samples[:1000], 1.0, BIAS, COMPARISONS)
    law = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    shifted = torch.tensor([0.21, 0.29, 0.5], dtype=torch.float64)
    outcomes = torch.multinomial(law, 400_000, replacement=True)
    assert_law(outcomes, law, COMPARISONS)
    with pytest.raises(AssertionError, match="chi-square"):
        assert_law(outcomes, shifted, COMPARISONS)


def test_the_error_rates_are_as_stated():
    """Of 20,000 true nulls at a level of 1e-3 about 20 are rejected: the machinery is neither lax nor jumpy."""
    samples = torch.randn(20_000, 500, dtype=torch.float64)
    scores = samples.mean(1) / (samples.std(1) / 500**0.5)
    rejected = int((scores.abs() > stats.norm.isf(0.5e-3)).sum())
    # Student's t at 499 degrees of freedom puts the true level at 1.06e-3.
    low, high = stats.binom.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], 20_000, 1.06e-3)
    assert low <= rejected <= high
