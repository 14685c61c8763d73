"""Whether all numbers are finite: the one look at data that every draw takes."""

from __future__ import annotations

import math

from torch import Tensor

from discretegrad.ops import dispatch
from discretegrad.ops.finite import native


def all_finite(tensor: Tensor) -> bool:
    """Whether all entries are finite; where there is no kernel, whether their sum is, which may overflow.

    Raises:
        RuntimeError: under torch.func.vmap, where no entry can be looked at.
    """
    if dispatch.implementation(tensor, 1) == "native":
        return native.all_finite(tensor)
    return math.isfinite(tensor.detach().sum())


__all__ = ["all_finite"]
