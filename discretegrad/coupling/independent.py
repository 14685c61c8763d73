"""Independent points."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.coupling.base import Coupling, Drawn, Law, Probs
from discretegrad.frozen import frozen
from discretegrad.ops import dispatch
from discretegrad.ops import score as score_ops
from discretegrad.ops.inverse_cdf import draw, inverse_cdf
from discretegrad.ops.noise import uniform


@frozen
class Independent(Coupling):
    """S independent points."""

    num_samples: int

    exchangeable = True
    connected = True

    def __post_init__(self) -> None:
        checks.count(self.num_samples, "num_samples")

    @property
    def evaluations(self) -> int:
        """S."""
        return self.num_samples

    def plan(self, logits: Tensor) -> Probs:
        """Probabilities."""
        return Probs(logits)

    def masked_plan(self, logits: Tensor, mask: Tensor | None) -> Probs:
        """Kernels skip what is off."""
        skips = dispatch.implementation(logits) in ("triton", "native")
        return Probs(logits, mask) if skips else super().masked_plan(logits, mask)

    def sample(self, plan: Probs, generator: torch.Generator | None) -> Tensor:
        """One uniform a point."""
        return self.draw(plan, generator).indices

    def draw(self, plan: Probs, generator: torch.Generator | None) -> Drawn:
        """The same. Kernels take the logits, others the probabilities, for they will be asked for."""
        logits = plan.like
        chosen = dispatch.implementation(logits)
        noise = uniform((self.num_samples, *logits.shape[:-1]), logits, generator, seeded=chosen == "triton")
        if chosen in ("triton", "native"):
            indices, sound = draw(logits, noise, plan.mask)
            return Drawn(indices, sound=sound)
        return Drawn(inverse_cdf(plan.probs, noise))

    def sees(self, logits: Tensor) -> bool:
        """C kernels do."""
        return dispatch.implementation(logits) == "native"

    def pair_law(self, plan: Probs) -> Tensor:
        """`p p^T`."""
        return plan.probs.unsqueeze(-1) * plan.probs.unsqueeze(-2)

    def flow(
        self, plan: Probs, indices: Tensor, coefficients: Tensor, others: Tensor | None = None, kept: Any = None
    ) -> Tensor:
        """Leave-one-out."""
        weights = coefficients if others is None else coefficients + others
        return score_ops.scatter(indices, weights, plan.like.shape[-1], plan.mask)

    def law(self, plan: Probs) -> Law:
        """The product law."""
        categories = range(plan.probs.shape[-1])
        every = itertools.product(categories, repeat=self.num_samples)
        outcomes = torch.tensor(list(every), device=plan.probs.device)
        return Law(outcomes, plan.probs[..., outcomes].prod(-1))
