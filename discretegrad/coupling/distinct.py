"""Pairs of points that are as distinct as they can be."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.coupling.base import Coupling, Drawn, Law, Probs, law_of_pairs
from discretegrad.frozen import frozen
from discretegrad.ops import flow
from discretegrad.ops.noise import uniform


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

    paired = True
    connected = True

    def __post_init__(self) -> None:
        checks.count(self.num_pairs, "num_pairs")

    @property
    def evaluations(self) -> int:
        """2P."""
        return 2 * self.num_pairs

    def plan(self, logits: Tensor) -> Probs:
        """Probabilities; the law is solved for where the points are drawn."""
        return Probs(logits)

    def masked_plan(self, logits: Tensor, mask: Tensor | None) -> Probs:
        """C kernels skip what is off."""
        return Probs(logits, mask) if self.sees(logits) else super().masked_plan(logits, mask)

    def sample(self, plan: Probs, generator: torch.Generator | None) -> Tensor:
        """Two uniforms a pair: one point, then the other given it."""
        return self.draw(plan, generator).indices

    def draw(self, plan: Probs, generator: torch.Generator | None) -> Drawn:
        """The same, and what spares the weights to solve for the law again."""
        noise = uniform((2, self.num_pairs, *plan.like.shape[:-1]), plan.like, generator)
        indices, kept, sound = flow.sample_distinct(plan.like, noise, plan.mask)
        return Drawn(indices, kept=kept, sound=sound)

    def sees(self, logits: Tensor) -> bool:
        """C kernels do."""
        return flow.has_kernels(logits)

    def pair_law(self, plan: Probs) -> Tensor:
        """Of a pair."""
        return flow.distinct_law(plan.probs)

    def flow(
        self, plan: Probs, indices: Tensor, coefficients: Tensor, others: Tensor | None = None, kept: Any = None
    ) -> Tensor:
        """From the closed form."""
        return flow.flow_of_distinct(plan.like, indices, coefficients, others, kept, plan.mask)

    def law(self, plan: Probs) -> Law:
        """The product over the pairs."""
        return law_of_pairs(self.pair_law(plan), self.num_pairs)
