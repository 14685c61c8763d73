"""Points that carry the gradient: biased, for comparison and for those who want them."""

from __future__ import annotations

from discretegrad.core import Pathwise
from discretegrad.pathwise import Gumbel, Softmax


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
