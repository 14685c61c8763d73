"""Antithetic pairs on a binary tree over the categories: sampling, their exact law, and their weights."""

from __future__ import annotations

from torch import Tensor

from discretegrad.ops import dispatch
from discretegrad.ops.layout import switch_off
from discretegrad.ops.tree import fused, native, reference
from discretegrad.ops.tree.base import Pairs
from discretegrad.ops.tree.topology import TreeLike, as_tree


def pairs(
    shape: str | TreeLike, order: str | None, logits: Tensor, mask: Tensor | None = None, chosen: str | None = None
) -> Pairs:
    """See `reference.pairs`; variables are certain to be category 0 where a mask, broadcastable to `[*v]`, is False.

    `chosen` is the implementation, where the caller has asked for it already.
    """
    found: Pairs | None = None
    chosen = chosen or dispatch.implementation(logits)
    if chosen == "native":
        return native.NativePairs(shape, order, logits, mask)
    if chosen == "triton":
        from discretegrad.ops.tree import triton

        found = triton.pairs(shape, order, logits, mask)
    if found is None:
        logits = switch_off(logits, mask)
        found = fused.pairs(shape, order, logits) if chosen == "fused" else None
    return reference.pairs(shape, order, logits) if found is None else found


__all__ = ["Pairs", "TreeLike", "as_tree", "pairs"]
