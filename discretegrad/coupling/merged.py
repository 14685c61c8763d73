"""Points of any coupling, of which equal ones are evaluated once."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.autograd import append_dims
from discretegrad.coupling.base import Check, Coupling, Law, unchecked
from discretegrad.coupling.drawn import Drawn
from discretegrad.frozen import frozen
from discretegrad.ops.distinct import distinct


class DistinctPoints(Drawn):
    """The distinct ones of points.

    Args:
        points: all of them, R.
        chosen: int64 `[S, *batch]`, one of the R for each distinct point, any where an element has fewer than S.
        point_of: int64 `[R, *batch]`, which of the distinct points each is.
    """

    def __init__(self, points: Drawn, chosen: Tensor, point_of: Tensor, coupling: Coupling) -> None:
        super().__init__(_take(points.indices, chosen), points.logits, points.mask, coupling)
        self.points, self.point_of = points, point_of
        self.distinct = point_of.amax(0) + 1

    def _softmax(self) -> Tensor:
        return self.points.probs

    def whole(self, values: Tensor) -> tuple[Drawn, Tensor]:
        """All points are there, equal ones with equal values."""
        checks.distinct_values(values, self.point_of)
        return self.points, _take(values, self.point_of)


@frozen
class Distinct(Coupling):
    """The points of another coupling; those that are equal in a whole event are evaluated once.

    `Draw.distinct` tells how many are left. The largest number over the batch is S, which the host must wait for;
    others repeat a point.

    Args:
        coupling: any.
        event_dims: how many of the logits' last dimensions (before C) are variables that f sees jointly.
    """

    coupling: Coupling
    event_dims: int = 1

    def __post_init__(self) -> None:
        checks.event_dims(self.event_dims)

    @property
    def whole(self) -> Coupling:
        return self.coupling

    @property
    def evaluations(self) -> None:
        """The points tell how many evaluations there are, up to those of the other coupling."""
        return None

    def draw(
        self,
        logits: Tensor,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
        check: Check = unchecked,
    ) -> DistinctPoints:
        points = self.coupling.draw(logits, mask, generator, check)
        return DistinctPoints(points, *distinct(points.indices, self.event_dims), self)

    def at(self, logits: Tensor, mask: Tensor | None, indices: Tensor) -> Drawn:
        """All points are given, as the other coupling has them."""
        return self.coupling.at(logits, mask, indices)

    def law(self, logits: Tensor) -> Law | None:
        return self.coupling.law(logits)


def _take(tensor: Tensor, number: Tensor) -> Tensor:
    """`tensor[number[r, b], b, ...]`, `[R, *batch, ...]`, from `[S, *batch, ...]` and numbers `[R, *batch]`."""
    return tensor.gather(0, append_dims(number, tensor.ndim).expand(-1, *tensor.shape[1:]))
