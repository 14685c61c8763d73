"""Weights that are scores of the noise itself: of a uniform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from discretegrad.coupling import Coupling, MirroredUniforms
from discretegrad.weights.base import Weights


@dataclass(frozen=True)
class UniformScore(Weights):
    """`(f(z) - f(z')) (u - 1/2)` for bits from a uniform u and its mirror image, averaged over the pairs.

    Source: Yin, Zhou 2019, arXiv 1807.11143 (ARM).
    """

    differences = True
    needs_noise = True

    def refuse(self, coupling: Coupling) -> None:
        """Mirrored uniforms only."""
        if not isinstance(coupling, MirroredUniforms):
            raise ValueError(
                f"UniformScore weights need the uniforms of antithetic bits, which {type(coupling).__name__} does not "
                "keep; use coupling=MirroredUniforms(), or weights=RaoBlackwell() for a tree."
            )

    def unbiased(self, coupling: Coupling) -> bool:
        """Yes."""
        return True

    def gradient(
        self,
        plan: Any,
        indices: Tensor,
        values: Tensor,
        value_weights: Tensor | None,
        centred: bool,
        noise: Tensor | None = None,
    ) -> Tensor:
        """The published formula."""
        assert noise is not None
        of_one = ((values[0::2] - values[1::2]) * (noise - 0.5)).mean(0)
        return torch.stack((-of_one, of_one), -1)
