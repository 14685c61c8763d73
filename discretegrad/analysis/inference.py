"""Intervals from estimates and their standard errors."""

from __future__ import annotations

import math

from discretegrad.analysis.estimate import Estimate, logarithm


def interval(estimate: Estimate, confidence: float) -> tuple[float, float]:
    """Of a quantity of either sign."""
    from scipy import stats  # not imported before it is needed: torch alone does without intervals

    reach = float(stats.t.isf((1 - confidence) / 2, estimate.freedom)) * estimate.error
    return estimate.value - reach, estimate.value + reach


def positive_interval(estimate: Estimate, confidence: float) -> tuple[float, float]:
    """Of a positive quantity, by its logarithm, which is nearer to normal than itself unless it is about zero."""
    if estimate.value <= estimate.error:
        low, high = interval(estimate, confidence)
        return max(0.0, low), max(0.0, high)
    low, high = interval(logarithm(estimate), confidence)
    return math.exp(low), math.exp(min(high, 700.0))  # which is about as much as a float can be
