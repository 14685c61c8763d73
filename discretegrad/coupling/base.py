"""Couplings: the joint law of the S points.

A coupling draws category ids and knows their law; it never sees f. Every point alone has the variable's own law,
so the plain average of f over the points is unbiased under each of them. What it draws is an object of its own, a
`Drawn`, which answers what the weights of that family ask.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from discretegrad.coupling.drawn import Drawn, PairLaw

Check: TypeAlias = Callable[[], None]
"""Raises where the logits hold NaN, or leave a variable no category."""


def unchecked() -> None:
    """No look at the logits."""


@dataclass(frozen=True, eq=False)
class Law:
    """The exact joint law of one variable's S points, or of the event's where a coupling joins its variables."""

    outcomes: Tensor
    """int64 `[M, S]`, the possible tuples of categories; `[M, S, *event]` where the variables are drawn jointly."""
    probabilities: Tensor
    """`[*variables, M]`; `[M]` where the variables are drawn jointly."""

    def drawn(self, coupling: Coupling, logits: Tensor, chosen: Tensor) -> Drawn:
        """Outcomes as the coupling draws them.

        Where weights ask for more than ids, an outcome is ids and a node of a quadrature that is exact for the
        gradient's first two moments.

        Args:
            coupling: whose law it is.
            logits: `[N, *event, C]`, N times the same.
            chosen: int64 `[N, *event]`, which outcome each variable has; `[N]` where they are drawn jointly.
        """
        return coupling.at(logits, None, self._indices(chosen))

    def _indices(self, chosen: Tensor) -> Tensor:
        """int64 `[S, N, *event]`, the ids of the chosen outcomes."""
        indices = self.outcomes[chosen]
        return indices.transpose(0, 1) if self.outcomes.ndim > 2 else indices.movedim(-1, 0)


class Coupling(ABC):
    """The joint law of the S points of every variable.

    Variables are independent of each other, except under couplings with `event_dims`, which join the variables of the
    last so many dimensions.
    """

    exhaustive: bool = False
    """Whether nothing is random and all values are there, so that their weighted scores sum to zero."""
    pairs: PairLaw | None = None
    """Of points that are exchangeable, all or in pairs: they are `PairPoints` then."""

    @property
    @abstractmethod
    def evaluations(self) -> int | None:
        """S, or None where it depends on the logits' shape."""

    @abstractmethod
    def draw(
        self,
        logits: Tensor,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
        check: Check = unchecked,
    ) -> Drawn:
        """Draw points, without autograd.

        Args:
            logits: category logits `[*variables, C]` in at least float32.
            mask: boolean, broadcastable to `[*variables]`; a variable where it is False is certain to be category 0,
                and its logits may be anything, NaN included.
            generator: source of the noise; the default one if None.
            check: called before the logits are used; by kernels that look themselves, only where they have met one
                that it refuses.

        Raises:
            ValueError: where so many points could not be had, before anything is allocated.
        """

    @abstractmethod
    def at(self, logits: Tensor, mask: Tensor | None, indices: Tensor) -> Drawn:
        """Points that are given, int64 `[S, *variables]`, as if they had been drawn here.

        Raises:
            ValueError: where ids do not tell all that weights may ask.
        """

    @abstractmethod
    def law(self, logits: Tensor) -> Law | None:
        """The exact law, for the oracle; None where the ids are not random at all."""

    @property
    def whole(self) -> Coupling:
        """The coupling of all points, where those at which f is evaluated are fewer."""
        return self


def law_of_pairs(pair_law: Tensor, num_pairs: int) -> Law:
    """The law of independent pairs, each of law `[*variables, C, C]`."""
    categories = pair_law.shape[-1]
    pair = pair_law.flatten(-2)
    pairs = torch.tensor(list(itertools.product(range(pair.shape[-1]), repeat=num_pairs)), device=pair.device)
    outcomes = torch.stack((pairs // categories, pairs % categories), -1).flatten(-2)
    return Law(outcomes, pair[..., pairs].prod(-1))
