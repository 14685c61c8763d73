"""How implementations see tensors: as rows of categories, in the dtype that arithmetic is done in."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad.ops.dispatch import has_entries


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """What the arithmetic on entries of a dtype is done in: at least float32."""
    return torch.promote_types(dtype, torch.float32)


def as_rows(tensor: Tensor) -> Tensor:
    """`[*v, C]` as `[N, C]`, without a copy where strides can tell."""
    return tensor.reshape(tensor.shape[:-1].numel(), tensor.shape[-1])


def switch_off(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Category logits `[*v, C]` by which a variable is certain to be category 0 where its mask is False."""
    if mask is None:
        return logits
    first = torch.arange(logits.shape[-1], device=logits.device) == 0
    certain = torch.where(first, 0.0, -torch.inf).to(logits.dtype)
    return torch.where(mask.unsqueeze(-1), logits, certain)  # whatever was there, NaN included


def only_where(mask: Tensor, fresh: Tensor) -> Tensor:
    """`[..., *v, C]` with 0 where a mask `[*v]` is False: itself, changed in place, where its entries are at hand."""
    if not (fresh.is_contiguous() and has_entries(fresh) and has_entries(mask)):
        return torch.where(mask.unsqueeze(-1), fresh, 0.0)
    if not fresh.is_cpu:  # which rows are off is not known here before the device has come to it
        return fresh.masked_fill_(mask.logical_not().unsqueeze(-1), 0.0)
    off = mask.logical_not().expand(fresh.shape[:-1]).flatten().nonzero().squeeze(-1)
    as_rows(fresh).index_fill_(0, off, 0.0)  # writes to what is off, and makes no copy of the rest
    return fresh


def by_group(coefficients: Tensor, shape: torch.Size) -> tuple[Tensor, int]:
    """What is broadcast to `[K, *v]` as `[K, M]`, and how many rows one after the other share a number, N / M.

    Values of f belong to a batch element and are shared by its variables: they are not copied for each of them.
    """
    if coefficients.ndim == len(shape) > 1 and coefficients.shape == (*shape[:2], *(1,) * (len(shape) - 2)):
        return coefficients.reshape(shape[:2]).contiguous(), shape[2:].numel()  # values of one batch dimension
    coefficients = coefficients.reshape((1,) * (len(shape) - coefficients.ndim) + coefficients.shape)
    own = len(shape)
    while own > 1 and coefficients.shape[own - 1] == 1:
        own -= 1
    grouped = coefficients.reshape(coefficients.shape[:own]).expand(shape[:own])
    return grouped.reshape(shape[0], shape[1:own].numel()).contiguous(), shape[own:].numel()
