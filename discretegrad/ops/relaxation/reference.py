"""Readable reference of Gumbel-perturbed logits given their argmax; README.md derives them."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad.ops.score import one_hot

LOWEST = -1e18
"""Of logits whose derivative w.r.t. a temperature is wanted: its square and more is finite in float32."""


def perturbed(log_probs: Tensor, indices: Tensor, log_noise: Tensor) -> Tensor:
    """`log p + Gumbel noise`, given that the category in `indices` is the largest.

        largest: -log E_b        others: -log(E_i / p_i + E_b)        E standard exponential

    Args:
        log_probs: `[*variables, C]`, normalised.
        indices: int64 `[S, *variables]`, b.
        log_noise: `[S, *variables, C]`, log E; or `[K, S, *variables, C]`.

    Returns:
        Of `log_noise`'s shape; -inf where a category is forbidden.
    """
    largest = log_noise.gather(-1, indices.unsqueeze(-1).expand(*log_noise.shape[:-1], 1))
    others = torch.logaddexp(log_noise - log_probs, largest)
    return -torch.where(_chosen(indices, log_probs), largest, others)


def soften(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """`softmax(logits / temperature)`, with a finite derivative w.r.t. the temperature where a category is forbidden.

    Args:
        logits: `[..., *variables, C]`, the largest of a row about 0, so that no temperature takes it out of range.
        temperature: a number, or a tensor that broadcasts to `[*variables]`.
    """
    if isinstance(temperature, Tensor):
        logits = logits.clamp_min(LOWEST)
    return (logits / per_category(temperature, logits.dtype)).softmax(-1)


def per_category(temperature: float | Tensor, dtype: torch.dtype) -> float | Tensor:
    """A temperature of variables as what category logits of a dtype are divided by."""
    if not isinstance(temperature, Tensor):
        return temperature
    temperature = temperature.to(dtype, copy=True)  # that of the draw, whatever is made of it before the backward pass
    return temperature.unsqueeze(-1) if temperature.ndim else temperature


def softmax_pull_back(relaxed: Tensor, slopes: Tensor, temperature: float | Tensor) -> Tensor:
    """Turn a gradient w.r.t. `relaxed = softmax(perturbed / temperature)` into one w.r.t. the perturbed logits."""
    weighted = torch.where(relaxed > 0, relaxed * slopes, 0.0)
    return (weighted - relaxed * weighted.sum(-1, keepdim=True)) / per_category(temperature, relaxed.dtype)


def conditional_pull_back(log_probs: Tensor, indices: Tensor, log_noise: Tensor, gradient: Tensor) -> Tensor:
    """Turn a gradient w.r.t. `perturbed` into one w.r.t. the logits, for a fixed argmax and fixed noise.

        d perturbed_i / d log p_i = (E_i / p_i) / (E_i / p_i + E_b), and 0 for the largest

    Args:
        log_probs, indices, log_noise: as in `perturbed`.
        gradient: `[S, *variables, C]`, 0 where a category is forbidden.
    """
    largest = log_noise.gather(-1, indices.unsqueeze(-1))
    share = (log_noise - log_probs - largest).sigmoid()
    moved = torch.where(_chosen(indices, log_probs), 0.0, share * gradient)
    return moved - log_probs.exp() * moved.sum(-1, keepdim=True)


def _chosen(indices: Tensor, log_probs: Tensor) -> Tensor:
    return one_hot(indices, log_probs.shape[-1], torch.bool)
