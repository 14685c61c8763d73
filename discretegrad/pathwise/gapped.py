"""Straight through a softmax that was moved until it agrees with the drawn category."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.frozen import frozen
from discretegrad.ops.score import one_hot
from discretegrad.pathwise.base import DiscretePath, straight_through


@frozen
class Gapped(DiscretePath):
    """Raise the drawn category's logit to the largest, push the others at least `gap` below it, then soften."""

    temperature: float
    gap: float

    def __post_init__(self) -> None:
        checks.positive(self.temperature, "temperature")
        if not self.gap >= 0:
            raise ValueError(f"gap must be 0 or more, not {self.gap!r}.")

    def carry(self, logits: Tensor, indices: Tensor) -> Tensor:
        """Straight through the moved softmax; the moves carry no gradient."""
        with torch.no_grad():
            largest = logits.amax(-1, keepdim=True)
            drawn = one_hot(indices, logits.shape[-1], torch.bool)
            # Forbidden categories stay where they are: what is added to them is finite.
            moves = torch.where(drawn, largest - logits, -(logits + self.gap - largest).clamp_min(0.0))
        return straight_through(((logits + moves) / self.temperature).softmax(-1), indices)
