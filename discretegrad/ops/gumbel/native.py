"""The gradient of averaged soft points as a C kernel: a logarithm for each number of the noise, and nothing is kept."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad.ops import native

_pull_back = native.function("averaged_pull_back", pointers=7, sizes=4)


def averaged_pull_back(logits: Tensor, indices: Tensor, noise: Tensor, slopes: Tensor, temperature: float) -> Tensor:
    """See `reference.averaged_pull_back`; without a derivative, for a temperature of 1 at most."""
    dtype, rows, categories = logits.dtype, logits.shape[:-1].numel(), logits.shape[-1]
    out = native.empty(logits.shape, dtype)
    at = torch.tensor([temperature], dtype=torch.float64, device="cpu")
    made = native.noise_or_seed(noise, logits.dtype)
    tensors = logits.contiguous(), indices.contiguous(), *made, slopes.to(dtype).contiguous(), at, out
    _pull_back(dtype, *tensors, rows, categories, len(indices), len(noise), work=noise.numel())
    return out
