"""The law of a pair in a number of steps that grows with C instead of C squared. The derivation is in `README.md`."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from discretegrad.ops.copula.families import Family
from discretegrad.ops.copula.reference import IN_CACHE, rank_of


def pair_probs(
    family: Family, probs: Tensor, ranking: Tensor, indices: Tensor, pairs: Iterable[tuple[int, int]]
) -> Tensor:
    """See `reference.pair_probs`."""
    categories = probs.shape[-1]
    one, other = rank_of(ranking, indices)[torch.tensor(list(pairs), device=probs.device).T].unsqueeze(-1)
    mass = probs.double().gather(-1, ranking)
    before = mass.cumsum(-1) - mass
    laws = []
    at_once = max(1, IN_CACHE // max(1, mass.numel()))
    for a, b in zip(torch.minimum(one, other).split(at_once), torch.maximum(one, other).split(at_once), strict=True):
        laws.append(_sum_over_orders(family, mass, before, a, b))
    return torch.cat(laws) / (categories * (categories - 1) // 2)


def _sum_over_orders(family: Family, mass: Tensor, before: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Of two points at ranks a <= b, `[P, *variables, 1]`."""
    end = torch.arange(mass.shape[-1], device=mass.device)
    (own_a, first_a, last_a), (own_b, first_b, last_b) = (_moved(mass, before, rank, end) for rank in (a, b))
    if_first_a, if_last_a, if_first_b, if_last_b = (
        family.interval(lower, (lower + own).clamp_max(1.0))
        for lower, own in ((first_a, own_a), (last_a, own_a), (first_b, own_b), (last_b, own_b))
    )
    is_first = family.interval(torch.zeros_like(own_a), own_a)
    is_last = family.interval(1 - own_b, torch.ones_like(own_b))
    apart, between, behind = a < b, (end > a) & (end < b), end[-1] - torch.maximum(b, end)
    # The first end is before both; it is a; it is behind a, and the last one is behind b, or b, or between them too.
    total = (torch.minimum(a, end) * family.rectangle(if_last_a, if_last_b)).sum(-1)
    total = total + _where(apart & (end > a) & (end != b), family.rectangle(is_first, if_last_b))
    # Where the two are the ends nothing may be lost to rounding.
    both = torch.where(apart, family.corner(own_a, own_b), (end[-1] - a) * family.rectangle(is_first, is_first))
    total = total + both.squeeze(-1)
    total = total + _where(end > a, behind * family.rectangle(if_first_a, if_first_b))
    total = total + _where(between, family.rectangle(if_first_a, is_last))
    return total + family.crossed(if_first_a, if_last_b, between)


def _moved(mass: Tensor, before: Tensor, rank: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The length of a rank's interval, and its lower edge where each rank is the first end, and where the last."""
    own, lower = (table.expand(*rank.shape[:-1], -1).gather(-1, rank) for table in (mass, before))
    highest = 1 - own
    first = torch.where(end > rank, lower + mass, torch.where(end == rank, 0.0, lower))
    last = torch.where(end < rank, lower - mass, torch.where(end == rank, highest, lower))
    return own, torch.minimum(first, highest), torch.minimum(last.clamp_min(0.0), highest)


def _where(counts: Tensor, numbers: Tensor) -> Tensor:
    return torch.where(counts, numbers, 0.0).sum(-1)
