"""Readable reference of Gumbel noise."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad.ops.relaxation import perturbed, soften, softmax_pull_back


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


@torch.no_grad()
def leading_to(indices: Tensor, logits: Tensor, noise: Tensor, law: Tensor | None = None) -> Tensor:
    """Gumbel noises that lead from the logits to the ids, up to an offset of every row; 0 at a forbidden category.

    Args:
        indices: int64 `[S, *variables]`, possible categories.
        logits: `[*variables, C]`.
        noise: uniform on [0, 1), `[K, S, *variables, C]`.
        law: category logits `[S, *variables, C]`; then what leads from `logits` to those, perturbed, given the ids.

    Returns:
        Of the noise's shape.
    """
    law = logits if law is None else law
    sums = conditional_gumbel(law.log_softmax(-1), indices, noise)
    return torch.where(sums > -torch.inf, sums - logits, 0.0)


def averaged_pull_back(logits: Tensor, indices: Tensor, noise: Tensor, slopes: Tensor, temperature: float) -> Tensor:
    """Turn a gradient w.r.t. softened logits, averaged over noises that lead to given ids, into one w.r.t. the logits.

        sum_s mean_k J(softmax((logits + G_ks) / temperature)) slopes_s / temperature,   J(q) = diag(q) - q q^T

    Args:
        logits: `[*variables, C]`, 0 the largest of every row.
        indices: int64 `[S, *variables]`, possible categories.
        noise: uniform on [0, 1), `[K, S, *variables, C]`.
        slopes: `[S, *variables, C]`.
        temperature: of the softmax; positive.

    Returns:
        `[*variables, C]`.
    """
    relaxed = soften(logits + leading_to(indices, logits, noise), temperature)
    return softmax_pull_back(relaxed, slopes, temperature).mean(0).sum(0)
