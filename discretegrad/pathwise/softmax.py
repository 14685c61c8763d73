"""Straight through the softmax."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from discretegrad.coupling import uniform
from discretegrad.ops.inverse_cdf import inverse_cdf
from discretegrad.pathwise.base import straight_through


@dataclass(frozen=True)
class Softmax:
    """Forward the drawn one-hot, backward the softmax of the logits (straight-through)."""

    def sample(self, logits: Tensor, num_samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Draw ids, then dress the softmax up as their one-hots."""
        probs = logits.softmax(-1)
        indices = inverse_cdf(probs.detach(), uniform((num_samples, *probs.shape[:-1]), probs, generator))
        return straight_through(probs, indices), indices
