"""Taylor expansions of f: linear in the points, so that the gradient of their mean is known."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad.control_variate.base import ControlVariate, Evaluation, Residual
from discretegrad.control_variate.leave_one_out import less_the_others
from discretegrad.coupling import Coupling, Independent
from discretegrad.draw import Added, Draw
from discretegrad.frozen import frozen
from discretegrad.ops import taylor as taylor_ops


@frozen
class Taylor(ControlVariate):
    """Subtract `f(p) + grad f(p) . (z - p)`, f's expansion around the mean p of the points.

    It is fixed given the logits, so it is right for every coupling and all unbiased weights.

    Source: Gu, Levine, Sutskever, Mnih 2016, arXiv 1511.05176 (MuProp).
    """

    constant = False
    needs_grad_f = True

    def extra_evaluations(self, points: int) -> int:
        return 1

    def add(self, draw: Draw, generator: torch.Generator | None) -> Added:
        return Added(draw.probs.unsqueeze(0), slopes=True)

    def subtract_from(self, evaluation: Evaluation) -> Residual:
        """The expansion is subtracted, and `(diag p - p p^T) grad f(p)` added back."""
        left, slopes = beyond_first_order(evaluation)
        return Residual(left, taylor_ops.gradient_of_mean(slopes, evaluation.draw.probs))


class OthersTaylor(ControlVariate):
    """Leave-one-out of `f_s - coefficient * slope_s . (z_s - p)`, slope_s the mean of the other points' grad f."""

    coefficient: float | Tensor
    constant = False
    centred = True
    needs_grad_f = True

    def refuse(self, coupling: Coupling) -> None:
        needs_others(coupling, "the gradients of f at the other points are")

    def constant_of(self, evaluation: Evaluation) -> Tensor:
        return evaluation.values[:1]

    def subtract_from(self, evaluation: Evaluation) -> Residual:
        """The values are centred, and `coefficient * (diag p - p p^T)` times the mean gradient is added back."""
        draw, values, probs = evaluation.draw, evaluation.values, evaluation.draw.probs
        slopes = needed(evaluation)
        points = values.shape[0]
        total = slopes.sum(0)
        # (sum over all - own) . (z_s - p) without a tensor of the others' means.
        own = taylor_ops.about_mean(slopes, draw.indices, probs)
        of_all = taylor_ops.about_mean(total, draw.indices, probs)
        linear = over_event(of_all - own, values.ndim) / (points - 1)
        centred = less_the_others(values - self.coefficient * linear)
        return Residual(centred, self.coefficient * taylor_ops.gradient_of_mean(total / points, probs))


@frozen
class DoubleTaylor(OthersTaylor):
    """`OthersTaylor` with a fixed coefficient; 1 is the expansion itself.

    Source: Titsias, Shi 2022, arXiv 2111.05300.
    """

    coefficient: float = 1.0


def beyond_first_order(evaluation: Evaluation) -> tuple[Tensor, Tensor]:
    """What `f(p) + grad f(p) . (z - p)` leaves of the values, `[S, *batch]`, and grad f(p), `[*variables, C]`."""
    values, slopes = evaluation.values, needed(evaluation)[-1]
    linear = taylor_ops.about_mean(slopes, evaluation.draw.indices, evaluation.draw.probs)
    return values - evaluation.extra_values - over_event(linear, values.ndim), slopes


def needed(evaluation: Evaluation) -> Tensor:
    """The gradient of f, which the composition has seen to."""
    assert evaluation.grad_f is not None
    return evaluation.grad_f


def over_event(local: Tensor, dims: int) -> Tensor:
    """Sum `[S, *variables]` over the variables that share a value, to the values' number of dimensions."""
    return local.flatten(dims).sum(-1) if local.ndim > dims else local


def needs_others(coupling: Coupling, what: str) -> None:
    """Refuse points that are not independent of each other, or that are alone."""
    if not isinstance(coupling, Independent):
        raise ValueError(
            f"{what} independent of a point only where the points are, and those of {type(coupling).__name__} are "
            "not; use coupling=Independent(), or control_variate=Taylor()."
        )
    if coupling.num_samples < 2:
        raise ValueError(f"num_samples must be at least 2: {what} wanted, and one point has no others.")
