"""Readable reference of the signals of the points of a multi-sample bound `L = log mean_k exp(v_k)`."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def signals(values: Tensor, baseline: str | None) -> Tensor:
    """`L - L_k`, where in `L_k` a mean of the other K - 1 takes the place of point k; `L` itself without a baseline.

    Args:
        values: `v`, `[K, ...]`.
        baseline: "geometric", `mean_{j != k} v_j` in place of `v_k`; "arithmetic", the logarithm of
            `mean_{j != k} exp(v_j)`; or None.

    Returns:
        `[K, ...]`.
    """
    points = values.shape[0]
    if baseline is None:
        return (values.logsumexp(0) - math.log(points)).expand(values.shape)
    # The differences do not depend on a shift, which keeps their digits beside large values.
    values = _shift(values)
    others = log_sum_of_others(values)
    if baseline == "arithmetic":  # the number of others in the same rounding: equal values have themselves as mean
        mean = others - log_sum_of_others(torch.zeros_like(values))
    else:
        mean = _sum_of_others(values) / (points - 1)
    return _difference(torch.logaddexp(others, values), torch.logaddexp(others, mean))


def pair_signals(values: Tensor) -> Tensor:
    """Of each point in K antithetic pairs the mean bound with it, while the others are all first or all second points.

    Args:
        values: `[2K, ...]`; 2k and 2k + 1 are a pair.

    Returns:
        `[2K, ...]`, less what the points of a pair have in common.
    """
    values = _shift(values)
    first, second = values[0::2], values[1::2]
    signal = torch.zeros_like(first)
    for configuration in (first, second):
        others = log_sum_of_others(configuration)
        signal = signal + _difference(torch.logaddexp(others, first), torch.logaddexp(others, second)) / 4
    return torch.stack((signal, -signal), 1).flatten(0, 1)


def log_sum_of_others(values: Tensor) -> Tensor:
    """`log sum_{j != k} exp(v_j)`, `[K, ...]`, from both sides: a difference would lose the digits of small others."""
    nothing = torch.full_like(values[:1], -torch.inf)
    before = torch.cat((nothing, values[:-1].logcumsumexp(0)))
    behind = torch.cat((values[1:].flip(0).logcumsumexp(0).flip(0), nothing))
    return torch.logaddexp(before, behind)


def _sum_of_others(values: Tensor) -> Tensor:
    """`sum_{j != k} v_j`, from both sides too, for a value of -inf must not be subtracted from a sum that holds it."""
    nothing = torch.zeros_like(values[:1])
    return torch.cat((nothing, values[:-1].cumsum(0))) + torch.cat((values[1:].flip(0).cumsum(0).flip(0), nothing))


def _shift(values: Tensor) -> Tensor:
    highest = values.amax(0)
    return values - torch.where(highest.isfinite(), highest, 0.0)


def _difference(first: Tensor, second: Tensor) -> Tensor:
    """`first - second`, and 0 where both are -inf: points of weight zero make no difference to a bound of zero."""
    return torch.where(first == second, 0.0, first - second)
