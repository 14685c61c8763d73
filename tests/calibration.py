"""Tests of random quantities that state their error rates.

A file that uses these counts its comparisons; each runs at 1e-6 over that count, so that a correct library fails the
file once in a million runs, and each asserts before it looks at the data that it would notice a stated defect with
probability 0.999.
"""

import functools

import torch

FALSE_ALARM = 1e-6
POWER = 0.999


# Tails of laws, by torch alone: the tests that run on a GPU need nothing else (`make gpu`). "isf" inverts a tail.


def double(number):
    return torch.as_tensor(number, dtype=torch.float64)


def norm_isf(tail):
    return float(-torch.special.ndtri(double(tail)))


def chi2_sf(value, freedom):
    return torch.special.gammaincc(double(freedom) / 2, double(value) / 2)


@functools.cache
def chi2_isf(tail, freedom):
    low, high = 0.0, 1.0
    while chi2_sf(high, freedom) > tail:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if chi2_sf(middle, freedom) > tail else (low, middle)
    return high


def ncx2_sf(value, freedom, shift):
    """Chi-square with a Poisson number of pairs of degrees of freedom more."""
    mean = double(shift) / 2
    pairs = torch.arange(max(0, int(mean - 12 * mean.sqrt())), int(mean + 12 * mean.sqrt()) + 50, dtype=torch.float64)
    weights = (pairs * mean.log() - mean - torch.lgamma(pairs + 1)).exp()
    return float((weights * chi2_sf(value, freedom + 2 * pairs)).sum())


def poisson_isf(tail, mean):
    counts = torch.arange(1, int(mean + 20 * mean**0.5) + 60, dtype=torch.float64)
    return int((torch.special.gammainc(counts, double(mean)) > tail).sum())


def draws_to_detect(relative_bias, mean, deviation, comparisons):
    """How many draws a two-sided z-test needs to notice a bias of that share of the mean."""
    critical = norm_isf(FALSE_ALARM / comparisons / 2)
    return int(((critical + norm_isf(1 - POWER)) * deviation / (relative_bias * mean)) ** 2) + 1


def assert_mean(samples, mean, relative_bias, comparisons):
    """Samples [N] have the given mean, tested with enough of them to notice `relative_bias`."""
    deviation = samples.std()
    needed = draws_to_detect(relative_bias, abs(mean), deviation, comparisons)
    assert len(samples) >= needed, f"the test needs {needed} draws to keep what it states, and has {len(samples)}"
    score = (samples.mean() - mean) / (deviation / len(samples) ** 0.5)
    assert abs(score) < norm_isf(FALSE_ALARM / comparisons / 2), f"{score:.1f} standard errors"


@functools.cache
def draws_for_law(cells, comparisons, effect=0.02):
    """How many draws `assert_law` needs for so many cells."""

    def power(count):
        critical = chi2_isf(FALSE_ALARM / comparisons, cells - 1)
        return ncx2_sf(critical, cells - 1, count * effect**2)

    low, high = 1, 2
    while power(high) < POWER:
        low, high = high, 2 * high
    while high - low > 0.01 * low:
        middle = (low + high) // 2
        low, high = (middle, high) if power(middle) < POWER else (low, middle)
    return high


def assert_law(outcomes, probabilities, comparisons, effect=0.02):
    """Ids [N] have the given law [M], by a chi-square test that would notice sum (q - p)^2 / p = effect^2.

    That is at least the square of sum |q - p|: the test notices a total variation of effect / 2, whatever its form.
    """
    assert (probabilities[outcomes] > 0).all(), "an outcome of probability zero was drawn"
    count = len(outcomes)
    observed = torch.bincount(outcomes, minlength=len(probabilities)).double()
    # Cells too rare for the chi-square approximation are pooled.
    rare = probabilities * count < 20
    observed = torch.cat((observed[~rare], observed[rare].sum(0, keepdim=True)))
    expected = torch.cat((probabilities[~rare], probabilities[rare].sum(0, keepdim=True))) * count
    if (expected >= 20).sum() < 2:  # all but certain: what is not may come so often only
        most = poisson_isf(FALSE_ALARM / comparisons, float(expected[-1]))
        assert observed[-1] <= most, f"{int(observed[-1])} rare outcomes, where {float(expected[-1]):.2g} are expected"
        return
    observed, expected = observed[expected >= 20], expected[expected >= 20]
    freedom = len(expected) - 1
    critical = chi2_isf(FALSE_ALARM / comparisons, freedom)
    power = ncx2_sf(critical, freedom, count * effect**2)
    assert power >= POWER, f"{count} draws notice the stated effect with probability {power:.4f} only"
    statistic = float(((observed - expected).square() / expected).sum())
    assert statistic < critical, f"chi-square {statistic:.1f} on {freedom} degrees of freedom"


def cells_of(law, categories, sets=False):
    """The different outcomes of a `Law` as numbers, ascending, and their probabilities.

    Args:
        law: of one variable or of one event.
        categories: C.
        sets: whether the order of an outcome's points means nothing.
    """
    numbers, cell = numbered(law.outcomes, categories, sets).unique(return_inverse=True)
    return numbers, torch.zeros(len(numbers), dtype=torch.float64).index_add(0, cell, law.probabilities.double())


def numbered(outcomes, categories, sets=False):
    """One integer for each outcome, `[N]` from ids `[N, S]` or `[N, S, *event]`."""
    words = outcomes.flatten(2) if outcomes.ndim > 2 else outcomes.unsqueeze(-1)
    points, variables = words.shape[1:]
    number = (words * categories ** torch.arange(variables)).sum(-1)
    if sets:
        number = number.sort(-1).values
    return (number * categories ** (variables * torch.arange(points))).sum(-1)


def assert_drawn_from(drawn, law, categories, comparisons, sets=False):
    """Draws `[N, S]` or `[N, S, *event]` have the joint law of all their points; see `assert_law`."""
    numbers, probabilities = cells_of(law, categories, sets)
    found = numbered(drawn, categories, sets)
    place = torch.searchsorted(numbers, found).clamp_max(len(numbers) - 1)
    assert torch.equal(numbers[place], found), "a draw is not among the law's outcomes"
    assert_law(place, probabilities, comparisons)
