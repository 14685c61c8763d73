"""Sorting of many short rows at once, as a C kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad.ops import native
from discretegrad.ops.dispatch import LARGEST
from discretegrad.ops.order import fused

SIGNS = {"ascending": 1, "descending": -1, "abs": 0}

_ascending = native.function("ascending", pointers=2, sizes=3)


def ascending(keys: Tensor) -> Tensor:
    """See `reference.ascending`."""
    if keys.shape[-1] > LARGEST:
        return fused.ascending(keys)
    return by(keys, "ascending").long()


def by(logits: Tensor, order: str) -> Tensor:
    """Categories sorted by their logits, `SIGNS` says how: int16 `[..., C]`, a quarter of what ids take."""
    out = native.empty(logits.shape, torch.int16)
    rows, categories = logits.shape[:-1].numel(), logits.shape[-1]
    _ascending(logits.dtype, logits.contiguous(), out, rows, categories, SIGNS[order], work=logits.numel())
    return out
