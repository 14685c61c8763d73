"""Couplings: the joint law of the S points.

A coupling draws category ids and knows their law; it never sees f. Every point alone has the variable's own law,
so the plain average of f over the points is unbiased under each of them.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from discretegrad.ops.layout import switch_off


class Law(NamedTuple):
    """The exact joint law of one variable's S points, or of the event's where a coupling joins its variables."""

    outcomes: Tensor
    """int64 `[M, S]`, the possible tuples of categories; `[M, S, *event]` where the variables are drawn jointly."""
    probabilities: Tensor
    """`[*variables, M]`; `[M]` where the variables are drawn jointly."""
    noise: Tensor | None = None
    """`[*variables, M, K]`, `Draw.noise` of each outcome, where the weights ask for it."""


class Drawn(NamedTuple):
    """Points, and what weights may want to know of their making."""

    indices: Tensor
    """int64 `[S, *variables]`."""
    noise: Tensor | None = None
    """`[K, *variables]`, for weights that are made of it."""
    kept: Any = None
    """What was found on the way, to spare weights that look at the points the search."""
    sound: bool = True
    """False where a variable was met that has no probabilities; see `Coupling.sees`."""


class Coupling(ABC):
    """The joint law of the S points of every variable.

    Variables are independent of each other, except under couplings whose `event_dims` is not 0: those join the
    variables of the last `event_dims` dimensions.

    `plan` holds what depends on the logits alone, computed once and used by the draw and by the weights. It has
    at least a field `probs`, the categories' probabilities; what else is between a coupling and its weights.
    """

    event_dims: int = 0
    """How many of the last dimensions of variables are drawn jointly."""

    exhaustive: bool = False
    """Whether nothing is random and all values are there, so that their weighted scores sum to zero."""

    @property
    @abstractmethod
    def evaluations(self) -> int | None:
        """S, or None where it depends on the logits' shape."""

    def refuse_size(  # noqa: B027, most have nothing to refuse
        self, variables: torch.Size, categories: int, like: Tensor
    ) -> None:
        """Raise a ValueError where points of so many variables of C categories could not be had.

        It comes before anything is allocated, on the device of `like`.
        """

    @abstractmethod
    def plan(self, logits: Tensor) -> Any:
        """Prepare for category logits `[*variables, C]`, without autograd."""

    def masked_plan(self, logits: Tensor, mask: Tensor | None) -> Any:
        """The same, of variables that are certain to be category 0 where a mask `[*variables]` is False.

        Their logits may be anything, NaN included. Kernels that skip such variables get the mask instead of a copy.
        Estimators ask for this plan: a subclass whose base overrides this method overrides it too to have another one.
        """
        return self.plan(switch_off(logits, mask))

    @abstractmethod
    def sample(self, plan: Any, generator: torch.Generator | None) -> Tensor:
        """Draw int64 ids `[S, *variables]`."""

    def draw(self, plan: Any, generator: torch.Generator | None) -> Drawn:
        """Ids, and what else a `Draw` holds."""
        return Drawn(self.sample(plan, generator))

    def sees(self, logits: Tensor) -> bool:
        """Whether `draw` meets NaN and variables without a category by itself, so that nobody need look before."""
        return False

    @abstractmethod
    def law(self, plan: Any) -> Law | None:
        """The exact law, for the oracle; None where the ids are not random at all.

        Where weights ask for noise, an outcome is ids and a node of a quadrature that is exact for the gradient's
        first two moments.
        """

    @property
    def distinct_dims(self) -> int | None:
        """How many of the last dimensions make one joint point, where equal ones are evaluated once; None elsewhere."""
        return None

    exchangeable: bool = False
    """Whether the law of the points stays the same when they are permuted; `pair_law` is then that of any two."""

    paired: bool = False
    """Whether points 2k and 2k + 1 are exchangeable, with law `pair_law`, and independent of all others."""

    connected: bool = False
    """Whether the pairs of categories that `pair_law` can draw connect all possible categories, whatever the logits."""

    every_pair: bool = False
    """Whether any two of the points of an exchangeable coupling can be any two possible categories, whatever the
    logits. Its plan then has a method `pair_probs` as in `ops.copula`, which spares weights the whole `pair_law`."""

    def pair_law(self, plan: Any) -> Tensor:
        """`[*variables, C, C]`, the symmetric law of two points, any two or a pair: see `exchangeable`, `paired`."""
        raise NotImplementedError

    def flow(
        self, plan: Any, indices: Tensor, coefficients: Tensor, others: Tensor | None = None, kept: Any = None
    ) -> Tensor | None:
        """The minimum-norm weights (`ops/flow/README.md`), summed, where they have a closed form; elsewhere None.

            sum_s coefficients_s phi_{z_s} + sum_s others_s e_{z_s}

        Args:
            plan: of the logits.
            indices: int64 `[S, *variables]`.
            coefficients: broadcastable to `indices`, summing to zero over S.
            others: of the coefficients' shape; None for zero.
            kept: what `draw` kept of these points.
        """
        return None

    def value_weights(self, plan: Any, indices: Tensor) -> Tensor | None:
        """`[S, *batch]` weights of the points in the estimate of E f; None for the plain average."""
        return None


class Probs:
    """The plan of a coupling that needs the probabilities only; they are made when first asked for."""

    def __init__(self, logits: Tensor, mask: Tensor | None = None) -> None:
        # As if they had been made here: without a graph where none was wanted.
        self.like = logits if torch.is_grad_enabled() else logits.detach()
        """`[*variables, C]` of the probabilities' dtype and device, for those who look at nothing else: the
        logits, whatever they are where the mask is False."""
        self.mask = mask
        self._probs: Tensor | None = None

    @property
    def probs(self) -> Tensor:
        """`[*variables, C]`."""
        if self._probs is None:
            self._probs = switch_off(self.like, self.mask).softmax(-1)
        return self._probs


def law_of_pairs(pair_law: Tensor, num_pairs: int) -> Law:
    """The law of independent pairs, each of law `[*variables, C, C]`."""
    categories = pair_law.shape[-1]
    pair = pair_law.flatten(-2)
    pairs = torch.tensor(list(itertools.product(range(pair.shape[-1]), repeat=num_pairs)), device=pair.device)
    outcomes = torch.stack((pairs // categories, pairs % categories), -1).flatten(-2)
    return Law(outcomes, pair[..., pairs].prod(-1))
