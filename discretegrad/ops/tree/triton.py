"""Antithetic pairs on fixed trees and on caterpillars as kernels. The mathematics is in README.md.

A draw is one pass over the logits, a gradient another one that writes its rows as it goes; both make the softmax in
registers, in the order of the tree. An order of the leaves by the logits is sorted before, which is a pass of its own.
Masses of subtrees are sums over their interval. The operators have no autograd formula: the estimators' gradients are
carried by `discretegrad.autograd`, and are not differentiated.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from discretegrad.ops import kernels
from discretegrad.ops.dispatch import has_entries
from discretegrad.ops.kernels import at, first_above, masses, ratio, sum_between, sums_of_possible, three_uniforms
from discretegrad.ops.layout import as_rows, by_group, wide_dtype
from discretegrad.ops.tree.lazy import LogitPairs
from discretegrad.ops.tree.topology import SHAPES, TreeLike, category_at

DEEPEST = 64
"""The most nodes on a path; a kernel meets them one after the other, and sums over the leaves of their children."""


def pairs(shape: str | TreeLike, order: str | None, logits: Tensor) -> TritonPairs | None:
    """See `reference.pairs`; None for trees that are too deep, or every variable's own."""
    if shape == "huffman":
        return None
    if shape == "caterpillar":
        return TritonPairs(shape, order, logits, None)
    tree = tables(shape, logits.shape[-1], logits)
    return None if tree is None else TritonPairs(shape, order, logits, tree)


class TritonPairs(LogitPairs):
    """Logits, and the category at each position of the tree."""

    seeded = True

    def __init__(self, shape: str | TreeLike, order: str | None, logits: Tensor, tree: Tables | None) -> None:
        super().__init__(shape, order, logits)
        self.tree = tree
        self.variables = logits.shape[:-1]
        leaf_at = category_at(shape, order, self.logits)
        # Of transposed logits the ranking is transposed too.
        self.category_at = None if leaf_at is None else as_rows(leaf_at).contiguous()

    @property
    def leaves(self) -> Tensor:
        """See `Pairs.leaves`."""
        return self.reference().leaves

    def sample(self, noise: Tensor) -> tuple[Tensor, Tensor | None]:
        """See `Pairs.sample`; `noise` may be a seed, expanded to its shape. Keeps the node where each pair parts."""
        source, seeded = kernels.noise_or_seed(noise)
        count, nodes = noise.shape[1], None
        if self.tree is None:
            indices = torch.ops.discretegrad.draw_sticks(*self._rows(), source, count, seeded)
        else:
            indices, nodes = torch.ops.discretegrad.draw_pairs(*self._rows(), *self.tree, source, count, seeded)
        return indices.reshape(2 * count, *self.variables), nodes

    def gradient(
        self, indices: Tensor, differences: Tensor, others: Tensor | None = None, kept: Tensor | None = None
    ) -> Tensor:
        """See `Pairs.gradient`."""
        pairs = indices.shape[0] // 2
        grouped, shared_by = by_group(differences, torch.Size((pairs, *self.variables)))
        others, others_shared_by = (None, 1) if others is None else by_group(others, indices.shape)
        return torch.ops.discretegrad.gradient_of_pairs(
            *self._rows(),
            *((None, None) if self.tree is None else self.tree),
            self._flat(indices),
            kept,
            grouped,
            shared_by,
            others,
            others_shared_by,
        ).reshape(self.logits.shape)

    def ratio(self, indices: Tensor, kept: Tensor | None = None) -> Tensor:
        """See `Pairs.ratio`: of sticks one pass more; of other trees the reference's, for no estimator asks for it."""
        if self.tree is not None:
            return self.reference().ratio(indices)
        result = torch.ops.discretegrad.ratio_of_sticks(*self._rows(), self._flat(indices))
        return result.reshape(indices.shape[0] // 2, *self.variables)

    def flow(self, indices: Tensor, coefficients: Tensor) -> Tensor:
        """The reference's."""
        return self.reference().flow(indices, coefficients)

    def _rows(self) -> tuple[Tensor, Tensor | None]:
        return as_rows(self.logits), self.category_at

    def _flat(self, indices: Tensor) -> Tensor:
        return indices.reshape(indices.shape[0], self.variables.numel())


class Tables(NamedTuple):
    """A tree over C leaves."""

    path: Tensor
    """int32 `[C, L]`, the inner nodes above each leaf, from the root down; -1 behind them."""
    bounds: Tensor
    """int32 `[3, C-1]`: low, middle and high, as in `Topology`."""


def tables(shape: str | TreeLike, categories: int, like: Tensor) -> Tables | None:
    """The tables of a tree, on the device of `like`; None for a tree that is too deep."""
    # As for topologies, tensors of a trace must not outlive it.
    return (_tables if has_entries(like) else _tables.__wrapped__)(shape, categories, like.device)


@functools.lru_cache(maxsize=64)
def _tables(shape: str | TreeLike, categories: int, device: torch.device) -> Tables | None:
    path: list[list[int]] = []
    bounds: list[list[int]] = []
    # What is left to do: a subtree with the nodes above it, or a node whose next bound is where the walk has come.
    todo: list[tuple[TreeLike | None, list[int]]] = [
        (SHAPES[shape](0, categories) if isinstance(shape, str) else shape, [])
    ]
    while todo:
        node, above = todo.pop()
        if len(above) > DEEPEST:
            return None
        if node is None:
            bounds[above[-1]].append(len(path))
        elif isinstance(node, tuple):
            below = [*above, len(bounds)]
            bounds.append([len(path)])
            todo += [(None, below), (node[1], below), (None, below), (node[0], below)]
        else:
            path.append(above)
    length = max(map(len, path))
    padded = [[*nodes, *[-1] * (length - len(nodes))] for nodes in path]
    columns = [[node[bound] for node in bounds] for bound in range(3)]
    return Tables(*(torch.tensor(table, dtype=torch.int32, device=device) for table in (padded, columns)))


@torch.library.custom_op(
    "discretegrad::draw_pairs",
    mutates_args=(),
    schema="(Tensor logits, Tensor? category_at, Tensor path, Tensor bounds, Tensor noise, int pairs, bool seeded) "
    "-> (Tensor, Tensor)",
)
def _draw_pairs(
    logits: Tensor, category_at: Tensor | None, path: Tensor, bounds: Tensor, noise: Tensor, pairs: int, seeded: bool
) -> tuple[Tensor, Tensor]:
    rows, categories = logits.shape
    indices = kernels.empty((2 * pairs, rows), torch.int64, logits)
    nodes = kernels.empty((pairs, rows), torch.int32, logits)
    kernels.launch(
        _draw_pairs_kernel,
        rows,
        categories,
        logits,
        logits,
        category_at,
        path,
        bounds,
        noise,
        indices,
        nodes,
        *logits.stride(),
        _row_stride(category_at),
        path.shape[1],
        pairs,
        PERMUTED=category_at is not None,
        SEEDED=seeded,
        WIDE=_wide(logits),
    )
    return indices, nodes


@_draw_pairs.register_fake
def _(
    logits: Tensor, category_at: Tensor | None, path: Tensor, bounds: Tensor, noise: Tensor, pairs: int, seeded: bool
) -> tuple[Tensor, Tensor]:
    rows = logits.shape[0]
    indices = logits.new_empty((2 * pairs, rows), dtype=torch.int64)
    return indices, logits.new_empty((pairs, rows), dtype=torch.int32)


@torch.library.custom_op(
    "discretegrad::draw_sticks",
    mutates_args=(),
    schema="(Tensor logits, Tensor? category_at, Tensor noise, int pairs, bool seeded) -> Tensor",
)
def _draw_sticks(logits: Tensor, category_at: Tensor | None, noise: Tensor, pairs: int, seeded: bool) -> Tensor:
    rows, categories = logits.shape
    indices = kernels.empty((2 * pairs, rows), torch.int64, logits)
    kernels.launch(
        _draw_sticks_kernel,
        rows,
        categories,
        logits,
        logits,
        category_at,
        noise,
        indices,
        *logits.stride(),
        _row_stride(category_at),
        pairs,
        PERMUTED=category_at is not None,
        SEEDED=seeded,
        WIDE=_wide(logits),
    )
    return indices


@_draw_sticks.register_fake
def _(logits: Tensor, category_at: Tensor | None, noise: Tensor, pairs: int, seeded: bool) -> Tensor:
    return logits.new_empty((2 * pairs, logits.shape[0]), dtype=torch.int64)


@torch.library.custom_op(
    "discretegrad::gradient_of_pairs",
    mutates_args=(),
    schema="(Tensor logits, Tensor? category_at, Tensor? path, Tensor? bounds, Tensor indices, Tensor? nodes, "
    "Tensor differences, int shared_by, Tensor? others, int others_shared_by) -> Tensor",
)
def _gradient_of_pairs(
    logits: Tensor,
    category_at: Tensor | None,
    path: Tensor | None,
    bounds: Tensor | None,
    indices: Tensor,
    nodes: Tensor | None,
    differences: Tensor,
    shared_by: int,
    others: Tensor | None,
    others_shared_by: int,
) -> Tensor:
    rows, categories = logits.shape
    out = kernels.empty((rows, categories), torch.promote_types(wide_dtype(logits.dtype), differences.dtype), logits)
    kernels.launch(
        _gradient_kernel,
        rows,
        categories,
        logits,
        logits,
        category_at,
        path,
        bounds,
        indices,
        nodes,
        differences,
        others,
        out,
        *logits.stride(),
        _row_stride(category_at),
        *indices.stride(),
        indices.shape[0] // 2,
        0 if path is None else path.shape[1],
        differences.shape[1],
        shared_by,
        0 if others is None else others.shape[1],
        others_shared_by,
        PERMUTED=category_at is not None,
        STICKS=path is None,
        KEPT=nodes is not None,
        OTHERS=others is not None,
        WIDE=_wide(logits),
        OUT=kernels.triton_dtype(out.dtype),
    )
    return out


@_gradient_of_pairs.register_fake
def _(
    logits: Tensor,
    category_at: Tensor | None,
    path: Tensor | None,
    bounds: Tensor | None,
    indices: Tensor,
    nodes: Tensor | None,
    differences: Tensor,
    shared_by: int,
    others: Tensor | None,
    others_shared_by: int,
) -> Tensor:
    return logits.new_empty(logits.shape, dtype=torch.promote_types(wide_dtype(logits.dtype), differences.dtype))


@torch.library.custom_op(
    "discretegrad::ratio_of_sticks",
    mutates_args=(),
    schema="(Tensor logits, Tensor? category_at, Tensor indices) -> Tensor",
)
def _ratio_of_sticks(logits: Tensor, category_at: Tensor | None, indices: Tensor) -> Tensor:
    rows, categories = logits.shape
    out = kernels.empty((indices.shape[0] // 2, rows), wide_dtype(logits.dtype), logits)
    kernels.launch(
        _ratio_kernel,
        rows,
        categories,
        logits,
        logits,
        category_at,
        indices,
        out,
        *logits.stride(),
        _row_stride(category_at),
        *indices.stride(),
        indices.shape[0] // 2,
        PERMUTED=category_at is not None,
        WIDE=_wide(logits),
    )
    return out


@_ratio_of_sticks.register_fake
def _(logits: Tensor, category_at: Tensor | None, indices: Tensor) -> Tensor:
    return logits.new_empty((indices.shape[0] // 2, logits.shape[0]), dtype=wide_dtype(logits.dtype))


def _row_stride(category_at: Tensor | None) -> int:
    """From one variable's categories to the next one's; 0 where all share them."""
    return 0 if category_at is None or category_at.shape[0] == 1 else category_at.shape[1]


def _wide(logits: Tensor) -> Any:
    return kernels.triton_dtype(wide_dtype(logits.dtype))


@triton.jit
def _leaves(
    logits, category_at, row, column, rows, categories, row_stride, stride, category_stride,
    PERMUTED: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Logits by position, -inf where there is none, and the categories there."""
    inside = (row < rows)[:, None] & (column < categories)
    category = column.to(tl.int64)
    if PERMUTED:
        category = tl.load(category_at + row[:, None] * category_stride + column, mask=inside, other=-1)
    entry = logits + row[:, None] * row_stride + category * stride
    return tl.load(entry, mask=inside, other=float("-inf")).to(WIDE), category


@triton.jit
def _category(category_at, row, position, there, category_stride, PERMUTED: tl.constexpr):
    if PERMUTED:
        return tl.load(category_at + row * category_stride + position, mask=there, other=0)
    else:
        return position.to(tl.int64)


@triton.jit
def _position(category, column, index, PERMUTED: tl.constexpr):
    if PERMUTED:
        return tl.sum(tl.where(category == index[:, None], column, 0), 1)
    else:
        return index.to(tl.int32)


@triton.jit
def _noise(noise, row, pair, rows, pairs, there, SEEDED: tl.constexpr, WIDE: tl.constexpr):
    """The three uniforms of a pair, for every row."""
    if SEEDED:
        return three_uniforms(tl.load(noise), row, pair, WIDE)
    else:
        step = tl.zeros_like(row) + rows
        entry = noise + step * pair + row
        one = tl.load(entry, mask=there, other=0.0).to(WIDE)
        two = tl.load(entry + step * pairs, mask=there, other=0.0).to(WIDE)
        three = tl.load(entry + 2 * step * pairs, mask=there, other=0.0).to(WIDE)
        return one, two, three


@triton.jit
def _children(bounds, node, first, inner_nodes, there):
    """The intervals of the child of a node that holds the first point, and of its sibling."""
    low = tl.load(bounds + node, mask=there, other=0)
    middle = tl.load(bounds + inner_nodes + node, mask=there, other=0)
    high = tl.load(bounds + 2 * inner_nodes + node, mask=there, other=0)
    left = first < middle
    own_low, own_high = tl.where(left, low, middle), tl.where(left, middle, high)
    other_low, other_high = tl.where(left, middle, low), tl.where(left, high, middle)
    return own_low, own_high, other_low, other_high


@triton.jit
def _draw_pairs_kernel(
    logits, category_at, path, bounds, noise, indices, nodes, row_stride, stride, category_stride, levels, pairs, rows,
    categories, PERMUTED: tl.constexpr, SEEDED: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Down the first point's path, until the second point leaves it; then below the sibling where it does."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)[None, :]
    there = row < rows
    leaves, _ = _leaves(
        logits, category_at, row, column, rows, categories, row_stride, stride, category_stride, PERMUTED, WIDE
    )
    mass = masses(leaves)
    sums, total = sums_of_possible(mass)
    own = row
    out = row
    for pair in range(pairs):
        to_first, to_part, to_second = _noise(noise, row, pair, rows, pairs, there, SEEDED, WIDE)
        first = first_above(sums, to_first * total, column, BLOCK)
        together = tl.full([ROWS], 1.0, WIDE)
        parted = tl.full([ROWS], -1, tl.int32)
        low = first
        high = first + 1
        for level in range(levels):
            node = tl.load(path + first * levels + level, mask=there, other=-1)
            own_low, own_high, other_low, other_high = _children(bounds, node, first, categories - 1, node >= 0)
            own_mass = sum_between(mass, column, own_low, own_high)
            other_mass = sum_between(mass, column, other_low, other_high)
            # Into a heavier child the second point follows the first with probability 1 - lighter / heavier, into a
            # lighter one never. Behind the end of the path nothing has mass, and they stay together.
            stays = tl.where(own_mass > 0, ratio(tl.maximum(own_mass - other_mass, 0.0), own_mass), 1.0)
            together = together * stays
            # A quotient of equal numbers need not be 1 on a GPU, so that nothing is lost says only the mass.
            parts = (other_mass > 0) & (parted < 0) & (together <= to_part)
            parted = tl.where(parts, node, parted)
            low = tl.where(parts, other_low, low)
            high = tl.where(parts, other_high, high)
        within = tl.where((column >= low[:, None]) & (column < high[:, None]), mass, 0.0)
        within_sums, within_total = sums_of_possible(within)
        second = first_above(within_sums, to_second * within_total, column, BLOCK)
        tl.store(nodes + own, parted, mask=there)
        tl.store(indices + out, _category(category_at, row, first, there, category_stride, PERMUTED), mask=there)
        out += rows
        tl.store(indices + out, _category(category_at, row, second, there, category_stride, PERMUTED), mask=there)
        out += rows
        own += rows


@triton.jit
def _sticks(
    logits, category_at, row, column, rows, categories, row_stride, stride, category_stride,
    PERMUTED: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Sticks, what is left behind each, and how probably the second point goes past it if the first one does."""
    leaves, _ = _leaves(
        logits, category_at, row, column, rows, categories, row_stride, stride, category_stride, PERMUTED, WIDE
    )
    # The row again, moved by one, for a sum without its own stick: a difference would lose the digits of a light rest.
    behind, _ = _leaves(
        logits, category_at, row, column + 1, rows, categories, row_stride, stride, category_stride, PERMUTED, WIDE
    )
    largest = tl.max(leaves, 1)
    largest = tl.where(largest == float("-inf"), 0.0, largest)
    stick = tl.exp(leaves - largest[:, None])
    rest = tl.cumsum(tl.exp(behind - largest[:, None]), 1, reverse=True)
    # Past a heavier stick it never goes, past a lighter one with probability 1 - stick / rest.
    together = tl.cumprod(ratio(tl.maximum(rest - stick, 0.0), rest), 1)
    return stick, rest, together


@triton.jit
def _draw_sticks_kernel(
    logits, category_at, noise, indices, row_stride, stride, category_stride, pairs, rows, categories,
    PERMUTED: tl.constexpr, SEEDED: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The second point stops at a stick before the first one's, or comes to it too and stays there or goes on."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)[None, :]
    there = row < rows
    stick, rest, together = _sticks(
        logits, category_at, row, column, rows, categories, row_stride, stride, category_stride, PERMUTED, WIDE
    )
    sums, total = sums_of_possible(stick)
    out = row
    for pair in range(pairs):
        to_first, to_part, to_second = _noise(noise, row, pair, rows, pairs, there, SEEDED, WIDE)
        first = first_above(sums, to_first * total, column, BLOCK)
        # A parallel product may fall at impossible sticks, by rounding, so only possible ones compete.
        stops = tl.min(tl.where((together <= to_part[:, None]) & (stick > 0), column, BLOCK), 1)
        before = tl.where(first > 0, at(together, column, first - 1), 1.0)
        own_mass = at(stick, column, first)
        other_mass = at(rest, column, first)
        stays = (ratio(tl.maximum(own_mass - other_mass, 0.0), own_mass) * before > to_part) | (other_mass <= 0)
        behind_sums, behind_total = sums_of_possible(tl.where(column > first[:, None], stick, 0.0))
        behind = first_above(behind_sums, to_second * behind_total, column, BLOCK)
        second = tl.where(stops < first, stops, tl.where(stays, first, behind))
        tl.store(indices + out, _category(category_at, row, first, there, category_stride, PERMUTED), mask=there)
        out += rows
        tl.store(indices + out, _category(category_at, row, second, there, category_stride, PERMUTED), mask=there)
        out += rows


@triton.jit
def _gradient_kernel(
    logits, category_at, path, bounds, indices, nodes, differences, others, out, row_stride, stride, category_stride,
    point_stride, index_stride, pairs, levels, groups, shared_by, others_groups, others_shared_by, rows, categories,
    PERMUTED: tl.constexpr, STICKS: tl.constexpr, KEPT: tl.constexpr, OTHERS: tl.constexpr, WIDE: tl.constexpr,
    OUT: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)[None, :]
    there = row < rows
    leaves, category = _leaves(
        logits, category_at, row, column, rows, categories, row_stride, stride, category_stride, PERMUTED, WIDE
    )
    mass = masses(leaves)
    result = tl.zeros([ROWS, BLOCK], OUT)
    index = indices + row * index_stride
    own = row
    group = row // shared_by
    others_group = row // others_shared_by
    for _ in range(pairs):
        one = tl.load(index, mask=there, other=0)
        index += point_stride
        two = tl.load(index, mask=there, other=0)
        index += point_stride
        difference = tl.load(differences + group, mask=there, other=0.0).to(OUT)
        difference = tl.where(one == two, 0.0, difference)
        group += groups
        first = _position(category, column, one, PERMUTED)
        second = _position(category, column, two, PERMUTED)
        if STICKS:
            node = tl.minimum(first, second)
            ahead = first < second
            own_low = tl.where(ahead, node, node + 1)
            own_high = tl.where(ahead, node + 1, categories)
            other_low = tl.where(ahead, node + 1, node)
            other_high = tl.where(ahead, categories, node + 1)
        else:
            if KEPT:
                node = tl.load(nodes + own, mask=there, other=-1)
                own += rows
            else:
                node = tl.full([ROWS], -1, tl.int32)
                for level in range(levels):  # the last node above both
                    above = tl.load(path + first * levels + level, mask=there, other=-1)
                    low = tl.load(bounds + above, mask=above >= 0, other=0)
                    high = tl.load(bounds + 2 * (categories - 1) + above, mask=above >= 0, other=0)
                    node = tl.where((low <= second) & (second < high), above, node)
            own_low, own_high, other_low, other_high = _children(bounds, node, first, categories - 1, node >= 0)
        in_own = (column >= own_low[:, None]) & (column < own_high[:, None])
        in_other = (column >= other_low[:, None]) & (column < other_high[:, None])
        own_mass = tl.sum(tl.where(in_own, mass, 0.0), 1)
        other_mass = tl.sum(tl.where(in_other, mass, 0.0), 1)
        lighter = ratio(tl.minimum(own_mass, other_mass), own_mass + other_mass)
        shared = lighter.to(OUT) * difference
        density = tl.where(
            in_own,
            -ratio(shared, own_mass.to(OUT))[:, None],
            tl.where(in_other, ratio(shared, other_mass.to(OUT))[:, None], 0.0),
        )
        result += density * mass.to(OUT)
        to_one = difference
        to_two = -difference
        if OTHERS:
            to_one += tl.load(others + others_group, mask=there, other=0.0).to(OUT)
            others_group += others_groups
            to_two += tl.load(others + others_group, mask=there, other=0.0).to(OUT)
            others_group += others_groups
        result += tl.where(category == one[:, None], to_one[:, None], 0.0)
        result += tl.where(category == two[:, None], to_two[:, None], 0.0)
    inside = there[:, None] & (column < categories)
    tl.store(out + row[:, None] * categories + category, result, mask=inside)


@triton.jit
def _ratio_kernel(
    logits, category_at, indices, out, row_stride, stride, category_stride, point_stride, index_stride, pairs, rows,
    categories, PERMUTED: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A pair parts at a stick with probability `2 before * lighter`, so `p p' / r = heavier / before`."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)[None, :]
    there = row < rows
    stick, rest, together = _sticks(
        logits, category_at, row, column, rows, categories, row_stride, stride, category_stride, PERMUTED, WIDE
    )
    total = tl.sum(stick, 1)
    _, category = _leaves(
        logits, category_at, row, column, rows, categories, row_stride, stride, category_stride, PERMUTED, WIDE
    )
    index = indices + row * index_stride
    own = row
    for _ in range(pairs):
        one = tl.load(index, mask=there, other=0)
        index += point_stride
        two = tl.load(index, mask=there, other=0)
        index += point_stride
        first = _position(category, column, one, PERMUTED)
        second = _position(category, column, two, PERMUTED)
        node = tl.minimum(first, second)
        before = tl.where(node > 0, at(together, column, node - 1), 1.0)
        heavier = tl.maximum(at(stick, column, node), at(rest, column, node))
        tl.store(out + own, ratio(ratio(heavier, total), before), mask=there)
        own += rows
