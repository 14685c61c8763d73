"""Straight through the softmax."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.frozen import frozen
from discretegrad.ops.relaxation import per_category, soften
from discretegrad.ops.score import one_hot
from discretegrad.pathwise.base import DiscretePath, straight_through


@frozen
class Softmax(DiscretePath):
    """Forward the drawn one-hot, backward the softmax of the logits over a temperature (straight-through).

    With `tempered_law` the points are drawn at that temperature too.
    """

    temperature: float | Tensor = 1.0
    tempered_law: bool = False

    def __post_init__(self) -> None:
        checks.temperature(self.temperature)

    def law(self, logits: Tensor) -> Tensor:
        """The law is that of the logits, over the temperature if that is wanted."""
        return logits / per_category(self.temperature, logits.dtype) if self.tempered_law else logits

    def carry(self, logits: Tensor, indices: Tensor) -> Tensor:
        """The softmax is dressed up as the one-hots."""
        return straight_through(soften(logits, self.temperature), indices)


@frozen
class Argmax(DiscretePath):
    """Forward the one-hot of the most probable category, backward the softmax over a temperature: no noise."""

    temperature: float | Tensor = 1.0

    def __post_init__(self) -> None:
        checks.temperature(self.temperature)

    def sample(self, logits: Tensor, num_samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """The same point comes `num_samples` times."""
        best = logits.detach().argmax(-1)
        indices = best.expand(num_samples, *best.shape)
        return self.carry(logits, indices), indices

    def law(self, logits: Tensor) -> Tensor:
        best = one_hot(logits.argmax(-1), logits.shape[-1], torch.bool)
        return torch.zeros_like(logits).masked_fill(~best, -torch.inf)

    def carry(self, logits: Tensor, indices: Tensor) -> Tensor:
        """The softmax is dressed up as the one-hots."""
        return straight_through(soften(logits, self.temperature), indices)
