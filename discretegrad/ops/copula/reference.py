"""Readable reference of categories drawn from a copula by inverse CDFs in random order.

Derivations are in `README.md` beside this file.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import torch
from torch import Tensor

from discretegrad.ops.copula.families import Dirichlet, Family, Interval
from discretegrad.ops.inverse_cdf import inverse_cdf


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
    first, last = (end.gather(-1, number.unsqueeze(-1)) for end in _ends(probs))
    place = torch.arange(categories, device=probs.device).expand(probs.shape)
    place = torch.where(place == first, -1, torch.where(place == last, categories, place))
    order = place.argsort(-1)
    rank = inverse_cdf(probs.gather(-1, order), uniforms)
    return order.expand(*rank.shape, -1).gather(-1, rank.unsqueeze(-1)).squeeze(-1)


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
    probs = probs.double()
    if probs.shape[-1] == 1:
        return torch.stack([torch.ones_like(indices[s], dtype=probs.dtype) for s, _ in pairs])
    first, last = _ends(probs)
    interval = family.interval(*_edges(probs, indices, first, last))
    # Where the two ids are the ends of the order nothing may be lost to rounding: this is what bounds the weights.
    at_first, at_last = (indices.unsqueeze(-1) == end for end in (first, last))
    corner = family.corner(probs.gather(-1, first), probs.gather(-1, last))
    result = []
    for s, t in pairs:  # one at a time fits the cache
        between = family.rectangle(*(Interval(*(part[side] for part in interval)) for side in (s, t)))
        ends = (at_first[s] & at_last[t]) | (at_first[t] & at_last[s])
        result.append(torch.where(ends, corner, between).mean(-1))
    return torch.stack(result)


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
    edges = _edges(probs, ids.expand(-1, *probs.shape[:-1]), *_ends(probs))
    total = probs.new_zeros(())
    for corner in itertools.product((0, 1), repeat=points):
        # 1 is the upper edge; each lower one changes the sign.
        sign = (-1) ** (points - sum(corner))
        total = total + sign * family.cdf([edges[side][outcomes[:, k]] for k, side in enumerate(corner)])
    return outcomes, total.mean(-1).clamp_min(0.0).movedim(0, -1)


def _ends(probs: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the last category of every order, int64 `[*variables, O]`: each pair once, the rarer first."""
    a, b = torch.triu_indices(probs.shape[-1], probs.shape[-1], 1, device=probs.device)
    swap = probs[..., a] > probs[..., b]
    return torch.where(swap, b, a), torch.where(swap, a, b)


def _edges(probs: Tensor, indices: Tensor, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """The intervals of the ids `[S, *variables]` in every order, `[S, *variables, O]`.

    Between the ends the categories keep their sequence.
    """
    ids = indices.unsqueeze(-1)
    of_first, of_last = probs.gather(-1, first), probs.gather(-1, last)
    own = probs.expand(*indices.shape, -1).gather(-1, ids)
    before = (probs.cumsum(-1) - probs).expand(*indices.shape, -1).gather(-1, ids)
    lower = before + torch.where(first > ids, of_first, 0.0) - torch.where(last < ids, of_last, 0.0)
    lower = torch.where(ids == first, 0.0, torch.where(ids == last, 1 - of_last, lower)).clamp(0.0, 1.0)
    upper = torch.where(ids == last, 1.0, (lower + own).clamp_max(1.0))
    return lower, upper
