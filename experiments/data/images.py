"""What the training loop sees of a data set."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Images(NamedTuple):
    """Grey images, one a row."""

    name: str
    train: Tensor
    """float32 `[N, height * width]` in [0, 1]."""
    test: Tensor
    """float32 `[M, height * width]` in [0, 1]."""
    shape: tuple[int, int]
    """`(height, width)`."""


def binarise(images: Tensor, generator: torch.Generator) -> Tensor:
    """Draw every pixel as a Bernoulli variable whose probability is its grey value."""
    return (torch.rand(images.shape, generator=generator, device=images.device) < images).to(images.dtype)
