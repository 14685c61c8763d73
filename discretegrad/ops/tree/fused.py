"""Antithetic pairs on bushy trees and on caterpillars, fast on the CPU. The mathematics is in README.md.

A call costs about as much there as ten thousand numbers. So a bushy tree is walked level by level, both points of all
pairs together, down a heap of masses that are halved by adding neighbours; sticks are found by searches in cumulative
sums and products.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from discretegrad.ops.inverse_cdf.fused import look_up, row_starts, search
from discretegrad.ops.score.fused import scatter
from discretegrad.ops.score.reference import both_ways, interleave
from discretegrad.ops.tree import reference
from discretegrad.ops.tree.base import Pairs
from discretegrad.ops.tree.topology import TreeLike, category_at, topology

LARGEST = 1024
"""The most categories for which tables of all subtrees are kept."""


def pairs(shape: str | TreeLike, order: str | None, logits: Tensor) -> Pairs | None:
    """See `reference.pairs`; None for trees that are too large, too deep, or every variable's own."""
    categories = logits.shape[-1]
    if not 1 < categories <= LARGEST or shape == "huffman":
        return None
    if shape == "caterpillar":
        return StickPairs(shape, order, logits)
    tree = heap(shape, categories)
    return None if tree is None else HeapPairs(shape, order, logits, tree)


class FusedPairs(Pairs):
    """Leaves in the order of the tree."""

    def __init__(self, shape: str | TreeLike, order: str | None, logits: Tensor) -> None:
        self.shape, self.order, self.logits = shape, order, logits
        leaf_at = category_at(shape, order, logits)
        self.category_at = None if leaf_at is None else leaf_at.expand(logits.shape)
        by_position = logits if self.category_at is None else logits.gather(-1, self.category_at)
        self._leaves = by_position.softmax(-1)
        self.start = row_starts(logits.shape)

    @property
    def probs(self) -> Tensor:
        return self._leaves if self.category_at is None else self.logits.softmax(-1)

    @property
    def leaves(self) -> Tensor:
        return self._leaves

    def law(self) -> Tensor:
        """The reference is asked."""
        return reference.pairs(self.shape, self.order, self.logits).law()

    def to_categories(self, positions: Tensor) -> Tensor:
        """Ids of points by position."""
        return positions if self.category_at is None else look_up(self.category_at.reshape(-1), self.start + positions)

    def to_positions(self, indices: Tensor) -> Tensor:
        """Where ids are in the tree."""
        if self.category_at is None:
            return indices
        position = torch.arange(self.category_at.shape[-1], device="cpu").expand(self.category_at.shape)
        position_of = torch.empty_like(position).scatter_(-1, self.category_at, position)
        return look_up(position_of.reshape(-1), self.start + indices)

    def by_category(self, by_position: Tensor) -> Tensor:
        """`[*v, C]`, put in the order of the categories."""
        if self.category_at is None:
            return by_position
        return torch.empty_like(by_position).scatter_(-1, self.category_at, by_position)

    def gathered(self, indices: Tensor, ends: Tensor, table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        """`sum_s ends_s e_s + p * sum_k weights_k table[rows_k]`, the table's rows by position.

        Args:
            indices, ends: `[S, *v]`.
            table: `[N, C]`.
            rows, weights: `[*v, K]`.
        """
        dtype = torch.promote_types(self._leaves.dtype, ends.dtype)
        bags, scale = rows.reshape(-1, rows.shape[-1]), weights.to(dtype).reshape(-1, rows.shape[-1])
        # One pass that only writes: a sum of a few weighted rows of a table that stays in the cache.
        spread = F.embedding_bag(bags, table.to(dtype), mode="sum", per_sample_weights=scale)
        gradient = self.by_category(spread.reshape(self._leaves.shape).mul_(self._leaves))
        return gradient.scatter_add_(-1, indices.movedim(0, -1), ends.to(dtype).movedim(0, -1))


class Parted(NamedTuple):
    """Where the paths of pairs part."""

    slots: Tensor
    """int64 `[2P, *v]`, the leaves of the heap that the points are at."""
    level: Tensor
    """int64 `[P, *v]`, how many steps they go together, less one if they never part."""
    own: Tensor
    """`[P, *v]`, the mass of the child, of the node where they part, that holds the first point; 0 if they do not."""
    other: Tensor
    """`[P, *v]`, of the child that holds the second."""


class HeapPairs(FusedPairs):
    """Pairs on a tree that all variables share."""

    def __init__(self, shape: str | TreeLike, order: str | None, logits: Tensor, tree: Heap) -> None:
        super().__init__(shape, order, logits)
        self.tree = tree
        masses = self._leaves.double()
        if tree.slot_of is not None:
            size = tree.position_at.numel()
            masses = masses.new_zeros((*masses.shape[:-1], size)).index_copy_(-1, tree.slot_of, masses)
        self.levels = [masses]
        """`[*v, 2], ..., [*v, 2 ** depth]`: the masses of the nodes below the root, in double: what is rare is drawn by
        small differences."""
        for _ in range(tree.depth - 1):
            self.levels.insert(0, self.levels[0][..., 0::2] + self.levels[0][..., 1::2])

    def sample(self, noise: Tensor) -> tuple[Tensor, Parted | None]:
        shape, (of_first, of_parting, of_second) = noise.shape[1:], noise.double().reshape(3, -1)
        pairs, levels = shape[0], [level.reshape(-1) for level in self.levels]
        # Nodes are counted through all variables. Turns and flags are 0.0 and 1.0: unlike booleans, floats are
        # compared, and chosen with `lerp`, many at a time.
        node = root = counted(self.start.numel(), self.levels[-1].numel() < 2**31).repeat(pairs)
        total = (self.levels[0][..., 0] + self.levels[0][..., 1]).reshape(-1)
        threshold = of_first * (total if pairs == 1 else total.repeat(pairs))
        turns, own, other = of_first.new_empty((3, len(levels), of_first.numel()))
        for masses, turn, of_own, of_other in zip(levels, turns, own, other, strict=True):
            node = node << 1
            left, right = masses.index_select(0, node), masses.index_select(0, node | 1)
            torch.ge(threshold, left, out=turn)
            torch.lerp(left, right, turn, out=of_own)
            torch.lerp(right, left, turn, out=of_other)
            threshold.addcmul_(left, turn, value=-1)
            node += turn.to(node.dtype)

        # Into a heavier child the second point follows the first with probability 1 - lighter / heavier, into a
        # lighter one never.
        follows = (own - other).div_(own).clamp_min_(0.0).cumprod(0)
        together = torch.cat((torch.ones_like(of_first).unsqueeze(0), torch.gt(follows, of_parting, out=follows)))
        parts = together[:-1] - together[1:]
        own_mass, other_mass = (own * parts).sum(0), (other * parts).sum(0)

        forced, free = (turns - parts).abs_(), 1 - together[:-1]
        threshold = of_second * other_mass
        second = (root << 1).add_(forced[0].to(root.dtype))
        for masses, turn, is_free in zip(levels[1:], forced[1:], free[1:], strict=True):
            second = second << 1
            left = masses.index_select(0, second).mul_(is_free)
            turn.lerp_(torch.ge(threshold, left, out=torch.empty_like(left)), is_free)
            threshold.addcmul_(left, turn, value=-1)
            second += turn.to(second.dtype)

        if not torch.minimum(own[-1], levels[-1].index_select(0, second)).gt(0).all():
            # What was lost to rounding has led to where there is no mass.
            return reference.pairs(self.shape, self.order, self.logits).sample(noise)
        slots = interleave(node.reshape(shape), second.reshape(shape)).bitwise_and_((1 << self.tree.depth) - 1).long()
        positions = slots if self.tree.slot_of is None else look_up(self.tree.position_at, slots)
        level = together[1:-1].sum(0).long().reshape(shape)
        own_mass, other_mass = (mass.to(self._leaves.dtype).reshape(shape) for mass in (own_mass, other_mass))
        return self.to_categories(positions), Parted(slots, level, own_mass, other_mass)

    def gradient(
        self, indices: Tensor, differences: Tensor, others: Tensor | None = None, kept: Parted | None = None
    ) -> Tensor:
        parted = self._parted(indices) if kept is None else kept
        differences = torch.where(indices[0::2] == indices[1::2], 0.0, differences)
        tiny = torch.finfo(parted.own.dtype).tiny
        lighter = torch.minimum(parted.own, parted.other) * differences
        lighter = lighter / (parted.own + parted.other).clamp_min_(tiny)
        weights = torch.stack((-lighter / parted.own.clamp_min(tiny), lighter / parted.other.clamp_min(tiny)), -1)
        nodes = self._nodes(parted.slots, parted.level)
        rows, weights = (part.movedim(0, -2).flatten(-2) for part in (nodes, weights))
        return self.gathered(indices, both_ways(differences, others), self.tree.indicators, rows, weights)

    def _nodes(self, slots: Tensor, level: Tensor) -> Tensor:
        """The children of the nodes where pairs part, `[P, *v, 2]`: that with the first point, that with the second."""
        place = torch.add(level, slots[0::2], alpha=self.tree.depth)
        return self.tree.nodes.index_select(0, place.reshape(-1)).reshape(*level.shape, 2)

    def _slots(self, indices: Tensor) -> Tensor:
        positions = self.to_positions(indices)
        return positions if self.tree.slot_of is None else look_up(self.tree.slot_of, positions)

    def _masses(self, nodes: Tensor) -> Tensor:
        """Of nodes below the root, `[S, *v, ...]`."""
        below_root = torch.cat(self.levels, -1)
        start = row_starts(below_root.shape)
        start = start.reshape(start.shape + (1,) * (nodes.ndim - start.ndim - 1))
        return look_up(below_root.reshape(-1), nodes - 1 + start).to(self._leaves.dtype)

    def _parted(self, indices: Tensor) -> Parted:
        slots = self._slots(indices)
        level = look_up(self.tree.agreement, slots[0::2] ^ slots[1::2])
        return Parted(slots, level, *self._masses(self._nodes(slots, level)).unbind(-1))

    def flow(self, indices: Tensor, coefficients: Tensor) -> Tensor:
        """Each point finds its own share of the corrections, at all nodes of its path together."""
        depth, slots = self.tree.depth, self._slots(indices)
        nodes = self.tree.nodes.reshape(-1, 2 * depth).index_select(0, slots.reshape(-1))
        nodes = nodes.reshape(*slots.shape, depth, 2)
        own, sibling = self._masses(nodes).unbind(-1)
        own = own.clamp_min(torch.finfo(own.dtype).tiny)
        lighter, heavier, both = torch.minimum(own, sibling), torch.maximum(own, sibling), own + sibling
        joins = (own - sibling).div_(own).clamp_min_(0.0).cumprod(-1)  # how probably the second point comes along
        joins = torch.cat((torch.ones_like(joins[..., :1]), joins[..., :-1]), -1)
        moved = (
            joins * coefficients.expand(indices.shape).unsqueeze(-1) / (torch.addcmul(heavier, lighter, joins) * both)
        )
        weights = torch.stack((-moved * sibling * (lighter / own), moved * lighter), -1)
        rows, weights = (part.movedim(0, -3).flatten(-3) for part in (nodes, weights))
        return self.gathered(indices, coefficients.expand(indices.shape), self.tree.indicators, rows, weights)

    def ratio(self, indices: Tensor, kept: Parted | None = None) -> Tensor:
        """The reference is asked, for no estimator on such a tree has these weights."""
        return reference.pairs(self.shape, self.order, self.logits).ratio(indices)


class StickPairs(FusedPairs):
    """Pairs on the caterpillar: sticks are broken off one after the other.

    Sums begin at the last stick, so that of those not yet broken off each is a sum, not a difference.
    """

    def __init__(self, shape: str | TreeLike, order: str | None, logits: Tensor) -> None:
        super().__init__(shape, order, logits)
        self.last = logits.shape[-1] - 1
        self.from_last = self._leaves.flip(-1).double()
        self.sums = self.from_last.cumsum(-1)
        self.rest = F.pad(self.sums[..., :-1], (1, 0)).clamp_min_(torch.finfo(self._leaves.dtype).tiny)
        """The mass behind each stick, from the last one on."""

    @functools.cached_property
    def passes(self) -> Tensor:
        """`[*v, C]`: minus the probability that the second point goes past a stick if the first one does."""
        # Past a heavier stick it never goes, past a lighter one with probability 1 - stick / rest.
        past = torch.sub(self.rest, self.from_last).div_(self.rest).clamp_min_(0.0).flip(-1)
        past[..., 0].neg_()  # and with it all the products, which then rise as a search needs it
        return past.cumprod(-1)

    def sample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        noise = noise.double()
        of_parting, (of_first, of_second) = noise[1], 1 - noise[0::2]  # sums from the other end take the complement
        first = self.last - search(self.sums, of_first * self.sums[..., -1], right=False)
        stops = search(self.passes, -of_parting, right=False)
        own, rest, before = self._at(first)
        # If it has come as far as the first point's stick, it stays there only if that is the heavier part.
        stays = (own - rest).div_(own).mul_(before) > of_parting
        beyond = self.last - search(self.sums, of_second * rest, right=False)
        second = torch.where(stops < first, stops, torch.where(stays, first, beyond))
        positions = interleave(first, second)
        return self.to_categories(positions), positions

    def _at(self, stick: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The stick's mass, that of those behind it, and how probably the second point comes to it as well."""
        own, rest = self._parts(stick)
        before = look_up(self.passes.reshape(-1), (self.start + stick - 1).clamp_min_(0)).neg_()
        return own, torch.where(stick < self.last, rest, 0.0), torch.where(stick > 0, before, 1.0)

    def _parts(self, stick: Tensor) -> tuple[Tensor, Tensor]:
        """The stick's mass, and that of those behind it; for the last stick the latter means nothing."""
        own = look_up(self._leaves.reshape(-1), self.start + stick).double()
        rest = look_up(self.sums.reshape(-1), (self.start + (self.last - 1) - stick).clamp_min_(0))
        return own, rest

    def gradient(
        self, indices: Tensor, differences: Tensor, others: Tensor | None = None, kept: Tensor | None = None
    ) -> Tensor:
        """The density of a stick is its one-hot."""
        positions = self.to_positions(indices) if kept is None else kept
        first, second = positions[0::2], positions[1::2]
        stick, at_stick = torch.minimum(first, second), first < second  # the first point
        differences = torch.where(first == second, 0.0, differences)
        own, rest = (part.to(self._leaves.dtype) for part in self._parts(stick))
        tiny = torch.finfo(rest.dtype).tiny
        lighter = torch.minimum(own, rest).div_((own + rest).clamp_min_(tiny)) * differences
        lighter = torch.where(at_stick, lighter, -lighter)
        of_first = lighter * at_stick
        ends = interleave(differences - of_first, of_first - lighter - differences)
        ends = ends if others is None else ends + others
        rows, weights = (part.movedim(0, -1) for part in (stick, lighter / rest.clamp_min_(tiny)))
        return self.gathered(indices, ends, behind(self.last + 1), rows, weights)

    def ratio(self, indices: Tensor, kept: Tensor | None = None) -> Tensor:
        """The pair parts at a stick with probability `2 before * lighter`, so `p p' / r = heavier / before`."""
        positions = self.to_positions(indices) if kept is None else kept
        own, rest, before = self._at(torch.minimum(positions[0::2], positions[1::2]))
        ratio = torch.where(before > 0, torch.maximum(own, rest) / torch.where(before > 0, before, 1.0), 0.0)
        return ratio.to(self._leaves.dtype)

    def flow(self, indices: Tensor, coefficients: Tensor) -> Tensor:
        """Cumulative sums run along the sticks."""
        ends = scatter(self.to_positions(indices), coefficients, self.last + 1)
        leaves, rest = self._leaves, self.rest.flip(-1).to(self._leaves.dtype)
        tiny = torch.finfo(leaves.dtype).tiny
        lighter, heavier = torch.minimum(leaves, rest), torch.maximum(leaves, rest)
        joins = torch.cat((torch.ones_like(rest[..., :1]), -self.passes[..., :-1].to(rest.dtype)), -1)
        # The coefficients sum to zero, so those behind a stick are minus those up to it.
        moved = torch.addcmul(ends * rest, ends.cumsum(-1), leaves).div_((leaves + rest).clamp_min_(tiny))
        moved *= joins / torch.addcmul(heavier, lighter, joins).clamp_min_(tiny)
        behind_stick = (moved * lighter).div_(rest.clamp_min(tiny))
        density = moved.mul_(lighter).div_(leaves.clamp_min(tiny)) - behind_stick.cumsum(-1) + behind_stick
        return self.by_category(ends - leaves * density)


class Heap(NamedTuple):
    """A tree over C leaves, filled up with empty ones to a perfect tree of 2 ** depth slots.

    Its nodes are counted level by level from the root, which is 0.
    """

    depth: int
    slot_of: Tensor | None
    """int64 `[C]`, the slots of the leaves by position; None where they are the positions."""
    position_at: Tensor
    """int64 `[2 ** depth]`, the position of each slot; 0 for empty ones."""
    agreement: Tensor
    """int64 `[2 ** depth]`, how many steps the paths to two slots have in common, by the exclusive or of the slots;
    depth - 1 of a slot with itself."""
    nodes: Tensor
    """int64 `[2 ** depth * depth, 2]`, the nodes on the path to a slot below the root, and their siblings."""
    indicators: Tensor
    """float32 `[2 ** (depth + 1) - 1, C]`, which positions are below each node."""


@functools.lru_cache(maxsize=64)
def heap(shape: str | TreeLike, categories: int) -> Heap | None:
    """The heap of a tree; None for a tree so deep that most of it would be empty."""
    parent, side = (table.tolist() for table in topology(shape, categories, torch.empty(0, device="cpu"))[0][3:])
    paths = []
    for leaf in range(categories):
        path, node = [], leaf
        while categories + parent[node] != node:
            path.append(side[node] > 0)
            node = categories + parent[node]
        paths.append(path[::-1])
    depth = max(map(len, paths))
    size = 1 << depth
    if size > 4 * categories:
        return None
    slots = [sum(bit << (depth - 1 - step) for step, bit in enumerate(path)) for path in paths]
    slot_of, slot = torch.tensor(slots, device="cpu"), torch.arange(size, device="cpu")
    level = torch.arange(depth, device="cpu")
    down = (slot.unsqueeze(-1) >> (depth - 1 - level)) + (2 << level) - 1
    siblings = ((down + 1) ^ 1) - 1
    nodes = torch.arange(2 * size - 1, device="cpu").unsqueeze(-1)
    level_of_node = torch.tensor([n for n in range(depth + 1) for _ in range(1 << n)], device="cpu").unsqueeze(-1)
    return Heap(
        depth,
        None if slots == list(range(size)) else slot_of,
        torch.zeros(size, dtype=torch.int64, device="cpu").index_copy_(
            0, slot_of, torch.arange(categories, device="cpu")
        ),
        torch.tensor([min(depth - number.bit_length(), depth - 1) for number in range(size)], device="cpu"),
        torch.stack((down, siblings), -1).flatten(0, 1),
        ((slot_of >> (depth - level_of_node)) + (1 << level_of_node) - 1 == nodes).float(),
    )


@functools.lru_cache(maxsize=64)
def counted(count: int, few: bool) -> Tensor:
    """0, 1, 2, ..., in 32 bits where they are few enough."""
    return torch.arange(count, dtype=torch.int32 if few else torch.int64, device="cpu")


@functools.lru_cache(maxsize=64)
def behind(categories: int) -> Tensor:
    """float32 `[C, C]`: which positions are behind each one."""
    return torch.ones(categories, categories, device="cpu").triu_(1)
