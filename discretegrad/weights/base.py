"""Weights: what multiplies the values, or their differences, to make a gradient.

Weights never mix variables, and see f only through its values. Which couplings a rule is right for is stated
here, next to the rule.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from discretegrad.coupling import Coupling


class Signals(NamedTuple):
    """What weights may look at."""

    plan: Any
    """The coupling's."""
    indices: Tensor
    """int64 `[S, *variables]`."""
    values: Tensor
    """Of f less any control variate, `[S, *batch, 1, ...]`, broadcastable to `indices`."""
    categories: int
    """C."""
    value_weights: Tensor | None = None
    """The coupling's weights of the points, broadcastable like `values`, or None for 1 / S."""
    centred: bool = False
    """Whether the weighted values sum to zero over S, so that the softmax term cancels."""
    coupling: Coupling | None = None
    """What the points were drawn from, for weights that serve several and ask it for more."""
    noise: Tensor | None = None
    """`[K, *variables]`, what the coupling kept of it; there where `needs_noise`."""
    kept: Any = None
    """What the coupling found while it drew, if it drew the points itself."""


class Weights(ABC):
    """A rule that turns points and values into a gradient w.r.t. category logits."""

    differences: bool
    """Whether only differences of values enter, so that a baseline would cancel."""
    needs_noise: bool = False
    """Whether the ids do not suffice, and the coupling's noise enters too."""

    def can_wait(self, coupling: Coupling) -> bool:
        """Whether `gradient` is linear in the values, refuses nothing and lets nobody learn from it.

        Then it may be made in the backward pass, of values that were scaled.
        """
        return False

    @property
    def learners(self) -> tuple[nn.Module, ...]:
        """Modules in it that learn beside the model."""
        return ()

    @abstractmethod
    def refuse(self, coupling: Coupling) -> None:
        """Raise a ValueError that names the legal neighbour where the rule is wrong for the coupling."""

    def refuse_size(  # noqa: B027, most have nothing to refuse
        self, coupling: Coupling, variables: torch.Size, categories: int, like: Tensor
    ) -> None:
        """Raise a ValueError where the gradient w.r.t. so many variables of C categories could not be had.

        It comes before anything is allocated, on the device of `like`.
        """

    @abstractmethod
    def unbiased(self, coupling: Coupling) -> bool:
        """Whether the gradient is unbiased for every f and all logits."""

    @abstractmethod
    def gradient(self, signals: Signals) -> Tensor:
        """The gradient.

        Returns:
            `[*variables, C]`.
        """


def weigh(weights: Tensor, values: Tensor) -> Tensor:
    """`weights * values`, and 0 where a weight is 0 even if the value there is infinite or NaN."""
    return torch.where(weights > 0, weights * values, 0.0)
