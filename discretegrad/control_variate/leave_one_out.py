"""Means of other values: over the points, and over a batch dimension."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad.control_variate.base import ControlVariate, Evaluation, Residual
from discretegrad.coupling import Coupling, Independent
from discretegrad.frozen import frozen


@frozen
class LeaveOneOut(ControlVariate):
    """Subtract from every value the mean of the values at the other S - 1 points, which must be independent.

    Source: Salimans, Knowles, "On using control variates with stochastic approximation for variational Bayes",
    2014, arXiv 1401.1022; Kool, van Hoof, Welling, "Buy 4 REINFORCE samples, get a baseline for free!", 2019.
    """

    centred = True

    def refuse(self, coupling: Coupling) -> None:
        if not isinstance(coupling, Independent):
            raise ValueError(
                f"leave-one-out is biased on the points of {type(coupling).__name__}, which are not independent of "
                "each other; use coupling=Independent(), or weights=RaoBlackwell() for a tree."
            )
        if coupling.num_samples < 2:
            raise ValueError("leave-one-out needs num_samples of at least 2: with one point there is no other.")

    def constant_of(self, evaluation: Evaluation) -> Tensor:
        return evaluation.values[:1]

    def subtract_from(self, evaluation: Evaluation) -> Residual:
        """The signals are `S / (S - 1) * (f_s - mean f)`."""
        return Residual(less_the_others(evaluation.values))


@frozen
class BatchLeaveOneOut(ControlVariate):
    """Subtract the mean value of the other elements along a batch dimension.

    For a chain of stochastic layers at linear cost: the K points of the first layer each draw one point of the
    next (`batch` dimension 0 there), and the other K - 1 trajectories are the baseline. Unbiased where an
    element's value does not depend on the points of the others.

    Args:
        dim: the dimension of `*batch`, counted without S.
    """

    dim: int = 0

    def constant_of(self, evaluation: Evaluation) -> Tensor:
        """The constant of all elements is that of the first that a mask leaves on, and 0 for one that is alone."""
        values = evaluation.values
        self._refuse(values)
        dims = values.ndim - 1
        active, dim = evaluation.draw.active(dims), 1 + self.dim % dims
        if active is None:
            return values[:1].narrow(dim, 0, 1)
        active = active.unsqueeze(0)
        first = values[:1].gather(dim, active.to(torch.uint8).argmax(dim, keepdim=True))
        return torch.where(active.sum(dim, keepdim=True) > 1, first, 0.0)

    def subtract_from(self, evaluation: Evaluation) -> Residual:
        """The signals are `f_sk - mean_{j != k, s} f_sj`."""
        values = evaluation.values
        self._refuse(values)
        average = values.mean(0)
        active = evaluation.draw.active(average.ndim)
        counted = torch.ones_like(average) if active is None else active.to(average.dtype)
        others = (counted.sum(self.dim, keepdim=True) - counted).clamp_min(1.0)
        average = average * counted
        return Residual(values - (average.sum(self.dim, keepdim=True) - average) / others)

    def _refuse(self, values: Tensor) -> None:
        dims = values.ndim - 1
        if not -dims <= self.dim < dims or values.shape[1:][self.dim] < 2:
            raise ValueError(
                f"BatchLeaveOneOut(dim={self.dim}) needs a batch dimension {self.dim} of at least 2 elements; the "
                f"values are [S, *batch] = {tuple(values.shape)}."
            )


def less_the_others(values: Tensor) -> Tensor:
    """Every value less the mean of the S - 1 others, `[S, *batch]`."""
    points = values.shape[0]
    return (values - values.mean(0)) * (points / (points - 1))
