"""A network with one hidden layer of leaky rectifiers, at many rows."""

from torch import Tensor

from discretegrad.ops import dispatch
from discretegrad.ops.native import differentiated
from discretegrad.ops.perceptron import native, reference


def perceptron(
    inputs: Tensor, first: Tensor, first_bias: Tensor, second: Tensor, second_bias: Tensor, slope: float
) -> Tensor:
    """See `reference.perceptron`."""
    sized = first.shape[-1] == native.INPUTS and second.shape[0] == native.OUTPUTS
    chosen = native if sized and not differentiated(inputs) and _has_kernels(inputs, first) else reference
    return chosen.perceptron(inputs, first, first_bias, second, second_bias, slope)


def _has_kernels(inputs: Tensor, weights: Tensor) -> bool:
    return dispatch.implementation(inputs) == "native" and dispatch.has_entries(weights)


__all__ = ["perceptron"]
