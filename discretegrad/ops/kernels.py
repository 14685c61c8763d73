"""What the Triton kernels share. Triton is imported here, so only the modules `triton.py` import this one, when asked.

A program works on whole rows of categories, several short ones or a long one. A row that fits a tile, whose width is a
power of two, is read once and held in registers. Of a longer one a program holds the sums of its tiles, and reads again
the tiles in which it looks for something: no memory but the results, whatever C is. Columns behind the last category
have logit -inf, and so mass 0.

A few long rows keep few processors of a GPU busy, for a row is one program's. That costs nothing beside what writes
one-hots or gradients of many rows, and is what torch's own softmax does.

Masses are float64 whatever the logits' dtype, and so are their sums, what is compared with them, and the noise: a
category of probability p is drawn with probability p, but for 2^-53, in every place of its row. Only their exponentials
have the logits' precision.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 2048
"""How many entries a program holds, unless a single row is wider."""

WIDEST = 4096
"""How many entries of one row a program holds. A longer row is worked on a tile after the other."""


def launch(
    kernel: Any, rows: int, categories: int, like: Tensor, *arguments: Any, split: bool = False, **constants: Any
) -> None:
    """Run a kernel over rows of categories on the device of `like`; without rows there is nothing to do.

    The kernel gets the arguments, the numbers of rows and of categories, the constants, and the tile's size, `ROWS` and
    `BLOCK`. It has `TILES` too, a power of two that is at least the number of a row's tiles; or, where rows are `split`
    because their tiles have nothing to do with each other, programs of two dimensions, rows and tiles.
    """
    if rows == 0:
        return
    block = min(max(2, triton.next_power_of_2(categories)), WIDEST)
    of_program = max(1, TILE // block)
    tiles = triton.cdiv(categories, block)
    grid: tuple[int, ...] = (triton.cdiv(rows, of_program),)
    constants |= {"ROWS": of_program, "BLOCK": block}
    if split:
        grid += (tiles,)
    else:
        constants["TILES"] = triton.next_power_of_2(tiles)
    # Whether products are rounded before they are added does not matter here, but Triton warns where it is not said.
    options = {"num_warps": 8 if block <= TILE else 16, "enable_fp_fusion": True}
    with torch.cuda.device_of(like):
        kernel[grid](*arguments, rows, categories, **constants, **options)


def empty(shape: tuple[int, ...], dtype: torch.dtype, like: Tensor) -> Tensor:
    """What a kernel writes to. Every output is made here, so that tests can fill it before."""
    return torch.empty(shape, dtype=dtype, device=like.device)


def triton_dtype(dtype: torch.dtype) -> Any:
    """Triton's name of float32 or float64."""
    return tl.float64 if dtype == torch.float64 else tl.float32


def noise_or_seed(noise: Tensor) -> tuple[Tensor, bool]:
    """The contiguous noise and False; or, of a seed that is expanded to the shape of the noise, itself and True."""
    if noise.dtype == torch.int64:
        return noise[(0,) * noise.ndim] if noise.numel() else noise.new_zeros(()), True
    return noise.contiguous(), False


def flags(mask: Tensor | None, variables: torch.Size) -> Tensor | None:
    """A mask that is broadcastable to the variables as kernels take it, `[N]`."""
    return None if mask is None else mask.expand(variables).reshape(variables.numel())


# Rows. `table` are pointers to the rows' entries, `order` to the categories at their positions, which are looked at
# where they are PERMUTED. A row has `width` entries: none if it is not there or takes no part; nothing is read then.


@triton.jit
def rows_of_program(
    table, category_at, mask, row_stride, category_stride, rows, categories,
    PERMUTED: tl.constexpr, MASKED: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Their numbers, whether they are there, their `width`, `table` and `order`."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    there = row < rows
    width = tl.where(there, categories, 0)
    if MASKED:
        width = tl.where(tl.load(mask + row, mask=there, other=0) != 0, width, 0)
    table = table + row * row_stride
    return row, there, width, table, category_at + row * category_stride if PERMUTED else table


@triton.jit
def entries(table, order, column, width, stride, other, PERMUTED: tl.constexpr):
    """The entries at positions, `other` where there is none, and the categories there."""
    inside = column < width[:, None]
    category = column.to(tl.int64)
    if PERMUTED:
        category = tl.where(inside, tl.load(order[:, None] + category, mask=inside, other=0), category)
    return tl.load(table[:, None] + category * stride, mask=inside, other=other), category


@triton.jit
def masses(table, order, column, width, stride, largest, LOGITS: tl.constexpr, PERMUTED: tl.constexpr):
    """Unnormalised probabilities, the largest logit's 1, and 0 where there is no category; and the categories."""
    if LOGITS:
        logit, category = entries(table, order, column, width, stride, float("-inf"), PERMUTED)
        return tl.exp(logit.to(largest.dtype) - largest[:, None]).to(tl.float64), category
    else:
        probability, category = entries(table, order, column, width, stride, 0.0, PERMUTED)
        return probability.to(tl.float64), category


@triton.jit
def held_masses(
    table, order, width, stride,
    LOGITS: tl.constexpr, PERMUTED: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
    TILES: tl.constexpr,
):  # fmt: skip
    """What a program holds of its rows: the masses of their entries `[ROWS, BLOCK]`, or of their tiles `[ROWS, TILES]`.

    Besides the largest logit, 0 in a row without a possible category, and, where entries are held, their categories.
    """
    column = tl.arange(0, BLOCK)[None, :]
    largest = tl.full([ROWS], float("-inf"), WIDE)
    if TILES == 1:
        if LOGITS:
            logit, category = entries(table, order, column, width, stride, float("-inf"), PERMUTED)
            largest = tl.max(logit.to(WIDE), 1)
            largest = tl.where(largest == float("-inf"), 0.0, largest)
            return tl.exp(logit.to(WIDE) - largest[:, None]).to(tl.float64), largest, category
        else:
            mass, category = masses(table, order, column, width, stride, largest, LOGITS, PERMUTED)
            return mass, largest, category
    else:
        longest = tl.max(width, 0)
        if LOGITS:
            for start in range(0, longest, BLOCK):
                logit, _ = entries(table, order, start + column, width, stride, float("-inf"), False)
                largest = tl.maximum(largest, tl.max(logit.to(WIDE), 1))
            largest = tl.where(largest == float("-inf"), 0.0, largest)
        tile = tl.arange(0, TILES)[None, :]
        held = tl.zeros([ROWS, TILES], tl.float64)
        for start in range(0, longest, BLOCK):
            mass, _ = masses(table, order, start + column, width, stride, largest, LOGITS, PERMUTED)
            held = tl.where(tile == start // BLOCK, tl.sum(mass, 1)[:, None], held)
        return held, largest, tile.to(tl.int64)


@triton.jit
def held_between(
    held, low, high, table, order, width, stride, largest,
    LOGITS: tl.constexpr, PERMUTED: tl.constexpr, BLOCK: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """The held masses of the positions in `[low, high)`, others 0: a sum of them has the digits of light ones."""
    column = tl.arange(0, BLOCK)[None, :]
    if TILES == 1:
        return tl.where((column >= low[:, None]) & (column < high[:, None]), held, 0.0)
    else:
        some = low < high
        tile = tl.arange(0, TILES)[None, :]
        first = low // BLOCK
        last = tl.maximum(high - 1, low) // BLOCK
        result = tl.where((tile > first[:, None]) & (tile < last[:, None]) & some[:, None], held, 0.0)
        for end in tl.static_range(2):  # the tiles that belong to it in part
            own = first if end == 0 else last
            position = own[:, None] * BLOCK + column
            inside = (position >= low[:, None]) & (position < high[:, None]) & ((first < last) | (end == 0))[:, None]
            # What is outside is looked up behind the last entry, where nothing is read.
            mass, _ = masses(
                table, order, tl.where(inside, position, width[:, None]), width, stride, largest, LOGITS, PERMUTED
            )  # fmt: skip
            result += tl.where(tile == own[:, None], tl.sum(mass, 1)[:, None], 0.0)
        return result


@triton.jit
def sums_of_possible(mass):
    """Cumulative sums, and the largest of them; -1 where nothing may be drawn.

    A parallel scan need not be monotone to the last bit, so an impossible category could otherwise win by rounding: see
    `inverse_cdf.reference`.
    """
    sums = tl.where(mass > 0, tl.cumsum(mass, 1), -1.0)
    return sums, tl.max(sums, 1)


@triton.jit
def first_above(sums, threshold, WIDTH: tl.constexpr):
    """The first column whose sum exceeds the row's threshold; 0 where none does, as in the reference."""
    column = tl.arange(0, WIDTH)[None, :]
    found = tl.min(tl.where(sums > threshold[:, None], column, WIDTH), 1)
    return tl.where(found < WIDTH, found, 0)


@triton.jit
def pick(
    held, sums, threshold, low, high, table, order, width, stride, largest,
    LOGITS: tl.constexpr, PERMUTED: tl.constexpr, BLOCK: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """The first position whose cumulative mass exceeds the threshold.

    `held` are masses between `low` and `high`, and `sums` is what `sums_of_possible` makes of them.
    """
    if TILES == 1:
        return first_above(sums, threshold, BLOCK)
    else:
        tile = first_above(sums, threshold, TILES)
        before = tl.sum(tl.where(tl.arange(0, TILES)[None, :] < tile[:, None], held, 0.0), 1)
        column = tl.arange(0, BLOCK)[None, :]
        position = tile[:, None] * BLOCK + column
        inside = (position >= low[:, None]) & (position < high[:, None])
        mass, _ = masses(
            table, order, tl.where(inside, position, width[:, None]), width, stride, largest, LOGITS, PERMUTED
        )  # fmt: skip
        within, _ = sums_of_possible(mass)
        # Sums of tiles and of entries are rounded differently: the last possible one has all that is left of its tile.
        last = tl.maximum(tl.max(tl.where(mass > 0, column, -1), 1), 0)
        above = tl.where(within > (threshold - before)[:, None], column, BLOCK)
        return tile * BLOCK + tl.minimum(tl.min(above, 1), last)


@triton.jit
def at(table, column, position):
    """The entry of each row of `[ROWS, BLOCK]` at its position, 0 where there is none."""
    return tl.sum(tl.where(column == position[:, None], table, 0), 1)


@triton.jit
def ratio(numerator, denominator):
    """A quotient that is 0 where the denominator is."""
    return tl.where(denominator > 0, numerator / tl.where(denominator > 0, denominator, 1.0), 0.0)


# Noise


@triton.jit
def random_bits(seed, row, draw, part: tl.constexpr):
    """Four times 32 random bits for every row: a hash of (seed, row, draw, part), whatever the tiles are."""
    low = row.to(tl.uint32)
    high = (row >> 32).to(tl.uint32)
    return tl.philox(seed, low, high, (low * 0 + draw).to(tl.uint32), low * 0 + part)


@triton.jit
def unit(bits, more):
    """Uniform on the multiples of 2^-53 in [0, 1), as all noise is."""
    return ((bits >> 5).to(tl.float64) * 67108864.0 + (more >> 6).to(tl.float64)) * 1.1102230246251565e-16


@triton.jit
def uniform(seed, row, draw):
    """A uniform number for every row."""
    one, two, _, _ = random_bits(seed, row, draw, 0)
    return unit(one, two)


@triton.jit
def three_uniforms(seed, row, draw):
    """Three of them."""
    one, two, three, four = random_bits(seed, row, draw, 0)
    five, six, _, _ = random_bits(seed, row, draw, 1)
    return unit(one, two), unit(three, four), unit(five, six)
