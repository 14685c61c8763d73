"""Straight through a softmax that was moved until it agrees with the drawn category."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.frozen import frozen
from discretegrad.ops.relaxation import soften
from discretegrad.ops.score import one_hot
from discretegrad.pathwise.base import DiscretePath, straight_through


@frozen
class Gapped(DiscretePath):
    """Raise the drawn category's logit to the largest, push the others at least `gap` below it, then soften."""

    temperature: float | Tensor
    gap: float

    def __post_init__(self) -> None:
        checks.temperature(self.temperature)
        if not self.gap >= 0:
            raise ValueError(f"gap must be 0 or more, not {self.gap!r}.")

    def carry(self, logits: Tensor, indices: Tensor) -> Tensor:
        """The gradient goes straight through the moved softmax; the moves carry none."""
        with torch.no_grad():
            drawn = one_hot(indices, logits.shape[-1], torch.bool)
            # The largest logit is 0. Forbidden categories stay where they are: what is added to them is finite.
            moves = torch.where(drawn, -logits, -(logits + self.gap).clamp_min(0.0))
        return straight_through(soften(logits + moves, self.temperature), indices)
