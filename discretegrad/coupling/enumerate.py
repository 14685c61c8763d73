"""All joint values, each exactly once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.coupling.base import Coupling, Probs
from discretegrad.frozen import frozen


@frozen
class Enumerate(Coupling):
    """All `C ** V` joint values of the V variables in the last `event_dims` dimensions, each exactly once."""

    event_dims: int = 1

    exhaustive = True

    limit = 2**20
    """The most joint values that are enumerated."""

    def __post_init__(self) -> None:
        checks.event_dims(self.event_dims)

    @property
    def evaluations(self) -> None:
        """`C ** V`, which the logits tell."""
        return None

    def refuse_size(self, variables: torch.Size, categories: int, like: Tensor) -> None:
        """All joint values may be too many."""
        checks.has_event_dims(variables, self.event_dims, "Enumerate")
        count = variables[len(variables) - self.event_dims :].numel()
        checks.enumerable(categories, count, self.limit)

    def plan(self, logits: Tensor) -> Probs:
        """Probabilities."""
        return Probs(logits)

    def sample(self, plan: Probs, generator: torch.Generator | None) -> Tensor:
        """All joint values; no randomness."""
        *variables, categories = plan.probs.shape
        event = variables[len(variables) - self.event_dims :]
        count = math.prod(event)
        number = torch.arange(categories**count, device=plan.probs.device).unsqueeze(-1)
        place = categories ** torch.arange(count, device=plan.probs.device)
        ids = (number // place % categories).reshape(-1, *[1] * (len(variables) - self.event_dims), *event)
        return ids.expand(-1, *variables)

    def law(self, plan: Probs) -> None:
        """Nothing is random."""
        return None

    def value_weights(self, plan: Probs, indices: Tensor) -> Tensor:
        """The joint probabilities."""
        chosen = plan.probs.expand(*indices.shape, -1).gather(-1, indices.unsqueeze(-1)).squeeze(-1)
        return chosen.flatten(chosen.ndim - self.event_dims).prod(-1) if self.event_dims else chosen
