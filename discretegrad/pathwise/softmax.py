"""Straight through the softmax."""

from __future__ import annotations

from torch import Tensor

from discretegrad.frozen import frozen
from discretegrad.pathwise.base import DiscretePath, straight_through


@frozen
class Softmax(DiscretePath):
    """Forward the drawn one-hot, backward the softmax of the logits (straight-through)."""

    def carry(self, logits: Tensor, indices: Tensor) -> Tensor:
        """Dress the softmax up as the one-hots."""
        return straight_through(logits.softmax(-1), indices)
