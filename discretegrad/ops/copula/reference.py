"""Readable reference of categories drawn from a copula by inverse CDFs in random order.

Derivations are in `README.md` beside this file.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from discretegrad.ops import order as order_ops
from discretegrad.ops.copula.families import Dirichlet, Family, Interval
from discretegrad.ops.dispatch import has_entries
from discretegrad.ops.inverse_cdf import inverse_cdf

IN_CACHE = 2**15
"""How many numbers an array should have that several steps of arithmetic are done with."""


def sample(family: Family, probs: Tensor, noise: Tensor, order_noise: Tensor | None) -> Tensor:
    """Draw n ids a variable: one order of the categories for all of them, then the inverse CDF of a copula.

    Args:
        family: the copula of n points.
        probs: `[*variables, C]`.
        noise: uniform on [0, 1), `[n, *variables]`.
        order_noise: uniform on [0, 1), `[*variables]`; None where C < 3, for there is only one order then.

    Returns:
        int64 `[n, *variables]`.
    """
    categories = probs.shape[-1]
    uniforms = family.uniforms(noise)
    if categories == 1:
        return torch.zeros_like(uniforms, dtype=torch.int64)
    number = torch.zeros(probs.shape[:-1], dtype=torch.int64, device=probs.device)
    if order_noise is not None:
        count = categories * (categories - 1) // 2
        number = (order_noise * count).long().clamp_max(count - 1)
    one, other = ends(number, categories)
    swap = _at(probs, one) > _at(probs, other)
    first, last = torch.where(swap, other, one), torch.where(swap, one, other)
    place = torch.arange(categories, device=probs.device)
    order = _category_at(place, first.unsqueeze(-1), last.unsqueeze(-1), categories)
    rank = inverse_cdf(probs.gather(-1, order), uniforms)
    return _category_at(rank, first, last, categories)


def ends(number: Tensor, categories: int) -> tuple[Tensor, Tensor]:
    """The `number`-th pair of categories, int64 ids, the smaller first: as in `torch.triu_indices`, without a table.

    Args:
        number: int64, from 0 to `C (C - 1) / 2 - 1`.
        categories: C of at least 2.
    """
    behind = categories * (categories - 1) // 2 - 1 - number  # the pairs that follow it
    # Behind the pairs of a first category are k (k + 1) / 2 others, k the categories behind the next; a root that was
    # rounded the wrong way is put right.
    k = (((8 * behind.double() + 1).sqrt() - 1) / 2).long()
    k = k - (k * (k + 1) // 2 > behind).long()
    k = k + ((k + 1) * (k + 2) // 2 <= behind).long()
    return categories - 2 - k, categories - 1 - (behind - k * (k + 1) // 2)


def pair_probs(family: Family, probs: Tensor, indices: Tensor, pairs: Iterable[tuple[int, int]]) -> Tensor:
    """The probability that two of the points are the given ids, in this sequence.

    Args:
        family: the copula.
        probs: `[*variables, C]`.
        indices: int64 `[S, *variables]`, ids.
        pairs: which of the S ids the one point has, and which the other; P of them.

    Returns:
        float64 `[P, *variables]`, the mean over the orders.
    """
    categories = probs.shape[-1]
    if categories == 1:
        return torch.stack([torch.ones_like(indices[s], dtype=torch.float64) for s, _ in pairs])
    ranking = order_ops.ascending(probs)
    probs, pairs = probs.double(), list(pairs)
    layout = _layout(probs, ranking, indices)
    rank = _at(ranking.argsort(-1).expand(*indices.shape, categories), indices)
    # Where the two ids are the ends of the order nothing may be lost to rounding: this is what bounds the weights.
    numbers, corners, own = [], [], layout.own
    for s, t in pairs:
        first, last = torch.minimum(rank[s], rank[t]), torch.maximum(rank[s], rank[t])
        number = first * (2 * categories - first - 1) // 2 + last - first - 1
        numbers.append(torch.where(first == last, -1, number))
        corners.append(family.corner(torch.minimum(own[s], own[t]), torch.maximum(own[s], own[t])))
    count = categories * (categories - 1) // 2
    # So many orders at a time as fit the cache; a compiler decides for itself.
    at_once = max(1, IN_CACHE // max(1, rank[0].numel())) if has_entries(probs) else count
    totals = [torch.zeros_like(corner) for corner in corners]
    for start in range(0, count, at_once):
        order = torch.arange(start, min(start + at_once, count), device=probs.device)
        interval = family.interval(*layout.edges(*ends(order, categories)))
        order = order.reshape(-1, *[1] * (probs.ndim - 1))
        for pair, (s, t) in enumerate(pairs):
            between = family.rectangle(*(Interval(*(part[side] for part in interval)) for side in (s, t)))
            total = torch.where(order == numbers[pair], corners[pair], between).sum(0)
            totals[pair] = totals[pair] + total
    return torch.stack(totals) / count


def joint_law(family: Dirichlet, probs: Tensor) -> tuple[Tensor, Tensor]:
    """The exact law of all n ids, by inclusion and exclusion over the corners of their intervals.

    Returns:
        int64 `[M, n]`, all tuples of categories, and their probabilities `[*variables, M]`.
    """
    points, categories = family.points, probs.shape[-1]
    outcomes = torch.tensor(list(itertools.product(range(categories), repeat=points)), device=probs.device)
    if categories == 1:
        return outcomes, torch.ones_like(probs)
    ids = torch.arange(categories, device=probs.device).reshape(-1, *[1] * (probs.ndim - 1))
    ends = torch.triu_indices(categories, categories, 1, device=probs.device)
    edges = _layout(probs, order_ops.ascending(probs), ids.expand(-1, *probs.shape[:-1])).edges(*ends)
    total = probs.new_zeros(())
    for corner in itertools.product((0, 1), repeat=points):
        # 1 is the upper edge; each lower one changes the sign.
        sign = (-1) ** (points - sum(corner))
        total = total + sign * family.cdf([edges[side][outcomes[:, k]] for k, side in enumerate(corner)])
    return outcomes, total.mean(1).clamp_min(0.0).movedim(0, -1)


class _Layout(NamedTuple):
    """Where the intervals of S ids are in an order: each pair of categories is once its ends, the rarer one first.

    The others keep their sequence. What becomes the first moves up those that it stood behind, what becomes the last
    moves down those that it stood before; by rank, the rarest category first, and as rows over the variables, so that
    an order is a copy of two rows.
    """

    own: Tensor
    """`[S, *variables]`, the lengths."""
    before: Tensor
    """`[S, *variables]`, the lower edges in the sequence itself."""
    up: Tensor
    """`[S, C, *variables]`, by how much each category moves the ids up as the first; -inf for the id itself."""
    down: Tensor
    """`[S, C, *variables]`, by how much down as the last; -inf for the id itself."""

    def edges(self, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Lower and upper ones, `[S, O, *variables]`, for int64 ranks `[O]` of the ends, the smaller first."""
        own = self.own.unsqueeze(1)
        lower = self.up.index_select(1, first) - self.down.index_select(1, last) + self.before.unsqueeze(1)
        lower = torch.minimum(lower.clamp_min(0.0), 1 - own)
        return lower, (lower + own).clamp_max(1.0)


def _layout(probs: Tensor, ranking: Tensor, indices: Tensor) -> _Layout:
    """Of ids `[S, *variables]`; the ranking `[*variables, C]` is the categories from the rarest on."""
    shape = (*indices.shape, probs.shape[-1])
    own, before = (_at(table.expand(shape), indices) for table in (probs, probs.cumsum(-1) - probs))
    ids, category = indices.unsqueeze(1), ranking.movedim(-1, 0)
    mass = probs.gather(-1, ranking).movedim(-1, 0)
    itself = torch.where(category == ids, -torch.inf, 0.0).to(probs.dtype)
    up, down = (torch.where(moves, mass, itself) for moves in (category > ids, category < ids))
    return _Layout(own, before, up, down)


def _category_at(place: Tensor, first: Tensor, last: Tensor, categories: int) -> Tensor:
    """The category at a place of the order with these ends, between which the others keep their sequence."""
    low, high = torch.minimum(first, last), torch.maximum(first, last)
    category = place - 1
    category = category + (category >= low).long()
    category = category + (category >= high).long()
    return torch.where(place == 0, first, torch.where(place == categories - 1, last, category))


def _at(table: Tensor, index: Tensor) -> Tensor:
    """`table[..., index]`, `[*v]` from `[*v, C]` and int64 `[*v]`."""
    return table.gather(-1, index.unsqueeze(-1)).squeeze(-1)
