"""One-hots and sums of them, every row written once: no zeros before, no atomics, so the result is deterministic.

`discretegrad::scatter` has its derivative, for control variates that learn through it; the other operators have none.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from discretegrad.ops import kernels
from discretegrad.ops.kernels import held_masses, masses, ratio, rows_of_program
from discretegrad.ops.layout import as_rows, by_group, wide_dtype


def one_hot(indices: Tensor, categories: int, dtype: torch.dtype) -> Tensor:
    """See `reference.one_hot`."""
    flat = indices.reshape(1, indices.numel())
    return torch.ops.discretegrad.one_hot(flat, categories, dtype).reshape(*indices.shape, categories)


def scatter(indices: Tensor, coefficients: Tensor, categories: int) -> Tensor:
    """See `reference.scatter`."""
    ids = indices.reshape(indices.shape[0], indices.shape[1:].numel())
    grouped, shared_by = by_group(coefficients, indices.shape)
    result = torch.ops.discretegrad.scatter(ids, grouped, shared_by, categories)
    return result.reshape(*indices.shape[1:], categories)


def score(probs: Tensor, indices: Tensor, coefficients: Tensor) -> Tensor:
    """See `ops.score.score`; without a derivative."""
    ids = indices.reshape(indices.shape[0], indices.shape[1:].numel())
    grouped, shared_by = by_group(coefficients, indices.shape)
    probs = probs.expand(*indices.shape[1:], probs.shape[-1])
    return torch.ops.discretegrad.score(as_rows(probs), ids, grouped, shared_by).reshape(probs.shape)


def of_logits(logits: Tensor, indices: Tensor, coefficients: Tensor, mask: Tensor | None = None) -> Tensor:
    """`score` of the softmax of the logits, which is not written; 0 where a mask `[*variables]` is False."""
    ids = indices.reshape(indices.shape[0], indices.shape[1:].numel())
    grouped, shared_by = by_group(coefficients, indices.shape)
    flags = kernels.flags(mask, logits.shape[:-1])
    result = torch.ops.discretegrad.score_of_logits(as_rows(logits), flags, ids, grouped, shared_by)
    return result.reshape(logits.shape)


@torch.library.custom_op(
    "discretegrad::one_hot", mutates_args=(), schema="(Tensor indices, int categories, ScalarType dtype) -> Tensor"
)
def _one_hot(indices: Tensor, categories: int, dtype: torch.dtype) -> Tensor:
    return _sum(indices, None, 1, None, categories, dtype)


@_one_hot.register_fake
def _(indices: Tensor, categories: int, dtype: torch.dtype) -> Tensor:
    return indices.new_empty((indices.shape[1], categories), dtype=dtype)


@torch.library.custom_op(
    "discretegrad::scatter",
    mutates_args=(),
    schema="(Tensor indices, Tensor coefficients, int shared_by, int categories) -> Tensor",
)
def _scatter(indices: Tensor, coefficients: Tensor, shared_by: int, categories: int) -> Tensor:
    return _sum(indices, coefficients, shared_by, None, categories, coefficients.dtype)


@_scatter.register_fake
def _(indices: Tensor, coefficients: Tensor, shared_by: int, categories: int) -> Tensor:
    return coefficients.new_empty((indices.shape[1], categories))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    indices, coefficients, ctx.shared_by, _ = inputs
    ctx.save_for_backward(indices)
    ctx.groups = coefficients.shape


def _backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None, None]:
    (indices,) = ctx.saved_tensors
    chosen = gradient.gather(-1, indices.T).T
    return None, chosen.reshape(*ctx.groups, ctx.shared_by).sum(-1), None, None


_scatter.register_autograd(_backward, setup_context=_save)


@torch.library.custom_op(
    "discretegrad::score",
    mutates_args=(),
    schema="(Tensor probs, Tensor indices, Tensor coefficients, int shared_by) -> Tensor",
)
def _score(probs: Tensor, indices: Tensor, coefficients: Tensor, shared_by: int) -> Tensor:
    dtype = torch.promote_types(probs.dtype, coefficients.dtype)
    return _sum(indices, coefficients, shared_by, probs, probs.shape[-1], dtype)


@_score.register_fake
def _(probs: Tensor, indices: Tensor, coefficients: Tensor, shared_by: int) -> Tensor:
    return probs.new_empty(probs.shape, dtype=torch.promote_types(probs.dtype, coefficients.dtype))


def _sum(
    indices: Tensor,
    coefficients: Tensor | None,
    shared_by: int,
    probs: Tensor | None,
    categories: int,
    dtype: torch.dtype,
) -> Tensor:
    points, rows = indices.shape
    out = kernels.empty((rows, categories), dtype, indices)
    kernels.launch(
        _sum_kernel,
        rows,
        categories,
        indices,
        indices,
        coefficients,
        probs,
        out,
        *indices.stride(),
        *((0, 0) if probs is None else probs.stride()),
        points,
        0 if coefficients is None else coefficients.shape[1],
        shared_by,
        split=True,
        WEIGHTED=coefficients is not None,
        CENTRED=probs is not None,
        WIDE=kernels.triton_dtype(wide_dtype(dtype)),
    )
    return out


@torch.library.custom_op(
    "discretegrad::score_of_logits",
    mutates_args=(),
    schema="(Tensor logits, Tensor? mask, Tensor indices, Tensor coefficients, int shared_by) -> Tensor",
)
def _score_of_logits(
    logits: Tensor, mask: Tensor | None, indices: Tensor, coefficients: Tensor, shared_by: int
) -> Tensor:
    rows, categories = logits.shape
    dtype = torch.promote_types(wide_dtype(logits.dtype), coefficients.dtype)
    out = kernels.empty((rows, categories), dtype, logits)
    kernels.launch(
        _score_kernel,
        rows,
        categories,
        logits,
        logits,
        mask,
        indices,
        coefficients,
        out,
        *logits.stride(),
        *indices.stride(),
        indices.shape[0],
        coefficients.shape[1],
        shared_by,
        MASKED=mask is not None,
        WIDE=kernels.triton_dtype(wide_dtype(logits.dtype)),
        OUT=kernels.triton_dtype(dtype),
    )
    return out


@_score_of_logits.register_fake
def _(logits: Tensor, mask: Tensor | None, indices: Tensor, coefficients: Tensor, shared_by: int) -> Tensor:
    dtype = torch.promote_types(wide_dtype(logits.dtype), coefficients.dtype)
    return logits.new_empty(logits.shape, dtype=dtype)


@triton.jit
def _one_hots(
    column, indices, coefficients, row, on, points, point_stride, index_stride, groups, shared_by,
    WEIGHTED: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The sum of the one-hots at the columns `[1, BLOCK]`, and that of their coefficients."""
    result = tl.zeros([ROWS, BLOCK], WIDE)
    total = tl.zeros([ROWS], WIDE)
    index = indices + row * index_stride
    group = row // shared_by
    for _ in range(points):
        chosen = tl.load(index, mask=on, other=-1)
        if WEIGHTED:
            coefficient = tl.load(coefficients + group, mask=on, other=0.0).to(WIDE)
        else:
            coefficient = tl.full([ROWS], 1.0, WIDE)
        result += tl.where(column == chosen[:, None], coefficient[:, None], 0.0)
        total += coefficient
        index += point_stride
        group += groups
    return result, total


@triton.jit
def _score_kernel(
    logits, mask, indices, coefficients, out, row_stride, stride, point_stride, index_stride, points, groups,
    shared_by, rows, categories,
    MASKED: tl.constexpr, WIDE: tl.constexpr, OUT: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
    TILES: tl.constexpr,
):  # fmt: skip
    row, there, width, table, order = rows_of_program(
        logits, logits, mask, row_stride, 0, rows, categories, False, MASKED, ROWS
    )
    on = width > 0
    column = tl.arange(0, BLOCK)[None, :]
    result, coefficient = _one_hots(
        column, indices, coefficients, row, on, points, point_stride, index_stride, groups, shared_by, True, OUT, ROWS,
        BLOCK,
    )  # fmt: skip
    # Where the coefficients cancel, the softmax is not needed, and its row not read.
    width = tl.where(coefficient == 0, 0, width)
    held, largest, _ = held_masses(table, order, width, stride, True, False, WIDE, ROWS, BLOCK, TILES)
    factor = ratio(coefficient.to(tl.float64), tl.sum(held, 1))
    entry = out + row[:, None] * categories + column
    if TILES == 1:
        result -= (factor[:, None] * held).to(OUT)
        tl.store(entry, result, mask=there[:, None] & (column < categories))
    else:
        for start in range(0, categories, BLOCK):
            position = start + column
            result, _total = _one_hots(
                position, indices, coefficients, row, on, points, point_stride, index_stride, groups, shared_by, True,
                OUT, ROWS, BLOCK,
            )  # fmt: skip
            # Other names than before the loop: a name has one type in a kernel.
            mass, _place = masses(table, order, position, width, stride, largest, True, False)
            result -= (factor[:, None] * mass).to(OUT)
            tl.store(entry + start, result, mask=there[:, None] & (position < categories))


@triton.jit
def _sum_kernel(
    indices,
    coefficients,
    probs,
    out,
    point_stride,
    index_stride,
    row_stride,
    stride,
    points,
    groups,
    shared_by,
    rows,
    categories,
    WEIGHTED: tl.constexpr,
    CENTRED: tl.constexpr,
    WIDE: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[None, :]
    there = row < rows
    inside = there[:, None] & (column < categories)
    result, total = _one_hots(
        column, indices, coefficients, row, there, points, point_stride, index_stride, groups, shared_by, WEIGHTED,
        WIDE, ROWS, BLOCK,
    )  # fmt: skip
    if CENTRED:
        p = tl.load(probs + row[:, None] * row_stride + column.to(tl.int64) * stride, mask=inside, other=0.0)
        result -= total[:, None] * p.to(WIDE)
    tl.store(out + row[:, None] * categories + column, result, mask=inside)
