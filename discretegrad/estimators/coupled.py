"""Antithetic pairs."""

from __future__ import annotations

from discretegrad.control_variate import ControlVariate
from discretegrad.core import Composition
from discretegrad.coupling import Antithetic, Coupling, NearlyDistinct, StickBreaking, Tree
from discretegrad.ops.tree import TreeLike
from discretegrad.weights import Importance, MinimumNorm, RaoBlackwell, Share


class DisARM(Composition):
    """Antithetic pairs of Bernoulli variables with the noise integrated out given the pair (also called U2G).

        g = (f(b) - f(b')) / 2 * (b - b') * sigmoid(|logit|)

    unbiased: yes | evaluations: 2 num_pairs | gradient of f: not used | latents: bernoulli

    Args:
        num_pairs: P; for P > 1 the pairs' cross terms are used (`discretegrad.weights.pair_statistic`).
        alpha: the share of the terms within the pairs, for P > 1; see `RaoBlackwell`.
        control_variate: a function of the points with a known gradient, such as `dg.nn.LinearControlVariate`.

    Reference: Dong, Mnih, Tucker, "DisARM: an antithetic gradient estimator for binary latent variables", 2020,
    arXiv 2006.10680; Yin, Ho, Yan, Qian, Zhou, "Probabilistic best subset selection via gradient-based
    optimization", 2020, arXiv 2006.07424.
    Departs from the paper: cross terms, where the paper averages the pairs.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, requires_grad=True)
        >>> dg.DisARM()(lambda points: (points - 0.499).square().sum(-1), logits).sum().backward()
        >>> logits.grad.shape
        torch.Size([2, 3])
    """

    def __init__(self, num_pairs: int = 1, alpha: Share = None, control_variate: ControlVariate | None = None) -> None:
        super().__init__(Antithetic(num_pairs), RaoBlackwell(alpha), control_variate, "bernoulli")


class DisARMIW(Composition):
    """Antithetic stick-breaking pairs with importance weights.

        g = (f(z) - f(z')) / 2 * p(z) p(z') / r(z, z') * (e_z - e_{z'}),   r the law of the pair

    unbiased: in ascending order | evaluations: 2 num_pairs | gradient of f: not used | latents: categorical

    In every other order a stick may take more than half of what is left; the pairs behind it are then never
    drawn, no weight can make up for them, and the estimator says `unbiased == False`.

    Args:
        order: in which the sticks are broken off: "ascending", "descending", "abs" or None.
        num_pairs: P; for P > 1 the pairs' cross terms are used.
        alpha: the share of the terms within the pairs, for P > 1; see `RaoBlackwell`.
        control_variate: a function of the points with a known gradient, such as `dg.nn.LinearControlVariate`.

    Reference: Dong, Mnih, Tucker, "Coupled gradient estimators for discrete latent variables", 2021, arXiv
    2106.08056.
    Departs from the paper: cross terms; no threshold on the weights; ascending by default.

    Example:
        >>> import discretegrad as dg
        >>> dg.DisARMIW().unbiased, dg.DisARMIW(order=None).unbiased
        (True, False)
    """

    def __init__(
        self,
        order: str | None = "ascending",
        num_pairs: int = 1,
        alpha: Share = None,
        control_variate: ControlVariate | None = None,
    ) -> None:
        super().__init__(StickBreaking(order, num_pairs), Importance(alpha), control_variate)


class DisARMSB(Composition):
    """Antithetic stick-breaking pairs with the noise integrated out given the pair.

        g = (f(z) - f(z')) / 2 * (e_z - e_{z'} - (1 - s) (p(.|T) - p(.|T')))

    T and T' are the subtrees of z and z' where their paths part, s the heavier one's share of both.

    unbiased: yes | evaluations: 2 num_pairs | gradient of f: not used | latents: categorical

    Args:
        num_pairs: P; for P > 1 the pairs' cross terms are used.
        order: in which the sticks are broken off: "ascending", "descending", "abs" or None.
        alpha: the share of the terms within the pairs, for P > 1; see `RaoBlackwell`.
        control_variate: a function of the points with a known gradient, such as `dg.nn.LinearControlVariate`.

    Reference: Dong, Mnih, Tucker, "Coupled gradient estimators for discrete latent variables", 2021, arXiv
    2106.08056.
    Departs from the paper: one closed form where the paper sums over sticks; cross terms.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 5, requires_grad=True)
        >>> dg.DisARMSB()(lambda points: points[..., 0].sum(-1), logits).sum().backward()
    """

    def __init__(
        self,
        num_pairs: int = 1,
        order: str | None = None,
        alpha: Share = None,
        control_variate: ControlVariate | None = None,
    ) -> None:
        super().__init__(StickBreaking(order, num_pairs), RaoBlackwell(alpha), control_variate)


class DisARMTree(Composition):
    """Antithetic pairs on a binary tree over the categories, with the noise integrated out given the pair.

        g = (f(z) - f(z')) / 2 * (e_z - e_{z'} - (1 - s) (p(.|T) - p(.|T')))

    T and T' are the subtrees of z and z' where their paths part, s the heavier one's share of both.

    unbiased: yes | evaluations: 2 num_pairs | gradient of f: not used | latents: categorical

    Args:
        num_pairs: P; for P > 1 the pairs' cross terms are used.
        tree: "balanced", "caterpillar", "huffman", or nested pairs of category ids such as `((0, 1), (2, 3))`.
        order: sort the categories before they become leaves: "ascending", "descending", "abs" or None.
        alpha: the share of the terms within the pairs, for P > 1; see `RaoBlackwell`.
        control_variate: a function of the points with a known gradient, such as `dg.nn.LinearControlVariate`.

    Reference: Dong, Mnih, Tucker, "Coupled gradient estimators for discrete latent variables", 2021, arXiv
    2106.08056.
    Departs from the paper: any tree, any number of categories, cross terms.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 5, requires_grad=True)
        >>> dg.DisARMTree(tree="huffman")(lambda points: points[..., 0].sum(-1), logits).sum().backward()
    """

    def __init__(
        self,
        num_pairs: int = 1,
        tree: str | TreeLike = "balanced",
        order: str | None = None,
        alpha: Share = None,
        control_variate: ControlVariate | None = None,
    ) -> None:
        super().__init__(Tree(tree, order, num_pairs), RaoBlackwell(alpha), control_variate)


class Flow(Composition):
    """The minimum-norm weights of any exchangeable coupling; by default of nearly distinct pairs.

        g = mean over pairs of points of (f(z) - f(z')) / 2 * (phi_z - phi_{z'}),   phi the potential of a flow

    unbiased: yes | evaluations: of the coupling | gradient of f: not used | latents: categorical, bernoulli

    Independent points give RLOO back, two categories DisARM or ARMS. In closed form for independent points, nearly
    distinct pairs, trees and two categories; elsewhere one symmetric C x C solve a variable, in float64.

    Args:
        coupling: exchangeable points, or pairs of such: `NearlyDistinct(num_pairs)`, `Independent(S)`, a `Tree`, ...
        control_variate: a function of the points with a known gradient, such as `dg.nn.LinearControlVariate`.
        alpha: the share of the terms within the pairs, where there are several; see `RaoBlackwell`.
        latent: "categorical" or "bernoulli".

    Raises:
        ValueError: where the pairs of categories that the coupling can draw do not connect all possible ones, or its
            solves would not fit the memory.

    Reference: this project; the derivation is in `ops/flow/README.md`.
    Departs from the paper: there is none.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 5, requires_grad=True)
        >>> dg.Flow()(lambda points: points[..., 0].sum(-1), logits).sum().backward()
        >>> dg.Flow(dg.Tree("huffman")).evaluations
        2
    """

    def __init__(
        self,
        coupling: Coupling | None = None,
        control_variate: ControlVariate | None = None,
        alpha: Share = None,
        latent: str = "categorical",
    ) -> None:
        coupling = NearlyDistinct() if coupling is None else coupling
        super().__init__(coupling, MinimumNorm(alpha), control_variate, latent)
