"""Readable reference of a network with one hidden layer."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def perceptron(
    inputs: Tensor, first: Tensor, first_bias: Tensor, second: Tensor, second_bias: Tensor, slope: float
) -> Tensor:
    """`second leaky_relu(first x + first_bias) + second_bias` of every row x.

    Args:
        inputs: `[..., I]`.
        first: weights `[H, I]`; `first_bias` `[H]`.
        second: weights `[O, H]`; `second_bias` `[O]`.
        slope: of the rectifier below 0.

    Returns:
        `[..., O]`.
    """
    return F.linear(F.leaky_relu(F.linear(inputs, first, first_bias), slope), second, second_bias)
