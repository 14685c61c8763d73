"""Numbers with standard errors, and a test of two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

NORMAL = 1e4
"""Degrees of freedom, from which on Student's t is taken for normal."""


class Estimate(NamedTuple):
    """A number and its standard error."""

    value: float
    error: float
    freedom: float = math.inf
    """Degrees of freedom of the error: how well it is known itself."""

    def __str__(self) -> str:
        """Three digits, and one of the error."""
        return f"{self.value:.3g} +- {self.error:.1g}"

    def __mul__(self, other: object) -> Estimate:
        """The product of independent ones; the error to first order."""
        if not isinstance(other, Estimate):
            return NotImplemented
        own = self._replace(error=self.error * other.value)
        return Estimate(self.value * other.value, *joint_error(own, other._replace(error=other.error * self.value)))


def joint_error(*terms: Estimate) -> tuple[float, float]:
    """The error of a sum of independent terms, and its degrees of freedom (Satterthwaite 1946, Welch 1947)."""
    error = math.hypot(*(term.error for term in terms))
    if not 0 < error < math.inf:
        return error, min(term.freedom for term in terms)
    shares = sum((term.error / error) ** 4 / term.freedom for term in terms)
    return error, 1 / shares if shares else math.inf


def p_value(one: Estimate, other: Estimate) -> float:
    """How probable independent estimates so far apart, or farther, are if both are of the same number; two-sided.

    Welch's t-test of the difference. The errors of positive numbers such as variances tend to grow with them, and their
    logarithms are nearer to normal: where both estimates are above twice their errors, the same test of the logarithms'
    difference is to agree, and the larger p-value is returned. In simulations with 31 degrees of freedom equal numbers
    have p-values below 0.05 in 5.4 % of cases at most, where errors are normal and where they are those of variances
    and below a fifth of these; with errors of 40 % of the variances, in 8 %.

    Example:
        >>> from discretegrad.analysis import Estimate, p_value
        >>> p_value(Estimate(1.0, 0.02, 31), Estimate(1.1, 0.02, 31)) < 0.01
        True
    """
    found = _of_difference(one, other)
    if all(estimate.value > max(0.0, 2 * estimate.error) for estimate in (one, other)):
        found = max(found, _of_difference(logarithm(one), logarithm(other)))
    return found


def logarithm(estimate: Estimate) -> Estimate:
    """Of a positive number; the error to first order."""
    return Estimate(math.log(estimate.value), estimate.error / estimate.value, estimate.freedom)


def two_sided(t: float, freedom: float) -> float:
    """How probable Student's t is that far from zero, or farther."""
    if freedom > NORMAL:
        return math.erfc(abs(t) / math.sqrt(2))
    # With t = sqrt(freedom) tan(angle) the density is a power of the cosine: Simpson's rule up to the right angle.
    start, parts, power = math.atan(abs(t) / math.sqrt(freedom)), 1000, freedom - 1
    step = (math.pi / 2 - start) / parts
    inner = math.fsum((4 if i % 2 else 2) * math.cos(start + i * step) ** power for i in range(1, parts))
    ends = math.cos(start) ** power + 0.0**power
    total = math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2)) * math.sqrt(math.pi)
    return min(1.0, 2 * step / 3 * (ends + inner) / total)


def _of_difference(one: Estimate, other: Estimate) -> float:
    error, freedom = joint_error(one, other)
    if error == 0:
        return 1.0 if one.value == other.value else 0.0
    if not math.isfinite(error):
        return 1.0
    return two_sided((one.value - other.value) / error, freedom)


def mean(values: Tensor) -> Estimate:
    """Of independent values `[N]`."""
    count = len(values)
    error = float(values.std()) / math.sqrt(count) if count > 1 else math.inf
    return Estimate(float(values.mean()), error, max(1, count - 1))


def typical(times: Sequence[float]) -> Estimate:
    """The mean of the middle half, which a few slow rounds leave where it is; a single time has an infinite error.

    The error is that of the deviations with the outer quarters drawn in to the ends of the half, whose size is that of
    the degrees of freedom (Tukey and McLaughlin 1963; Yuen 1974). Unlike that of a median it is as precise as the
    degrees of freedom say: in simulations of 9 and of 25 times, a t-test finds one of two equal calls faster in 5 %.
    """
    ordered, cut = sorted(times), len(times) // 4
    half = ordered[cut : len(times) - cut]
    count = len(half)
    drawn_in = [min(max(one, half[0]), half[-1]) for one in ordered]
    centre = math.fsum(drawn_in) / len(times)
    squares = math.fsum((one - centre) ** 2 for one in drawn_in)
    error = math.sqrt(squares / (count * (count - 1))) if count > 1 else math.inf
    return Estimate(math.fsum(half) / count, error, max(1, count - 1))
