"""Antithetic pairs on a binary tree over the categories: sampling, their exact law, and their weights."""

from __future__ import annotations

from torch import Tensor

from discretegrad.ops import dispatch
from discretegrad.ops.tree import fused, native, reference
from discretegrad.ops.tree.base import Pairs
from discretegrad.ops.tree.topology import TreeLike, as_tree


def pairs(shape: str | TreeLike, order: str | None, logits: Tensor) -> Pairs:
    """See `reference.pairs`."""
    found: Pairs | None = None
    chosen = dispatch.implementation(logits, logits.shape[-1])
    if chosen == "triton":
        from discretegrad.ops.tree import triton

        found = triton.pairs(shape, order, logits)
    elif chosen == "native":
        found = native.pairs(shape, order, logits)
    elif chosen == "fused":
        found = fused.pairs(shape, order, logits)
    return reference.pairs(shape, order, logits) if found is None else found


__all__ = ["Pairs", "TreeLike", "as_tree", "pairs"]
