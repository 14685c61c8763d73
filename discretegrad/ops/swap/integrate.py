"""Readable reference of the noise's conditional mean. The derivation is in the README beside it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from discretegrad.ops.swap.reference import all_swaps, at, others, swap_number


def integrate_one(log_noise: Tensor, logits: Tensor, reference: Tensor, winners: Tensor) -> Tensor:
    """`E[1 - C pi_j | the winners, the other noise]` for the swaps of every category with one reference j.

    Args:
        log_noise: logarithms of flat Dirichlet noise, `[*variables, C]`.
        logits: `[*variables, C]`.
        reference: j, int64, broadcastable to `[*variables]`.
        winners: int64 `[*variables, C]`, when category m = 0..C-1 and j have swapped their noise.

    Returns:
        `[*variables]`.
    """
    categories = torch.arange(logits.shape[-1], device=logits.device)
    second = reference.unsqueeze(-1)
    low, high = _from_own_swaps(log_noise, logits, categories, second, winners)
    log_noise = at(log_noise, second.expand(*log_noise.shape[:-1], 1)).squeeze(-1)
    return _truncated_mean(log_noise, low.amax(-1), high.amin(-1), logits.shape[-1])


def integrate_all(log_noise: Tensor, logits: Tensor, winners: Tensor) -> Tensor:
    """`E[1 - C pi_j | the winners, the other noise]` for all j, given the winners of all swaps.

    Works on `[*variables, C, C (C - 1) / 2]` numbers.

    Args:
        log_noise: logarithms of flat Dirichlet noise, `[*variables, C]`.
        logits: `[*variables, C]`.
        winners: int64 `[*variables, C (C - 1) / 2 + 1]`, in the order of `all_swaps`.

    Returns:
        `[*variables, C]`.
    """
    count = logits.shape[-1]
    categories = torch.arange(count, device=logits.device)
    # Swaps that j takes part in give its noise to another category.
    second, first = categories.repeat_interleave(count), categories.repeat(count)
    of_own = winners[..., swap_number(count, logits.device).flatten()]
    low, high = (
        bound.unflatten(-1, (count, count)) for bound in _from_own_swaps(log_noise, logits, first, second, of_own)
    )
    low, high = low.amax(-1), high.amin(-1)
    if count > 2:
        # In the others j runs with its own noise, against what they make of the rest.
        first, second = (ids[1:] for ids in all_swaps(count, logits.device))
        race, winner = others(log_noise - logits, first, second), winners[..., 1:]
        swapped = torch.minimum(at(log_noise, second) - at(logits, first), at(log_noise, first) - at(logits, second))
        best, runner_up = torch.minimum(race.best, swapped), torch.minimum(race.runner_up, swapped)
        aside = (first != categories.unsqueeze(-1)) & (second != categories.unsqueeze(-1))
        missed = torch.where(aside, best.unsqueeze(-2), -torch.inf)
        missed = missed.scatter(-2, winner.unsqueeze(-2), -torch.inf).amax(-1)
        met = torch.where((winner != first) & (winner != second), runner_up, torch.inf)
        met = torch.full_like(log_noise, torch.inf).scatter_reduce(-1, winner, met, "amin")
        low = torch.maximum(low, logits + missed)
        high = torch.where(met < torch.inf, torch.minimum(high, logits + met), high)
    return _truncated_mean(log_noise, low, high, count)


def _from_own_swaps(
    log_noise: Tensor, logits: Tensor, first: Tensor, second: Tensor, winners: Tensor
) -> tuple[Tensor, Tensor]:
    """Bounds of log pi_second, `[*variables, R]`, from who won when it was category `first`'s noise."""
    best = others(log_noise - logits, first, second).best
    of_second = torch.where(first == second, torch.inf, at(log_noise, first) - at(logits, second))
    threshold = at(logits, first) + torch.minimum(best, of_second)
    won = winners == first
    return torch.where(won, -torch.inf, threshold), torch.where(won, threshold, torch.inf)


def _truncated_mean(log_noise: Tensor, low: Tensor, high: Tensor, categories: int) -> Tensor:
    """`E[1 - C pi | the other noise's ratios, low < pi's odds * (1 - pi) < high]`, all bounds as logarithms.

    `u = 1 - pi` has density proportional to `u ** (C - 2)` between the bounds `1 / (1 + odds)`.
    """
    if categories == 1:
        return torch.zeros_like(log_noise)
    rest = torch.log1p(-log_noise.exp().clamp_max(1 - torch.finfo(log_noise.dtype).eps))
    largest = F.logsigmoid(rest - low)
    spread = (F.logsigmoid(rest - high) - largest).clamp_max(0.0)  # the log of the smallest over the largest
    ratio = torch.expm1(categories * spread) / torch.expm1((categories - 1) * spread)
    ratio = torch.where(spread < 0, ratio, categories / (categories - 1))
    return 1 - categories + (categories - 1) * largest.exp() * ratio
