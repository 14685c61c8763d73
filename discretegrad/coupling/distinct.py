"""Pairs of points that are as distinct as they can be."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.coupling.base import Check, Coupling, Law, law_of_pairs, unchecked
from discretegrad.coupling.drawn import PairLaw, PairPoints
from discretegrad.frozen import frozen
from discretegrad.ops import flow
from discretegrad.ops.noise import uniform


class DistinctPairs(PairPoints):
    """Nearly distinct pairs.

    Args:
        indices, logits, mask, coupling: as for `Drawn`.
        kept: what was solved for while these points were drawn.
    """

    def __init__(
        self, indices: Tensor, logits: Tensor, mask: Tensor | None, coupling: Coupling, kept: object = None
    ) -> None:
        super().__init__(indices, logits, mask, coupling)
        self.kept = kept

    def pair_law(self) -> Tensor:
        return flow.distinct_law(self.probs)

    def flow(self, coefficients: Tensor, others: Tensor | None = None) -> Tensor:
        return flow.flow_of_distinct(self.logits, self.indices, coefficients, others, self.kept, self.mask)


@frozen
class NearlyDistinct(Coupling):
    """P independent pairs, S = 2P; the two points of a pair differ wherever no category has more than half.

    `r(i, j) = a_i a_j` for `i != j`; around a category m of more than half the star `r(i, m) = p_i`, with equal points
    only there. Weights are in closed form: see `MinimumNorm`.

    Args:
        num_pairs: P.

    Source: this project; the derivation is in `ops/flow/README.md`.
    """

    num_pairs: int = 1

    pairs = PairLaw(paired=True)

    def __post_init__(self) -> None:
        checks.count(self.num_pairs, "num_pairs")

    @property
    def evaluations(self) -> int:
        return 2 * self.num_pairs

    def draw(
        self,
        logits: Tensor,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
        check: Check = unchecked,
    ) -> DistinctPairs:
        if not flow.has_kernels(logits):  # which look themselves
            check()
        noise = uniform((2, self.num_pairs, *logits.shape[:-1]), logits, generator)
        indices, kept, sound = flow.sample_distinct(logits, noise, mask)
        if not sound:
            check()
        return DistinctPairs(indices, logits, mask, self, kept)

    def at(self, logits: Tensor, mask: Tensor | None, indices: Tensor) -> DistinctPairs:
        """The law is solved for when it is asked for."""
        return DistinctPairs(indices, logits, mask, self)

    def law(self, logits: Tensor) -> Law:
        return law_of_pairs(flow.distinct_law(logits.softmax(-1)), self.num_pairs)
