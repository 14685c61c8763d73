"""All joint values, each exactly once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.coupling.base import Check, Coupling, unchecked
from discretegrad.coupling.drawn import Weighted
from discretegrad.frozen import frozen


class EnumeratedPoints(Weighted):
    """All joint values."""

    coupling: Enumerate

    def weigh(self) -> Tensor:
        event_dims = self.coupling.event_dims
        chosen = self.probs.expand(*self.indices.shape, -1).gather(-1, self.indices.unsqueeze(-1)).squeeze(-1)
        return chosen.flatten(chosen.ndim - event_dims).prod(-1) if event_dims else chosen


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
        """The logits tell how many evaluations there are: `C ** V`."""
        return None

    def _refuse_size(self, like: Tensor) -> None:
        """All joint values may be too many."""
        variables, categories = like.shape[:-1], like.shape[-1]
        checks.has_event_dims(variables, self.event_dims, "Enumerate")
        count = variables[len(variables) - self.event_dims :].numel()
        checks.enumerable(categories, count, self.limit)

    def draw(
        self,
        logits: Tensor,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
        check: Check = unchecked,
    ) -> EnumeratedPoints:
        self._refuse_size(logits)
        check()
        *variables, categories = logits.shape
        event = variables[len(variables) - self.event_dims :]
        count = math.prod(event)
        number = torch.arange(categories**count, device=logits.device).unsqueeze(-1)
        place = categories ** torch.arange(count, device=logits.device)
        ids = (number // place % categories).reshape(-1, *[1] * (len(variables) - self.event_dims), *event)
        return self.at(logits, mask, ids.expand(-1, *variables))

    def at(self, logits: Tensor, mask: Tensor | None, indices: Tensor) -> EnumeratedPoints:
        return EnumeratedPoints(indices, logits, mask, self)

    def law(self, logits: Tensor) -> None:
        """There is no law: nothing is random."""
        return None
