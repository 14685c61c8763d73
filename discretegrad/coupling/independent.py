"""Independent points."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.coupling.base import Check, Coupling, Law, unchecked
from discretegrad.coupling.drawn import PairLaw, PairPoints
from discretegrad.frozen import frozen
from discretegrad.ops import dispatch
from discretegrad.ops import score as score_ops
from discretegrad.ops.inverse_cdf import draw, inverse_cdf
from discretegrad.ops.layout import switch_off
from discretegrad.ops.noise import has_kernels, uniform


class IndependentPoints(PairPoints):
    """Points that are independent of each other."""

    def pair_law(self) -> Tensor:
        return self.probs.unsqueeze(-1) * self.probs.unsqueeze(-2)

    def flow(self, coefficients: Tensor, others: Tensor | None = None) -> Tensor:
        weights = coefficients if others is None else coefficients + others
        return score_ops.scatter(self.indices, weights, self.logits.shape[-1], self.mask)


@frozen
class Independent(Coupling):
    """S independent points."""

    num_samples: int

    pairs = PairLaw()

    def __post_init__(self) -> None:
        checks.count(self.num_samples, "num_samples")

    @property
    def evaluations(self) -> int:
        return self.num_samples

    def draw(
        self,
        logits: Tensor,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
        check: Check = unchecked,
    ) -> IndependentPoints:
        """Kernels take the logits, others the probabilities, for they will be asked for."""
        chosen = dispatch.implementation(logits)
        if chosen != "native":  # which looks itself
            check()
        kernels = chosen in ("triton", "native")
        seeded = has_kernels(logits) if chosen == "native" else kernels
        noise = uniform((self.num_samples, *logits.shape[:-1]), logits, generator, seeded)
        if kernels:
            indices, sound = draw(logits, noise, mask, chosen)
            if not sound:
                check()
            return IndependentPoints(indices, logits, mask, self)
        probs = switch_off(logits, mask).softmax(-1)
        return IndependentPoints(inverse_cdf(probs, noise), logits, mask, self, probs)

    def at(self, logits: Tensor, mask: Tensor | None, indices: Tensor) -> IndependentPoints:
        return IndependentPoints(indices, logits, mask, self)

    def law(self, logits: Tensor) -> Law:
        probs, categories = logits.softmax(-1), range(logits.shape[-1])
        every = itertools.product(categories, repeat=self.num_samples)
        outcomes = torch.tensor(list(every), device=probs.device)
        return Law(outcomes, probs[..., outcomes].prod(-1))
