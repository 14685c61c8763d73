"""Weights: what multiplies the values, or their differences, to make a gradient.

Weights never mix variables, and see f only through its values. Which couplings a rule is right for is stated
here, next to the rule.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeAlias, TypeVar

import torch
from torch import Tensor

from discretegrad.coupling import Coupling, Drawn

Asked = TypeVar("Asked", bound=Drawn, contravariant=True)
"""What weights ask: the drawn object of the couplings that they do not refuse."""


class Weights(ABC, Generic[Asked]):
    """A rule that turns points and values into a gradient w.r.t. category logits."""

    differences: bool
    """Whether only differences of values enter, so that a baseline would cancel."""

    def can_wait(self, coupling: Coupling) -> bool:
        """Whether `gradient` is linear in the values, refuses nothing and lets nobody learn from it.

        Then it may be made in the backward pass, of values that were scaled.
        """
        return False

    @abstractmethod
    def refuse(self, coupling: Coupling) -> None:
        """Raise a ValueError that names the legal neighbour where the rule is wrong for the coupling."""

    def refuse_size(self, coupling: Coupling, like: Tensor) -> None:
        """Raise a ValueError where the gradient w.r.t. logits `[*variables, C]` like these could not be had.

        It comes before anything is allocated, on the device of `like`.
        """

    @abstractmethod
    def unbiased(self, coupling: Coupling) -> bool:
        """Whether the gradient is unbiased for every f and all logits."""

    @abstractmethod
    def gradient(self, drawn: Asked, values: Tensor, centred: bool = False) -> Tensor:
        """The gradient.

        Args:
            drawn: the points, as their coupling has them.
            values: of f less any control variate, `[S, *batch, 1, ...]`, broadcastable to the points' ids.
            centred: whether the weighted values sum to zero over S, so that the softmax term cancels.

        Returns:
            `[*variables, C]`.
        """


AnyWeights: TypeAlias = Weights[Any]
"""Whatever they ask."""


def weigh(weights: Tensor, values: Tensor) -> Tensor:
    """`weights * values`, and 0 where a weight is 0 even if the value there is infinite or NaN."""
    return torch.where(weights > 0, weights * values, 0.0)
