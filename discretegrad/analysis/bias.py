"""Confidence intervals for the squared norm of a bias, also where the bias is of the size of its noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from discretegrad.analysis.moments import Moments, Truth

if TYPE_CHECKING:
    from scipy import stats

FAR = 1e4
"""Standard deviations from the truth, from which on the noise is small beside the distance whatever its direction."""


class Distance(NamedTuple):
    """Of a mean gradient from the truth, squared, and the covariance S of its noise, as far as it matters."""

    square: float
    noise: float
    """trace S: what noise adds to the square, in the mean."""
    noise2: float
    """trace S^2."""
    along: float
    """The variance of the noise in the direction of the distance."""
    freedom: int
    """Degrees of freedom of the estimate of S."""


def distance(moments: Moments, truth: Truth) -> Distance:
    """From the differences between the groups, to each of which a long run lends one of its own."""
    apart = moments.mean - truth.of_groups
    whole = moments.average() - truth.gradient
    groups, freedom = moments.groups, moments.groups - 1
    apart.sub_(apart.mean(0)).div_(math.sqrt(groups * freedom))
    products = apart @ apart.T
    square, noise, noise2 = float(whole.square().sum()), float(products.trace()), float(products.square().sum())
    # Without what the noise of the estimate of S adds to its square, if the groups are normal.
    noise2 = (noise2 - noise**2 / freedom) * freedom**2 / ((freedom - 1) * (freedom + 2))
    along = float((apart @ whole).square().sum()) / square if square > 0 else 0.0
    return Distance(square, noise, max(noise2, noise**2 / len(whole)), along, freedom)


def interval(found: Distance, confidence: float) -> tuple[float, float]:
    """Of the squared norm of the bias: all that no test rejects at half of 1 - confidence, too small or too large.

    The test approximates the law of the squared distance by a multiple of a noncentral chi-square, of the same mean and
    variance, and exactly so if there is a single entry or if the noise is the same in all directions. In simulations
    of 1 to 50 entries, a bias of up to ten times its noise, and 95 % confidence, 94 to 98 % of intervals cover where
    the noise is the same in all directions, and 91 to 98 % where it falls as 1, 1/2, ... 1/50 and the bias is where it
    is largest. Without a bias 96 % and more cover: a distance below its mean then counts as that mean, for no interval
    to be empty.
    """
    from scipy import stats  # not imported before it is needed: torch alone does without intervals

    square, noise = found.square, found.noise
    # The normal quantile at this level is Student's.
    level = float(stats.norm.sf(stats.t.isf((1 - confidence) / 2, found.freedom)))
    if noise <= 0 or square > FAR**2 * max(noise, found.along):
        reach = float(stats.norm.isf(level)) * math.sqrt(found.along)
        return (math.sqrt(square) - reach) ** 2, (math.sqrt(square) + reach) ** 2

    def law(bias2: float) -> tuple[float, stats.rv_frozen]:
        """A factor, and the law of the squared distance over it."""
        factor = (found.noise2 + 2 * bias2 * found.along) / (noise + 2 * bias2)
        return factor, stats.ncx2(noise / factor, bias2 / factor) if bias2 > 0 else stats.chi2(noise / factor)

    def too_large(bias2: float) -> float:
        factor, chi2 = law(bias2)
        return float(chi2.sf(square / factor)) - level

    def too_small(bias2: float) -> float:
        factor, chi2 = law(bias2)
        return level - float(chi2.cdf(max(square, noise) / factor))

    return 0.0 if too_large(0.0) > 0 else _root(too_large, square), _root(too_small, square + noise)


def _root(increasing: Callable[[float], float], high: float) -> float:
    from scipy import optimize

    while increasing(high) < 0:
        high *= 2
    return float(optimize.brentq(increasing, 0.0, high))
