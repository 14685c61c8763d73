"""Readable reference of antithetic pairs on a binary tree. The derivation is in README.md beside this file.

Points, gradients and `probs` are by category; inside, arrays are by *position* in the tree (see topology.py).
Shapes: `*v` are the variables, P pairs, C categories, C-1 inner nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from discretegrad.ops.inverse_cdf.reference import inverse_cdf
from discretegrad.ops.order import reference as order_ops
from discretegrad.ops.score.reference import both_ways, interleave, scatter
from discretegrad.ops.tree.base import Pairs
from discretegrad.ops.tree.topology import Topology, TreeLike, along_ancestors, huffman, sort_keys, take, topology


def pairs(shape: str | TreeLike, order: str | None, logits: Tensor) -> ReferencePairs:
    """Lay out the tree of every variable.

    Args:
        shape: "balanced", "caterpillar", "huffman", or nested pairs of category ids.
        order: "ascending", "descending", "abs" or None.
        logits: `[*v, C]`.
    """
    probs = logits.softmax(-1)
    if shape == "huffman":
        tables, category_at = huffman(probs)
    else:
        tables, category_at = topology(shape, logits.shape[-1], probs)
    if order is not None:
        ranking = order_ops.ascending(sort_keys(logits, order))
        category_at = ranking.gather(-1, category_at.expand(ranking.shape))
    return from_tables(tables, probs, category_at)


def from_tables(tables: Topology, probs: Tensor, category_at: Tensor) -> ReferencePairs:
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
    return ReferencePairs(tables, probs, leaves, category_at, position_of, left, right, law)


@dataclass(frozen=True, eq=False)
class ReferencePairs(Pairs):
    """Everything about the pairs that depends on the logits alone."""

    topology: Topology
    by_category: Tensor
    """`[*v, C]` probabilities by category."""
    by_position: Tensor
    """`[*v, C]` the same by position."""
    category_at: Tensor
    """`[*v, C]` the category at each position."""
    position_of: Tensor
    """`[*v, C]` the position of each category."""
    left: Tensor
    """`[*v, C-1]` mass of the left child of each inner node."""
    right: Tensor
    """`[*v, C-1]` mass of its right child."""
    node_law: Tensor
    """`[*v, 2C-1]` probability that both points end at a leaf (first C), or part at an inner node (last C-1)."""

    @property
    def probs(self) -> Tensor:
        return self.by_category

    @property
    def leaves(self) -> Tensor:
        return self.by_position

    def sample(self, noise: Tensor) -> tuple[Tensor, None]:
        """The first point is drawn; given it, the node where the second leaves its path; then the second below."""
        categories = self.probs.shape[-1]
        first = inverse_cdf(self.leaves, noise[0])
        at = first.unsqueeze(-1)
        low, middle, high = self.topology[:3]
        goes_left = at < middle
        own = torch.where(goes_left, self.left, self.right)
        # Of the pairs that part at a node, half have the first point on either side.
        parts = _ratio(self.node_law[..., categories:] / 2, own)
        parts = torch.where((low <= at) & (at < high), parts, 0.0)
        stays = _ratio(_look_up(self.node_law, first), _look_up(self.leaves, first))
        # From the leaf up to the root; trees list their nodes from the root down.
        node = inverse_cdf(torch.cat((stays.unsqueeze(-1), parts.flip(-1)), -1), noise[1])
        parted = node > 0
        node = torch.where(parted, parts.shape[-1] - node, 0)
        low, middle, high = (_at(table, node) for table in (low, middle, high))
        goes_left = first < middle
        low, high = torch.where(goes_left, middle, low), torch.where(goes_left, high, middle)
        # Where they never part the second point is the first.
        low, high = torch.where(parted, low, first), torch.where(parted, high, first + 1)
        second = inverse_cdf(_within(self.leaves, low, high), noise[2])
        return _look_up(self.category_at, interleave(first, second)), None

    def law(self) -> Tensor:
        categories = self.probs.shape[-1]
        grid = torch.arange(categories, device=self.probs.device)
        first, second = (
            g.flatten().reshape(-1, *[1] * (self.probs.ndim - 1)).expand(-1, *self.probs.shape[:-1])
            for g in torch.meshgrid(grid, grid, indexing="ij")
        )
        parted = self._parted(first, second)
        p_first, p_second = (_look_up(self.probs, i) for i in (first, second))
        both = _look_up(self.node_law, _look_up(self.position_of, first))
        apart = 0.5 * parted.probability * _ratio(p_first * p_second, parted.first_mass * parted.second_mass)
        law = torch.where(first == second, both, apart)
        return law.movedim(0, -1).unflatten(-1, (categories, categories))

    def gradient(self, indices: Tensor, differences: Tensor, others: Tensor | None = None, kept: None = None) -> Tensor:
        first, second = indices[0::2], indices[1::2]
        parted = self._parted(first, second)
        differences = torch.where(first == second, 0.0, differences)
        lighter = _ratio(torch.minimum(parted.first_mass, parted.second_mass), parted.first_mass + parted.second_mass)
        correction = differences * lighter
        spread = torch.zeros_like(self.probs, dtype=correction.dtype)
        for pair in range(first.shape[0]):  # a sum over pairs, without a [P, *v, C] intermediate
            for low, high, mass, sign in (
                (parted.first_low, parted.first_high, parted.first_mass, 1.0),
                (parted.second_low, parted.second_high, parted.second_mass, -1.0),
            ):
                density = _ratio(sign * correction[pair], mass[pair])
                spread = spread + density.unsqueeze(-1) * _within(self.leaves, low[pair], high[pair])
        return scatter(indices, both_ways(differences, others), self.probs.shape[-1]) - spread.gather(
            -1, self.position_of
        )

    def ratio(self, indices: Tensor, kept: None = None) -> Tensor:
        """`r = probability / 2 * p(z1)/mass1 * p(z2)/mass2`: the ratio is free of the points' own probabilities."""
        parted = self._parted(indices[0::2], indices[1::2])
        return _ratio(2 * parted.first_mass * parted.second_mass, parted.probability)

    def flow(self, indices: Tensor, coefficients: Tensor) -> Tensor:
        """Coefficients are summed below each child, and their corrections from the root down to the leaves."""
        categories = self.probs.shape[-1]
        ends = scatter(indices, coefficients, categories)
        low, middle, high, parent, side = (table.movedim(-1, 0) for table in self.topology)
        left, right, law = (table.movedim(-1, 0) for table in (self.left, self.right, self.node_law))
        rows = ends.gather(-1, self.category_at).movedim(-1, 0).contiguous()
        lighter, heavier = torch.minimum(left, right), torch.maximum(left, right)
        moved = interval_sums(rows, low, middle) * right - interval_sums(rows, middle, high) * left
        # What is taken off, over the lighter mass: that may be too small to be divided by.
        joins = _ratio(law[categories:] / 2, lighter)
        moved = _ratio(joins, heavier + lighter * joins) * _ratio(moved, left + right)
        to_left, to_right = moved * _ratio(lighter, left), moved * _ratio(lighter, right)
        side = side.reshape(side.shape + (1,) * (rows.ndim - side.ndim))
        own = torch.where(side < 0, take(to_left, parent), -take(to_right, parent))
        density = along_ancestors(torch.where(side == 0, 0.0, own), parent, torch.add, categories)[:categories]
        return ends - (self.leaves * density.movedim(0, -1)).gather(-1, self.position_of)

    def _parted(self, first: Tensor, second: Tensor) -> _Parted:
        """Find the node. Where `first == second` there is none, and what is returned is finite but meaningless."""
        categories = self.probs.shape[-1]
        x, y = (_look_up(self.position_of, index) for index in (first, second))
        left_end, right_end = torch.minimum(x, y).unsqueeze(-1), torch.maximum(x, y).unsqueeze(-1)
        low, middle, high = self.topology[:3]
        holds = (low <= left_end) & (left_end < middle) & (middle <= right_end) & (right_end < high)
        node = holds.to(torch.uint8).argmax(-1)
        low, middle, high = (_at(table, node) for table in (low, middle, high))
        left, right = _look_up(self.left, node), _look_up(self.right, node)
        probability = _look_up(self.node_law, categories + node)
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


class _Parted(NamedTuple):
    """The node where the paths to two different leaves part; every field `[P, *v]`."""

    probability: Tensor
    first_low: Tensor
    first_high: Tensor
    first_mass: Tensor
    second_low: Tensor
    second_high: Tensor
    second_mass: Tensor


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
