"""How far rounding may take apart two computations of the same numbers: where their tolerances come from.

Every operation rounds by at most eps / 2 of its result. A sum of n numbers of one sign, taken in any order, is
therefore off by at most (n - 1) eps / 2 of itself, and a product or a quotient by the errors of its factors and one
rounding more; to first order they add up (Higham, Accuracy and Stability of Numerical Algorithms, 2002, sections 3.1
and 4.2). Numbers that cancel are off by a share of the sum of their sizes. Two computations, each off so, differ by
twice that, which is a whole eps for every rounding.

How many roundings there really are, and which way they go, depends on the order of the operations, which differs
between instruction sets, numbers of threads and implementations; no bound here knows of any. To the last bit only those
computations are compared which do the same operations on tensors of the same shapes and strides, and those without
rounding.
"""

import math

import torch
from calibration import FALSE_ALARM
from scipy import stats


def of_softmax(logits):
    """The roundings of a probability: of its exponent, as many as that is large, of the exponential, sum and quotient.

    What is far below the largest may be taken relative to another number, of its own subtree for example; what is so
    far below that it has no exponential is 0 either way.
    """
    finite = logits[logits > -torch.inf]
    spread = float(finite.max() - finite.min()) if len(finite) else 0.0
    return min(spread, -math.log(torch.finfo(logits.dtype).tiny)) + 4 + logits.shape[-1]


def assert_rounding(got, expected, size, roundings, eps=None):
    """Within so many roundings of `size`: the sum of the absolute values of what was added.

    Numbers below the smallest normal one round by a share of that, or to 0.

    Args:
        got, expected: of the same shape.
        size: a tensor, or what can be broadcast.
        roundings: of either computation.
        eps: of the coarser of their dtypes, by default of `got`'s.
    """
    assert got.shape == expected.shape
    info = torch.finfo(got.dtype)
    bound = roundings * ((info.eps if eps is None else eps) * size + info.tiny)
    excess = (got.double() - expected.double()).abs() - bound
    assert (excess <= 0).all(), f"beyond rounding by {excess.max()}"  # NaN is, too


def flips(draws, roundings, eps):
    """Of so many draws, how many may be another category because noise lies within rounding of an edge.

    Each does with probability `roundings * eps` at most; more than what is returned do in one of 10^6 cases.
    """
    return stats.poisson.isf(FALSE_ALARM, draws * roundings * eps) if draws else 0
