"""What couplings draw: points, and what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.ops import flow as flow_ops
from discretegrad.ops import score as score_ops
from discretegrad.ops.layout import switch_off

if TYPE_CHECKING:
    from discretegrad.coupling.base import Coupling


class Drawn:
    """Points, and what their coupling knows of them.

    Args:
        indices: int64 `[S, *variables]`.
        logits: category logits `[*variables, C]` in at least float32, whatever they are where the mask is False.
        mask: boolean, broadcastable to `[*variables]`.
        coupling: what drew the points; None where nobody has said yet.
        probs: the probabilities, where they are at hand.
    """

    relaxed: Tensor | None = None
    """One-hots that carry the gradient, `[S, *variables, C]`, where the points are such."""
    distinct: Tensor | None = None
    """`[*batch]`, how many of the points are distinct, where they were compared; f behind them is not used."""

    def __init__(
        self,
        indices: Tensor,
        logits: Tensor,
        mask: Tensor | None = None,
        coupling: Coupling | None = None,
        probs: Tensor | None = None,
    ) -> None:
        self.indices = indices
        # Probabilities that are made later must not find a graph that was not wanted when the logits came.
        self.logits = logits if torch.is_grad_enabled() else logits.detach()
        self.mask = mask
        self.coupling = coupling
        self._tabled = probs is not None
        self._probs = probs

    @property
    def probs(self) -> Tensor:
        """`[*variables, C]`, made when first asked for."""
        if self._probs is None:
            self._probs = self._softmax()
        return self._probs

    def _softmax(self) -> Tensor:
        return switch_off(self.logits, self.mask).softmax(-1)

    def score(self, coefficients: Tensor) -> Tensor:
        """`sum_s coefficients_s (e_{z_s} - p)`, `[*variables, C]`, from numbers that broadcast to `indices`."""
        if self._tabled:
            return score_ops.score(self.probs, self.indices, coefficients)
        return score_ops.of_logits(self.logits, self.indices, coefficients, self.mask)

    def value_weights(self) -> Tensor | None:
        """`[S, *batch]` weights of the points in the estimate of E f; None for the plain average."""
        return None

    def whole(self, values: Tensor) -> tuple[Drawn, Tensor]:
        """All of the coupling's points and the values there, where f is evaluated at fewer of them."""
        return self, values


class Weighted(Drawn):
    """Points that do not count alike."""

    _weights: Tensor | None = None

    def value_weights(self) -> Tensor:
        if self._weights is None:
            self._weights = self.weigh()
        return self._weights

    def weigh(self) -> Tensor:
        """Find them."""
        raise NotImplementedError


class PairLaw(NamedTuple):
    """What is known, whatever the logits, of a coupling whose points are exchangeable: all, or in pairs."""

    paired: bool = False
    """Whether points 2k and 2k + 1 are exchangeable and independent of all others; else all points are."""
    connected: bool = True
    """Whether the pairs of categories that can be drawn connect all possible categories."""
    every: bool = False
    """Whether every two possible categories can be drawn."""
    closed: bool = True
    """Whether minimum-norm weights need no solve."""


class PairPoints(Drawn):
    """Points of a coupling that has a `PairLaw`: what weights of differences ask."""

    coupling: Coupling

    @property
    def known(self) -> PairLaw:
        """The coupling's."""
        assert self.coupling.pairs is not None
        return self.coupling.pairs

    def pair_law(self) -> Tensor:
        """`[*variables, C, C]`, the symmetric law of two points, of any two or of a pair."""
        raise NotImplementedError

    def pair_probs(self, pairs: Sequence[tuple[int, int]]) -> Tensor:
        """`r(z_s, z_t)`, `[N, *variables]`, for N pairs (s, t) of the points."""
        law = self.pair_law()
        first, second = (side.unsqueeze(-1) for side in _ends(self.indices, pairs))
        rows = law.expand(len(pairs), *law.shape)
        rows = rows.gather(-2, first.unsqueeze(-1).expand(*first.shape, law.shape[-1])).squeeze(-2)
        return rows.gather(-1, second).squeeze(-1)

    def ratios(self, pairs: Sequence[tuple[int, int]]) -> Tensor:
        """`p(z_s) p(z_t) / r(z_s, z_t)` of pairs of different points, `[N, *variables]`; 0 of equal ones."""
        joint, indices = self.pair_probs(pairs), self.indices
        own = self.probs.expand(*indices.shape, -1).gather(-1, indices.unsqueeze(-1)).squeeze(-1).to(joint.dtype)
        (first, second), (left, right) = _ends(indices, pairs), _ends(own, pairs)
        # Two equal points count nothing, and a pair without probability was not drawn.
        counts = (first != second) & (joint > 0)
        return torch.where(counts, left * right / torch.where(counts, joint, 1.0), 0.0)

    def importance(self, differences: Tensor, others: Tensor | None = None) -> Tensor:
        """Pairs weighed by what independent points would be drawn more often, `[*variables, C]`.

            sum_k differences_k ratio_k (e_2k - e_2k+1) + sum_s others_s e_s

        Args:
            differences: broadcastable to `[P, *variables]`.
            others: broadcastable to `indices`; None for zero.
        """
        ratios = self.ratios([(first, first + 1) for first in range(0, len(self.indices), 2)])
        weighed = score_ops.both_ways(differences * ratios.to(differences.dtype), others)
        return score_ops.scatter(self.indices, weighed, self.logits.shape[-1])

    def flow(self, coefficients: Tensor, others: Tensor | None = None) -> Tensor:
        """The minimum-norm weights (`ops/flow/README.md`), summed: here by a symmetric solve.

            sum_s coefficients_s phi_{z_s} + sum_s others_s e_{z_s}

        Args:
            coefficients: broadcastable to `indices`, summing to zero over S.
            others: of the coefficients' shape; None for zero.
        """
        probs, law = self.probs, self.pair_law()
        if not self.known.connected and checks.looks_at_data(probs, None):
            checks.connects(flow_ops.connected(law), type(self.coupling).__name__)
        if probs.shape[-1] == 2:
            apart = law[..., 0, 1]
            ratio = probs.prod(-1) / torch.where(apart > 0, apart, 1.0)
            potential = flow_ops.separable(probs, ratio.unsqueeze(-1).expand(probs.shape), self.indices, coefficients)
        else:
            potential = flow_ops.potential(probs, law, self.indices, coefficients)
        return potential if others is None else potential + score_ops.scatter(self.indices, others, probs.shape[-1])


def _ends(of_points: Tensor, pairs: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Of the first and of the second point of each pair; no device waits for numbers of the host."""
    return torch.stack([of_points[s] for s, _ in pairs]), torch.stack([of_points[t] for _, t in pairs])
