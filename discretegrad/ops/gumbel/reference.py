"""Readable reference of Gumbel noise."""

from __future__ import annotations

import torch
from torch import Tensor


def gumbel(noise: Tensor) -> Tensor:
    """Standard Gumbel noise from uniform noise on [0, 1)."""
    return -(-noise.clamp_min(torch.finfo(noise.dtype).tiny).log()).log()


def conditional_gumbel(log_probs: Tensor, indices: Tensor, noise: Tensor) -> Tensor:
    """Log-probabilities plus Gumbel noise, drawn given that `indices` are the categories with the largest sums.

    The largest of the sums is a standard Gumbel T whichever category has it, and given T every other sum is a Gumbel
    with its own location that stays below T: `exp(-sum)` is then exponential with rate p, shifted by `exp(-T)`.

    Args:
        log_probs: normalised, `[*variables, C]`.
        indices: int64 `[S, *variables]`, possible categories.
        noise: uniform on [0, 1), `[K, S, *variables, C]`.

    Returns:
        `[K, S, *variables, C]`; -inf where a category is forbidden.
    """
    # -log(1 - u) keeps the small arrival times that matter; u = 0 must not make the smallest of them zero.
    arrivals = (-torch.log1p(-noise)).clamp_min(torch.finfo(noise.dtype).tiny)
    drawn = indices.unsqueeze(-1) == torch.arange(log_probs.shape[-1], device=indices.device)
    index = indices.unsqueeze(-1).expand(*arrivals.shape[:-1], 1)
    first = arrivals.gather(-1, index)
    # In logarithms, where exp(-log_probs) would overflow: -log(first + arrivals / p).
    others = -torch.logaddexp(first.log(), arrivals.log() - log_probs)
    return torch.where(drawn, -first.log(), others)
