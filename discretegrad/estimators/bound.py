"""Multi-sample bounds."""

from __future__ import annotations

from discretegrad.core import Composition
from discretegrad.coupling import Independent, Tree
from discretegrad.objectives import AntitheticBound, MultiSampleBound
from discretegrad.ops.tree import TreeLike
from discretegrad.weights import RaoBlackwell, Score


class VIMCO(Composition):
    """The multi-sample bound, with a leave-one-out baseline for each of its points.

        L = log mean_k exp(f(z_k))
        g = sum_k (L - L_k) (e_{z_k} - p),   L_k = L with f(z_k) replaced by the mean of the other f(z_j)

    The mean is that of the f(z_j) ("geometric", in exp f), or the logarithm of that of exp(f(z_j)) ("arithmetic").
    `values` are log-weights, `log p(x, z_k) - log q(z_k | x)`; the surrogate is the bound, and all that the values
    depend on gets the bound's own gradient. That includes the logits in `log q`: unlike in an ELBO their graph must
    stay, `log_prob(points, logits)`, for under the bound's weights the score of q has no mean of zero.

    unbiased: yes, for the gradient of E L | evaluations: num_samples | gradient of f: not used
    | latents: categorical, bernoulli

    Args:
        num_samples: K, the points of the bound; at least 2 with a baseline.
        baseline: "geometric", "arithmetic" or None.
        latent: "categorical" or "bernoulli".

    Raises:
        ValueError: for another baseline, or a single point with one.

    Reference: Mnih, Rezende, "Variational inference for Monte Carlo objectives", 2016, arXiv 1602.06725.
    Departs from the paper: nothing.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 4, requires_grad=True)
        >>> estimator = dg.VIMCO(num_samples=5)
        >>> draw = estimator.sample(logits)
        >>> log_joint = draw.points[..., 0].sum(-1)
        >>> bound = estimator.surrogate(draw, log_joint - dg.objectives.log_prob(draw.points, logits))
        >>> (-bound).mean().backward()
    """

    def __init__(self, num_samples: int = 2, baseline: str | None = "geometric", latent: str = "categorical") -> None:
        super().__init__(Independent(num_samples), Score(), latent=latent, objective=MultiSampleBound(baseline))


class DisARMBound(Composition):
    """The multi-sample bound, with an antithetic pair in place of each of its points.

        g = sum_k mean_c (L(z_k, c_k) - L(z'_k, c_k)) / 2 * w(z_k, z'_k),   w the weight of DisARMTree

    where L(z, c_k) is `log mean exp f` of z and of the points c_k of the other pairs, which are all first points or
    all second points of theirs. The surrogate is the mean of the bounds of all first and of all second points.
    As for `VIMCO`, the logits in the values' `log q` keep their graph.

    unbiased: yes, for the gradient of E L of num_pairs points | evaluations: 2 num_pairs | gradient of f: not used
    | latents: categorical, bernoulli

    Args:
        num_pairs: K, the points of the bound; f is evaluated at twice as many.
        tree: "balanced", "caterpillar", "huffman", or nested pairs of category ids such as `((0, 1), (2, 3))`.
        order: sort the categories before they become leaves: "ascending", "descending", "abs" or None.
        latent: "categorical" or "bernoulli".

    Reference: Dong, Mnih, Tucker, "DisARM: an antithetic gradient estimator for binary latent variables", 2020,
    arXiv 2006.10680.
    Departs from the paper: any tree over any number of categories. The other points are always taken in both
    configurations, which the authors' code has as an option.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 4, requires_grad=True)
        >>> estimator = dg.DisARMBound(num_pairs=5)
        >>> draw = estimator.sample(logits)
        >>> log_joint = draw.points[..., 0].sum(-1)
        >>> bound = estimator.surrogate(draw, log_joint - dg.objectives.log_prob(draw.points, logits))
        >>> (-bound).mean().backward()
    """

    def __init__(
        self,
        num_pairs: int = 2,
        tree: str | TreeLike = "balanced",
        order: str | None = None,
        latent: str = "categorical",
    ) -> None:
        super().__init__(
            Tree(tree, order, num_pairs),
            RaoBlackwell(alpha=1.0),
            latent=latent,
            objective=AntitheticBound(),
        )
