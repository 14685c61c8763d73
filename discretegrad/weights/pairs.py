"""Weights of differences between the two points of a coupled pair."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.coupling import Copula, Coupling, PairPoints, Tree, TreePairs
from discretegrad.frozen import frozen
from discretegrad.ops import copula as copula_ops
from discretegrad.ops import score as score_ops
from discretegrad.weights.base import Asked, Weights


class EstimatesShare(Protocol):
    """An alpha that is estimated: see `discretegrad.nn.EstimatedShare`."""

    def share(self, default: float) -> float | Tensor:
        """The present estimate; `default` before there is one."""
        ...

    def note(self, within: Tensor, across: Tensor) -> None:
        """Look at a gradient's two parts, to learn from them once they were used."""
        ...


Share: TypeAlias = "float | EstimatesShare | None"


class PairWeights(Weights[Asked]):
    """Weights of differences, with a share of the terms within pairs where the coupling is made of several."""

    alpha: Share

    differences = True

    def __post_init__(self) -> None:
        checks.share(self.alpha)

    def can_wait(self, coupling: Coupling) -> bool:
        """The gradient cannot wait where alpha is estimated."""
        return self.alpha is None or isinstance(self.alpha, float | int)


@frozen
class RaoBlackwell(PairWeights[TreePairs]):
    """`(f(z1) - f(z2)) / 2 * E[score difference | z1, z2]`: the closed form of every antithetic tree.

    Args:
        alpha: the share of the terms within the pairs, the others compare points of different pairs. None counts every
            pair of points once, 1 / (2P - 1); 1 averages the pairs; `dg.nn.EstimatedShare()` estimates the best.

    Source: Dong, Mnih, Tucker 2021, arXiv 2106.08056 (DisARM-SB and DisARM-Tree). Departs from the paper: one
    formula for every tree, and cross terms between pairs (`pair_statistic`).
    """

    alpha: Share = None

    def refuse(self, coupling: Coupling) -> None:
        """Only trees fit."""
        if not isinstance(coupling, Tree):
            raise ValueError(
                f"RaoBlackwell weights integrate out the noise of a tree, which {type(coupling).__name__} does not "
                "have; use coupling=Tree(), or weights=Score() with control_variate=LeaveOneOut()."
            )

    def unbiased(self, coupling: Coupling) -> bool:
        """The gradient is unbiased for every tree, and every order of its leaves."""
        return True

    def gradient(self, drawn: TreePairs, values: Tensor, centred: bool = False) -> Tensor:
        return pair_statistic(drawn.gradient, values, self.alpha)


@frozen
class Importance(PairWeights[PairPoints]):
    """`(f(z1) - f(z2)) / 2 * p(z1) p(z2) / r(z1, z2) * (e_{z1} - e_{z2})`, r the law of the pair.

    Of more than two exchangeable points all pairs are averaged.

    Args:
        alpha: as for `RaoBlackwell`, where the coupling is made of several pairs.

    Unbiased only where every pair of categories can be drawn. A copula draws them all. Antithetic sticks do where no
    stick before the last takes more than half of what is left: always so in ascending order, in others not.

    Source: Dong, Mnih, Tucker 2021, arXiv 2106.08056 (DisARM-IW); Dimitriev, Zhou 2021, arXiv 2105.14141 (ARMS) and
    2110.14002 (CARMS). Departs from the papers: weights of pairs that cannot be drawn are never needed, so there is
    no threshold and nothing is clipped.
    """

    alpha: Share = None

    def refuse(self, coupling: Coupling) -> None:
        """Sticks fit, and couplings that can draw every pair."""
        if not _draws_every_pair(coupling) and not (isinstance(coupling, Tree) and coupling.shape == "caterpillar"):
            raise ValueError(
                "Importance weights need a coupling that can draw every pair of categories, and "
                f"{type(coupling).__name__} with this shape does not promise that; use "
                "coupling=StickBreaking('ascending') or Copula(), or weights=RaoBlackwell() for a tree."
            )

    def unbiased(self, coupling: Coupling) -> bool:
        """The gradient is unbiased where every pair can be drawn; of sticks, in ascending order."""
        return _draws_every_pair(coupling) or (isinstance(coupling, Tree) and coupling.order == "ascending")

    def refuse_size(self, coupling: Coupling, like: Tensor) -> None:
        variables, categories = like.shape[:-1], like.shape[-1]
        if isinstance(coupling, Copula):
            laws = variables.numel() * (coupling.num_samples * (coupling.num_samples - 1) // 2)
            checks.law_of_copula(categories, laws, copula_ops.is_short(categories, like))

    def gradient(self, drawn: PairPoints, values: Tensor, centred: bool = False) -> Tensor:
        if not drawn.known.paired:
            return importance_of_all_pairs(drawn, values)
        return pair_statistic(drawn.importance, values, self.alpha)


def _draws_every_pair(coupling: Coupling) -> bool:
    return coupling.pairs is not None and coupling.pairs.every


def importance_of_all_pairs(drawn: PairPoints, values: Tensor) -> Tensor:
    """`1 / (S (S - 1)) sum_{s<t} (f_s - f_t) p(z_s) p(z_t) / r(z_s, z_t) (e_{z_s} - e_{z_t})` of exchangeable points.

    With independent points the ratio is 1 and this is leave-one-out.

    Args:
        drawn: the points.
        values: `[S, ...]`, broadcastable to their ids.

    Returns:
        `[*variables, C]`.
    """
    indices, points = drawn.indices, len(drawn.indices)
    pairs = list(itertools.combinations(range(points), 2))
    left, right = torch.triu_indices(points, points, 1, device=indices.device)
    ratio = drawn.ratios(pairs).to(values.dtype)
    coefficients = ratio * (values[left] - values[right]) / (points * (points - 1))
    ids, signed = torch.cat((indices[left], indices[right])), torch.cat((coefficients, -coefficients))
    return score_ops.scatter(ids, signed, drawn.logits.shape[-1])


def pair_statistic(within: Callable[[Tensor, Tensor | None], Tensor], values: Tensor, alpha: Share = None) -> Tensor:
    """Average over all pairs among the 2P points: `within` for the P coupled ones, leave-one-out for the others.

    Points of different pairs are independent, so for them the weight is `e_i - e_j` as in RLOO. Both averages are
    unbiased, and so is `alpha * within + (1 - alpha) * across`.

    Args:
        within: the coupled ones' gradient from differences `[P, ...]` (half those of the values, averaged), and what
            multiplies the one-hots of the points besides, `[2P, ...]` or None.
        values: `[2P, ...]`, broadcastable to the points' ids; points 2k and 2k + 1 are coupled.
        alpha: None counts every pair once, 1 / (2P - 1) of them within.

    Returns:
        `[*variables, C]`.
    """
    points = values.shape[0]
    if points == 2:
        return within(values.diff(dim=0).mul_(-0.5), None)
    half = (values[0::2] - values[1::2]) / 2
    # Over all pairs i < j: sum (f_i - f_j)(e_i - e_j) = S * sum (f_i - mean f) e_i; take off the coupled ones.
    across = (points / 2 * (values - values.mean(0)) - score_ops.both_ways(half)) / (points * (points - 2) / 2)
    differences, default = half / (points / 2), 1 / (points - 1)
    if alpha is None or isinstance(alpha, float | int):
        fixed = default if alpha is None else alpha
        return within(fixed * differences, (1 - fixed) * across if fixed != 1 else None)
    coupled = within(differences, None)
    crossed = within(torch.zeros_like(differences), across)
    share = alpha.share(default)
    alpha.note(coupled, crossed)
    return crossed + share * (coupled - crossed)
