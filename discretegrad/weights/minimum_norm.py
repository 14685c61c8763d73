"""The weights of least expected norm of any exchangeable coupling."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.coupling import Copula, Coupling, Tree
from discretegrad.frozen import frozen
from discretegrad.ops import copula as copula_ops
from discretegrad.ops import flow
from discretegrad.ops import score as score_ops
from discretegrad.weights.base import Signals
from discretegrad.weights.pairs import PairWeights, Share, pair_statistic


@frozen
class MinimumNorm(PairWeights):
    """`1/2 (f(z1) - f(z2)) (phi_{z1} - phi_{z2})`, averaged over all pairs of points, phi the potential of a flow.

    Of all unbiased weights those of least expected square norm. Independent points give leave-one-out, two categories
    DisARM or ARMS; in closed form for these, for trees and for nearly distinct pairs, by a symmetric solve for others.

    Args:
        alpha: as for `RaoBlackwell`, where the coupling is made of several pairs.

    Raises:
        ValueError: where the pairs that can be drawn do not connect the categories, so that no weights are unbiased.

    Source: this project; the derivation is in `ops/flow/README.md`.
    """

    alpha: Share = None

    def refuse(self, coupling: Coupling) -> None:
        """Exchangeable points or pairs, with a known pair law."""
        if not (coupling.exchangeable or coupling.paired):
            raise ValueError(
                f"minimum-norm weights need points that are exchangeable, all or in pairs, which those of "
                f"{type(coupling).__name__} are not; use Independent(), a Tree(), or NearlyDistinct()."
            )
        points = coupling.evaluations
        if points is not None and points < 2:
            raise ValueError("minimum-norm weights need at least 2 points: with one there is no difference.")

    def unbiased(self, coupling: Coupling) -> bool:
        """Always: where no weights are unbiased the draw is refused."""
        return True

    def refuse_size(self, coupling: Coupling, variables: torch.Size, categories: int, like: Tensor) -> None:
        """Matrices of C x C, and trees of a variable's own."""
        if isinstance(coupling, Tree) and coupling.shape == "huffman":
            checks.flow_of_huffman(categories)
        if type(coupling).flow is Coupling.flow:  # there is no closed form
            if isinstance(coupling, Copula):
                laws = categories**2 * variables.numel()
                checks.law_of_copula(categories, laws, copula_ops.is_short(categories, like))
            what = f"symmetric solves of {categories} x {categories} for {variables.numel()} variables in float64"
            checks.fits(
                categories**2 * variables.numel(),
                6 * 8,
                like,
                what,
                "use Flow(NearlyDistinct()), Independent() or a Tree()",
            )

    def can_wait(self, coupling: Coupling) -> bool:
        """Not where logits may be refused, whose pairs do not connect the categories."""
        return coupling.connected and super().can_wait(coupling)

    def gradient(self, signals: Signals) -> Tensor:
        """The closed form, or a solve."""
        plan, indices, values, coupling = signals.plan, signals.indices, signals.values, signals.coupling
        assert coupling is not None
        if coupling.paired:

            def within(indices: Tensor, differences: Tensor, others: Tensor | None) -> Tensor:
                return _flow(coupling, plan, indices, score_ops.both_ways(differences), others, signals.kept)

            return pair_statistic(within, indices, values, self.alpha)
        return _flow(coupling, plan, indices, (values - values.mean(0)) / (indices.shape[0] - 1))


def _flow(
    coupling: Coupling,
    plan: Any,
    indices: Tensor,
    coefficients: Tensor,
    others: Tensor | None = None,
    kept: Any = None,
) -> Tensor:
    """`sum_s coefficients_s phi_{z_s} + sum_s others_s e_{z_s}`, for coefficients that sum to zero."""
    closed = coupling.flow(plan, indices, coefficients, others, kept)
    if closed is not None:
        return closed
    probs, law = plan.probs, coupling.pair_law(plan)
    if not coupling.connected and checks.looks_at_data(probs, None):
        checks.connects(flow.connected(law), type(coupling).__name__)
    if probs.shape[-1] == 2:
        apart = law[..., 0, 1]
        ratio = probs.prod(-1) / torch.where(apart > 0, apart, 1.0)
        potential = flow.separable(probs, ratio.unsqueeze(-1).expand(probs.shape), indices, coefficients)
    else:
        potential = flow.potential(probs, law, indices, coefficients)
    return potential if others is None else potential + score_ops.scatter(indices, others, probs.shape[-1])
