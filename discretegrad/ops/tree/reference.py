"""Readable reference of antithetic pairs on a binary tree. The derivation is in README.md beside this file.

Points, gradients and `probs` are by category; inside, arrays are by *position* in the tree (see topology.py).
Shapes: `*v` are the variables, P pairs, C categories, C-1 inner nodes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from discretegrad.ops.inverse_cdf import inverse_cdf
from discretegrad.ops.score import scatter
from discretegrad.ops.tree.topology import Topology, along_ancestors, take


class TreePlan(NamedTuple):
    """Everything about a tree coupling that depends on the logits alone."""

    topology: Topology
    probs: Tensor
    """`[*v, C]` by category."""
    leaves: Tensor
    """`[*v, C]` the same by position."""
    category_at: Tensor
    """`[*v, C]` the category at each position."""
    position_of: Tensor
    """`[*v, C]` the position of each category."""
    left: Tensor
    """`[*v, C-1]` mass of the left child of each inner node."""
    right: Tensor
    """`[*v, C-1]` mass of its right child."""
    law: Tensor
    """`[*v, 2C-1]` probability that both points end at a leaf (first C), or part at an inner node (last C-1)."""


def plan(tables: Topology, probs: Tensor, category_at: Tensor) -> TreePlan:
    """Compute masses and the law of the parting node.

    Args:
        tables: the tree.
        probs: `[*v, C]` by category.
        category_at: `[*v, C]`, or `[C]` where all variables share it.
    """
    categories = probs.shape[-1]
    position_of = category_at.argsort(-1).expand(probs.shape)
    category_at = category_at.expand(probs.shape)
    leaves = probs.gather(-1, category_at)

    # From here nodes lead and variables follow, so that an index over nodes copies whole rows.
    low, middle, high, parent, side = (table.movedim(-1, 0) for table in tables)
    rows = leaves.movedim(-1, 0).contiguous()
    left, right = interval_sums(rows, low, middle), interval_sums(rows, middle, high)
    mass = left + right
    # A node without mass is never reached; any finite number serves.
    scale = torch.where(mass > 0, mass, 1.0)
    parting = 2 * torch.minimum(left, right) / scale
    # Antithetic uniforms send both points to the heavier child with probability (heavy - light) / mass, and
    # never both to the lighter one. Written as a difference of masses it keeps its digits near 0.
    to_left = (left - right) / scale
    side = side.reshape(side.shape + (1,) * (rows.ndim - side.ndim))
    stay = torch.where(side == 0, 1.0, (-side * take(to_left, parent)).clamp_min(0.0))
    reach = along_ancestors(stay, parent, torch.mul, categories)
    law = torch.cat((reach[:categories], reach[categories:] * parting))
    left, right, law = (table.movedim(0, -1).contiguous() for table in (left, right, law))
    return TreePlan(tables, probs, leaves, category_at, position_of, left, right, law)


def interval_sums(values: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """`sum(values[start:end])` for many intervals at once, by sums over windows of length 1, 2, 4, ...

    Differences of cumulative sums would cost less, but lose every digit of a light subtree beside a heavy one.

    Args:
        values: `[C, *v]`.
        start, end: int64 `[N]` or `[N, *v]`.

    Returns:
        `[N, *v]`.
    """
    categories, length = values.shape[0], end - start
    window, total = values, values.new_zeros(())
    for bit in range(categories.bit_length()):
        taken = (length >> bit) & 1
        share = taken.reshape(taken.shape + (1,) * (values.ndim - taken.ndim))
        total = total + share * take(window, start.clamp(max=categories - 1))
        start = start + (taken << bit)
        span = min(1 << bit, categories)
        window = window + torch.cat((window[span:], torch.zeros_like(window[:span])))
    return total


def sample_pairs(plan: TreePlan, noise: Tensor) -> Tensor:
    """Draw antithetic pairs.

    Args:
        plan: of the tree.
        noise: uniform on [0, 1), `[4, P, *v]`: for the node, for who goes left, and for the two points.

    Returns:
        int64 categories `[2, P, *v]`. Each point alone has the law of the variable.
    """
    categories = plan.probs.shape[-1]
    node = inverse_cdf(plan.law, noise[0])
    low, middle, high = (_at(table, node - categories) for table in plan.topology[:3])
    # Where both points end at the same leaf, both children are that leaf.
    same = node < categories
    low, middle, left_end, high = (
        torch.where(same, node, low),
        torch.where(same, node, middle),
        torch.where(same, node + 1, middle),
        torch.where(same, node + 1, high),
    )
    left = inverse_cdf(_within(plan.leaves, low, left_end), noise[2])
    right = inverse_cdf(_within(plan.leaves, middle, high), noise[3])
    swap = noise[1] < 0.5
    positions = torch.stack((torch.where(swap, right, left), torch.where(swap, left, right)))
    return _look_up(plan.category_at, positions)


def pair_law(plan: TreePlan) -> Tensor:
    """The joint law `r(i, j)` of a pair, by category: `[*v, C, C]`, symmetric, both marginals p."""
    categories = plan.probs.shape[-1]
    grid = torch.arange(categories, device=plan.probs.device)
    first, second = (
        g.flatten().reshape(-1, *[1] * (plan.probs.ndim - 1)).expand(-1, *plan.probs.shape[:-1])
        for g in torch.meshgrid(grid, grid, indexing="ij")
    )
    parted = _parted(plan, first, second)
    p_first, p_second = (_look_up(plan.probs, i) for i in (first, second))
    both = _look_up(plan.law, _look_up(plan.position_of, first))
    apart = 0.5 * parted.probability * _ratio(p_first * p_second, parted.first_mass * parted.second_mass)
    law = torch.where(first == second, both, apart)
    return law.movedim(0, -1).unflatten(-1, (categories, categories))


def rao_blackwell(plan: TreePlan, first: Tensor, second: Tensor, difference: Tensor) -> Tensor:
    """The Rao-Blackwellised gradient of antithetic pairs, averaged over P (equation in README.md).

    `mean_P difference * (e_z1 - e_z2 - (1 - s) * (p(.|T1) - p(.|T2)))`, s the heavier child's share of the node
    where the paths part; 0 where they do not.

    Args:
        plan: of the tree.
        first, second: int64 categories `[P, *v]`.
        difference: `(f(z1) - f(z2)) / 2`, broadcastable to `[P, *v]`.

    Returns:
        `[*v, C]` by category.
    """
    parted = _parted(plan, first, second)
    difference = torch.where(first == second, 0.0, difference)
    lighter = _ratio(torch.minimum(parted.first_mass, parted.second_mass), parted.first_mass + parted.second_mass)
    correction = difference * lighter
    spread = torch.zeros_like(plan.probs, dtype=correction.dtype)
    for pair in range(first.shape[0]):  # a sum over pairs, without a [P, *v, C] intermediate
        for low, high, mass, sign in (
            (parted.first_low, parted.first_high, parted.first_mass, 1.0),
            (parted.second_low, parted.second_high, parted.second_mass, -1.0),
        ):
            density = _ratio(sign * correction[pair], mass[pair])
            spread = spread + density.unsqueeze(-1) * _within(plan.leaves, low[pair], high[pair])
    spread = spread.gather(-1, plan.position_of)
    ends = scatter(torch.cat((first, second)), torch.cat((difference, -difference)), plan.probs.shape[-1])
    return (ends - spread) / first.shape[0]


def importance(plan: TreePlan, first: Tensor, second: Tensor, difference: Tensor) -> Tensor:
    """The importance-weighted gradient of antithetic pairs, averaged over P.

    `mean_P difference * p(z1) p(z2) / r(z1, z2) * (e_z1 - e_z2)`. Arguments as in `rao_blackwell`.
    """
    parted = _parted(plan, first, second)
    # r = probability / 2 * p(z1)/mass1 * p(z2)/mass2, so the ratio is free of the points' own probabilities.
    weight = _ratio(2 * parted.first_mass * parted.second_mass, parted.probability)
    weighted = torch.where(first == second, 0.0, difference * weight)
    ends = scatter(torch.cat((first, second)), torch.cat((weighted, -weighted)), plan.probs.shape[-1])
    return ends / first.shape[0]


class _Parted(NamedTuple):
    """The node where the paths to two different leaves part; every field `[P, *v]`."""

    probability: Tensor
    first_low: Tensor
    first_high: Tensor
    first_mass: Tensor
    second_low: Tensor
    second_high: Tensor
    second_mass: Tensor


def _parted(plan: TreePlan, first: Tensor, second: Tensor) -> _Parted:
    """Find the node. Where `first == second` there is none, and what is returned is finite but meaningless."""
    categories = plan.probs.shape[-1]
    x, y = (_look_up(plan.position_of, index) for index in (first, second))
    left_end, right_end = torch.minimum(x, y).unsqueeze(-1), torch.maximum(x, y).unsqueeze(-1)
    low, middle, high = plan.topology[:3]
    holds = (low <= left_end) & (left_end < middle) & (middle <= right_end) & (right_end < high)
    node = holds.to(torch.uint8).argmax(-1)
    low, middle, high = (_at(table, node) for table in (low, middle, high))
    left, right = _look_up(plan.left, node), _look_up(plan.right, node)
    probability = _look_up(plan.law, categories + node)
    ahead = x < y  # the first point went left
    return _Parted(
        probability,
        first_low=torch.where(ahead, low, middle),
        first_high=torch.where(ahead, middle, high),
        first_mass=torch.where(ahead, left, right),
        second_low=torch.where(ahead, middle, low),
        second_high=torch.where(ahead, high, middle),
        second_mass=torch.where(ahead, right, left),
    )


def _at(table: Tensor, node: Tensor) -> Tensor:
    """Entries of a node table, shared `[N]` or per variable `[*v, N]`, at nodes `[P, *v]`; below 0 reads 0."""
    node = node.clamp_min(0)
    return table[node] if table.ndim == 1 else _look_up(table, node)


def _look_up(table: Tensor, index: Tensor) -> Tensor:
    """`table[..., index]` for every leading index: `[*v, N]` at `[*k, *v]` gives `[*k, *v]`."""
    return table.expand((*index.shape, table.shape[-1])).gather(-1, index.unsqueeze(-1)).squeeze(-1)


def _within(probs: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Probabilities with all positions outside `[low, high)` set to zero, `[..., C]`."""
    position = torch.arange(probs.shape[-1], device=probs.device)
    inside = (position >= low.unsqueeze(-1)) & (position < high.unsqueeze(-1))
    return torch.where(inside, probs, 0.0)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """A quotient that is 0 where the denominator is: such a case has probability zero."""
    possible = denominator > 0
    return torch.where(possible, numerator / torch.where(possible, denominator, 1.0), 0.0)
