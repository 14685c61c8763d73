"""Tests and intervals of the analysis: how often they are wrong, by simulation, where theory is an approximation."""

import math

import numpy as np
import pytest
import torch
from calibration import FALSE_ALARM
from catalogue import drawn_where
from scipy import stats

from discretegrad.analysis import Estimate, Moments, Truth, bias, p_value
from discretegrad.analysis.estimate import joint_error, two_sided, typical
from discretegrad.analysis.inference import positive_interval
from discretegrad.analysis.moments import GROUPS
from discretegrad.analysis.ranking import rank

COMPARISONS = 40
"""Binomial tests in this file."""


def assert_no_more_often(count, of, rate):
    """False alarm 1e-6 for the file where the rate is the stated one."""
    assert stats.binomtest(count, of, rate, alternative="greater").pvalue > FALSE_ALARM / COMPARISONS, f"{count / of}"


def estimates(generator, count, value, error):
    """Means of `GROUPS` normal numbers, with their standard errors."""
    groups = value + error * math.sqrt(GROUPS) * generator.standard_normal((count, GROUPS))
    errors = groups.std(1, ddof=1) / math.sqrt(GROUPS)
    return [Estimate(*one, GROUPS - 1) for one in zip(groups.mean(1), errors, strict=True)]


@pytest.mark.parametrize(("value", "error"), drawn_where([0.0, 0.5, 1.0, 3.0, 20.0], [0.1, 1.0, 10.0]))
def test_equal_numbers_differ_as_rarely_as_stated(value, error):
    """Also at zero, below which every other estimate is; 5.4 % of 3,000 at most."""
    generator = np.random.default_rng(0)
    pairs = zip(estimates(generator, 3000, value, 1.0), estimates(generator, 3000, value, error), strict=True)
    assert_no_more_often(sum(p_value(*pair) <= 0.05 for pair in pairs), 3000, 0.054)


@pytest.mark.parametrize("relative", [pytest.param(0.02, marks=pytest.mark.slow), 0.2])
def test_equal_variances_differ_as_rarely_as_stated(relative):
    """Whose errors grow with them: groups of gamma distributed numbers."""
    generator = np.random.default_rng(0)
    pairs = []
    for error in (relative, 0.05):
        shape = 1 / (error**2 * GROUPS)
        groups = generator.gamma(shape, 1 / shape, (3000, GROUPS))
        errors = groups.std(1, ddof=1) / math.sqrt(GROUPS)
        pairs.append([Estimate(*one, GROUPS - 1) for one in zip(groups.mean(1), errors, strict=True)])
    assert_no_more_often(sum(p_value(*pair) <= 0.05 for pair in zip(*pairs, strict=True)), 3000, 0.054)


def test_what_differs_is_seen_to():
    generator = np.random.default_rng(0)
    for value, other in ((0.0, 6.0), (10.0, 16.0), (-1.0, 5.0)):
        pairs = zip(estimates(generator, 100, value, 1.0), estimates(generator, 100, other, 1.0), strict=True)
        assert sum(p_value(*pair) <= 0.05 for pair in pairs) >= 90, (value, other)


@pytest.mark.slow
def test_false_claims_of_a_ranking_about_zero_are_as_rare_as_stated():
    """Six mean squared errors of zero, with errors of 1 to 6: any claim among them in 5 % of 1,000 rankings at most."""
    generator = np.random.default_rng(0)
    columns = [estimates(generator, 1000, 0.0, 1.0 + place) for place in range(6)]
    rankings = [rank("mse", dict(zip("abcdef", row, strict=True)), 0.95) for row in zip(*columns, strict=True)]
    assert min(min(ranking.numbers.values()).value for ranking in rankings) < 0
    assert_no_more_often(sum(bool(ranking.claims) for ranking in rankings), 1000, 0.05)


def test_only_a_zero_without_an_error_is_certain():
    zero, one = Estimate(0.0, 0.0), Estimate(1.0, 2.0, 31)
    found = rank("mse", {"exact": zero, "noisy": Estimate(-0.5, 1.0, 31), "one": one}, 0.95)
    assert found.claims == {("exact", "one")}
    assert rank("mse", {"clear": Estimate(-0.5, 1.0, 31), "far": Estimate(50.0, 2.0, 31)}, 0.95).beats("clear", "far")
    assert p_value(zero, zero) == 1.0 and p_value(zero, Estimate(1.0, 0.0)) == 0.0
    assert p_value(one, Estimate(9.0, math.inf)) == 1.0


@pytest.mark.parametrize(("rounds", "spread", "slow"), drawn_where([5, 9, 25], [0.02, 0.5], [0.0, 0.15]))
def test_of_equal_times_none_is_faster(rounds, spread, slow):
    """Lognormal times, some of them three times as long: false claims in 5 % of 2,000 at most."""
    generator = np.random.default_rng(0)
    times = np.exp(spread * generator.standard_normal((2, 2000, rounds)))
    times *= np.where(generator.random(times.shape) < slow, 3.0, 1.0)
    pairs = zip(*([typical(list(one)) for one in half] for half in times), strict=True)
    assert_no_more_often(sum(p_value(*pair) <= 0.05 for pair in pairs), 2000, 0.05)


def test_variance_times_time_claims_what_its_worse_factor_knows():
    """Equal products of a precise variance and a time of 9 rounds: false claims in 5 % of 2,000 at most."""
    generator = np.random.default_rng(0)
    pairs = []
    for _ in range(2):
        variances = estimates(generator, 2000, 1.0, 0.02)
        seconds = [typical(list(one)) for one in np.exp(0.1 * generator.standard_normal((2000, 9)))]
        pairs.append([one * other for one, other in zip(variances, seconds, strict=True)])
    assert all(4 <= product.freedom <= 35 for product in pairs[0])
    assert_no_more_often(sum(p_value(*pair) <= 0.05 for pair in zip(*pairs, strict=True)), 2000, 0.05)


def test_a_typical_time_is_that_of_most_rounds():
    assert typical([3.0]) == (3.0, math.inf, 1)
    assert typical([1.0, 1.0, 1.0, 1.0, 9.0]) == (1.0, 0.0, 2)
    found = typical([1.0, 2.0, 3.0, 4.0, 100.0, 5.0, 6.0, 0.0])
    assert found.value == 3.5 and found.freedom == 3
    drawn_in = np.array([2, 2, 2, 3, 4, 5, 5, 5.0])
    assert math.isclose(found.error, math.sqrt(((drawn_in - drawn_in.mean()) ** 2).sum() / 12))


def test_degrees_of_freedom_are_those_of_the_larger_error():
    assert joint_error(Estimate(0, 3.0, 4), Estimate(0, 4.0, 1e9)) == (5.0, pytest.approx(4 * (5 / 3) ** 4))
    assert joint_error(Estimate(0, 1.0, 4), Estimate(0, 0.0, 1)) == (1.0, 4)
    assert joint_error(Estimate(0, 1.0, 10), Estimate(0, 1.0, 10))[1] == pytest.approx(20)
    assert joint_error(Estimate(0, 1.0), Estimate(0, 1.0))[1] == math.inf
    product = Estimate(2.0, 0.1, 5) * Estimate(3.0, 0.0, 9)
    assert product[:2] == (6.0, pytest.approx(0.3)) and product.freedom == pytest.approx(5)


def test_intervals_about_zero_reach_it():
    assert (
        positive_interval(Estimate(-1.0, 2.0, 31), 0.95)[0] == 0.0 < positive_interval(Estimate(-1.0, 2.0, 31), 0.95)[1]
    )
    assert 0 < positive_interval(Estimate(1.0, 0.2, 31), 0.95)[0] < 1
    assert positive_interval(Estimate(1.0, 0.5, 1), 0.999999)[1] > 1e300


def moments_of(noise, mean, replicates, seed):
    """Of normal gradients with those standard deviations."""
    generator = torch.Generator().manual_seed(seed)
    moments = Moments({"all": len(noise)})
    moments.update(torch.randn(replicates, len(noise), dtype=torch.float64, generator=generator) * noise + mean)
    return moments


@pytest.mark.parametrize("exact", [True, False])
def test_a_distance_has_the_noise_that_it_states(exact):
    """Means over 400 repetitions against the covariance that the gradients have, in 5 standard errors."""
    noise, away = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), torch.tensor([0.0, 30.0, 0.0])
    covariance = noise.square() / 128 * (1 if exact else 1.25)
    found = []
    for seed in range(400):
        run = None if exact else moments_of(noise, 0.0, 512, 1000 + seed)
        truth = Truth(torch.zeros(3, dtype=torch.float64) if run is None else run.average(), run)
        moments = moments_of(noise, away.double(), 128, seed)
        found.append(bias.distance(moments, truth)[:4])
    wanted = [900 + covariance.sum(), covariance.sum(), covariance.square().sum(), covariance[1]]
    for column, value in zip(torch.tensor(found, dtype=torch.float64).T, wanted, strict=True):
        assert abs(column.mean() - value) < 5 * column.std() / 400**0.5


RATIOS = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0)


@pytest.mark.slow
@pytest.mark.parametrize(("entries", "equal"), [(1, True), (2, True), (2, False), (5, True), (50, True), (50, False)])
def test_intervals_of_a_squared_bias_cover_as_stated(entries, equal):
    """94 % or more of 1,000 with equal noise in all entries, 91 % or more with less and less noise."""
    noise = torch.ones(entries, dtype=torch.float64) if equal else 1 / torch.arange(1.0, entries + 1).double()
    for ratio in RATIOS:
        mean = torch.zeros(entries, dtype=torch.float64)
        mean[0] = ratio * float(noise.norm()) / 8
        truth, missed = Truth(torch.zeros(entries, dtype=torch.float64)), 0
        for seed in range(1000):
            low, high = bias.interval(bias.distance(moments_of(noise, mean, 64, seed), truth), 0.95)
            missed += not low <= mean[0].square() <= high
        assert_no_more_often(missed, 1000, 0.06 if equal else 0.09)


def test_the_interval_of_one_entry_is_student_s():
    """Far from zero: that of a mean, squared; and the same on both sides of where one formula follows the other."""
    for scale in (20.0, 0.9999 * bias.FAR, 1.0001 * bias.FAR, 1e7):
        low, high = bias.interval(bias.Distance(scale**2, 1.0, 1.0, 1.0, 31), 0.95)
        reach = float(stats.t.isf(0.025, 31))
        assert math.isclose(low, (scale - reach) ** 2, rel_tol=1e-3 / scale)
        assert math.isclose(high, (scale + reach) ** 2, rel_tol=1e-3 / scale)
    assert bias.interval(bias.Distance(4.0, 0.0, 0.0, 0.0, 31), 0.95) == (4.0, 4.0)


def test_no_interval_of_a_squared_bias_is_empty():
    """Also where the mean is nearer to the truth than noise should let it be."""
    low, high = bias.interval(bias.Distance(0.01, 1.0, 0.1, 0.1, 31), 0.95)
    assert low == 0.0 and high > 0.1


@pytest.mark.parametrize("freedom", [1, 1.3, 2, 4, 15.5, 31, 200, 9999, 20_000, math.inf])
@pytest.mark.parametrize("t", [0.0, -0.5, 2.0, 4.0])
def test_student_s_t_is_that_far_from_zero_as_often_as_it_should(t, freedom):
    assert two_sided(t, freedom) == pytest.approx(2 * stats.t.sf(abs(t), freedom), rel=5e-3)
