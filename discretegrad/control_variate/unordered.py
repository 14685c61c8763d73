"""The baseline that a set without replacement has built in."""

from __future__ import annotations

from torch import Tensor

from discretegrad.control_variate.base import ControlVariate, Evaluation, Residual
from discretegrad.coupling import Coupling, JointPoints, WithoutReplacement
from discretegrad.frozen import frozen
from discretegrad.ops import joint as joint_ops


@frozen
class UnorderedBaseline(ControlVariate):
    """Subtract from every value in a set an estimate of E f, unbiased given that this value came first.

    Weighted, the residuals sum to zero, so that the softmax term of the score cancels as it does for RLOO.

    Source: Kool, van Hoof, Welling, "Estimating gradients for discrete random variables by sampling without
    replacement", 2020, arXiv 2002.06043.
    """

    centred = True

    def refuse(self, coupling: Coupling) -> None:
        if not isinstance(coupling, WithoutReplacement):
            raise ValueError(
                f"UnorderedBaseline is made for a set without replacement, not for the points of "
                f"{type(coupling).__name__}; use coupling=WithoutReplacement(k), or control_variate=LeaveOneOut() on "
                "independent points."
            )
        if coupling.k < 2:
            raise ValueError("UnorderedBaseline needs a k of at least 2: with one value there is no other.")

    def constant_of(self, evaluation: Evaluation) -> Tensor:
        """The first value is always there."""
        return evaluation.values[:1]

    def subtract_from(self, evaluation: Evaluation) -> Residual:
        values, drawn = evaluation.values, evaluation.draw.drawn
        assert isinstance(drawn, JointPoints)  # of the coupling, which was not refused
        log_probs, log_rest = drawn.race
        return Residual(values - joint_ops.estimates_given_first(log_probs, log_rest, values))
