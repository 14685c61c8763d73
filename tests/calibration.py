"""Tests of random quantities that state their error rates.

A file that uses these counts its comparisons; each runs at 1e-6 over that count, so that a correct library fails the
file once in a million runs, and each asserts before it looks at the data that it would notice a stated defect with
probability 0.999.
"""

import torch
from scipy import stats

FALSE_ALARM = 1e-6
POWER = 0.999


def draws_to_detect(relative_bias, mean, deviation, comparisons):
    """How many draws a two-sided z-test needs to notice a bias of that share of the mean."""
    critical = stats.norm.isf(FALSE_ALARM / comparisons / 2)
    return int(((critical + stats.norm.isf(1 - POWER)) * deviation / (relative_bias * mean)) ** 2) + 1


def assert_mean(samples, mean, relative_bias, comparisons):
    """Samples [N] have the given mean, tested with enough of them to notice `relative_bias`."""
    deviation = samples.std()
    needed = draws_to_detect(relative_bias, abs(mean), deviation, comparisons)
    assert len(samples) >= needed, f"the test needs {needed} draws to keep what it states, and has {len(samples)}"
    score = (samples.mean() - mean) / (deviation / len(samples) ** 0.5)
    assert abs(score) < stats.norm.isf(FALSE_ALARM / comparisons / 2), f"{score:.1f} standard errors"


def assert_law(outcomes, probabilities, comparisons, effect=0.02):
    """Ids [N] have the given law [M], by a chi-square test that would notice sum (q - p)^2 / p = effect^2."""
    assert (probabilities[outcomes] > 0).all(), "an outcome of probability zero was drawn"
    count = len(outcomes)
    observed = torch.bincount(outcomes, minlength=len(probabilities)).double()
    # Cells too rare for the chi-square approximation are pooled.
    rare = probabilities * count < 20
    observed = torch.cat((observed[~rare], observed[rare].sum(0, keepdim=True)))
    expected = torch.cat((probabilities[~rare], probabilities[rare].sum(0, keepdim=True))) * count
    observed, expected = observed[expected >= 20], expected[expected >= 20]
    freedom = len(expected) - 1
    critical = stats.chi2.isf(FALSE_ALARM / comparisons, freedom)
    power = stats.ncx2.sf(critical, freedom, count * effect**2)
    assert power >= POWER, f"{count} draws notice the stated effect with probability {power:.4f} only"
    statistic = float(((observed - expected).square() / expected).sum())
    assert statistic < critical, f"chi-square {statistic:.1f} on {freedom} degrees of freedom"
