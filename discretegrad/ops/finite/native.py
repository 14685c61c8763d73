"""Whether all numbers are finite, by a C kernel: in the middle of a training step, a third of the time of a sum."""

from __future__ import annotations

from torch import Tensor

from discretegrad.ops import native

_all_finite = native.function("all_finite", pointers=1, sizes=1)


def all_finite(tensor: Tensor) -> bool:
    """See `ops.finite.all_finite`."""
    return _all_finite(tensor.dtype, tensor.contiguous(), tensor.numel(), work=tensor.numel())
