"""Antithetic bits that keep their noise."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.coupling.base import Coupling, Drawn, Law, Probs
from discretegrad.frozen import frozen
from discretegrad.ops.noise import mirror, uniform


@frozen
class MirroredUniforms(Coupling):
    """P independent pairs of bits from a uniform and its mirror image, `1[1 - u < p]` and `1[u < p]`; u is kept.

    The pairs have the law of those of `Antithetic`; `Draw.noise` is u, `[P, *variables]`.

    Source: Yin, Zhou, "ARM: augment-REINFORCE-merge gradient for stochastic binary networks", 2019, arXiv
    1807.11143.
    """

    num_pairs: int = 1

    def __post_init__(self) -> None:
        checks.count(self.num_pairs, "num_pairs")

    @property
    def evaluations(self) -> int:
        """2P."""
        return 2 * self.num_pairs

    def plan(self, logits: Tensor) -> Probs:
        """Probabilities."""
        checks.two_categories(logits.shape[-1], "MirroredUniforms")
        return Probs(logits)

    def sample(self, plan: Probs, generator: torch.Generator | None) -> Tensor:
        """One uniform a pair."""
        return self.draw(plan, generator).indices

    def draw(self, plan: Probs, generator: torch.Generator | None) -> Drawn:
        """The same, and the uniforms."""
        like = plan.like[..., 0]
        noise = uniform((self.num_pairs, *like.shape), like, generator)
        # The rarer value is where a uniform or its mirror image is below its probability, with all its digits. None
        # is below 0, so that a bit without probability is never set.
        zero, one = plan.probs.to(noise.dtype).unbind(-1)
        rarer = one < zero
        threshold = torch.where(rarer, one, zero) / (zero + one)
        # Of u, 1[1 - u < p] and 1[u < p] are true where u is far from 0 and near to it.
        far, near = mirror(noise), noise
        first = torch.where(rarer, far < threshold, near >= threshold)
        second = torch.where(rarer, near < threshold, far >= threshold)
        return Drawn(torch.stack((first, second), 1).flatten(0, 1).long(), noise)

    def law(self, plan: Probs) -> Law:
        """The product over the pairs of the law of one, with two nodes of u in every cell."""
        probabilities, nodes = mirrored_cells(plan.probs)
        cells = torch.tensor(MIRRORED, device=nodes.device)
        choice = torch.tensor(list(itertools.product(range(len(MIRRORED)), repeat=self.num_pairs)), device=nodes.device)
        return Law(cells[choice].flatten(-2), probabilities[..., choice].prod(-1), nodes[..., choice])


MIRRORED = ((0, 1), (0, 0), (1, 1), (1, 0)) * 2
"""The pairs of the cells of `mirrored_cells`."""


def mirrored_cells(probs: Tensor) -> tuple[Tensor, Tensor]:
    """Where u and 1 - u lead on [0, 1], for two categories: probabilities and nodes of a quadrature, `[*variables, 8]`.

    u decides by `1[u >= p_0]`, its mirror image by `1[1 - u >= p_0]`. Four cells, one of them empty, have two
    Gauss-Legendre nodes each: exact up to cubic functions of u.
    """
    end = probs.amin(-1)
    middle = 1 - 2 * end
    zero_is_larger = (probs[..., 0] > probs[..., 1]).to(probs.dtype)
    widths = torch.stack((end, middle * zero_is_larger, middle * (1 - zero_is_larger), end), -1)
    centres = torch.stack((end / 2, torch.full_like(end, 0.5), torch.full_like(end, 0.5), 1 - end / 2), -1)
    offset = widths / 12**0.5
    return torch.cat((widths, widths), -1) / 2, torch.cat((centres - offset, centres + offset), -1)
