"""Antithetic pairs as C kernels. The mathematics is in README.md.

A draw is one pass over the logits, a gradient another; both make what they need of the softmax as they go, which takes
no longer than to write it and to read it. Short rows are drawn many at a time, all others one by one. Where leaves are
in the order of the logits, a draw sorts them, and a gradient knows them by their logits.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from discretegrad.ops import native
from discretegrad.ops.layout import by_group, switch_off
from discretegrad.ops.noise import made
from discretegrad.ops.tree import fused
from discretegrad.ops.tree.lazy import LogitPairs
from discretegrad.ops.tree.topology import SHAPES, TreeLike, topology

SHORT, SHORT_SORTED = 128, 1024
"""The most categories of rows that are drawn many at a time, and of those whose leaves are sorted before."""
KINDS = {"balanced": 0, "caterpillar": 1, "huffman": 3}
NESTED = 2
IN_ORDER = (0, 1)
"""The trees whose leaves are the categories one after the other, by number or by logit."""
SORTED = {None: 0, "ascending": 1, "descending": -1, "abs": 2}

_pairs = native.function("pairs", pointers=10, sizes=6)
_pairs_of_rows = native.function("pairs_of_rows", pointers=10, sizes=5)
_gradient = native.function("gradient", pointers=9, sizes=9)
_importance = native.function("importance", pointers=6, sizes=7)


class Parted(NamedTuple):
    """Where the paths of pairs part."""

    bounds: Tensor
    """int32 `[P, 3, *v]`, the outermost leaves of both children of the node; see `native.c`."""
    shares: Tensor
    """`[P, 5, *v]`, the largest logits, and by what masses are multiplied."""
    place: Tensor | None
    """int32 `[C]` or `[*v, C]`, where categories are in the tree; None where the logits or their own number tell."""
    sound: bool = True
    """False where a variable was met that has no probabilities."""

    @property
    def ratio(self) -> Tensor:
        """`[P, *v]`: `p(z1) p(z2) / r(z1, z2)`."""
        return self.shares[:, 4]


class NativePairs(LogitPairs):
    """Logits as the kernels take them."""

    seeded = True

    def __init__(self, shape: str | TreeLike, order: str | None, logits: Tensor, mask: Tensor | None = None) -> None:
        super().__init__(shape, order, logits, mask)
        self.kind = KINDS[shape] if isinstance(shape, str) else NESTED
        self.sorted = SORTED[order]
        self.flags = native.flags(mask, logits.shape[:-1])
        self.tree = nodes(shape, logits.shape[-1]) if self.kind == NESTED else None

    @property
    def leaves(self) -> Tensor:
        return self.probs if self.kind in IN_ORDER and self.order is None else self.reference().leaves

    def sample(self, noise: Tensor) -> tuple[Tensor, Parted]:
        indices = native.empty((2 * noise.shape[1], *noise.shape[2:]), torch.int64)
        return indices, self._look_at(noise, indices, self.logits.dtype)

    def sound(self, kept: Parted) -> bool:
        return kept.sound

    def gradient(
        self, indices: Tensor, differences: Tensor, others: Tensor | None = None, kept: Parted | None = None
    ) -> Tensor:
        if native.differentiated(self.logits, differences):
            return self.reference().gradient(indices, differences, others)
        call = self._call(indices, differences, others, kept)
        place, (rows, categories) = call.parted.place, call.sizes[:2]
        stride = 0 if place is None or place.numel() == categories else categories
        found = (self._rows(call.out.dtype), self.flags, place, call.indices, call.parted.bounds, call.shares)
        tensors = (*found, call.differences, call.others, call.out)
        _gradient(
            call.out.dtype, *tensors, rows, categories, stride, self.sorted, *call.sizes[2:], work=call.out.numel()
        )
        return call.out

    def importance(
        self, indices: Tensor, differences: Tensor, others: Tensor | None = None, kept: Parted | None = None
    ) -> Tensor:
        if native.differentiated(self.logits, differences):
            return self.reference().importance(indices, differences, others)
        call = self._call(indices, differences, others, kept)
        tensors = (self.flags, call.indices, call.shares, call.differences, call.others, call.out)
        _importance(call.out.dtype, *tensors, *call.sizes, work=call.out.numel())
        return call.out

    def _call(self, indices: Tensor, differences: Tensor, others: Tensor | None, kept: Parted | None) -> Call:
        dtype = self.logits.dtype
        if differences.dtype != dtype:
            dtype = torch.promote_types(dtype, differences.dtype)
            differences = differences.to(dtype)
        indices, pairs = indices.contiguous(), len(indices) // 2
        parted = self._look_at(None, indices, dtype) if kept is None else kept
        grouped, shared_by = by_group(differences, torch.Size((pairs, *indices.shape[1:])))
        others, others_shared_by = (None, 1) if others is None else by_group(others.to(dtype), indices.shape)
        out, others_groups = native.empty(self.logits.shape, dtype), 0 if others is None else others.shape[1]
        rows, categories = self.logits.shape[:-1].numel(), self.logits.shape[-1]
        sizes = (rows, categories, pairs, grouped.shape[1], shared_by, others_groups, others_shared_by)
        return Call(indices, parted, parted.shares.to(dtype), grouped, others, out, sizes)

    def ratio(self, indices: Tensor, kept: Parted | None = None) -> Tensor:
        return (self._look_at(None, indices.contiguous(), self.logits.dtype) if kept is None else kept).ratio

    def flow(self, indices: Tensor, coefficients: Tensor) -> Tensor:
        """The fused implementation is asked, or the reference."""
        found = fused.pairs(self.shape, self.order, switch_off(self.logits, self.mask))
        return (found or self.reference()).flow(indices, coefficients)

    def _look_at(self, noise: Tensor | None, indices: Tensor, dtype: torch.dtype) -> Parted:
        """Where pairs part: of those that are drawn into `indices`, or, without noise, of those that are there."""
        logits, categories = self._rows(dtype), self.logits.shape[-1]
        rows, pairs, variables = logits.shape[:-1].numel(), len(indices) // 2, indices.shape[1:]
        bounds = native.empty((pairs, 3, *variables), torch.int32)
        shares = native.empty((pairs, 5, *variables), dtype)
        place = None
        sizes = (rows, categories, self.kind, self.sorted)
        longest = SHORT_SORTED if self.sorted else SHORT
        if self.kind in IN_ORDER and self.order != "abs" and categories <= longest:
            tree = nodes(self.shape, categories)
            shared = (logits, self.flags, tree.right, tree.low, tree.high)
            drawn = (None, None) if noise is None else native.noise_or_seed(noise, torch.float64)
            found = (*drawn, indices, bounds, shares)
            sound = _pairs(dtype, *shared, *found, *sizes, tree.depth, pairs, work=logits.numel())
        else:
            tables: tuple[Tensor | None, ...] = (None, None, None)
            if self.tree is not None:
                tables, place = (self.tree.leaf_at, self.tree.right, self.tree.low), self.tree.place
            if self.kind == KINDS["huffman"] or (self.kind == NESTED and self.sorted):
                place = native.empty(logits.shape, torch.int32)
            numbers = None if noise is None else made(noise, torch.float64).double().contiguous()
            own = (logits, self.flags, *tables, place, numbers, indices, bounds, shares)
            sound = _pairs_of_rows(dtype, *own, *sizes, pairs, work=logits.numel())
        return Parted(bounds, shares, place, sound)

    def _rows(self, dtype: torch.dtype) -> Tensor:
        return self.logits.to(dtype).contiguous()


class Call(NamedTuple):
    """What the kernels of gradients take."""

    indices: Tensor
    parted: Parted
    shares: Tensor
    """In the dtype of the gradient."""
    differences: Tensor
    """`[P, M]`; see `by_group`."""
    others: Tensor | None
    """`[2P, M]`."""
    out: Tensor
    sizes: tuple[int, ...]
    """Rows, categories, pairs; groups of differences, and the rows of each; the same of the others."""


class Nodes(NamedTuple):
    """A tree over C leaves as tables over its 2C - 1 nodes, int32, numbered as in `native.c`."""

    right: Tensor
    """The right child; 0 of a leaf. The left child is the next node."""
    low: Tensor
    """The first position below."""
    high: Tensor
    """One past the last."""
    depth: int
    """Steps from the root to the farthest leaf."""
    leaf_at: Tensor | None
    """`[C]`, the leaf at each position of nested pairs."""
    place: Tensor | None
    """`[C]`, the position of each of those leaves."""


@functools.lru_cache(maxsize=64)
def nodes(shape: str | TreeLike, categories: int) -> Nodes:
    """The tables of a tree.

    Raises:
        ValueError: where nested pairs hold another number of leaves than there are categories.
    """
    right: list[int] = []
    low: list[int] = []
    high: list[int] = []
    position = deepest = 0
    root: TreeLike = SHAPES[shape](0, categories) if isinstance(shape, str) else shape
    todo: list[tuple[TreeLike | None, int, int]] = [(root, -1, 0)]
    while todo:
        tree, parent, depth = todo.pop()
        if tree is None:  # what is below the node has been visited
            high[parent] = position
            continue
        node = len(low)
        if parent >= 0:
            right[parent] = node
        right.append(0)
        low.append(position)
        high.append(position + 1)
        if isinstance(tree, tuple):
            # The right child comes last, so its number stays.
            todo += [(None, node, depth), (tree[1], node, depth + 1), (tree[0], node, depth + 1)]
        else:
            position += 1
            deepest = max(deepest, depth)
    leaf_at = place = None
    if not isinstance(shape, str):
        leaf_at = topology(shape, categories, torch.empty(0, device="cpu"))[1]
        place = leaf_at.argsort().int()
    first, second, third = (torch.tensor(table, dtype=torch.int32, device="cpu") for table in (right, low, high))
    return Nodes(first, second, third, deepest, None if leaf_at is None else leaf_at.int(), place)
