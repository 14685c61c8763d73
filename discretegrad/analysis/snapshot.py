"""What a monitor measures at one step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from discretegrad.analysis.estimate import Estimate, mean
from discretegrad.analysis.moments import Moments, Truth
from discretegrad.analysis.replicator import Problem, Replicator
from discretegrad.analysis.stages import ESTIMATED
from discretegrad.autograd import append_dims
from discretegrad.core import Estimator
from discretegrad.draw import Draw, category_logits
from discretegrad.latent import Latent

GROUPS = 8
"""Replicates are measured by so many, the fewest of which a standard error is made."""
SATURATED = 0.99
"""The probability above which a variable has all but decided."""


class Measured:
    """Replicates of one estimator at one step."""

    def __init__(self, problem: Problem, estimator: Estimator) -> None:
        self.problem, self.estimator = problem, estimator
        self.moments = Moments({"logits": problem.logits.numel()}, problem.logits.device, GROUPS)
        self.values: list[Tensor] = []
        self.counts: list[float] = []
        """Evaluations of f, of every replicate."""
        self._replicator = Replicator(problem, estimator)

    def measure(self, count: int) -> None:
        """So many more."""
        for found in self._replicator.take(count):
            self.moments.update(found.gradients)
            assert found.values is not None
            self.values.append(found.values)
            self.counts += [found.evaluations] * len(found.values)


def of_gradient(own: Measured, others: Measured | None) -> dict[str, Estimate]:
    """By column.

    Args:
        own: of the estimator that is used.
        others: of an unbiased one, where there is to be a comparison.
    """
    truth = None if others is None else Truth(others.moments.average(), others.moments)
    summary = own.moments.summary(truth)
    found = {
        "value": mean(torch.cat(own.values)),
        "evaluations": mean(torch.tensor(own.counts, dtype=torch.float64, device="cpu")),
        "variance": summary.variance,
        "norm2": summary.norm2,
        "snr": summary.snr,
    }
    if others is not None:
        found |= {
            "bias2": summary.bias2,
            "reference_norm2": others.moments.summary().norm2,
            "cosine": own.moments.cosine_of_means(others.moments),
        }
    return found


def inner(own: Measured, others: Measured | None) -> float | None:
    """The inner product of the mean gradients, which has no noise in the mean as they are independent."""
    product = math.nan if others is None else float(own.moments.average() @ others.moments.average())
    return product if math.isfinite(product) else None


def columns(found: Mapping[str, Estimate]) -> dict[str, float | None]:
    """Empty where a number is not finite: a monitor is not there to stop a training."""
    cells = {}
    for name in ESTIMATED:
        if name in found:
            cells[name], cells[f"{name}_se"] = (one if math.isfinite(one) else None for one in found[name][:2])
    return cells


@torch.no_grad()
def of_posterior(logits: Tensor, latent: Latent, mask: Tensor | None) -> dict[str, float | None]:
    """Entropy, effective categories and saturation: means over all variables that take part."""
    probs = category_logits(logits, latent, mask).softmax(-1)
    entropy = torch.special.entr(probs).sum(-1)
    largest = probs.amax(-1)
    if mask is not None:
        mask = mask.expand(entropy.shape)
        entropy, largest = entropy[mask], largest[mask]
    each = torch.stack((entropy, entropy.exp(), (largest > SATURATED).to(entropy.dtype)))
    means = [mean if math.isfinite(mean) else None for mean in each.double().flatten(1).mean(1).tolist()]
    return dict(zip(("entropy", "effective_categories", "saturated"), means, strict=True))


@torch.no_grad()
def of_draw(draw: Draw, values: Tensor) -> dict[str, Any]:
    """Those, and the estimate of E f."""
    row = of_posterior(draw.logits, draw.latent, draw.mask)
    if draw.distinct is None:  # or how often a point counts depends on the batch element
        active = draw.active(values.ndim - 1)
        values = values[: draw.indices.shape[0]].double()
        values = values if active is None else torch.where(active, values, 0.0)
        weights = draw.drawn.value_weights()
        of_points = values.mean(0) if weights is None else (values * append_dims(weights, values.ndim)).sum(0)
        row["value"] = float(of_points.mean())
    return row
