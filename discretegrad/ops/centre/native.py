"""Values as a C kernel sees them: all there is to know of them in one pass."""

from __future__ import annotations

from torch import Tensor

from discretegrad.ops import native

_centre = native.function("centre", pointers=3, sizes=3)


def centre(values: Tensor, ndim: int, others: bool) -> tuple[Tensor, Tensor, bool]:
    """The mean over the points, what is left of the values, and whether all means are finite; without a graph.

    Args:
        values: `[S, *batch]`.
        ndim: dimensions of 1 are appended to what is left up to so many.
        others: whether the mean of the S - 1 other values is taken off each; else the first one is taken off all.

    Returns:
        `[*batch]`, `[S, *batch, 1, ...]`.
    """
    shape, dtype = values.shape, values.dtype
    average = native.empty(shape[1:], dtype)
    left = native.empty((*shape, *(1,) * (ndim - len(shape))), dtype)
    count = average.numel()
    finite = _centre(dtype, values.contiguous(), average, left, shape[0], count, int(others), work=values.numel())
    return average, left, finite
