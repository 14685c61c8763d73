"""Paths: points that carry the gradient themselves, as relaxed one-hots or straight-through ones."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from discretegrad.latent import one_hot


class Path(Protocol):
    """How points are made from logits and noise."""

    def sample(self, logits: Tensor, num_samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """From category logits `[*variables, C]`: one-hots that carry the gradient `[S, *variables, C]`, and ids."""
        ...


def straight_through(soft: Tensor, indices: Tensor) -> Tensor:
    """The one-hots of `indices`, to the last bit, with the gradient of `soft`.

    Args:
        soft: `[*variables, C]` or `[S, *variables, C]`.
        indices: int64 `[S, *variables]`.
    """
    return one_hot(indices, soft.shape[-1], soft.dtype) + (soft - soft.detach())
