"""Augment the latent variables by their noise, take its score, merge what has the same mean."""

from __future__ import annotations

from discretegrad.core import Composition
from discretegrad.coupling import MirroredUniforms
from discretegrad.weights import UniformScore


class ARM(Composition):
    """Augment-REINFORCE-merge: antithetic pairs of Bernoulli variables, weighted by their uniform noise.

        g = mean over pairs of (f(1[1 - u < p]) - f(1[u < p])) (u - 1/2),   p = sigmoid(logit)

    `DisARM` is its mean given the pair, and never has more variance.

    unbiased: yes | evaluations: 2 num_pairs | gradient of f: not used | latents: bernoulli

    Args:
        num_pairs: P, averaged.

    Reference: Yin, Zhou, "ARM: augment-REINFORCE-merge gradient for stochastic binary networks", 2019, arXiv
    1807.11143.
    Departs from the paper: nothing.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, requires_grad=True)
        >>> dg.ARM()(lambda points: (points - 0.499).square().sum(-1), logits).sum().backward()
        >>> logits.grad.shape
        torch.Size([2, 3])
    """

    def __init__(self, num_pairs: int = 1) -> None:
        super().__init__(MirroredUniforms(num_pairs), UniformScore(), latent="bernoulli")
