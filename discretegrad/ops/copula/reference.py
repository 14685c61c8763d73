"""Readable reference of categories drawn from a copula by inverse CDFs in random order.

Derivations are in `README.md` beside this file.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from discretegrad.ops.copula.families import Dirichlet, Family, Interval
from discretegrad.ops.dispatch import has_entries
from discretegrad.ops.inverse_cdf import inverse_cdf

IN_CACHE = 2**15
"""How many numbers an array should have that several steps of arithmetic are done with."""


def sample(family: Family, probs: Tensor, ranking: Tensor, noise: Tensor, order_noise: Tensor | None) -> Tensor:
    """Draw n ids a variable: one order of the categories for all of them, then the inverse CDF of a copula.

    Args:
        family: the copula of n points.
        probs: `[*variables, C]`.
        ranking: int64 `[*variables, C]`, the categories from the rarest on.
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
    first, last = (end.unsqueeze(-1) for end in ends(number, categories))
    place = torch.arange(categories, device=probs.device)
    between = place - 1
    between = between + (between >= first).long()
    between = between + (between >= last).long()
    rank = torch.where(place == 0, first, torch.where(place == categories - 1, last, between))
    order = ranking.gather(-1, rank)
    drawn = inverse_cdf(probs.gather(-1, order), uniforms)
    return _at(order.expand(*drawn.shape, categories), drawn)


def ends(number: Tensor, categories: int) -> tuple[Tensor, Tensor]:
    """The `number`-th pair of ranks, int64, the smaller first: as in `torch.triu_indices`, without a table.

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


def pair_probs(
    family: Family, probs: Tensor, ranking: Tensor, indices: Tensor, pairs: Iterable[tuple[int, int]]
) -> Tensor:
    """The probability that two of the points are the given ids, in this sequence.

    Args:
        family: the copula.
        probs: `[*variables, C]`.
        ranking: int64 `[*variables, C]`, the categories from the rarest on.
        indices: int64 `[S, *variables]`, ids.
        pairs: which of the S ids the one point has, and which the other; P of them.

    Returns:
        float64 `[P, *variables]`, the mean over the orders.
    """
    categories = probs.shape[-1]
    if categories == 1:
        return torch.stack([torch.ones_like(indices[s], dtype=torch.float64) for s, _ in pairs])
    pairs = list(pairs)
    rank = rank_of(ranking, indices)
    layout = _layout(probs.double().gather(-1, ranking), rank)
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


def joint_law(family: Dirichlet, probs: Tensor, ranking: Tensor) -> tuple[Tensor, Tensor]:
    """The exact law of all n ids, by inclusion and exclusion over the corners of their intervals.

    Returns:
        int64 `[M, n]`, all tuples of categories, and their probabilities `[*variables, M]`.
    """
    points, categories = family.points, probs.shape[-1]
    outcomes = torch.tensor(list(itertools.product(range(categories), repeat=points)), device=probs.device)
    if categories == 1:
        return outcomes, torch.ones_like(probs)
    edges = edges_of_all(probs, ranking)
    total = probs.new_zeros(())
    for corner in itertools.product((0, 1), repeat=points):
        # 1 is the upper edge; each lower one changes the sign.
        sign = (-1) ** (points - sum(corner))
        total = total + sign * family.cdf([edges[side][outcomes[:, k]] for k, side in enumerate(corner)])
    return outcomes, total.mean(1).clamp_min(0.0).movedim(0, -1)


def edges_of_all(probs: Tensor, ranking: Tensor) -> tuple[Tensor, Tensor]:
    """The lower and the upper edge of every category in every order, `[C, O, *variables]`."""
    categories = probs.shape[-1]
    ids = torch.arange(categories, device=probs.device).reshape(-1, *[1] * (probs.ndim - 1))
    layout = _layout(probs.gather(-1, ranking), rank_of(ranking, ids.expand(-1, *probs.shape[:-1])))
    return layout.edges(*torch.triu_indices(categories, categories, 1, device=probs.device))


def rank_of(ranking: Tensor, indices: Tensor) -> Tensor:
    """The ranks of ids `[S, *variables]`."""
    categories = ranking.shape[-1]
    ranks = torch.arange(categories, device=ranking.device).expand(ranking.shape)
    inverse = torch.zeros_like(ranking).scatter(-1, ranking, ranks)
    return _at(inverse.expand(*indices.shape, categories), indices)


class _Layout(NamedTuple):
    """Where the intervals of S ranks are in an order: each pair of categories is once its ends, the rarer one first.

    The others are between them from the rarest on. What becomes the first moves up those that it stood behind, what
    becomes the last moves down those that it stood before; as rows over the variables, so that an order is a copy of
    two rows.
    """

    own: Tensor
    """`[S, *variables]`, the lengths."""
    before: Tensor
    """`[S, *variables]`, the lower edges from the rarest on."""
    up: Tensor
    """`[S, C, *variables]`, by how much each category moves the others up as the first; -inf for itself."""
    down: Tensor
    """`[S, C, *variables]`, by how much down as the last; -inf for itself."""

    def edges(self, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Lower and upper ones, `[S, O, *variables]`, for int64 ranks `[O]` of the ends, the smaller first."""
        own = self.own.unsqueeze(1)
        lower = self.up.index_select(1, first) - self.down.index_select(1, last) + self.before.unsqueeze(1)
        lower = torch.minimum(lower.clamp_min(0.0), 1 - own)
        return lower, (lower + own).clamp_max(1.0)


def _layout(mass: Tensor, rank: Tensor) -> _Layout:
    """Of ranks `[S, *variables]`; `mass` `[*variables, C]` are the probabilities from the smallest on."""
    shape = (*rank.shape, mass.shape[-1])
    own, before = (_at(table.expand(shape), rank) for table in (mass, mass.cumsum(-1) - mass))
    category = torch.arange(mass.shape[-1], device=mass.device).reshape(-1, *[1] * (mass.ndim - 1))
    rank, mass = rank.unsqueeze(1), mass.movedim(-1, 0)
    itself = torch.where(category == rank, -torch.inf, 0.0).to(mass.dtype)
    up, down = (torch.where(moves, mass, itself) for moves in (category > rank, category < rank))
    return _Layout(own, before, up, down)


def _at(table: Tensor, index: Tensor) -> Tensor:
    """`table[..., index]`, `[*v]` from `[*v, C]` and int64 `[*v]`."""
    return table.gather(-1, index.unsqueeze(-1)).squeeze(-1)
