"""Readable reference of the sorting of categories."""

from __future__ import annotations

from torch import Tensor


def ascending(keys: Tensor) -> Tensor:
    """Categories from the smallest key to the largest, equal ones by their number.

    Args:
        keys: `[..., C]`, no NaN.

    Returns:
        int64 `[..., C]`.
    """
    return keys.argsort(dim=-1, stable=True)
