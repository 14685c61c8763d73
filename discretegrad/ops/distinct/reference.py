"""Readable reference of the search for equal points."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad import checks


def distinct(indices: Tensor, event_dims: int) -> tuple[Tensor, Tensor]:
    """Number the distinct points of every batch element.

    The points are sorted by a hash of their ids, and neighbours compared in full: points whose hashes collide are
    never merged; at worst two equal ones stay apart.

    The largest number of distinct points is read on the host: where that is another device, it waits.

    Args:
        indices: int64 `[R, *batch, *event]`.
        event_dims: how many of the last dimensions make one joint point.

    Returns:
        chosen: int64 `[S, *batch]`, one of the R for each distinct point, then 0 where an element has fewer than S;
        point_of: int64 `[R, *batch]` in 0..S-1, which of the distinct points each is.

    Raises:
        ValueError: where no number can be read, as under torch.func.vmap.
    """
    ids = indices.flatten(indices.ndim - event_dims) if event_dims else indices.unsqueeze(-1)
    order = (ids * _multipliers(ids.shape[-1], ids.device)).sum(-1).argsort(0)
    ids = ids.gather(0, order.unsqueeze(-1).expand(ids.shape))
    fresh = torch.zeros_like(order)
    fresh[1:] = (ids[1:] != ids[:-1]).any(-1)
    number = fresh.cumsum(0)
    count = checks.readable(number.max()) + 1 if number.numel() else 1
    chosen = number.new_zeros((count, *number.shape[1:])).scatter(0, number, order)
    return chosen, torch.empty_like(number).scatter(0, order, number)


def _multipliers(count: int, device: torch.device) -> Tensor:
    """Scrambled odd numbers of 64 bits, the same ones every time."""
    number = torch.arange(1, count + 1, device=device) * -0x61C8864680B583EB
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        number = (number ^ (number >> shift)) * factor
    return (number ^ (number >> 31)) | 1
