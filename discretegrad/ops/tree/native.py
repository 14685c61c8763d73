"""Antithetic pairs on fixed trees as C kernels. The mathematics is in README.md.

A draw is one pass over the logits, a gradient another one over the leaves below the node where a pair parts; both make
what they need of the softmax as they go. An order of the leaves by the logits is sorted before.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from discretegrad.ops import native
from discretegrad.ops.layout import by_group
from discretegrad.ops.order import native as sorting
from discretegrad.ops.tree import fused
from discretegrad.ops.tree.lazy import LogitPairs
from discretegrad.ops.tree.topology import SHAPES, TreeLike, category_at

_pairs = native.function("pairs", pointers=8, sizes=4)
_gradient = native.function("gradient", pointers=10, sizes=8)


class Parted(NamedTuple):
    """Where the paths of pairs part, each `[P, *v]`."""

    where: Tensor
    """int32, twice the node, and one more if the first point goes to the right there; -1 where they do not."""
    ratio: Tensor
    """`p(z1) p(z2) / r(z1, z2)`."""


def pairs(shape: str | TreeLike, order: str | None, logits: Tensor) -> NativePairs | None:
    """See `reference.pairs`; None for trees that are every variable's own."""
    return None if shape == "huffman" else NativePairs(shape, order, logits)


class NativePairs(LogitPairs):
    """Logits, and the category at each position of the tree."""

    def __init__(self, shape: str | TreeLike, order: str | None, logits: Tensor) -> None:
        super().__init__(shape, order, logits)
        self.tree = nodes(shape, logits.shape[-1])
        self.category_at: Tensor | None = None
        if isinstance(shape, str) and order is not None:
            self.category_at = sorting.by(logits, order)
        else:
            leaf_at = category_at(shape, order, logits)
            self.category_at = None if leaf_at is None else leaf_at.to(torch.int16)

    @property
    def leaves(self) -> Tensor:
        """See `Pairs.leaves`."""
        probs = self.probs
        return probs if self.category_at is None else probs.gather(-1, self.category_at.long().expand(probs.shape))

    def sample(self, noise: Tensor) -> tuple[Tensor, Parted]:
        """See `Pairs.sample`."""
        indices = native.empty((2 * noise.shape[1], *noise.shape[2:]), torch.int64)
        return indices, self._look_at(noise.to(self.logits.dtype).contiguous(), indices)

    def gradient(
        self, indices: Tensor, differences: Tensor, others: Tensor | None = None, kept: Parted | None = None
    ) -> Tensor:
        """See `Pairs.gradient`."""
        if native.differentiated(self.logits, differences):
            return self.reference().gradient(indices, differences, others)
        indices = indices.contiguous()
        parted = self._look_at(None, indices) if kept is None else kept
        dtype = torch.promote_types(self.logits.dtype, differences.dtype)
        grouped, shared_by = by_group(differences.to(dtype), parted.where.shape)
        others, others_shared_by = (None, 1) if others is None else by_group(others.to(dtype), indices.shape)
        out = native.empty(self.logits.shape, dtype)
        _gradient(
            dtype,
            *self._rows(dtype),
            self.tree.high,
            indices,
            parted.where,
            grouped,
            others,
            out,
            *self._sizes(indices),
            grouped.shape[1],
            shared_by,
            0 if others is None else others.shape[1],
            others_shared_by,
            work=out.numel(),
        )
        return out

    def ratio(self, indices: Tensor, kept: Parted | None = None) -> Tensor:
        """See `Pairs.ratio`."""
        return (self._look_at(None, indices.contiguous()) if kept is None else kept).ratio

    def flow(self, indices: Tensor, coefficients: Tensor) -> Tensor:
        """The fused one's, or the reference's."""
        found = fused.pairs(self.shape, self.order, self.logits)
        return (found or self.reference()).flow(indices, coefficients)

    def _look_at(self, noise: Tensor | None, indices: Tensor) -> Parted:
        """Where pairs part: of those that are drawn into `indices`, or, without noise, of those that are there."""
        dtype = self.logits.dtype
        shape = (indices.shape[0] // 2, *indices.shape[1:])
        parted = Parted(native.empty(shape, torch.int32), native.empty(shape, dtype))
        sizes = self._sizes(indices)
        _pairs(dtype, *self._rows(dtype), noise, indices, *parted, *sizes, work=self.logits.numel())
        return parted

    def _rows(self, dtype: torch.dtype) -> tuple[Tensor | None, ...]:
        return self.logits.to(dtype).contiguous(), self.category_at, self.tree.right, self.tree.low

    def _sizes(self, indices: Tensor) -> tuple[int, ...]:
        """Rows, categories, what is between two rows of the order, pairs."""
        categories = self.logits.shape[-1]
        stride = 0 if self.category_at is None or self.category_at.ndim == 1 < self.logits.ndim else categories
        return self.logits.shape[:-1].numel(), categories, stride, indices.shape[0] // 2


class Nodes(NamedTuple):
    """A tree over C leaves as tables over its 2C - 1 nodes, int32, numbered as in `native.c`."""

    right: Tensor
    """The right child; 0 of a leaf. The left child is the next node."""
    low: Tensor
    """The first position below."""
    high: Tensor
    """One past the last."""


@functools.lru_cache(maxsize=64)
def nodes(shape: str | TreeLike, categories: int) -> Nodes:
    """The tables of a tree.

    Raises:
        ValueError: where nested pairs hold another number of leaves than there are categories.
    """
    right: list[int] = []
    low: list[int] = []
    high: list[int] = []
    position = 0
    todo: list[tuple[TreeLike | None, int]] = [(SHAPES[shape](0, categories) if isinstance(shape, str) else shape, -1)]
    while todo:
        tree, parent = todo.pop()
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
            todo += [(None, node), (tree[1], node), (tree[0], node)]
        else:
            position += 1
    return Nodes(*(torch.tensor(table, dtype=torch.int32) for table in (right, low, high)))
