"""Independent draws from logits as a C kernel: one pass over them, and no probabilities in memory."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad.ops import native

_categorical = native.function("categorical", pointers=5, sizes=3)


def draw(logits: Tensor, noise: Tensor, mask: Tensor | None = None) -> tuple[Tensor, bool]:
    """See `ops.inverse_cdf.draw`."""
    indices = native.empty(noise.shape, torch.int64)
    rows, categories, dtype = logits.shape[:-1].numel(), logits.shape[-1], logits.dtype
    drawn = native.noise_or_seed(noise, torch.float64)
    tensors = logits.contiguous(), native.flags(mask, logits.shape[:-1]), *drawn, indices
    sound = _categorical(dtype, *tensors, rows, categories, noise.shape[0], work=logits.numel())
    return indices, sound
