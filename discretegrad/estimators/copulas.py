"""Points that are jointly antithetic, by a copula."""

from __future__ import annotations

from discretegrad.core import Composition
from discretegrad.coupling import Copula
from discretegrad.weights import Importance


class ARMS(Composition):
    """Leave-one-out over Bernoulli points that are jointly antithetic, made up for their correlation.

        g = 1 / (S - 1) sum_s (f(b_s) - mean f) b_s / (1 - rho),   1 - rho = P(b_1 = 1, b_2 = 0) / (p (1 - p))

    unbiased: yes | evaluations: num_samples | gradient of f: not used | latents: bernoulli

    Args:
        num_samples: S >= 2; with 2 it is `DisARM`.
        copula: "dirichlet", or "gaussian".

    Raises:
        ValueError: from `exact.moments`, for a Gaussian copula of more than 2 points.

    Reference: Dimitriev, Zhou, "ARMS: antithetic-REINFORCE-multi-sample gradient for binary variables", 2021, arXiv
    2105.14141.
    Departs from the paper: the Gaussian copula's bivariate law by quadrature in float64.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, requires_grad=True)
        >>> dg.ARMS(4)(lambda points: (points - 0.499).square().sum(-1), logits).sum().backward()
        >>> logits.grad.shape
        torch.Size([2, 3])
    """

    def __init__(self, num_samples: int = 4, copula: str = "dirichlet") -> None:
        super().__init__(Copula(num_samples, copula), Importance(), latent="bernoulli")


class CARMS(Composition):
    """Differences between jointly antithetic points, weighed by how much rarer than independent their ids are.

        g = 1 / (S (S - 1)) sum_{s<t} (f(z_s) - f(z_t)) p(z_s) p(z_t) / r(z_s, z_t) (e_{z_s} - e_{z_t})

    r is the law of any two of the points. All of them are inverse CDFs in the same random order of the categories,
    whose two ends are each pair of categories in turn: r is never less than 2 / (C (C - 1)) of the product of the
    probabilities, so no pair is missing and the weights are bounded.

    unbiased: yes | evaluations: num_samples | gradient of f: not used | latents: categorical

    Args:
        num_samples: S >= 2.
        copula: "dirichlet", or "gaussian".

    Raises:
        ValueError: from `exact.moments`, for a Gaussian copula of more than 2 points; from `sample`, for more than 4096
            categories, whose rarest pairs would drown in rounding.

    Reference: Dimitriev, Zhou, "CARMS: categorical-antithetic-REINFORCE multi-sample gradient estimator", 2021, arXiv
    2110.14002.
    Departs from the paper: of its constructions the inverse CDF only (in the published code the weights of the sticks
    are sorted back wrongly, those of the Gumbels estimated: both biased); weights neither clipped nor smoothed, as
    published ones are; the rarer end first, so that two categories are `ARMS`, and the others sorted.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 5, requires_grad=True)
        >>> dg.CARMS(4)(lambda points: points[..., 0].sum(-1), logits).sum().backward()
    """

    def __init__(self, num_samples: int = 4, copula: str = "dirichlet") -> None:
        super().__init__(Copula(num_samples, copula), Importance())
