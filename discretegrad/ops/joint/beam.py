"""Readable reference of the k best joint values, and of k drawn without replacement: one walk over the variables."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad.ops.gumbel import gumbel


def best(log_probs: Tensor, k: int) -> Tensor:
    """The k most probable joint values of V independent variables, best first.

    Args:
        log_probs: `[..., V, C]`.
        k: how many. Where fewer are possible, the best one is repeated.

    Returns:
        int64 `[..., k, V]`.
    """
    score = log_probs.new_zeros((*log_probs.shape[:-2], 1))
    parents, categories = [], []
    for variable in range(log_probs.shape[-2]):
        # A prefix that is not among the k best has k better ones, whose best continuations are better than its.
        extended = score.unsqueeze(-1) + log_probs[..., variable, :].unsqueeze(-2)
        score, parent, category = _keep(extended, k)
        parents.append(parent)
        categories.append(category)
    return _trace_back(parents, categories, score, k)


def without_replacement(log_probs: Tensor, k: int, noise: Tensor) -> Tensor:
    """k joint values of V independent variables, drawn one after the other without replacement.

    Stochastic beam search: every joint value has an arrival time, exponential with its probability as the rate, and
    the first k to arrive are wanted. The earliest arrival among those with some prefix is itself exponential, so a
    walk over the variables suffices: given the earliest arrival t below a prefix, those below its continuations are
    `t + t_c - min t_c`, for unconditional `t_c`. In logarithms of time, for probabilities may be tiny.

    Args:
        log_probs: `[..., V, C]`.
        k: how many. Where fewer are possible, the first one is repeated.
        noise: uniform on [0, 1), `[V, ..., k, C]`.

    Returns:
        int64 `[..., k, V]`, in order of arrival.
    """
    probability = log_probs.new_zeros((*log_probs.shape[:-2], 1))
    arrival = torch.zeros_like(probability)  # minus the logarithm of the time: the largest comes first
    parents, categories = [], []
    perturbation = gumbel(noise)
    for variable in range(log_probs.shape[-2]):
        extended = probability.unsqueeze(-1) + log_probs[..., variable, :].unsqueeze(-2)
        free = extended + perturbation[variable][..., : extended.shape[-2], :]
        tied = _with_maximum(free, arrival)
        arrival, parent, category = _keep(tied, k)
        probability = extended.flatten(-2).gather(-1, parent * extended.shape[-1] + category)
        parents.append(parent)
        categories.append(category)
    return _trace_back(parents, categories, arrival, k)


def _with_maximum(free: Tensor, maximum: Tensor) -> Tensor:
    """Gumbels `[..., m, C]` given that their maxima over C are `maximum`, `[..., m]`.

    `-log(exp(-maximum) - exp(-max free) + exp(-free))`, without overflow.
    """
    maximum = maximum.unsqueeze(-1)
    highest = free.amax(-1, keepdim=True)
    gap = maximum - free + torch.log1p(-(free - highest).exp())
    tied = maximum - gap.clamp_min(0.0) - torch.log1p((-gap.abs()).exp())
    return torch.where(free > -torch.inf, tied, -torch.inf)


def _keep(score: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The k largest of `[..., m, C]`, with their two indices."""
    categories = score.shape[-1]
    flat = score.flatten(-2)
    kept, index = flat.topk(min(k, flat.shape[-1]))
    return kept, index // categories, index % categories


def _trace_back(parents: list[Tensor], categories: list[Tensor], score: Tensor, k: int) -> Tensor:
    """The joint values at the end of the walk; the first one again in place of impossible and missing ones."""
    pointer = torch.arange(score.shape[-1], device=score.device)
    pointer = torch.where(score > -torch.inf, pointer, 0)
    missing = k - score.shape[-1]
    if missing > 0:
        pointer = torch.cat((pointer, pointer[..., :1].expand(*pointer.shape[:-1], missing)), -1)
    ids = []
    for parent, category in zip(reversed(parents), reversed(categories), strict=True):
        ids.append(category.gather(-1, pointer))
        pointer = parent.gather(-1, pointer)
    return torch.stack(ids[::-1], -1)
