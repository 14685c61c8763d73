"""The variance, the bias and the time of estimators at given logits, from draws, with standard errors.

`exact.moments` enumerates small problems; this is for the user's own.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from discretegrad.control_variate import LeaveOneOut
from discretegrad.core import Composition, Estimator

ENTRIES = 2**20
"""How many entries of points are stacked for one call of f."""


class Estimate(NamedTuple):
    """A number and its standard error."""

    value: float
    error: float

    def __mul__(self, other: object) -> Estimate:
        """The product of independent ones; the error to first order."""
        if not isinstance(other, Estimate):
            return NotImplemented
        return Estimate(self.value * other.value, math.hypot(self.error * other.value, self.value * other.error))


@dataclass(frozen=True)
class Problem:
    """What estimators are measured on."""

    f: Callable[[Tensor], Tensor]
    logits: Tensor
    """Without a graph."""
    generator: torch.Generator | None = None
    mask: Tensor | None = None
    context: Any = None

    def gradients(self, estimator: Estimator, replicates: int) -> tuple[Tensor, Estimate]:
        """Float64 `[R, D]` over the D entries of the logits, and the evaluations of f for one of them."""
        first, points, entries = self._gradient(estimator)
        found, counts, done = [first.flatten().double().unsqueeze(0)], [points], 1
        size = max(1, ENTRIES // max(1, entries)) if _element_by_element(estimator) else 1
        while done < replicates:
            together = min(size, replicates - done)
            several, points, _ = self._gradient(estimator, together if size > 1 else None)
            found.append(several.reshape(together, -1).double())
            counts += [points] * together
            done += together
        error = statistics.stdev(counts) / math.sqrt(replicates) if replicates > 1 else math.inf
        return torch.cat(found), Estimate(statistics.fmean(counts), error)

    def seconds(self, estimators: Sequence[Estimator], rounds: int) -> list[Estimate]:
        """Medians over rounds in which they take turns, so that what else the machine does falls on all alike."""
        times: list[list[float]] = [[] for _ in estimators]
        for _ in range(rounds):
            for estimator, of_estimator in zip(estimators, times, strict=True):
                self._wait()
                start = time.perf_counter()
                self._gradient(estimator)
                self._wait()
                of_estimator.append(time.perf_counter() - start)
        return [_median(of_estimator) for of_estimator in times]

    def _gradient(self, estimator: Estimator, together: int | None = None) -> tuple[Tensor, int, int]:
        """One gradient, or several with one call of f; the evaluations, and the entries of their points."""
        logits = self.logits if together is None else self.logits.expand(together, *self.logits.shape)
        leaf = logits.clone().requires_grad_()
        draw = estimator.sample(leaf, self.generator, self.mask)
        points = draw.points
        # For f replicates are more points, since it may know the batch.
        values = self.f(points) if together is None else self.f(points.flatten(0, 1)).unflatten(0, points.shape[:2])
        loss = estimator.surrogate(draw, values, self.context)
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        return gradient, draw.evaluations, points.numel()

    def _wait(self) -> None:
        if self.logits.is_cuda:
            torch.cuda.synchronize(self.logits.device)


def variance(gradients: Tensor) -> Estimate:
    """The total variance from gradients `[R, D]`, with the jackknife's standard error."""
    replicates = gradients.shape[0]
    deviations = gradients - gradients[0]  # exactly zero for equal gradients, whose mean may be rounded
    squares = (deviations - deviations.mean(0)).square().sum(1)
    error = squares.std() * replicates / (replicates - 2) / math.sqrt(replicates)
    return Estimate(float(squares.sum() / (replicates - 1)), float(error))


def mean_squared_error(gradients: Tensor, reference: Tensor) -> Estimate:
    """Of gradients `[R, D]`, against the mean of unbiased ones `[N, D]`, whose own variance is taken off."""
    truth, count = reference.mean(0), reference.shape[0]
    squares = (gradients - truth).square().sum(1)
    noise = reference - truth
    # The error of the truth enters along the bias and, if the bias is small, by its own square.
    along = (noise @ (gradients.mean(0) - truth)).square().sum() / (count - 1)
    products = (noise @ noise.T).square()
    itself = 2 * (products.sum() - products.diagonal().sum()) / (count * (count - 1))
    error = squares.var() / squares.shape[0] + 4 * along / count + itself / count**2
    return Estimate(float(squares.mean()) - variance(reference).value / count, float(error.sqrt()))


@contextmanager
def random_state_restored(generator: torch.Generator | None, device: torch.device) -> Iterator[None]:
    """Leave the default generators, and the one that is given, as they were."""
    state = None if generator is None else generator.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            if generator is not None and state is not None:
                generator.set_state(state)


def student(tail: float, freedom: int) -> float:
    """The quantile of Student's t that is exceeded with probability `tail`: its expansion about the normal one."""
    z = statistics.NormalDist().inv_cdf(1 - tail)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def _element_by_element(estimator: Estimator) -> bool:
    """Whether a batch element's gradient knows nothing of the others, so that replicates can be batch elements."""
    return (
        isinstance(estimator, Composition)
        and estimator.control_variate in (None, LeaveOneOut())
        and not estimator.learners
        and estimator.coupling.distinct_dims is None
    )


def _median(times: list[float]) -> Estimate:
    median = statistics.median(times)
    spread = 1.4826 * statistics.median(abs(one - median) for one in times)
    return Estimate(median, math.sqrt(math.pi / 2) * spread / math.sqrt(len(times)))
