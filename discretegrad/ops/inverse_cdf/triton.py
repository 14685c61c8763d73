"""Draws by inverse CDF, of probabilities or logits: a row is read once for all its draws, a long one as `kernels` says.

The operator has no autograd formula: ids have no derivative.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from discretegrad.ops import kernels
from discretegrad.ops.kernels import held_masses, pick, rows_of_program, sums_of_possible, uniform
from discretegrad.ops.layout import as_rows, wide_dtype


def inverse_cdf(probs: Tensor, noise: Tensor) -> Tensor:
    """See `reference.inverse_cdf`; `noise` may be a seed, expanded to its shape."""
    lead = probs.shape[:-1]
    if noise.shape[noise.ndim - len(lead) :] != lead:
        noise = noise.expand(torch.broadcast_shapes(noise.shape, lead))
        probs = probs.expand(*noise.shape[noise.ndim - len(lead) :], probs.shape[-1])
    return _draw(probs, noise, False)


def categorical(logits: Tensor, noise: Tensor, mask: Tensor | None = None) -> Tensor:
    """See `reference.categorical`; `noise` may be a seed, expanded to its shape. Logits may be in half precision."""
    return _draw(logits, noise, True, mask)


def _draw(table: Tensor, noise: Tensor, logits: bool, mask: Tensor | None = None) -> Tensor:
    rows = as_rows(table)
    draws = noise.shape[: noise.ndim - table.ndim + 1].numel()
    source, seeded = kernels.noise_or_seed(noise)
    flags = kernels.flags(mask, table.shape[:-1])
    return torch.ops.discretegrad.draw_categories(rows, flags, source, draws, logits, seeded).reshape(noise.shape)


@torch.library.custom_op(
    "discretegrad::draw_categories",
    mutates_args=(),
    schema="(Tensor table, Tensor? mask, Tensor noise, int draws, bool logits, bool seeded) -> Tensor",
)
def _draw_categories(
    table: Tensor, mask: Tensor | None, noise: Tensor, draws: int, logits: bool, seeded: bool
) -> Tensor:
    rows, categories = table.shape
    ids = kernels.empty((draws, rows), torch.int64, table)
    kernels.launch(
        _draw_kernel,
        rows,
        categories,
        table,
        table,
        mask,
        noise,
        ids,
        *table.stride(),
        draws,
        LOGITS=logits,
        SEEDED=seeded,
        MASKED=mask is not None,
        WIDE=kernels.triton_dtype(wide_dtype(table.dtype)),
    )
    return ids


@_draw_categories.register_fake
def _(table: Tensor, mask: Tensor | None, noise: Tensor, draws: int, logits: bool, seeded: bool) -> Tensor:
    return table.new_empty((draws, table.shape[0]), dtype=torch.int64)


@triton.jit
def _draw_kernel(
    entries, mask, noise, ids, row_stride, stride, draws, rows, categories,
    LOGITS: tl.constexpr, SEEDED: tl.constexpr, MASKED: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr,
    BLOCK: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    row, there, width, table, order = rows_of_program(
        entries, entries, mask, row_stride, 0, rows, categories, False, MASKED, ROWS
    )
    held, largest, _ = held_masses(table, order, width, stride, LOGITS, False, WIDE, ROWS, BLOCK, TILES)
    sums, total = sums_of_possible(held)
    none = tl.zeros([ROWS], tl.int32)
    own = row
    for draw in range(draws):
        u = uniform(tl.load(noise), row, draw) if SEEDED else tl.load(noise + own, mask=there, other=0.0).to(tl.float64)
        chosen = pick(
            held, sums, u * total, none, none + categories, table, order, width, stride, largest, LOGITS, False,
            BLOCK, TILES,
        )  # fmt: skip
        tl.store(ids + own, chosen.to(tl.int64), mask=there)
        own += rows
