"""Draw category ids from unnormalised probabilities and uniform noise."""

from torch import Tensor

from discretegrad.ops import dispatch
from discretegrad.ops.inverse_cdf import fused, reference


def inverse_cdf(probs: Tensor, noise: Tensor) -> Tensor:
    """See `reference.inverse_cdf`."""
    chosen = fused if dispatch.implementation(probs, probs.shape[-1]) == "fused" else reference
    return chosen.inverse_cdf(probs, noise)


__all__ = [
    "inverse_cdf",
]
