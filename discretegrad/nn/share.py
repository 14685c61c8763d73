"""The best share of the terms within coupled pairs, estimated along the way."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.draw import Draw
from discretegrad.nn.learner import Statistics


class EstimatedShare(Statistics):
    """The alpha of least variance in `alpha * within + (1 - alpha) * across`, from moving averages of earlier steps.

    Both parts have the same mean, so with `d = within - across` the variance is least at `-E[across . d] / E[|d|^2]`,
    whose estimate needs no centring. Call `update` after the surrogate was made.

    Args:
        decay: of the averages, in [0, 1).

    Source: this project.

    Example:
        >>> import torch, discretegrad as dg
        >>> share = dg.nn.EstimatedShare()
        >>> estimator = dg.DisARMTree(num_pairs=2, alpha=share)
        >>> draw = estimator.sample(torch.zeros(100, 3, 4, requires_grad=True))
        >>> values = draw.points[..., 0].sum(-1)
        >>> estimator.surrogate(draw, values).sum().backward()
        >>> share.update(draw, values)
    """

    dot: Tensor
    norm: Tensor

    def __init__(self, decay: float = 0.99) -> None:
        super().__init__()
        checks.decay(decay)
        self.decay = decay
        self.register_buffer("dot", torch.zeros((), dtype=torch.float32))
        self.register_buffer("norm", torch.zeros((), dtype=torch.float32))
        self._noted: tuple[Tensor, Tensor] | None = None

    def share(self, default: float) -> Tensor:
        """The present estimate."""
        known = self.norm > 0
        return torch.where(known, -self.dot / torch.where(known, self.norm, 1.0), default)

    def note(self, within: Tensor, across: Tensor) -> None:
        """Keep what `update` will take in."""
        difference = within - across
        self._noted = (across * difference).sum(), difference.square().sum()

    def loss(self, draw: Draw, values: Tensor, context: Any = None) -> Tensor:
        """Nothing to minimise."""
        return values.new_zeros(())

    @torch.no_grad()
    def update(self, draw: Draw, values: Tensor, context: Any = None) -> None:
        """Take in the parts of the last gradient."""
        if self._noted is None:
            return
        for name, new in zip(("dot", "norm"), self._noted, strict=True):
            self.move(name, new, 1 - self.decay)
        self._noted = None
