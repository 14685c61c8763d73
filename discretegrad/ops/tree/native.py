"""Antithetic pairs on fixed trees as C kernels. The mathematics is in README.md.

A draw is one pass over the logits, a gradient another; both make what they need of the softmax as they go, which takes
no longer than to write it and to read it. Where leaves are in the order of the logits, a draw sorts logits only: which
categories they are of is looked up for those that are drawn, and for all only where a gradient needs it.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from discretegrad.ops import native
from discretegrad.ops.dispatch import LARGEST
from discretegrad.ops.layout import by_group
from discretegrad.ops.order import native as sorting
from discretegrad.ops.tree import fused
from discretegrad.ops.tree.lazy import LogitPairs
from discretegrad.ops.tree.topology import SHAPES, TreeLike, category_at

_pairs = native.function("pairs", pointers=8, sizes=6)
_gradient = native.function("gradient", pointers=10, sizes=8)
_importance = native.function("importance", pointers=5, sizes=7)


class Parted(NamedTuple):
    """Where the paths of pairs part."""

    where: Tensor
    """int32 `[P, *v]`: twice the node, one more if the first point goes to the right there; -1 where they do not."""
    ratio: Tensor
    """`[P, *v]`: `p(z1) p(z2) / r(z1, z2)`."""
    sound: bool = True
    """False where a variable was met that has no probabilities."""


def pairs(shape: str | TreeLike, order: str | None, logits: Tensor) -> NativePairs | None:
    """See `reference.pairs`; None for trees that are every variable's own, and for long rows."""
    return None if shape == "huffman" or logits.shape[-1] > LARGEST else NativePairs(shape, order, logits)


class NativePairs(LogitPairs):
    """Logits, and tables of the tree."""

    def __init__(self, shape: str | TreeLike, order: str | None, logits: Tensor) -> None:
        super().__init__(shape, order, logits)
        self.tree = nodes(shape, logits.shape[-1])
        self.sorted = sorting.SIGNS[order] if isinstance(shape, str) and order is not None else 0
        """1 or -1 where leaves are in ascending or descending order."""

    @functools.cached_property
    def category_at(self) -> Tensor | None:
        """int16, the category at each position of the tree; None where that is its own."""
        if isinstance(self.shape, str) and self.order is not None:
            return sorting.by(self.logits, self.order)
        leaf_at = category_at(self.shape, self.order, self.logits)
        return None if leaf_at is None else leaf_at.to(torch.int16)

    @property
    def leaves(self) -> Tensor:
        """See `Pairs.leaves`."""
        probs = self.probs
        return probs if self.category_at is None else probs.gather(-1, self.category_at.long().expand(probs.shape))

    def sample(self, noise: Tensor) -> tuple[Tensor, Parted]:
        """See `Pairs.sample`."""
        indices = native.empty((2 * noise.shape[1], *noise.shape[2:]), torch.int64)
        return indices, self._look_at(noise.double().contiguous(), indices, self.logits.dtype)

    def gradient(
        self, indices: Tensor, differences: Tensor, others: Tensor | None = None, kept: Parted | None = None
    ) -> Tensor:
        """See `Pairs.gradient`."""
        if native.differentiated(self.logits, differences):
            return self.reference().gradient(indices, differences, others)
        call = self._call(indices, differences, others, kept)
        rows, (order, stride) = self._rows(call.out.dtype), self._order()
        _gradient(
            call.out.dtype,
            rows,
            order,
            self.tree.right,
            self.tree.low,
            self.tree.high,
            call.indices,
            call.parted.where,
            call.differences,
            call.others,
            call.out,
            *call.sizes[:2],
            stride,
            *call.sizes[2:],
            work=call.out.numel(),
        )
        return call.out

    def importance(
        self, indices: Tensor, differences: Tensor, others: Tensor | None = None, kept: Parted | None = None
    ) -> Tensor:
        """See `Pairs.importance`."""
        if native.differentiated(self.logits, differences):
            return self.reference().importance(indices, differences, others)
        call = self._call(indices, differences, others, kept)
        tensors = (call.indices, call.parted.ratio.to(call.out.dtype), call.differences, call.others, call.out)
        _importance(call.out.dtype, *tensors, *call.sizes, work=call.out.numel())
        return call.out

    def _call(self, indices: Tensor, differences: Tensor, others: Tensor | None, kept: Parted | None) -> Call:
        dtype = self.logits.dtype
        if differences.dtype != dtype:
            dtype = torch.promote_types(dtype, differences.dtype)
            differences = differences.to(dtype)
        indices, pairs = indices.contiguous(), len(indices) // 2
        parted = self._look_at(None, indices, dtype) if kept is None else kept
        grouped, shared_by = by_group(differences, parted.where.shape)
        others, others_shared_by = (None, 1) if others is None else by_group(others.to(dtype), indices.shape)
        out, others_groups = native.empty(self.logits.shape, dtype), 0 if others is None else others.shape[1]
        rows, categories = self.logits.shape[:-1].numel(), self.logits.shape[-1]
        sizes = (rows, categories, pairs, grouped.shape[1], shared_by, others_groups, others_shared_by)
        return Call(indices, parted, grouped, others, out, sizes)

    def ratio(self, indices: Tensor, kept: Parted | None = None) -> Tensor:
        """See `Pairs.ratio`."""
        return (self._look_at(None, indices.contiguous(), self.logits.dtype) if kept is None else kept).ratio

    def flow(self, indices: Tensor, coefficients: Tensor) -> Tensor:
        """The fused one's, or the reference's."""
        found = fused.pairs(self.shape, self.order, self.logits)
        return (found or self.reference()).flow(indices, coefficients)

    def _look_at(self, noise: Tensor | None, indices: Tensor, dtype: torch.dtype) -> Parted:
        """Where pairs part: of those that are drawn into `indices`, or, without noise, of those that are there."""
        logits, categories = self._rows(dtype), self.logits.shape[-1]
        rows, shape = logits.shape[:-1].numel(), (len(indices) // 2, *indices.shape[1:])
        parted = Parted(native.empty(shape, torch.int32), native.empty(shape, dtype))
        sorts = self.sorted if noise is not None else 0
        order, stride = (None, 0) if sorts else self._order()
        sizes = (rows, categories, stride, sorts, self.tree.depth, shape[0])
        tensors = (logits, order, self.tree.right, self.tree.low, noise, indices, parted.where, parted.ratio)
        return parted._replace(sound=_pairs(dtype, *tensors, *sizes, work=logits.numel()))

    def _rows(self, dtype: torch.dtype) -> Tensor:
        return self.logits.to(dtype).contiguous()

    def _order(self) -> tuple[Tensor | None, int]:
        """And what is between two rows of it."""
        order = self.category_at
        return order, 0 if order is None or order.ndim == 1 < self.logits.ndim else self.logits.shape[-1]


class Call(NamedTuple):
    """What the kernels of gradients take."""

    indices: Tensor
    parted: Parted
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
    first, second, third = (torch.tensor(table, dtype=torch.int32, device="cpu") for table in (right, low, high))
    return Nodes(first, second, third, deepest)
