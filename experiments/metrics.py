"""What is recorded along a run: rows for the CSV, and the variance of the encoder's gradient."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.files import write_table

COLUMNS = ("step", "train_elbo", "test_bound", "encoder_gradient_variance", "steps_per_second", "seconds")
TIMES = ("steps_per_second", "seconds")
"""The columns in which two equal runs differ."""


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write all rows anew; what was not measured at a step stays empty."""
    write_table(path, COLUMNS, rows)


class GradientVariance:
    """Total variance of a gradient from exponential moving averages of its first two moments.

    It sees the noise of the estimator and of the minibatch, and a little of the drift of the parameters, as in Dong,
    Mnih, Tucker 2021.

    Args:
        parameters: whose gradients are summed over.
        decay: of the averages.
    """

    def __init__(self, parameters: Iterable[Tensor], decay: float = 0.999) -> None:
        self.parameters = list(parameters)
        self.decay = decay
        self.steps = 0
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters' present gradients."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
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

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"steps": self.steps, "first": self.first, "second": self.second}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.steps, self.first, self.second = state["steps"], state["first"], state["second"]
