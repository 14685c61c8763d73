"""The mean of values over a few points, and what is left of each where one of them, or the others' mean, is taken off.

Objectives and control variates do that one operation after the other, and are the reference. Between two calls of f the
caches have forgotten those of torch, so that ten take as long as a pass over the logits. The kernel is one call.
"""

from __future__ import annotations

from torch import Tensor

from discretegrad.ops import dispatch
from discretegrad.ops.centre.native import centre

MOST = 4
"""Points: more of them torch adds up in another order."""


def has_kernel(values: Tensor, logits: Tensor, category_logits: Tensor) -> bool:
    """Whether `centre` takes the values, in a step of the user's logits, whose arithmetic is that of the others."""
    fits = values.dtype is category_logits.dtype and values.shape[0] <= MOST
    return fits and dispatch.has_entries(logits) and dispatch.implementation(values) == "native"


__all__ = ["centre", "has_kernel"]
