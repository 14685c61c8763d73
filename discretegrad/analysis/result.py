"""The numbers of one estimator, that people look at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from discretegrad.analysis.bias import Distance, distance
from discretegrad.analysis.estimate import Estimate, joint_error
from discretegrad.analysis.moments import Truth
from discretegrad.analysis.record import Record

ESTIMATES = (
    "evaluations",
    "variance",
    "bias2",
    "mse",
    "snr",
    "cosine",
    "seconds",
    "variance_evaluations",
    "variance_time",
)
"""The numbers that have a standard error."""
TIMES = ("seconds", "variance_time")
"""Those of them whose errors may be known with fewer degrees of freedom than a variance's, `GROUPS - 1`."""


class Layer(NamedTuple):
    """Of the gradient w.r.t. one layer."""

    variance: Estimate
    bias2: Estimate


@dataclass(frozen=True)
class Result:
    """The numbers of one estimator; every `Estimate` is a value and its standard error."""

    name: str
    unbiased: bool
    """What the estimator says of itself."""
    replicates: int
    evaluations: Estimate
    """Of f, for one estimate."""
    variance: Estimate
    """The trace of the covariance of one estimate."""
    bias2: Estimate | None
    """The squared norm of the bias; None without a truth to compare with."""
    bias_p_value: float | None
    """How probable a bias that looks so large or larger is where there is none."""
    distance: Distance | None
    """What the interval of the squared bias is made of."""
    mse: Estimate | None
    """The mean squared distance of one estimate from the truth, variance + bias^2."""
    snr: Estimate
    """The norm of the mean over the standard deviation."""
    cosine: Estimate | None
    """The mean cosine of one estimate with the true gradient; None without one, or where its noise hides its length."""
    seconds: Estimate | None
    """For one estimate: sampling, f, and the gradient."""
    memory: int | None
    """Bytes, the most that one estimate holds at a time."""
    norm2: float
    """The squared norm of the true gradient, or of the mean where there is none."""
    layers: dict[str, Layer]
    coordinate_variance: dict[str, Tensor]
    """Of every entry, by layer, in its shape."""

    @property
    def variance_evaluations(self) -> Estimate:
        """Variance times evaluations: the variance for as many evaluations as one estimate of one evaluation has."""
        return self.variance * self.evaluations

    @property
    def variance_time(self) -> Estimate | None:
        """Variance times seconds: what a second's worth of averaged estimates leaves; None without a time."""
        return None if self.seconds is None else self.variance * self.seconds

    def mse_of(self, average: int) -> Estimate | None:
        """The mean squared distance of the mean of so many estimates from the truth; None for a bias not measured."""
        if average == 1:
            return self.mse
        noise = Estimate(self.variance.value / average, self.variance.error / average, self.variance.freedom)
        if self.unbiased:
            return noise
        if self.bias2 is None:
            return None
        return Estimate(noise.value + max(0.0, self.bias2.value), *joint_error(noise, self.bias2))

    def seconds_to(self, relative_error: float) -> float | None:
        """Seconds of averaging until the root mean squared error is that share of the gradient's norm.

        Infinite where the bias alone is more; None without a time.
        """
        if self.seconds is None:
            return None
        left = relative_error**2 * self.norm2
        if not self.unbiased and self.bias2 is not None:
            left -= max(0.0, self.bias2.value)
        return self.variance.value / left * self.seconds.value if left > 0 else math.inf


def result_of(name: str, record: Record, truth: Truth | None, shapes: Mapping[str, tuple[int, ...]]) -> Result:
    """What a record says.

    Args:
        name: of the estimator.
        record: what was measured of it.
        truth: None leaves out all that compares with one.
        shapes: of the layers.
    """
    moments = record.moments
    summary = moments.summary(truth)
    layers = {layer: moments.summary(truth, layer) for layer in shapes}
    variances = moments.coordinate_variance().split(list(moments.sizes.values()))
    return Result(
        name,
        record.unbiased,
        moments.replicates,
        record.evaluations,
        summary.variance,
        None if truth is None else summary.bias2,
        None if truth is None else moments.bias_p_value(truth),
        None if truth is None else distance(moments, truth),
        None if truth is None else summary.mean_squared_error,
        summary.snr,
        None if truth is None else record.cosines.mean(truth),
        record.seconds,
        record.memory,
        (summary if truth is None else truth).norm2.value,
        {layer: Layer(found.variance, found.bias2) for layer, found in layers.items()},
        {layer: part.reshape(shape) for part, (layer, shape) in zip(variances, shapes.items(), strict=True)},
    )
