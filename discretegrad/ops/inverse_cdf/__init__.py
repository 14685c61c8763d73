"""Draw category ids from unnormalised probabilities, or from logits, and uniform noise."""

from torch import Tensor

from discretegrad.ops import dispatch
from discretegrad.ops.inverse_cdf import fused, reference


def inverse_cdf(probs: Tensor, noise: Tensor) -> Tensor:
    """See `reference.inverse_cdf`."""
    chosen = dispatch.implementation(probs, probs.shape[-1])
    if chosen == "triton":
        from discretegrad.ops.inverse_cdf import triton

        return triton.inverse_cdf(probs, noise)
    return (fused if chosen == "fused" else reference).inverse_cdf(probs, noise)


def categorical(logits: Tensor, noise: Tensor) -> Tensor:
    """See `reference.categorical`. The kernel reads the logits once, and writes no probabilities."""
    if dispatch.implementation(logits, logits.shape[-1]) == "triton":
        from discretegrad.ops.inverse_cdf import triton

        return triton.categorical(logits, noise)
    return inverse_cdf(logits.softmax(-1), noise)


__all__ = [
    "categorical",
    "inverse_cdf",
]
