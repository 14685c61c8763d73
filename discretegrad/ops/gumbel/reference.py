"""Readable reference of Gumbel noise."""

from __future__ import annotations

from torch import Tensor

from discretegrad.ops.relaxation import perturbed


def gumbel(noise: Tensor) -> Tensor:
    """Standard Gumbel noise from uniform noise on [0, 1), the larger the nearer that is to 0, where it is finest."""
    return log_arrivals(noise).neg_()


def log_arrivals(noise: Tensor) -> Tensor:
    """Logarithms of standard exponential noise from uniform noise on [0, 1).

    `-log(1 - u)` keeps the small arrival times that matter; a uniform of 0 stands for all below the least other one.
    """
    return noise.clamp_min(2.0**-54).neg_().log1p_().neg_().log_()


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
    return perturbed(log_probs, indices, log_arrivals(noise))
