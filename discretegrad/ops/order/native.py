"""Sorting of short rows by counting, as a C kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad.ops import native

LARGEST = 256
"""The most categories: counting takes as many steps as there are pairs of them."""
SIGNS = {"ascending": 1, "descending": -1, "abs": 0}

_ascending = native.function("ascending", pointers=2, sizes=3)


def ascending(keys: Tensor) -> Tensor:
    """See `reference.ascending`."""
    return by(keys, "ascending").long()


def by(logits: Tensor, order: str) -> Tensor:
    """Categories sorted by their logits, `SIGNS` says how: int16 `[..., C]`, a quarter of what ids take."""
    out = native.empty(logits.shape, torch.int16)
    rows, categories = logits.shape[:-1].numel(), logits.shape[-1]
    work = logits.numel() * categories
    _ascending(logits.dtype, logits.contiguous(), out, rows, categories, SIGNS[order], work=work)
    return out
