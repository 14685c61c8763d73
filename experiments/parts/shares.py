"""Shares of questions or facts that are right, group by group."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.engine import World


def macro(right: Tensor, groups: Tensor, count: int, world: World) -> list[float]:
    """The share of each of `count` groups `[N]` that is right `[N]`, over all processes."""
    sums = torch.zeros(2, count, dtype=torch.float64, device=world.device)
    sums[0].index_add_(0, groups, right.double())
    sums[1].index_add_(0, groups, torch.ones_like(right, dtype=torch.float64))
    hits, counts = world.sum([sums])[0]
    shares: list[float] = (hits / counts).tolist()
    return shares
