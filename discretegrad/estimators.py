"""The named algorithms. Each is a class that fills slots of `core.py` and adds nothing.

If one needs a method of its own, a slot is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from discretegrad.control_variate import ControlVariate, LeaveOneOut
from discretegrad.core import Composition, Estimator, Pathwise
from discretegrad.coupling import Antithetic, Enumerate, Independent, StickBreaking, Tree
from discretegrad.ops.tree import TreeLike
from discretegrad.pathwise import Gumbel, Softmax
from discretegrad.weights import Importance, RaoBlackwell, Score


class Reinforce(Composition):
    """The score function, with or without a baseline.

        g = mean_s (f(z_s) - b) (e_{z_s} - p)

    unbiased: yes | evaluations: num_samples | gradient of f: not used | latents: categorical, bernoulli

    Args:
        num_samples: S independent points.
        baseline: None, or what is subtracted: `dg.nn.RunningMean()`, `dg.nn.LearnedBaseline(network)`,
            `dg.BatchLeaveOneOut(dim)`.
        latent: "categorical" or "bernoulli".

    Reference: Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement
    learning", 1992; Mnih, Gregor, "Neural variational inference and learning in belief networks", 2014, arXiv
    1402.0030.
    Departs from the paper: nothing.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 4, requires_grad=True)
        >>> dg.Reinforce()(lambda points: points[..., 0].sum(-1), logits).sum().backward()
        >>> logits.grad.shape
        torch.Size([2, 3, 4])
    """

    def __init__(
        self, num_samples: int = 1, baseline: ControlVariate | None = None, latent: str = "categorical"
    ) -> None:
        super().__init__(Independent(num_samples), Score(), baseline, latent)


class RLOO(Composition):
    """REINFORCE with leave-one-out baselines.

        g = 1 / (S - 1) sum_s (f(z_s) - mean f) e_{z_s}

    The softmax term of the score has cancelled, because the centred values sum to zero.

    unbiased: yes | evaluations: num_samples | gradient of f: not used | latents: categorical, bernoulli

    Args:
        num_samples: S >= 2 independent points.
        latent: "categorical" or "bernoulli".

    Reference: Salimans, Knowles, "On using control variates with stochastic approximation for variational Bayes
    and its connection to stochastic linear regression", 2014, arXiv 1401.1022; Kool, van Hoof, Welling, "Buy 4
    REINFORCE samples, get a baseline for free!", 2019.
    Departs from the paper: nothing.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 4, requires_grad=True)
        >>> estimator = dg.RLOO(num_samples=4)
        >>> draw = estimator.sample(logits)
        >>> values = draw.points[..., 0].sum(-1)
        >>> loss = estimator.surrogate(draw, values)
        >>> loss.mean().backward()
    """

    def __init__(self, num_samples: int = 2, latent: str = "categorical") -> None:
        super().__init__(Independent(num_samples), Score(), LeaveOneOut(), latent)


class DisARM(Composition):
    """Antithetic pairs of Bernoulli variables with the noise integrated out given the pair (also called U2G).

        g = (f(b) - f(b')) / 2 * (b - b') * sigmoid(|logit|)

    unbiased: yes | evaluations: 2 num_pairs | gradient of f: not used | latents: bernoulli

    Args:
        num_pairs: P; for P > 1 the pairs' cross terms are used (`discretegrad.weights.pair_statistic`).

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

    def __init__(self, num_pairs: int = 1) -> None:
        super().__init__(Antithetic(num_pairs), RaoBlackwell(), latent="bernoulli")


class DisARMIW(Composition):
    """Antithetic stick-breaking pairs with importance weights.

        g = (f(z) - f(z')) / 2 * p(z) p(z') / r(z, z') * (e_z - e_{z'}),   r the law of the pair

    unbiased: in ascending order | evaluations: 2 num_pairs | gradient of f: not used | latents: categorical

    In every other order a stick may take more than half of what is left; the pairs behind it are then never
    drawn, no weight can make up for them, and the estimator says `unbiased == False`.

    Args:
        order: in which the sticks are broken off: "ascending", "descending", "abs" or None.
        num_pairs: P; for P > 1 the pairs' cross terms are used.

    Reference: Dong, Mnih, Tucker, "Coupled gradient estimators for discrete latent variables", 2021, arXiv
    2106.08056.
    Departs from the paper: cross terms; no threshold on the weights; ascending by default.

    Example:
        >>> import discretegrad as dg
        >>> dg.DisARMIW().unbiased, dg.DisARMIW(order=None).unbiased
        (True, False)
    """

    def __init__(self, order: str | None = "ascending", num_pairs: int = 1) -> None:
        super().__init__(StickBreaking(order, num_pairs), Importance())


class DisARMSB(Composition):
    """Antithetic stick-breaking pairs with the noise integrated out given the pair.

        g = (f(z) - f(z')) / 2 * (e_z - e_{z'} - (1 - s) (p(.|T) - p(.|T')))

    T and T' are the subtrees of z and z' where their paths part, s the heavier one's share of both.

    unbiased: yes | evaluations: 2 num_pairs | gradient of f: not used | latents: categorical

    Args:
        num_pairs: P; for P > 1 the pairs' cross terms are used.
        order: in which the sticks are broken off: "ascending", "descending", "abs" or None.

    Reference: Dong, Mnih, Tucker, "Coupled gradient estimators for discrete latent variables", 2021, arXiv
    2106.08056.
    Departs from the paper: one closed form where the paper sums over sticks; cross terms.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 5, requires_grad=True)
        >>> dg.DisARMSB()(lambda points: points[..., 0].sum(-1), logits).sum().backward()
    """

    def __init__(self, num_pairs: int = 1, order: str | None = None) -> None:
        super().__init__(StickBreaking(order, num_pairs), RaoBlackwell())


class DisARMTree(Composition):
    """Antithetic pairs on a binary tree over the categories, with the noise integrated out given the pair.

        g = (f(z) - f(z')) / 2 * (e_z - e_{z'} - (1 - s) (p(.|T) - p(.|T')))

    T and T' are the subtrees of z and z' where their paths part, s the heavier one's share of both.

    unbiased: yes | evaluations: 2 num_pairs | gradient of f: not used | latents: categorical

    Args:
        num_pairs: P; for P > 1 the pairs' cross terms are used.
        tree: "balanced", "caterpillar", "huffman", or nested pairs of category ids such as `((0, 1), (2, 3))`.
        order: sort the categories before they become leaves: "ascending", "descending", "abs" or None.

    Reference: Dong, Mnih, Tucker, "Coupled gradient estimators for discrete latent variables", 2021, arXiv
    2106.08056.
    Departs from the paper: any tree, any number of categories, cross terms.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 5, requires_grad=True)
        >>> dg.DisARMTree(tree="huffman")(lambda points: points[..., 0].sum(-1), logits).sum().backward()
    """

    def __init__(self, num_pairs: int = 1, tree: str | TreeLike = "balanced", order: str | None = None) -> None:
        super().__init__(Tree(tree, order, num_pairs), RaoBlackwell())


class Exact(Composition):
    """The exact expectation and its gradient, by evaluating f at every joint value. For small problems.

        g = sum_z f(z) grad p(z)

    unbiased: yes, and without variance | evaluations: C ** V | gradient of f: not used
    | latents: categorical, bernoulli

    Variables that a mask switches off are enumerated as well, with weight zero for all but category 0.

    Args:
        event_dims: how many of the logits' last dimensions (before C) are variables that f sees jointly; 0 for a
            single variable.
        latent: "categorical" or "bernoulli".

    Raises:
        ValueError: from `sample`, for more than `Enumerate.limit` joint values.

    Example:
        >>> import torch, discretegrad as dg
        >>> dg.Exact()(lambda points: points[..., 0].sum(-1), torch.zeros(3, 4))
        tensor(0.7500)
    """

    def __init__(self, event_dims: int = 1, latent: str = "categorical") -> None:
        super().__init__(Enumerate(event_dims), Score(), latent=latent)


class StraightThrough(Pathwise):
    """One-hot points forward, the softmax of the logits backward.

    unbiased: no | evaluations: num_samples | gradient of f: needed | latents: categorical, bernoulli

    Args:
        num_samples: S independent points.
        latent: "categorical" or "bernoulli".

    Reference: Bengio, Leonard, Courville, "Estimating or propagating gradients through stochastic neurons for
    conditional computation", 2013, arXiv 1308.3432.
    Departs from the paper: nothing.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 4, requires_grad=True)
        >>> dg.StraightThrough()(lambda points: points[..., 0].square().sum(-1), logits).sum().backward()
    """

    def __init__(self, num_samples: int = 1, latent: str = "categorical") -> None:
        super().__init__(Softmax(), num_samples, latent)


class GumbelSoftmax(Pathwise):
    """Relaxed points, `softmax((logits + Gumbel noise) / temperature)`, also called Concrete.

    unbiased: no | evaluations: num_samples | gradient of f: needed | latents: categorical, bernoulli

    Args:
        temperature: of the softmax; positive.
        hard: round the points to one-hots forward, keep the soft ones backward (ST-Gumbel).
        num_samples: S independent points.
        latent: "categorical" or "bernoulli".

    Reference: Jang, Gu, Poole, "Categorical reparameterization with Gumbel-softmax", 2017, arXiv 1611.01144;
    Maddison, Mnih, Teh, "The Concrete distribution", 2017, arXiv 1611.00712.
    Departs from the paper: nothing. Soft points are not one-hots, so f is evaluated between them.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 4, requires_grad=True)
        >>> dg.GumbelSoftmax(0.5)(lambda points: points[..., 0].square().sum(-1), logits).sum().backward()
    """

    def __init__(
        self, temperature: float = 1.0, hard: bool = False, num_samples: int = 1, latent: str = "categorical"
    ) -> None:
        super().__init__(Gumbel(temperature, hard), num_samples, latent)


ESTIMATORS: dict[str, Callable[..., Estimator]] = {
    "reinforce": Reinforce,
    "rloo": RLOO,
    "disarm": DisARM,
    "disarm_iw": DisARMIW,
    "disarm_sb": DisARMSB,
    "disarm_tree": DisARMTree,
    "exact": Exact,
    "straight_through": StraightThrough,
    "gumbel_softmax": GumbelSoftmax,
}
"""The names that `expectation` knows."""


def expectation(
    f: Callable[[Tensor], Tensor], logits: Tensor, estimator: str | Estimator = "disarm_tree", **call: Any
) -> Tensor:
    """Estimate `E f(z)`, `[*batch]`, with the estimator's gradient attached: the whole library in one line.

    Args:
        f: maps points `[S, *batch, *event, C]` to values `[S, *batch]`.
        logits: `[*batch, *event, C]`.
        estimator: a name in `ESTIMATORS`, made with its defaults, or an estimator.
        call: `generator`, `mask` or `context`, as for a call of the estimator.

    Raises:
        ValueError: for a name that is not known.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(3, 4, requires_grad=True)
        >>> dg.expectation(lambda points: points[..., 0].sum(-1), logits, estimator="rloo").backward()
    """
    if isinstance(estimator, str):
        if estimator not in ESTIMATORS:
            raise ValueError(f"no estimator is called {estimator!r}; the names are {', '.join(ESTIMATORS)}.")
        estimator = ESTIMATORS[estimator]()
    if not isinstance(estimator, Estimator):
        raise TypeError(f"estimator is a name or an estimator such as RLOO(), not {estimator!r}.")
    return estimator(f, logits, **call)
