"""A network with one hidden layer from three numbers to two as C kernels: they keep no hidden units."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from discretegrad.ops import native

INPUTS, OUTPUTS = 3, 2
PART = 4096
"""Rows whose gradients are summed in the dtype of the numbers; sums of parts are in double."""

_perceptron = native.function("perceptron", pointers=4, sizes=2)
_gradient = native.function("perceptron_gradient", pointers=5, sizes=3)


def perceptron(
    inputs: Tensor, first: Tensor, first_bias: Tensor, second: Tensor, second_bias: Tensor, slope: float
) -> Tensor:
    """See `reference.perceptron`; with a derivative w.r.t. the weights alone, and no second one."""
    return _Perceptron.apply(inputs, first, first_bias, second, second_bias, slope)


class _Perceptron(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, first: Tensor, first_bias: Tensor, second: Tensor, second_bias: Tensor, slope: float
    ) -> Tensor:
        rows = inputs.reshape(-1, INPUTS).contiguous()
        weights = torch.cat((first, first_bias.unsqueeze(-1), second.T), -1).contiguous()
        bias = torch.cat((second_bias, second_bias.new_tensor([slope])))
        ctx.save_for_backward(rows, weights, bias)
        out = native.empty((len(rows), OUTPUTS), rows.dtype)
        _perceptron(rows.dtype, rows, weights, bias, out, len(rows), len(weights), work=rows.numel() * len(weights))
        return out.reshape(*inputs.shape[:-1], OUTPUTS)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        rows, weights, bias = ctx.saved_tensors
        gradient = grad_output.reshape(-1, OUTPUTS).contiguous()
        hidden, width = weights.shape
        parts = native.empty((-(-len(rows) // PART), hidden + 1, width), rows.dtype)
        sizes = len(rows), hidden, PART
        _gradient(rows.dtype, rows, weights, bias, gradient, parts, *sizes, work=rows.numel() * hidden)
        total = parts.sum(0, dtype=torch.float64).to(rows.dtype)
        first, first_bias, second = total[:-1].split((INPUTS, 1, OUTPUTS), -1)
        return None, first, first_bias.squeeze(-1), second.T, total[-1, :OUTPUTS], None
