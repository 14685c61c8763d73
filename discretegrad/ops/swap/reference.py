"""Readable reference of the swapped races. The mathematics is in the README beside it.

A category's time is its noise over its rate, `log pi_i - logits_i` on the log scale; the smallest wins. Swapping c
and j gives each the other's noise and leaves the rates where they are.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


def flat_dirichlet(uniforms: Tensor) -> Tensor:
    """Logarithms of flat Dirichlet noise `[*variables, C]`, never infinite, from uniforms on [0, 1)."""
    # A uniform of 0 stands for all below the least other one.
    exponential = -torch.log1p(-uniforms.clamp_min(2.0**-54))
    return exponential.log() - exponential.sum(-1, keepdim=True).log()


def all_swaps(categories: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The `C (C - 1) / 2 + 1` different swaps, int64 `(first, second)`: none at all, then all with first > second."""
    first, second = torch.tril_indices(categories, categories, -1, device=device)
    nothing = first.new_zeros(1)
    return torch.cat((nothing, first)), torch.cat((nothing, second))


def swap_number(categories: int, device: torch.device) -> Tensor:
    """int64 `[C, C]`, symmetric: where in `all_swaps` the swap of two categories is."""
    ids = torch.arange(categories, device=device)
    high, low = torch.maximum(ids.unsqueeze(-1), ids), torch.minimum(ids.unsqueeze(-1), ids)
    return torch.where(high == low, 0, 1 + high * (high - 1) // 2 + low)


class Race(NamedTuple):
    """Who else runs in swapped races, `[*variables, R]` each."""

    winner: Tensor
    """int64, the category with the smallest time among those that were not swapped; C where there is none."""
    best: Tensor
    """Its log time."""
    runner_up: Tensor
    """The log time of the next of them."""


def others(times: Tensor, first: Tensor, second: Tensor) -> Race:
    """The two smallest log times among the categories that a swap leaves alone.

    Args:
        times: log times without a swap, `[*variables, C]`.
        first: int64, broadcastable to `[*variables, R]`.
        second: like `first`.
    """
    categories = times.shape[-1]
    # Two of the four smallest may have been swapped.
    smallest, ids = times.topk(min(4, categories), largest=False)
    missing = 4 - smallest.shape[-1]
    smallest = torch.nn.functional.pad(smallest, (0, missing), value=torch.inf)
    ids = torch.nn.functional.pad(ids, (0, missing), value=categories)
    winner, best, runner_up = ids[..., 3:4], smallest[..., 3:4], torch.full_like(smallest[..., 3:4], torch.inf)
    for k in (2, 1, 0):
        candidate = ids[..., k : k + 1]
        alone = (candidate != first) & (candidate != second)
        runner_up = torch.where(alone, best, runner_up)
        best = torch.where(alone, smallest[..., k : k + 1], best)
        winner = torch.where(alone, candidate, winner)
    return Race(winner, best, runner_up)


def swapped_winners(log_noise: Tensor, logits: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Who wins when the noise of two categories is swapped: every one has the law `softmax(logits)`.

    Args:
        log_noise: logarithms of flat Dirichlet noise, up to a constant, `[*variables, C]`.
        logits: `[*variables, C]`; -inf never wins.
        first: int64, broadcastable to `[*variables, R]`.
        second: like `first`; where equal to it nothing is swapped.

    Returns:
        int64 `[*variables, R]`.
    """
    race = others(log_noise - logits, first, second)
    of_first = at(log_noise, second) - at(logits, first)
    of_second = at(log_noise, first) - at(logits, second)
    first_wins = of_first <= of_second
    swapped = torch.where(first_wins, first, second)
    return torch.where(torch.where(first_wins, of_first, of_second) < race.best, swapped, race.winner)


def at(values: Tensor, index: Tensor) -> Tensor:
    """`values[..., index]`, for an index broadcastable to `[*variables, R]`."""
    return values.gather(-1, index.expand(*values.shape[:-1], index.shape[-1]))
