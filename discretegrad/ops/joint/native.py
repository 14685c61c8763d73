"""Joint values without replacement, and the mass that they leave, as C kernels: an event at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad.ops import native

_without_replacement = native.function("without_replacement", pointers=4, sizes=4)
_log_masses = native.function("log_masses", pointers=4, sizes=4)


def without_replacement(log_probs: Tensor, k: int, noise: Tensor) -> Tensor:
    """See `beam.without_replacement`; of a seed the noise is made where it is used."""
    *batch, variables, categories = log_probs.shape
    words = native.empty((*batch, k, variables), torch.int64)
    made = native.noise_or_seed(noise, log_probs.dtype)
    sizes = torch.Size(batch).numel(), variables, categories, k
    _without_replacement(log_probs.dtype, log_probs.contiguous(), *made, words, *sizes, work=noise.numel())
    return words


def log_masses(log_probs: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
    """See `rest.log_masses`; without a derivative."""
    *batch, variables, categories = log_probs.shape
    k, dtype = words.shape[-2], log_probs.dtype
    of_words, rest = native.empty((k, *batch), dtype), native.empty(tuple(batch), dtype)
    sizes = torch.Size(batch).numel(), variables, categories, k
    _log_masses(dtype, log_probs.contiguous(), words.contiguous(), of_words, rest, *sizes, work=k * log_probs.numel())
    return of_words, rest
