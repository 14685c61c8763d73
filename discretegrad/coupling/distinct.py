"""Pairs of points that are as distinct as they can be."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.coupling.base import Coupling, Law, law_of_pairs
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

    def plan(self, logits: Tensor) -> flow.DistinctPlan:
        """Solve for the law."""
        return flow.distinct_plan(logits.softmax(-1))

    def sample(self, plan: flow.DistinctPlan, generator: torch.Generator | None) -> Tensor:
        """Two uniforms a pair: one point, then the other given it."""
        noise = uniform((2, self.num_pairs, *plan.probs.shape[:-1]), plan.probs, generator)
        return flow.sample_distinct(plan, noise).transpose(0, 1).flatten(0, 1)

    def pair_law(self, plan: flow.DistinctPlan) -> Tensor:
        """Of a pair."""
        return flow.distinct_law(plan)

    def rho(self, plan: flow.DistinctPlan) -> Tensor:
        """From the closed form."""
        return plan.rho

    def law(self, plan: flow.DistinctPlan) -> Law:
        """The product over the pairs."""
        return law_of_pairs(self.pair_law(plan), self.num_pairs)
