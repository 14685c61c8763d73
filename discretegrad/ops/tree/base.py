"""What couplings and weights ask of antithetic pairs on a tree."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from discretegrad.ops import score as score_ops


class Pairs(ABC):
    """Antithetic pairs on the trees of all variables, for given logits.

    Shapes: `*v` are the variables, P pairs; points 2k and 2k + 1 of 2P are a pair, by category.
    """

    @property
    @abstractmethod
    def probs(self) -> Tensor:
        """`[*v, C]`, the categories' probabilities."""

    @property
    @abstractmethod
    def leaves(self) -> Tensor:
        """`[*v, C]`, the same in the order of the tree."""

    seeded: bool = False
    """Whether `sample` makes its noise itself, from a seed: see `discretegrad.ops.noise`."""

    @property
    def like(self) -> Tensor:
        """`[*v, C]` of the probabilities' dtype and device, for those who look at nothing else: what is at hand."""
        return self.leaves

    @abstractmethod
    def sample(self, noise: Tensor) -> tuple[Tensor, Any]:
        """Draw pairs; each point alone has the law of the variable.

        Args:
            noise: uniform on [0, 1), `[3, P, *v]`: for the first point, for where the second leaves its path, and for
                the second below that node. Of pairs that are `seeded`, an int64 seed expanded to that shape will do.

        Returns:
            int64 `[2P, *v]`, and what the other methods may be given to spare them a search; None for nothing.
        """

    def sound(self, kept: Any) -> bool:
        """Whether all variables had probabilities, of those who look while they draw; from what `sample` returned."""
        return True

    @abstractmethod
    def law(self) -> Tensor:
        """The joint law `r(i, j)` of a pair, `[*v, C, C]`: symmetric, both marginals p."""

    @abstractmethod
    def gradient(self, indices: Tensor, differences: Tensor, others: Tensor | None = None, kept: Any = None) -> Tensor:
        """The Rao-Blackwellised gradient of antithetic pairs, and a sum of one-hots beside it.

            sum_k differences_k (e_2k - e_2k+1 - (1 - s) (p(.|T_2k) - p(.|T_2k+1))) + sum_s others_s e_s

        T are the children of the node where the paths part, s is the heavier one's share of both; a pair of equal
        points counts nothing in the first sum.

        Args:
            indices: int64 `[2P, *v]`.
            differences: `(f(z1) - f(z2)) / 2`, however averaged, broadcastable to `[P, *v]`.
            others: broadcastable to `indices`; None for zero.
            kept: what `sample` returned beside these points.

        Returns:
            `[*v, C]`.
        """

    @abstractmethod
    def ratio(self, indices: Tensor, kept: Any = None) -> Tensor:
        """`p(z1) p(z2) / r(z1, z2)` of pairs of different points; 0 for pairs that are never drawn.

        Args:
            indices: int64 `[2P, *v]`.
            kept: what `sample` returned beside these points.

        Returns:
            `[P, *v]`; where the two points of a pair are equal it is finite and means nothing.
        """

    def importance(
        self, indices: Tensor, differences: Tensor, others: Tensor | None = None, kept: Any = None
    ) -> Tensor:
        """The gradient of pairs that are weighed by what independent points would be drawn more often.

            sum_k differences_k ratio_k (e_2k - e_2k+1) + sum_s others_s e_s

        A pair of equal points counts nothing in the first sum. Arguments and result are those of `gradient`.
        """
        apart = indices[0::2] != indices[1::2]
        weighed = torch.where(apart, differences * self.ratio(indices, kept), 0.0)
        return score_ops.scatter(indices, score_ops.both_ways(weighed, others), self.like.shape[-1])

    @abstractmethod
    def flow(self, indices: Tensor, coefficients: Tensor) -> Tensor:
        """The minimum-norm weights of the law, summed: `sum_s coefficients_s phi_{z_s}` (`ops/flow/README.md`).

        What `ops.flow.potential` solves for in general, here without a `[*v, C, C]` law.

        Args:
            indices: int64 `[S, *v]`, any number of points that can be drawn.
            coefficients: broadcastable to `indices`, summing to zero over S.

        Returns:
            `[*v, C]`.
        """
