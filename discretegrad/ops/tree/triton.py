"""Antithetic pairs on fixed trees and on caterpillars as kernels. The mathematics is in README.md.

A draw reads the logits once, a gradient once more and writes its rows as it goes, long rows as `kernels` says; both
make the softmax in registers, in the order of the tree. An order of the leaves by the logits is sorted before, which is
a pass of its own. A walk down a tree carries the interval of the leaves below it; masses of subtrees are sums over
theirs. The operators have no autograd formula: the estimators' gradients are carried by `discretegrad.autograd`, and
are not differentiated.
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
from discretegrad.ops.kernels import (
    at,
    held_between,
    held_masses,
    masses,
    pick,
    ratio,
    rows_of_program,
    sums_of_possible,
    three_uniforms,
)
from discretegrad.ops.layout import as_rows, by_group, wide_dtype
from discretegrad.ops.tree.lazy import LogitPairs
from discretegrad.ops.tree.topology import TreeLike, category_at

DEEPEST = 64
"""The most nodes on a path; a kernel meets them one after the other, and sums over the leaves of their children."""


def pairs(shape: str | TreeLike, order: str | None, logits: Tensor, mask: Tensor | None = None) -> TritonPairs | None:
    """See `reference.pairs`; None for trees that are too deep, or every variable's own."""
    if shape == "huffman":
        return None
    if isinstance(shape, str):
        return TritonPairs(shape, order, logits, None, mask)
    tree = splits(shape, logits.shape[-1], logits)
    return None if tree is None else TritonPairs(shape, order, logits, tree, mask)


class TritonPairs(LogitPairs):
    """Logits, and the category at each position of the tree."""

    seeded = True

    def __init__(
        self, shape: str | TreeLike, order: str | None, logits: Tensor, tree: Splits | None, mask: Tensor | None
    ) -> None:
        super().__init__(shape, order, logits, mask)
        self.variables = logits.shape[:-1]
        self.sticks = shape == "caterpillar"
        self.middle = None if tree is None else tree.middle
        if tree is not None:
            self.depth = tree.depth
        else:  # sticks are told by having none
            self.depth = 0 if self.sticks else (logits.shape[-1] - 1).bit_length()
        self.flags = kernels.flags(mask, self.variables)
        leaf_at = category_at(shape, order, self.logits)
        # Of transposed logits the ranking is transposed too.
        self.category_at = None if leaf_at is None else as_rows(leaf_at).contiguous()

    @property
    def leaves(self) -> Tensor:
        """See `Pairs.leaves`."""
        return self.reference().leaves

    def sample(self, noise: Tensor) -> tuple[Tensor, None]:
        """See `Pairs.sample`; `noise` may be a seed, expanded to its shape."""
        source, seeded = kernels.noise_or_seed(noise)
        count = noise.shape[1]
        indices = torch.ops.discretegrad.draw_pairs(*self._rows(), self.middle, self.depth, source, count, seeded)
        return indices.reshape(2 * count, *self.variables), None

    def gradient(self, indices: Tensor, differences: Tensor, others: Tensor | None = None, kept: None = None) -> Tensor:
        """See `Pairs.gradient`."""
        pairs = indices.shape[0] // 2
        grouped, shared_by = by_group(differences, torch.Size((pairs, *self.variables)))
        others, others_shared_by = (None, 1) if others is None else by_group(others, indices.shape)
        return torch.ops.discretegrad.gradient_of_pairs(
            *self._rows(),
            self.middle,
            self.depth,
            self._flat(indices),
            grouped,
            shared_by,
            others,
            others_shared_by,
        ).reshape(self.logits.shape)

    def ratio(self, indices: Tensor, kept: None = None) -> Tensor:
        """See `Pairs.ratio`: of sticks one pass more; of other trees the reference's, for no estimator asks for it."""
        if not self.sticks:
            return self.reference().ratio(indices)
        result = torch.ops.discretegrad.ratio_of_sticks(*self._rows(), self._flat(indices))
        return result.reshape(indices.shape[0] // 2, *self.variables)

    def flow(self, indices: Tensor, coefficients: Tensor) -> Tensor:
        """The reference's."""
        return self.reference().flow(indices, coefficients)

    def _rows(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        return as_rows(self.logits), self.category_at, self.flags

    def _flat(self, indices: Tensor) -> Tensor:
        return indices.reshape(indices.shape[0], self.variables.numel())


class Splits(NamedTuple):
    """A tree over C leaves. Its inner nodes are numbered from the root down and from left to right.

    So the left child of node n with leaves `[low, high)` is n + 1, and its right child n + middle - low.
    """

    middle: Tensor
    """int32 `[C-1]`: `Topology.middle`."""
    depth: int
    """The most nodes on a path."""


def splits(tree: TreeLike, categories: int, like: Tensor) -> Splits | None:
    """The tables of nested pairs, on the device of `like`; None for a tree that is too deep.

    Raises:
        ValueError: where they hold another number of leaves than there are categories.
    """
    # As for topologies, tensors of a trace must not outlive it.
    return (_splits if has_entries(like) else _splits.__wrapped__)(tree, categories, like.device)


@functools.lru_cache(maxsize=64)
def _splits(tree: TreeLike, categories: int, device: torch.device) -> Splits | None:
    middle: list[int] = []
    position = deepest = 0
    # What is left to do: a subtree, with how many nodes are above it, or a node between whose children the walk is.
    todo: list[tuple[TreeLike | None, int]] = [(tree, 0)]
    while todo:
        node, number = todo.pop()
        if node is None:
            middle[number] = position
        elif isinstance(node, tuple):
            todo += [(node[1], number + 1), (None, len(middle)), (node[0], number + 1)]
            middle.append(0)
        else:
            position += 1
            deepest = max(deepest, number)
    return None if deepest > DEEPEST else Splits(torch.tensor(middle, dtype=torch.int32, device=device), deepest)


@torch.library.custom_op(
    "discretegrad::draw_pairs",
    mutates_args=(),
    schema="(Tensor logits, Tensor? category_at, Tensor? mask, Tensor? middle, int depth, Tensor noise, int pairs, "
    "bool seeded) -> Tensor",
)
def _draw_pairs(
    logits: Tensor,
    category_at: Tensor | None,
    mask: Tensor | None,
    middle: Tensor | None,
    depth: int,
    noise: Tensor,
    pairs: int,
    seeded: bool,
) -> Tensor:
    """Of sticks where the depth is 0."""
    rows, categories = logits.shape
    indices = kernels.empty((2 * pairs, rows), torch.int64, logits)
    kernel: Any = _draw_sticks_kernel
    of_tree: tuple[Any, ...] = ()
    constants: dict[str, bool] = {}
    if depth:
        kernel, of_tree, constants = _draw_pairs_kernel, (middle, depth), {"BALANCED": middle is None}
    kernels.launch(
        kernel,
        rows,
        categories,
        logits,
        *of_tree,
        logits,
        category_at,
        mask,
        noise,
        indices,
        *logits.stride(),
        _row_stride(category_at),
        pairs,
        PERMUTED=category_at is not None,
        MASKED=mask is not None,
        SEEDED=seeded,
        WIDE=_wide(logits),
        **constants,
    )
    return indices


@_draw_pairs.register_fake
def _(
    logits: Tensor,
    category_at: Tensor | None,
    mask: Tensor | None,
    middle: Tensor | None,
    depth: int,
    noise: Tensor,
    pairs: int,
    seeded: bool,
) -> Tensor:
    return logits.new_empty((2 * pairs, logits.shape[0]), dtype=torch.int64)


@torch.library.custom_op(
    "discretegrad::gradient_of_pairs",
    mutates_args=(),
    schema="(Tensor logits, Tensor? category_at, Tensor? mask, Tensor? middle, int depth, Tensor indices, "
    "Tensor differences, int shared_by, Tensor? others, int others_shared_by) -> Tensor",
)
def _gradient_of_pairs(
    logits: Tensor,
    category_at: Tensor | None,
    mask: Tensor | None,
    middle: Tensor | None,
    depth: int,
    indices: Tensor,
    differences: Tensor,
    shared_by: int,
    others: Tensor | None,
    others_shared_by: int,
) -> Tensor:
    """Of sticks where the depth is 0."""
    rows, categories = logits.shape
    out = kernels.empty((rows, categories), torch.promote_types(wide_dtype(logits.dtype), differences.dtype), logits)
    kernels.launch(
        _gradient_kernel,
        rows,
        categories,
        logits,
        logits,
        category_at,
        mask,
        middle,
        indices,
        differences,
        others,
        out,
        *logits.stride(),
        _row_stride(category_at),
        *indices.stride(),
        indices.shape[0] // 2,
        depth,
        differences.shape[1],
        shared_by,
        0 if others is None else others.shape[1],
        others_shared_by,
        STICKS=depth == 0,
        BALANCED=middle is None,
        PERMUTED=category_at is not None,
        MASKED=mask is not None,
        OTHERS=others is not None,
        WIDE=_wide(logits),
        OUT=kernels.triton_dtype(out.dtype),
    )
    return out


@_gradient_of_pairs.register_fake
def _(
    logits: Tensor,
    category_at: Tensor | None,
    mask: Tensor | None,
    middle: Tensor | None,
    depth: int,
    indices: Tensor,
    differences: Tensor,
    shared_by: int,
    others: Tensor | None,
    others_shared_by: int,
) -> Tensor:
    return logits.new_empty(logits.shape, dtype=torch.promote_types(wide_dtype(logits.dtype), differences.dtype))


@torch.library.custom_op(
    "discretegrad::ratio_of_sticks",
    mutates_args=(),
    schema="(Tensor logits, Tensor? category_at, Tensor? mask, Tensor indices) -> Tensor",
)
def _ratio_of_sticks(logits: Tensor, category_at: Tensor | None, mask: Tensor | None, indices: Tensor) -> Tensor:
    rows, categories = logits.shape
    out = kernels.empty((indices.shape[0] // 2, rows), wide_dtype(logits.dtype), logits)
    kernels.launch(
        _ratio_kernel,
        rows,
        categories,
        logits,
        logits,
        category_at,
        mask,
        indices,
        out,
        *logits.stride(),
        _row_stride(category_at),
        *indices.stride(),
        indices.shape[0] // 2,
        PERMUTED=category_at is not None,
        MASKED=mask is not None,
        WIDE=_wide(logits),
    )
    return out


@_ratio_of_sticks.register_fake
def _(logits: Tensor, category_at: Tensor | None, mask: Tensor | None, indices: Tensor) -> Tensor:
    return logits.new_empty((indices.shape[0] // 2, logits.shape[0]), dtype=wide_dtype(logits.dtype))


def _row_stride(category_at: Tensor | None) -> int:
    """From one variable's categories to the next one's; 0 where all share them."""
    return 0 if category_at is None or category_at.shape[0] == 1 else category_at.shape[1]


def _wide(logits: Tensor) -> Any:
    return kernels.triton_dtype(wide_dtype(logits.dtype))


@triton.jit
def _category(order, position, width, PERMUTED: tl.constexpr):
    if PERMUTED:
        return tl.load(order + position, mask=position < width, other=0).to(tl.int64)
    else:
        return position.to(tl.int64)


@triton.jit
def _position(
    index, category, order, width, categories, PERMUTED: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
    TILES: tl.constexpr,
):  # fmt: skip
    """Where a category is; `category` are those of the entries that are held."""
    column = tl.arange(0, BLOCK)[None, :]
    if not PERMUTED:
        return index.to(tl.int32)
    elif TILES == 1:
        return tl.sum(tl.where(category == index[:, None], column, 0), 1)
    else:
        found = tl.zeros([ROWS], tl.int32)
        for start in range(0, categories, BLOCK):
            position = start + column
            own = tl.load(order[:, None] + position, mask=position < width[:, None], other=-1)
            found += tl.sum(tl.where(own == index[:, None], position, 0), 1)
        return found


@triton.jit
def _noise(noise, row, pair, rows, pairs, there, SEEDED: tl.constexpr):
    """The three uniforms of a pair, for every row."""
    if SEEDED:
        return three_uniforms(tl.load(noise), row, pair)
    else:
        step = tl.zeros_like(row) + rows
        entry = noise + step * pair + row
        one = tl.load(entry, mask=there, other=0.0).to(tl.float64)
        two = tl.load(entry + step * pairs, mask=there, other=0.0).to(tl.float64)
        three = tl.load(entry + 2 * step * pairs, mask=there, other=0.0).to(tl.float64)
        return one, two, three


@triton.jit
def _children(middle_of, node, low, high, position, BALANCED: tl.constexpr):
    """The child of a node that holds a position, with its number, and its sibling's interval."""
    middle = (low + high + 1) // 2 if BALANCED else tl.load(middle_of + node, mask=high - low > 1, other=0)
    left = position < middle
    own_low, own_high = tl.where(left, low, middle), tl.where(left, middle, high)
    other_low, other_high = tl.where(left, middle, low), tl.where(left, high, middle)
    return own_low, own_high, tl.where(left, node + 1, node + middle - low), other_low, other_high


@triton.jit
def _draw_pairs_kernel(
    middle_of, depth, logits, category_at, mask, noise, indices, row_stride, stride, category_stride, pairs, rows,
    categories, BALANCED: tl.constexpr, PERMUTED: tl.constexpr, MASKED: tl.constexpr, SEEDED: tl.constexpr,
    WIDE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """Down the first point's path, until the second point leaves it; then below the sibling where it does."""
    row, there, width, table, order = rows_of_program(
        logits, category_at, mask, row_stride, category_stride, rows, categories, PERMUTED, MASKED, ROWS
    )
    held, largest, _held = held_masses(
        table, order, width, stride, True, PERMUTED, WIDE, ROWS, BLOCK, TILES,
    )  # fmt: skip
    sums, total = sums_of_possible(held)
    zero = tl.zeros([ROWS], tl.int32)
    out = row
    for pair in range(pairs):
        to_first, to_part, to_second = _noise(noise, row, pair, rows, pairs, there, SEEDED)
        first = pick(
            held, sums, to_first * total, zero, zero + categories, table, order, width, stride, largest, True,
            PERMUTED, BLOCK, TILES,
        )  # fmt: skip
        together = tl.full([ROWS], 1.0, tl.float64)
        node = zero
        low = zero
        high = zero + categories
        second_low = first
        second_high = first + 1
        for _level in range(depth):
            own_low, own_high, own_node, other_low, other_high = _children(middle_of, node, low, high, first, BALANCED)
            # Behind the end of the path, and of what is known, there is nothing to sum.
            goes_on = high - low > 1
            own_mass = tl.sum(
                held_between(
                    held, own_low, tl.where(goes_on, own_high, own_low), table, order, width, stride, largest, True,
                    PERMUTED, BLOCK, TILES,
                ), 1
            )  # fmt: skip
            other_mass = tl.sum(
                held_between(
                    held, other_low, tl.where(goes_on, other_high, other_low), table, order, width, stride, largest,
                    True, PERMUTED, BLOCK, TILES,
                ), 1
            )  # fmt: skip
            # Into a heavier child the second point follows the first with probability 1 - lighter / heavier, into a
            # lighter one never.
            together *= tl.where(own_mass > 0, ratio(tl.maximum(own_mass - other_mass, 0.0), own_mass), 1.0)
            # A quotient of equal numbers need not be 1 on a GPU, so that nothing is lost says only the mass.
            parts = goes_on & (other_mass > 0) & (together <= to_part)
            second_low = tl.where(parts, other_low, second_low)
            second_high = tl.where(parts, other_high, second_high)
            low = tl.where(parts | (high - low <= 1), first, own_low)
            high = tl.where(parts | (high - low <= 1), first + 1, own_high)
            node = own_node
        within = held_between(
            held, second_low, second_high, table, order, width, stride, largest, True, PERMUTED, BLOCK, TILES,
        )  # fmt: skip
        within_sums, within_total = sums_of_possible(within)
        second = pick(
            within, within_sums, to_second * within_total, second_low, second_high, table, order, width, stride,
            largest, True, PERMUTED, BLOCK, TILES,
        )  # fmt: skip
        tl.store(indices + out, _category(order, first, width, PERMUTED), mask=there)
        out += rows
        tl.store(indices + out, _category(order, second, width, PERMUTED), mask=there)
        out += rows


@triton.jit
def _sticks(
    stick, start, behind, table, order, width, stride, largest, PERMUTED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """What is left behind each stick of a tile, and how probably the second point goes past it if the first one does.

    That is counted from the tile's first stick; `behind` is the mass of the tiles that follow.
    """
    column = tl.arange(0, BLOCK)[None, :]
    # The tile again, moved by one, for a sum without its own stick: a difference would lose the digits of a light rest.
    following = tl.where(column < BLOCK - 1, start + column + 1, width[:, None])
    next_ones, _ = masses(table, order, following, width, stride, largest, True, PERMUTED)
    rest = tl.cumsum(next_ones, 1, reverse=True) + behind[:, None]
    # Past a heavier stick it never goes, past a lighter one with probability 1 - stick / rest.
    return rest, tl.cumprod(ratio(tl.maximum(rest - stick, 0.0), rest), 1)


@triton.jit
def _at_stick(
    position, to_part, rest, together, held, table, order, width, stride, largest, PERMUTED: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
    TILES: tl.constexpr,
):  # fmt: skip
    """The stick at a position, what is behind it, how probably the second point comes to it too, and where it stops.

    That is the first stick past which it goes less probably than `to_part`, or one behind the position. `rest`
    and `together` are those of the entries that are held.
    """
    column = tl.arange(0, BLOCK)[None, :]
    if TILES == 1:
        before = tl.where(position > 0, at(together, column, position - 1), 1.0)
        # A parallel product may fall at impossible sticks, by rounding, so only possible ones compete.
        stops = tl.min(tl.where((together <= to_part[:, None]) & (held > 0), column, BLOCK), 1)
        return at(held, column, position), at(rest, column, position), before, stops
    else:
        tile = tl.arange(0, TILES)[None, :]
        before = tl.full([ROWS], 1.0, tl.float64)
        past = before  # the tiles that were seen
        own = tl.zeros([ROWS], tl.float64)
        left = own
        stops = width
        for start in range(0, tl.max(position, 0) + 1, BLOCK):
            behind = tl.sum(tl.where(tile > start // BLOCK, held, 0.0), 1)
            sticks, _ = masses(table, order, start + column, width, stride, largest, True, PERMUTED)
            rests, goes_past = _sticks(
                sticks, start, behind, table, order, width, stride, largest, PERMUTED, BLOCK
            )  # fmt: skip
            goes_past *= past[:, None]
            here = position - start
            own += at(sticks, column, here)
            left += at(rests, column, here)
            before = tl.where(here == 0, past, before)
            before = tl.where((here > 0) & (here < BLOCK), at(goes_past, column, here - 1), before)
            stopped = tl.where((goes_past <= to_part[:, None]) & (sticks > 0), start + column, width[:, None])
            stops = tl.minimum(stops, tl.min(stopped, 1))
            past = at(goes_past, column, here * 0 + BLOCK - 1)
        return own, left, before, stops


@triton.jit
def _draw_sticks_kernel(
    logits, category_at, mask, noise, indices, row_stride, stride, category_stride, pairs, rows, categories,
    PERMUTED: tl.constexpr, MASKED: tl.constexpr, SEEDED: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr,
    BLOCK: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """The second point stops at a stick before the first one's, or comes to it too and stays there or goes on."""
    row, there, width, table, order = rows_of_program(
        logits, category_at, mask, row_stride, category_stride, rows, categories, PERMUTED, MASKED, ROWS
    )
    held, largest, _held = held_masses(
        table, order, width, stride, True, PERMUTED, WIDE, ROWS, BLOCK, TILES,
    )  # fmt: skip
    sums, total = sums_of_possible(held)
    rest, together = held, held
    if TILES == 1:
        rest, together = _sticks(
            held, 0, tl.zeros([ROWS], tl.float64), table, order, width, stride, largest, PERMUTED, BLOCK
        )  # fmt: skip
    zero = tl.zeros([ROWS], tl.int32)
    out = row
    for pair in range(pairs):
        to_first, to_part, to_second = _noise(noise, row, pair, rows, pairs, there, SEEDED)
        first = pick(
            held, sums, to_first * total, zero, zero + categories, table, order, width, stride, largest, True,
            PERMUTED, BLOCK, TILES,
        )  # fmt: skip
        own_mass, other_mass, before, stops = _at_stick(
            first, to_part, rest, together, held, table, order, width, stride, largest, PERMUTED, ROWS, BLOCK,
            TILES,
        )  # fmt: skip
        stays = (ratio(tl.maximum(own_mass - other_mass, 0.0), own_mass) * before > to_part) | (other_mass <= 0)
        behind = held_between(
            held, first + 1, zero + categories, table, order, width, stride, largest, True, PERMUTED, BLOCK, TILES,
        )  # fmt: skip
        behind_sums, behind_total = sums_of_possible(behind)
        goes_on = pick(
            behind, behind_sums, to_second * behind_total, first + 1, zero + categories, table, order, width, stride,
            largest, True, PERMUTED, BLOCK, TILES,
        )  # fmt: skip
        second = tl.where(stops < first, stops, tl.where(stays, first, goes_on))
        tl.store(indices + out, _category(order, first, width, PERMUTED), mask=there)
        out += rows
        tl.store(indices + out, _category(order, second, width, PERMUTED), mask=there)
        out += rows


@triton.jit
def _terms(
    mass, category, column, one, two, own_low, own_high, other_low, other_high, own_density, other_density, to_one,
    to_two, OUT: tl.constexpr,
):  # fmt: skip
    """What a pair adds to the gradient at the columns."""
    in_own = (column >= own_low[:, None]) & (column < own_high[:, None])
    in_other = (column >= other_low[:, None]) & (column < other_high[:, None])
    density = tl.where(in_own, -own_density[:, None], tl.where(in_other, other_density[:, None], 0.0))
    result = (density * mass).to(OUT)
    result += tl.where(category == one[:, None], to_one[:, None], 0.0)
    result += tl.where(category == two[:, None], to_two[:, None], 0.0)
    return result


@triton.jit
def _gradient_kernel(
    logits, category_at, mask, middle_of, indices, differences, others, out, row_stride, stride, category_stride,
    point_stride, index_stride, pairs, depth, groups, shared_by, others_groups, others_shared_by, rows, categories,
    STICKS: tl.constexpr, BALANCED: tl.constexpr, PERMUTED: tl.constexpr, MASKED: tl.constexpr, OTHERS: tl.constexpr,
    WIDE: tl.constexpr, OUT: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    row, there, width, table, order = rows_of_program(
        logits, category_at, mask, row_stride, category_stride, rows, categories, PERMUTED, MASKED, ROWS
    )
    column = tl.arange(0, BLOCK)[None, :]
    held, largest, held_category = held_masses(
        table, order, width, stride, True, PERMUTED, WIDE, ROWS, BLOCK, TILES,
    )  # fmt: skip
    result = tl.zeros([ROWS, BLOCK], OUT)
    zero = tl.zeros([ROWS], tl.int32)
    index = indices + row * index_stride
    group = row // shared_by
    others_group = row // others_shared_by
    for pair in range(pairs):
        one = tl.load(index, mask=width > 0, other=0)
        index += point_stride
        two = tl.load(index, mask=width > 0, other=0)
        index += point_stride
        difference = tl.load(differences + group, mask=width > 0, other=0.0).to(OUT)
        difference = tl.where(one == two, 0.0, difference)
        group += groups
        to_one = difference
        to_two = -difference
        if OTHERS:
            to_one += tl.load(others + others_group, mask=width > 0, other=0.0).to(OUT)
            others_group += others_groups
            to_two += tl.load(others + others_group, mask=width > 0, other=0.0).to(OUT)
            others_group += others_groups
        first = _position(one, held_category, order, width, categories, PERMUTED, ROWS, BLOCK, TILES)
        second = _position(two, held_category, order, width, categories, PERMUTED, ROWS, BLOCK, TILES)
        if STICKS:
            node = tl.minimum(first, second)
            ahead = first < second
            own_low = tl.where(ahead, node, node + 1)
            own_high = tl.where(ahead, node + 1, categories)
            other_low = tl.where(ahead, node + 1, node)
            other_high = tl.where(ahead, categories, node + 1)
        else:
            node = zero
            own_low = zero
            own_high = zero + categories
            other_low = zero
            other_high = zero
            for _level in range(depth):
                low, high, next_node, sibling_low, sibling_high = _children(
                    middle_of, node, own_low, own_high, first, BALANCED
                )
                both = (own_low <= second) & (second < own_high) & (own_high - own_low > 1)
                own_low, own_high = tl.where(both, low, own_low), tl.where(both, high, own_high)
                other_low, other_high = tl.where(both, sibling_low, other_low), tl.where(both, sibling_high, other_high)
                node = tl.where(both, next_node, node)
        own_mass = tl.sum(
            held_between(
                held, own_low, own_high, table, order, width, stride, largest, True, PERMUTED, BLOCK, TILES,
            ), 1
        )  # fmt: skip
        other_mass = tl.sum(
            held_between(
                held, other_low, other_high, table, order, width, stride, largest, True, PERMUTED, BLOCK, TILES,
            ), 1
        )  # fmt: skip
        lighter = ratio(tl.minimum(own_mass, other_mass), own_mass + other_mass)
        shared = lighter * difference.to(tl.float64)
        own_density = ratio(shared, own_mass)
        other_density = ratio(shared, other_mass)
        if TILES == 1:
            result += _terms(
                held, held_category, column, one, two, own_low, own_high, other_low, other_high, own_density,
                other_density, to_one, to_two, OUT,
            )  # fmt: skip
        else:
            for start in range(0, categories, BLOCK):
                position = start + column
                mass, category = masses(
                    table, order, position, width, stride, largest, True, PERMUTED,
                )  # fmt: skip
                terms = _terms(
                    mass, category, position, one, two, own_low, own_high, other_low, other_high, own_density,
                    other_density, to_one, to_two, OUT,
                )  # fmt: skip
                entry = out + row[:, None] * categories + category
                inside = there[:, None] & (position < categories)
                terms += tl.load(entry, mask=inside & (pair > 0), other=0.0)
                tl.store(entry, terms, mask=inside)
            tl.debug_barrier()  # the next pair adds to what this one has written
    if TILES == 1:
        inside = there[:, None] & (column < categories)
        tl.store(out + row[:, None] * categories + held_category, result, mask=inside)


@triton.jit
def _ratio_kernel(
    logits, category_at, mask, indices, out, row_stride, stride, category_stride, point_stride, index_stride, pairs,
    rows, categories, PERMUTED: tl.constexpr, MASKED: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr,
    BLOCK: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """A pair parts at a stick with probability `2 before * lighter`, so `p p' / r = heavier / before`."""
    row, there, width, table, order = rows_of_program(
        logits, category_at, mask, row_stride, category_stride, rows, categories, PERMUTED, MASKED, ROWS
    )
    held, largest, category = held_masses(
        table, order, width, stride, True, PERMUTED, WIDE, ROWS, BLOCK, TILES,
    )  # fmt: skip
    total = tl.sum(held, 1)
    rest, together = held, held
    if TILES == 1:
        rest, together = _sticks(
            held, 0, tl.zeros([ROWS], tl.float64), table, order, width, stride, largest, PERMUTED, BLOCK
        )  # fmt: skip
    index = indices + row * index_stride
    own = row
    for _pair in range(pairs):
        one = tl.load(index, mask=width > 0, other=0)
        index += point_stride
        two = tl.load(index, mask=width > 0, other=0)
        index += point_stride
        first = _position(one, category, order, width, categories, PERMUTED, ROWS, BLOCK, TILES)
        second = _position(two, category, order, width, categories, PERMUTED, ROWS, BLOCK, TILES)
        mass, left, before, _stops = _at_stick(
            tl.minimum(first, second), tl.full([ROWS], -1.0, tl.float64), rest, together, held, table, order,
            width, stride, largest, PERMUTED, ROWS, BLOCK, TILES,
        )  # fmt: skip
        tl.store(out + own, ratio(ratio(tl.maximum(mass, left), total), before), mask=there)
        own += rows
