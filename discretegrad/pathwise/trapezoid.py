"""Straight through with second-order accuracy."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.frozen import frozen
from discretegrad.ops.score import one_hot
from discretegrad.pathwise.base import DiscretePath


@frozen
class Trapezoid(DiscretePath):
    """Backward `2 J((e_z + softmax(logits / temperature)) / 2) - J(p) / 2`, J(q) = diag q - q q^T.

    The trapezoidal rule between the gradients of f at the two ends of every jump, instead of Euler's at one.
    """

    temperature: float

    def __post_init__(self) -> None:
        checks.positive(self.temperature, "temperature")

    def carry(self, logits: Tensor, indices: Tensor) -> Tensor:
        """Add to the one-hots zeros that have the Jacobian."""
        with torch.no_grad():
            hard = one_hot(indices, logits.shape[-1], logits.dtype)
            probs = logits.softmax(-1)
            halfway = (hard + (logits / self.temperature).softmax(-1)) / 2
        # A forbidden category has no probability, so no gradient either; its -inf must not meet a zero.
        free = torch.where(logits > -torch.inf, logits, 0.0)
        zero = free - free.detach()
        return hard + (2 * _tangent(halfway, zero) - _tangent(probs, zero) / 2)


def _tangent(probs: Tensor, change: Tensor) -> Tensor:
    """`J(probs) @ change`: how a softmax with these probabilities answers to a small change of its logits."""
    return probs * (change - (probs * change).sum(-1, keepdim=True))
