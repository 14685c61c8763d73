"""The weights of least expected norm of any exchangeable coupling."""

from __future__ import annotations

from torch import Tensor

from discretegrad import checks
from discretegrad.coupling import Copula, Coupling, PairPoints, Tree
from discretegrad.frozen import frozen
from discretegrad.ops import copula as copula_ops
from discretegrad.ops import score as score_ops
from discretegrad.weights.pairs import PairWeights, Share, pair_statistic


@frozen
class MinimumNorm(PairWeights[PairPoints]):
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
        """Points must be exchangeable, all or in pairs, with a known law of two."""
        if coupling.pairs is None:
            raise ValueError(
                f"minimum-norm weights need points that are exchangeable, all or in pairs, which those of "
                f"{type(coupling).__name__} are not; use Independent(), a Tree(), or NearlyDistinct()."
            )
        points = coupling.evaluations
        if points is not None and points < 2:
            raise ValueError("minimum-norm weights need at least 2 points: with one there is no difference.")

    def unbiased(self, coupling: Coupling) -> bool:
        """The gradient is always unbiased: where no weights are, the draw is refused."""
        return True

    def refuse_size(self, coupling: Coupling, like: Tensor) -> None:
        """Matrices of C x C are refused where they are too large, and flows on trees of a variable's own."""
        variables, categories = like.shape[:-1], like.shape[-1]
        if isinstance(coupling, Tree) and coupling.shape == "huffman":
            checks.flow_of_huffman(categories)
        if coupling.pairs is not None and not coupling.pairs.closed:
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
        """The gradient cannot wait where logits may be refused, whose pairs do not connect the categories."""
        return coupling.pairs is not None and coupling.pairs.connected and super().can_wait(coupling)

    def gradient(self, drawn: PairPoints, values: Tensor, centred: bool = False) -> Tensor:
        if not drawn.known.paired:
            return drawn.flow((values - values.mean(0)) / (len(values) - 1))

        def within(differences: Tensor, others: Tensor | None) -> Tensor:
            return drawn.flow(score_ops.both_ways(differences), others)

        return pair_statistic(within, values, self.alpha)
