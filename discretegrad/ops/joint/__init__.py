"""Joint values of several variables: the best, some without replacement, all others, and the weights of a set."""

from torch import Tensor

from discretegrad.ops import dispatch
from discretegrad.ops.joint import beam, native, rest
from discretegrad.ops.joint.beam import best
from discretegrad.ops.joint.race import estimates_given_first, first_ratios, log_probability
from discretegrad.ops.joint.rest import log_joint, repeats, sample_rest
from discretegrad.ops.native import differentiated
from discretegrad.ops.noise import has_kernels, made


def without_replacement(log_probs: Tensor, k: int, noise: Tensor) -> Tensor:
    """See `beam.without_replacement`; noise may be a seed, expanded to its shape, where that `wants_seed`."""
    if dispatch.implementation(log_probs) == "native":
        return native.without_replacement(log_probs, k, noise)
    return beam.without_replacement(log_probs, k, made(noise, log_probs.dtype))


def wants_seed(log_probs: Tensor) -> bool:
    """Whether a C kernel makes the noise of `without_replacement` where it is used."""
    return dispatch.implementation(log_probs) == "native" and has_kernels(log_probs)


def log_masses(log_probs: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
    """See `rest.log_masses`."""
    if dispatch.implementation(log_probs) == "native" and not differentiated(log_probs):
        return native.log_masses(log_probs, words)
    return rest.log_masses(log_probs, words)


def log_rest(log_probs: Tensor, ids: Tensor) -> Tensor:
    """See `rest.log_rest`."""
    if dispatch.implementation(log_probs) == "native" and not differentiated(log_probs):
        return native.log_masses(log_probs, ids)[1]
    return rest.log_rest(log_probs, ids)


__all__ = [
    "best",
    "estimates_given_first",
    "first_ratios",
    "log_joint",
    "log_masses",
    "log_probability",
    "log_rest",
    "repeats",
    "sample_rest",
    "wants_seed",
    "without_replacement",
]
