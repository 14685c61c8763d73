"""What the Triton kernels share. Triton is imported here, so only the modules `triton.py` import this one, when asked.

A program holds whole rows of categories in registers, several short ones or a long one, in a tile whose width is a
power of two. Columns behind the last category have logit -inf, and so mass 0.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 2048
"""How many entries a program holds, unless a single row is wider."""


def launch(kernel: Any, rows: int, categories: int, like: Tensor, *arguments: Any, **constants: Any) -> None:
    """Run a kernel over rows of categories on the device of `like`; without rows there is nothing to do.

    The kernel gets the arguments, the numbers of rows and of categories, the constants, and the tile's size, `ROWS` and
    `BLOCK`.
    """
    if rows == 0:
        return
    block = max(2, triton.next_power_of_2(categories))
    of_program = max(1, TILE // block)
    grid = (triton.cdiv(rows, of_program),)
    constants |= {"ROWS": of_program, "BLOCK": block}
    # Whether products are rounded before they are added does not matter here, but Triton warns where it is not said.
    options = {"num_warps": 8 if block > TILE else 4, "enable_fp_fusion": True}
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


@triton.jit
def masses(logits):
    """Unnormalised probabilities of the rows `[ROWS, BLOCK]`, the largest 1; 0 in a row without a possible category."""
    largest = tl.max(logits, 1)
    largest = tl.where(largest == float("-inf"), 0.0, largest)
    return tl.exp(logits - largest[:, None])


@triton.jit
def sums_of_possible(mass):
    """Cumulative sums, and the largest of them; -1 where nothing may be drawn.

    A parallel scan need not be monotone to the last bit, so an impossible category could otherwise win by rounding: see
    `inverse_cdf.reference`.
    """
    sums = tl.where(mass > 0, tl.cumsum(mass, 1), -1.0)
    return sums, tl.max(sums, 1)


@triton.jit
def first_above(sums, threshold, column, BLOCK: tl.constexpr):
    """The first column whose sum exceeds the row's threshold; 0 where none does, as in the reference."""
    found = tl.min(tl.where(sums > threshold[:, None], column, BLOCK), 1)
    return tl.where(found < BLOCK, found, 0)


@triton.jit
def at(table, column, position):
    """The entry of each row of `[ROWS, BLOCK]` at its position, 0 where there is none."""
    return tl.sum(tl.where(column == position[:, None], table, 0), 1)


@triton.jit
def sum_between(mass, column, low, high):
    """The sum over the columns in `[low, high)`, masked: this keeps the digits of light ones beside heavy ones."""
    return tl.sum(tl.where((column >= low[:, None]) & (column < high[:, None]), mass, 0.0), 1)


@triton.jit
def ratio(numerator, denominator):
    """A quotient that is 0 where the denominator is."""
    return tl.where(denominator > 0, numerator / tl.where(denominator > 0, denominator, 1.0), 0.0)


@triton.jit
def random_bits(seed, row, draw, part: tl.constexpr):
    """Four times 32 random bits for every row: a hash of (seed, row, draw, part), whatever the tiles are."""
    low = row.to(tl.uint32)
    high = (row >> 32).to(tl.uint32)
    return tl.philox(seed, low, high, (low * 0 + draw).to(tl.uint32), low * 0 + part)


@triton.jit
def unit_float32(bits):
    """Uniform on the multiples of 2^-24 in [0, 1), as torch.rand is."""
    return (bits >> 8).to(tl.float32) * 5.9604644775390625e-08


@triton.jit
def unit_float64(bits, more):
    """Uniform on the multiples of 2^-53 in [0, 1), as torch.rand is."""
    return ((bits >> 5).to(tl.float64) * 67108864.0 + (more >> 6).to(tl.float64)) * 1.1102230246251565e-16


@triton.jit
def uniform(seed, row, draw, WIDE: tl.constexpr):
    """A uniform number for every row."""
    one, two, _, _ = random_bits(seed, row, draw, 0)
    if WIDE == tl.float64:  # noqa: SIM300
        return unit_float64(one, two)
    else:
        return unit_float32(one)


@triton.jit
def three_uniforms(seed, row, draw, WIDE: tl.constexpr):
    """Three of them."""
    one, two, three, four = random_bits(seed, row, draw, 0)
    if WIDE == tl.float64:  # noqa: SIM300
        five, six, _, _ = random_bits(seed, row, draw, 1)
        return unit_float64(one, two), unit_float64(three, four), unit_float64(five, six)
    else:
        return unit_float32(one), unit_float32(two), unit_float32(three)
