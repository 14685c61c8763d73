"""Readable reference of linear functions of one-hots, which Taylor expansions are."""

from __future__ import annotations

import torch
from torch import Tensor


def at(slopes: Tensor, indices: Tensor) -> Tensor:
    """`slopes . e_index`, variable by variable.

    Args:
        slopes: `[..., *variables, C]`.
        indices: int64, broadcastable to `slopes` without C.

    Returns:
        `[..., *variables]`.
    """
    index = indices.expand(torch.broadcast_shapes(indices.shape, slopes.shape[:-1])).unsqueeze(-1)
    return slopes.expand(*index.shape[:-1], -1).gather(-1, index).squeeze(-1)


def at_mean(slopes: Tensor, probs: Tensor) -> Tensor:
    """`slopes . p`, variable by variable; what a slope is at an impossible category does not matter."""
    return torch.where(probs > 0, probs * slopes, 0.0).sum(-1)


def about_mean(slopes: Tensor, indices: Tensor, probs: Tensor) -> Tensor:
    """`slopes . (e_index - p)`, variable by variable."""
    return at(slopes, indices) - at_mean(slopes, probs)


def gradient_of_mean(slopes: Tensor, probs: Tensor) -> Tensor:
    """`(diag p - p p^T) slopes`, the gradient w.r.t. the logits of the mean of `slopes . e_z`."""
    return mean_and_gradient(slopes, probs)[1]


def mean_and_gradient(slopes: Tensor, probs: Tensor) -> tuple[Tensor, Tensor]:
    """`at_mean` and `gradient_of_mean`, which have their sum in common."""
    weighted = torch.where(probs > 0, probs * slopes, 0.0)
    mean = weighted.sum(-1)
    return mean, weighted - probs * mean.unsqueeze(-1)
