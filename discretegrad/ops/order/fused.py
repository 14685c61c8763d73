"""Sorting of float32 keys with NumPy, whose sort of integers is vectorised and ten times as fast as torch's."""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor

from discretegrad.ops.dispatch import has_entries
from discretegrad.ops.order import reference

# Torch's own CPU builds can do without NumPy.
_HAS_NUMPY = importlib.util.find_spec("numpy") is not None


def ascending(keys: Tensor) -> Tensor:
    """See `reference.ascending`."""
    if keys.dtype != torch.float32 or not _HAS_NUMPY or not has_entries(keys):
        return reference.ascending(keys)
    # Key and category in one integer: 32 ordered bits, then 31 of the category. Adding 0.0 makes -0.0 equal to 0.0;
    # the bits of negative numbers rise with their size, so all but the sign are turned around.
    bits = (keys + 0.0).view(torch.int32)
    bits ^= (bits >> 31).bitwise_and_(0x7FFFFFFF)
    packed = bits.long()
    packed <<= 31
    packed |= torch.arange(keys.shape[-1], device="cpu")
    packed.numpy().sort(axis=-1)
    packed &= 0x7FFFFFFF
    return packed
