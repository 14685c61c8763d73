"""Draws by inverse CDF in one pass over the probabilities or logits, which stay in registers for all draws of a row.

The operator has no autograd formula: ids have no derivative.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from discretegrad.ops import kernels
from discretegrad.ops.kernels import first_above, masses, sums_of_possible, uniform
from discretegrad.ops.layout import as_rows, wide_dtype


def inverse_cdf(probs: Tensor, noise: Tensor) -> Tensor:
    """See `reference.inverse_cdf`; `noise` may be a seed, expanded to its shape."""
    lead = probs.shape[:-1]
    if noise.shape[noise.ndim - len(lead) :] != lead:
        noise = noise.expand(torch.broadcast_shapes(noise.shape, lead))
        probs = probs.expand(*noise.shape[noise.ndim - len(lead) :], probs.shape[-1])
    return _draw(probs, noise, False)


def categorical(logits: Tensor, noise: Tensor) -> Tensor:
    """See `reference.categorical`; `noise` may be a seed, expanded to its shape. Logits may be in half precision."""
    return _draw(logits, noise, True)


def _draw(table: Tensor, noise: Tensor, logits: bool) -> Tensor:
    rows = as_rows(table)
    draws = noise.shape[: noise.ndim - table.ndim + 1].numel()
    source, seeded = kernels.noise_or_seed(noise)
    return torch.ops.discretegrad.draw_categories(rows, source, draws, logits, seeded).reshape(noise.shape)


@torch.library.custom_op(
    "discretegrad::draw_categories",
    mutates_args=(),
    schema="(Tensor table, Tensor noise, int draws, bool logits, bool seeded) -> Tensor",
)
def _draw_categories(table: Tensor, noise: Tensor, draws: int, logits: bool, seeded: bool) -> Tensor:
    rows, categories = table.shape
    ids = kernels.empty((draws, rows), torch.int64, table)
    kernels.launch(
        _draw_kernel,
        rows,
        categories,
        table,
        table,
        noise,
        ids,
        *table.stride(),
        draws,
        LOGITS=logits,
        SEEDED=seeded,
        WIDE=kernels.triton_dtype(wide_dtype(table.dtype)),
    )
    return ids


@_draw_categories.register_fake
def _(table: Tensor, noise: Tensor, draws: int, logits: bool, seeded: bool) -> Tensor:
    return table.new_empty((draws, table.shape[0]), dtype=torch.int64)


@triton.jit
def _draw_kernel(
    table,
    noise,
    ids,
    row_stride,
    stride,
    draws,
    rows,
    categories,
    LOGITS: tl.constexpr,
    SEEDED: tl.constexpr,
    WIDE: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)[None, :]
    there = row < rows
    inside = there[:, None] & (column < categories)
    entry = table + row[:, None] * row_stride + column.to(tl.int64) * stride
    if LOGITS:
        mass = masses(tl.load(entry, mask=inside, other=float("-inf")).to(WIDE))
    else:
        mass = tl.load(entry, mask=inside, other=0.0).to(WIDE)
    sums, largest = sums_of_possible(mass)
    own = row
    for draw in range(draws):
        u = uniform(tl.load(noise), row, draw, WIDE) if SEEDED else tl.load(noise + own, mask=there, other=0.0).to(WIDE)
        tl.store(ids + own, first_above(sums, u * largest, column, BLOCK), mask=there)
        own += rows
