"""The variance of a gradient along a training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class GradientVariance(nn.Module):
    """Total variance of a gradient from exponential moving averages of its first two moments.

    It sees the noise of the estimator and of the minibatch, and a little of the drift of the parameters, as in Dong,
    Mnih, Tucker 2021.

    Args:
        parameters: whose gradients are summed over.
        decay: of the averages.
    """

    def __init__(self, parameters: Iterable[Tensor], decay: float = 0.999) -> None:
        super().__init__()
        self.watched = tuple(parameters)  # a tuple, so that they are not this module's own
        self.decay = decay
        self.steps = 0
        self.first: list[Tensor] = []
        self.second: list[Tensor] = []

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters' present gradients."""
        gradients = [p.grad for p in self.watched if p.grad is not None]
        if not self.steps:
            self.first, self.second = ([torch.zeros_like(g) for g in gradients] for _ in range(2))
        torch._foreach_lerp_(self.first, gradients, 1 - self.decay)
        torch._foreach_mul_(self.second, self.decay)
        torch._foreach_addcmul_(self.second, gradients, gradients, 1 - self.decay)
        self.steps += 1

    def total(self) -> float | None:
        """The estimate, corrected for the averages' start at zero; None before two updates."""
        if self.steps < 2:
            return None
        weight = 1 - self.decay**self.steps
        variance = torch.zeros(())
        for first, second in zip(self.first, self.second, strict=True):
            variance = variance + (second / weight - (first / weight).square()).sum().cpu()
        return float(variance)

    def get_extra_state(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"steps": self.steps, "first": self.first, "second": self.second}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.steps, self.first, self.second = state["steps"], state["first"], state["second"]
