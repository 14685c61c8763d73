"""Antithetic bits that keep their noise."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.coupling.base import Check, Coupling, Law, unchecked
from discretegrad.coupling.drawn import Drawn
from discretegrad.frozen import frozen
from discretegrad.ops.layout import switch_off
from discretegrad.ops.noise import mirror, uniform


class MirroredBits(Drawn):
    """Pairs of bits and their uniforms.

    Args:
        indices, logits, mask, coupling, probs: as for `Drawn`.
        uniforms: `[P, *variables]`.
    """

    def __init__(
        self,
        indices: Tensor,
        logits: Tensor,
        mask: Tensor | None,
        coupling: Coupling,
        uniforms: Tensor,
        probs: Tensor | None = None,
    ) -> None:
        super().__init__(indices, logits, mask, coupling, probs)
        self.uniforms = uniforms


@dataclass(frozen=True, eq=False)
class MirroredLaw(Law):
    """The law of bits, with the uniforms at the nodes of a quadrature."""

    nodes: Tensor
    """`[*variables, M, P]`."""

    def drawn(self, coupling: Coupling, logits: Tensor, chosen: Tensor) -> MirroredBits:
        return MirroredBits(self._indices(chosen), logits, None, coupling, at_nodes(self.nodes, chosen))


@frozen
class MirroredUniforms(Coupling):
    """P independent pairs of bits from a uniform and its mirror image, `1[1 - u < p]` and `1[u < p]`; u is kept.

    The pairs have the law of those of `Antithetic`.

    Source: Yin, Zhou, "ARM: augment-REINFORCE-merge gradient for stochastic binary networks", 2019, arXiv
    1807.11143.
    """

    num_pairs: int = 1

    def __post_init__(self) -> None:
        checks.count(self.num_pairs, "num_pairs")

    @property
    def evaluations(self) -> int:
        return 2 * self.num_pairs

    def draw(
        self,
        logits: Tensor,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
        check: Check = unchecked,
    ) -> MirroredBits:
        check()
        checks.two_categories(logits.shape[-1], "MirroredUniforms")
        like = logits[..., 0]
        noise = uniform((self.num_pairs, *like.shape), like, generator)
        probs = switch_off(logits, mask).softmax(-1)
        # The rarer value is where a uniform or its mirror image is below its probability, with all its digits. None
        # is below 0, so that a bit without probability is never set.
        zero, one = probs.to(noise.dtype).unbind(-1)
        rarer = one < zero
        threshold = torch.where(rarer, one, zero) / (zero + one)
        # Of u, 1[1 - u < p] and 1[u < p] are true where u is far from 0 and near to it.
        far, near = mirror(noise), noise
        first = torch.where(rarer, far < threshold, near >= threshold)
        second = torch.where(rarer, near < threshold, far >= threshold)
        indices = torch.stack((first, second), 1).flatten(0, 1).long()
        return MirroredBits(indices, logits, mask, self, noise, probs)

    def at(self, logits: Tensor, mask: Tensor | None, indices: Tensor) -> Drawn:
        """Points that are given are refused: a pair of bits has many uniforms."""
        raise checks.noise_unknown(self)

    def law(self, logits: Tensor) -> MirroredLaw:
        """The law of a pair has two nodes of u in every cell; pairs are independent."""
        checks.two_categories(logits.shape[-1], "MirroredUniforms")
        probabilities, nodes = mirrored_cells(logits.softmax(-1))
        cells = torch.tensor(MIRRORED, device=nodes.device)
        choice = torch.tensor(list(itertools.product(range(len(MIRRORED)), repeat=self.num_pairs)), device=nodes.device)
        return MirroredLaw(cells[choice].flatten(-2), probabilities[..., choice].prod(-1), nodes[..., choice])


def at_nodes(nodes: Tensor, chosen: Tensor) -> Tensor:
    """`[K, N, *event]`, what outcomes `[N, *event]` have of `[*event, M, K]`."""
    where = chosen.unsqueeze(-1).unsqueeze(-1).expand(*chosen.shape, 1, nodes.shape[-1])
    return nodes.expand(len(chosen), *nodes.shape).gather(-2, where).squeeze(-2).movedim(-1, 0)


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
