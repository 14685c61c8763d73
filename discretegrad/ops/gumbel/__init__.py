"""Gumbel noise, free and given which category it makes the largest."""

from torch import Tensor

from discretegrad.ops import dispatch
from discretegrad.ops.gumbel import native, reference
from discretegrad.ops.gumbel.reference import conditional_gumbel, gumbel, leading_to
from discretegrad.ops.native import differentiated
from discretegrad.ops.noise import has_kernels, made


def averaged_pull_back(logits: Tensor, indices: Tensor, noise: Tensor, slopes: Tensor, temperature: float) -> Tensor:
    """See `reference.averaged_pull_back`; noise may be a seed, expanded to its shape, where that `wants_seed`."""
    if _has_kernels(logits, temperature) and dispatch.has_entries(slopes) and not differentiated(logits, slopes):
        return native.averaged_pull_back(logits, indices, noise, slopes, temperature)
    noise = made(noise, logits.dtype)
    return reference.averaged_pull_back(logits, indices, noise, slopes, temperature)


def wants_seed(logits: Tensor, temperature: float) -> bool:
    """Whether a C kernel makes the noise of `averaged_pull_back` where it is used."""
    return _has_kernels(logits, temperature) and has_kernels(logits)


def _has_kernels(logits: Tensor, temperature: float) -> bool:
    # At high temperatures probabilities count that have no exponential.
    return temperature <= 1 and dispatch.implementation(logits) == "native"


__all__ = ["averaged_pull_back", "conditional_gumbel", "gumbel", "leading_to", "wants_seed"]
