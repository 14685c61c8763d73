"""What learns beside the model to make an estimator better."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from discretegrad.control_variate import ControlVariate
from discretegrad.draw import Draw
from discretegrad.frozen import Made


class Learner(Made, nn.Module, ControlVariate):
    """A control variate with a state or parameters.

    In every step, after the surrogate was made: add `loss` to what is minimised, or minimise it with an optimiser of
    its own, and call `update`.
    """

    def loss(self, draw: Draw, values: Tensor, context: Any = None) -> Tensor:
        """A scalar to minimise beside the objective; zero where there are no parameters to fit."""
        return values.new_zeros(())

    def update(self, draw: Draw, values: Tensor, context: Any = None) -> None:
        """Take the values into the state: after the surrogate was made, never before."""
