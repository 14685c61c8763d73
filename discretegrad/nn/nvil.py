"""Centred, and scaled, learning signals."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from discretegrad.control_variate import Evaluation, Residual
from discretegrad.draw import Draw
from discretegrad.nn.baseline import Baseline, LearnedBaseline, RunningMean, active_values, masked_mean
from discretegrad.nn.learner import Statistics


class NVILBaseline(Statistics, Baseline):
    """A network's prediction from the context, a running mean of what it leaves, and a division by its deviation.

        f - network(context) - mean,   with `normalise` over max(1, std)

    The division changes the gradient's scale: the estimator is then biased, and says so.

    Args:
        network: as for `LearnedBaseline`; None for none.
        normalise: whether to divide.
        decay: of the running mean and variance, in [0, 1).

    Source: Mnih, Gregor, "Neural variational inference and learning in belief networks", 2014, arXiv 1402.0030.
    Departs from the paper: mean and variance are updated after they were used, not before, which would bias; they
    are bias-corrected; the network's loss is not divided.

    Example:
        >>> import torch, discretegrad as dg
        >>> baseline = dg.nn.NVILBaseline(torch.nn.Linear(3 * 4, 1), normalise=False)
        >>> dg.NVIL(baseline).unbiased
        True
    """

    spread: Tensor

    def __init__(self, network: nn.Module | None = None, normalise: bool = True, decay: float = 0.8) -> None:
        super().__init__()
        self.learned = None if network is None else LearnedBaseline(network)
        self.running = RunningMean(decay)
        self.normalise = normalise
        self.unbiased = not normalise
        self.register_buffer("spread", torch.zeros((), dtype=torch.float32))

    def predict(self, values: Tensor, draw: Draw, context: Any) -> Tensor:
        """The prediction is the network's output and the running mean."""
        mean = self.running.predict(values, draw, context)
        return mean if self.learned is None else mean + self.learned.predict(values, draw, context)

    def subtract_from(self, evaluation: Evaluation) -> Residual:
        """What the prediction leaves of the values is divided by their deviation."""
        values = super().subtract_from(evaluation).values
        return Residual(values / self.scale().to(values.dtype) if self.normalise else values)

    def scale(self) -> Tensor:
        """`max(1, std)`; 1 before the first update."""
        weight = self.running.weight
        return (self.spread / torch.where(weight > 0, weight, 1.0)).sqrt().clamp_min(1.0)

    def loss(self, draw: Draw, values: Tensor, context: Any = None) -> Tensor:
        """The loss is the mean squared error of the prediction."""
        if self.learned is None:
            return super().loss(draw, values, context)
        values = active_values(draw, values)
        centred = values - self.running.predict(values, draw, context)
        return self.learned.loss(draw, centred, context)

    @torch.no_grad()
    def update(self, draw: Draw, values: Tensor, context: Any = None) -> None:
        """The running mean and variance move towards those of what the network leaves of the values."""
        values = active_values(draw, values)
        if self.learned is not None:
            values = values - self.learned.predict(values, draw, context)
        variance = masked_mean(draw, (values - masked_mean(draw, values)).square())
        self.move("spread", variance, 1 - self.running.decay)
        self.running.update(draw, values)
