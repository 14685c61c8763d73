"""Readable reference of the law of a set drawn without replacement, and of its leave-one-out ratios."""

from __future__ import annotations

import functools
import itertools

import torch
from torch import Tensor

LARGEST = 12
"""The largest set: there are `2 ** k` subsets."""


def log_probability(log_probs: Tensor, log_rest: Tensor) -> Tensor:
    """`log F(S)`: the probability that S is the set of the first k joint values drawn without replacement.

    Args:
        log_probs: `[k, ...]`, of the values in S; -inf for those that are not there.
        log_rest: `[...]`, of the mass of all others.

    Returns:
        `[...]`.
    """
    highest = log_probs.amax(0)
    scale = highest * (log_probs > -torch.inf).sum(0)
    return _levels(log_probs, log_rest)[-1][0] + scale


def first_ratios(log_probs: Tensor, log_rest: Tensor) -> Tensor:
    """`p(s) R(S, s) = p(s) F(S - s) / F(S)`, `[k, ...]`: the law of which value came first, given the set."""
    below, whole = _levels(log_probs, log_rest)[-2:]
    return (_scaled(log_probs) + below.flip(0) - whole).exp()


def estimates_given_first(log_probs: Tensor, log_rest: Tensor, values: Tensor) -> Tensor:
    """Of every s, given that it came first, an unbiased estimate of the mean of the values from the whole set.

        B_s = p(s) f_s + sum_{s' != s} p(s') F(S - s - s') / F(S - s) f_s'

    Its mean does not depend on s, so it is a baseline for f_s.

    Args:
        log_probs: `[k, ...]`, k >= 2.
        log_rest: `[...]`.
        values: `[k, ..., *more]`.

    Returns:
        Like the values.
    """
    two_out, one_out, _ = _levels(log_probs, log_rest)[-3:]
    members, without = _subsets(log_probs.shape[0], log_probs.shape[0] - 1, log_probs)
    # The subsets of k - 1 leave out the last value first.
    of_others = (_scaled(log_probs)[members] + two_out[without] - one_out.unsqueeze(1)).exp().flip(0)
    estimate = _weigh(of_others, values[members.flip(0)]).sum(1)
    return estimate + _weigh(log_probs.exp(), values)


def _weigh(weights: Tensor, values: Tensor) -> Tensor:
    """The product, and 0 where a weight is, whatever f returned there."""
    weights = weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim))
    return torch.where(weights > 0, weights * values, 0.0)


def _levels(log_probs: Tensor, log_rest: Tensor) -> list[Tensor]:
    """`log F(A)` for all subsets A of S with 0, 1, ..., k values, but for a scale: a list of `[C(k, size), ...]`.

    F(A) is the probability that all of A arrive before the rest c = 1 - p(S), in a race of exponential clocks
    without the values of S that are not in A:

        F(A) = sum_{s in A} p(s) / (c + p(A)) F(A - s),    F({}) = 1

    All terms are positive, where inclusion and exclusion would cancel. The p(s) in front are divided by the largest,
    which cancels in ratios, and keeps the digits of logarithms that would otherwise be large.
    """
    scaled = _scaled(log_probs)
    levels = [torch.zeros_like(log_probs[:1])]
    for size in range(1, log_probs.shape[0] + 1):
        members, without = _subsets(log_probs.shape[0], size, log_probs)
        of_members = log_probs[members]
        present = of_members.logsumexp(1)
        arrives_first = (scaled[members] + levels[-1][without]).logsumexp(1)
        # Values that are not there, being impossible, are waited for by nobody.
        level = torch.where(present > -torch.inf, arrives_first - torch.logaddexp(present, log_rest), 0.0)
        levels.append(level)
    return levels


def _scaled(log_probs: Tensor) -> Tensor:
    return log_probs - log_probs.amax(0)


def _subsets(k: int, size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """`[n, size]` members of the subsets of that size, and the positions of those without each one member."""
    # As for trees, the cache keeps host-to-device copies out of the training step.
    lasting = type(like) is Tensor and not torch.compiler.is_compiling()
    return (_subset_tables if lasting else _subset_tables.__wrapped__)(k, size, like.device)


@functools.lru_cache(maxsize=256)
def _subset_tables(k: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    position = {subset: i for i, subset in enumerate(itertools.combinations(range(k), size - 1))}
    subsets = list(itertools.combinations(range(k), size))
    without = [[position[subset[:i] + subset[i + 1 :]] for i in range(size)] for subset in subsets]
    return torch.tensor(subsets, device=device), torch.tensor(without, device=device)
