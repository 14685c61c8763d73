"""Control variates: what is subtracted from the values before they are weighted, and added back in closed form.

Of a value at a point only that may be subtracted whose mean gradient is known: nothing that depends on the point
(a baseline, whose mean gradient is zero), or a function of the point with an exact gradient that is added back. Two
kinds need no state: leave-one-out over the points and over a batch dimension. State lives in modules
(`discretegrad.nn`) that the user makes, and that are updated after they were used: a running mean that has seen the
current value already depends on the point.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from discretegrad.coupling import Coupling
from discretegrad.draw import Added, Draw
from discretegrad.frozen import frozen


class Evaluation(NamedTuple):
    """What a control variate may look at: the draw, and f there."""

    draw: Draw
    values: Tensor
    """`[S, *batch]`, at the points that have ids; no graph."""
    extra_values: Tensor
    """`[A, *batch]`, at the control variate's extra points; no graph."""
    grad_f: Tensor | None = None
    """`[S + A, *variables, C]`, of the sum of the values w.r.t. one-hots, where `needs_grad_f`; no graph."""
    context: Any = None
    """What the user gave to `surrogate`."""


class Residual(NamedTuple):
    """What is left of the values, and the gradient that the subtraction took away from their mean."""

    values: Tensor
    """`[S, *batch]`, or with further dimensions of the variables behind, where every variable subtracts its own."""
    added_back: Tensor | None = None
    """`[*variables, C]`, w.r.t. category logits; None for zero."""


class ControlVariate:
    """What a composition asks of its control variate."""

    centred: bool = False
    """Whether the values sum to zero over S after the subtraction, so that the softmax term of the score cancels."""
    constant: bool = True
    """Whether the same is subtracted at all points of a draw, so that it would cancel in differences of values."""
    unbiased: bool = True
    needs_grad_f: bool = False
    noisy: bool = False
    """Whether the extra points have noise of their own, which the oracle cannot enumerate."""

    def constant_of(self, evaluation: Evaluation) -> Tensor | None:
        """One of the values, broadcastable to them, where a constant that is taken off all values cancels; else None.

        It is taken off before `subtract_from`, so that what is averaged has the digits of the values' differences,
        however large the values are.
        """
        return None

    def extra_evaluations(self, points: int) -> int:
        """A, how many further points it wants f at where the coupling has so many."""
        return 0

    def refuse(self, coupling: Coupling) -> None:
        """Raise a ValueError that names the legal neighbour where the coupling makes it biased."""

    def add(self, draw: Draw, generator: torch.Generator | None) -> Added | None:
        """What it wants besides the values at the draw's points; None for nothing."""
        return Added(slopes=True) if self.needs_grad_f else None

    def subtract_from(self, evaluation: Evaluation) -> Residual:
        """The values less the control variate, and what must be added back."""
        raise NotImplementedError


@frozen
class Chain(ControlVariate):
    """Control variates one after the other, each on what the one before has left."""

    parts: tuple[ControlVariate, ...]

    def __init__(self, parts: tuple[ControlVariate, ...]) -> None:
        if sum(map(wants_points, parts)) > 1:
            raise ValueError("only one control variate of a chain can ask for extra points; leave the others out.")
        vars(self).update(
            parts=parts,
            centred=parts[-1].centred,
            constant=all(part.constant for part in parts),
            unbiased=all(part.unbiased for part in parts),
            needs_grad_f=any(part.needs_grad_f for part in parts),
            noisy=any(part.noisy for part in parts),
        )

    def __repr__(self) -> str:
        return repr(self.parts)

    def refuse(self, coupling: Coupling) -> None:
        for part in self.parts:
            part.refuse(coupling)

    def extra_evaluations(self, points: int) -> int:
        return sum(part.extra_evaluations(points) for part in self.parts)

    def add(self, draw: Draw, generator: torch.Generator | None) -> Added | None:
        """The one part that wants extra points adds them; the gradient of f is asked for where any part needs it."""
        found = super().add(draw, generator)
        for part in self.parts:
            if wants_points(part):
                found = part.add(draw, generator)
        if found is not None:
            found.slopes = self.needs_grad_f
        return found

    def constant_of(self, evaluation: Evaluation) -> Tensor | None:
        """The constant is that of the first part with one: parts before it keep constants, later ones see none."""
        found = (part.constant_of(evaluation) for part in self.parts)
        return next((constant for constant in found if constant is not None), None)

    def subtract_from(self, evaluation: Evaluation) -> Residual:
        total = None
        for part in self.parts:
            values, added_back = part.subtract_from(evaluation)
            evaluation = evaluation._replace(values=values)
            if added_back is not None:
                total = added_back if total is None else total + added_back
        return Residual(evaluation.values, total)


def wants_points(part: ControlVariate) -> bool:
    """Whether it asks for points of its own, whatever is evaluated there."""
    return part.noisy or part.extra_evaluations(1) > 0


def less(evaluation: Evaluation, constant: Tensor) -> Evaluation:
    """The same of f less a constant, `[1, *batch]`."""
    draw, values, extra_values, grad_f, context = evaluation
    extra_values = extra_values - constant if extra_values.shape[0] else extra_values
    return Evaluation(draw, values - constant, extra_values, grad_f, context)
