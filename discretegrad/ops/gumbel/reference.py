"""Readable reference of Gumbel noise."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad.ops.relaxation import perturbed


def gumbel(noise: Tensor) -> Tensor:
    """Standard Gumbel noise from uniform noise on [0, 1)."""
    return -(-noise.clamp_min(torch.finfo(noise.dtype).tiny).log()).log()


def conditional_gumbel(log_probs: Tensor, indices: Tensor, noise: Tensor) -> Tensor:
    """Log-probabilities plus Gumbel noise, drawn given that `indices` are the categories with the largest sums.

    `ops/relaxation/README.md` derives it.

    Args:
        log_probs: normalised, `[*variables, C]`.
        indices: int64 `[S, *variables]`, possible categories.
        noise: uniform on [0, 1), `[K, S, *variables, C]`.

    Returns:
        `[K, S, *variables, C]`; -inf where a category is forbidden.
    """
    # -log(1 - u) keeps the small arrival times that matter; u = 0 must not make the smallest of them zero.
    arrivals = (-torch.log1p(-noise)).clamp_min(torch.finfo(noise.dtype).tiny)
    return perturbed(log_probs, indices, arrivals.log())
