"""Bias, variance, evaluations and cost of an estimator."""

from __future__ import annotations

import time
from typing import NamedTuple

import torch
from torch import Tensor

import discretegrad as dg
from experiments.studies.problems import Instance, everything, small
from experiments.studies.table.variants import Variant

OUTCOMES = 2**20
"""More joint outcomes than these are not enumerated."""
DRAWS = 100_000
"""Of a long run."""


class Quality(NamedTuple):
    """Of one estimator on one problem."""

    bias: float
    """Distance of the mean gradient from the true one, relative to the true one."""
    error: float
    """The bias's standard error; 0 where exact."""
    variance: float
    exact: bool


def outcomes(estimator: dg.Estimator, problem: Instance) -> int | None:
    """How many joint outcomes an enumeration has; None where there is no finite law."""
    logits = dg.latent.LATENTS[problem.latent].category_logits(problem.logits)
    variables, categories = logits.shape
    if not isinstance(estimator, dg.Composition):
        return int(categories ** (variables * (estimator.evaluations or 1)))
    try:
        law = estimator.coupling.law(logits)
    except ValueError:
        return None
    if law is None:
        return 1
    return int(law.outcomes.shape[0] ** (1 if law.outcomes.ndim > 2 else variables))


def measure(estimator: dg.Estimator, problem: Instance) -> Quality:
    """By enumeration, or by a long run where that cannot be or takes too long."""
    expected = truth(estimator, problem).flatten()
    count = outcomes(estimator, problem)
    if count is not None and count <= OUTCOMES:
        try:
            moments = dg.exact.moments(estimator, problem.f, problem.logits)
        except ValueError:  # continuous noise in the path or the control variate
            pass
        else:
            miss = (moments.mean.flatten() - expected).norm() / expected.norm()
            return Quality(float(miss), 0.0, float(moments.total_variance), True)
    generator = torch.Generator().manual_seed(1)
    parts = []
    for _ in range(4):
        leaf = problem.logits.expand(DRAWS // 4, *problem.logits.shape).clone().requires_grad_()
        draw = estimator.sample(leaf, generator)
        values = problem.f(draw.points)
        parts.append(torch.autograd.grad(estimator.surrogate(draw, values).sum(), leaf)[0].flatten(1))
    gradients = torch.cat(parts)
    covariance = gradients.T.cov()
    miss = gradients.mean(0) - expected
    # The squared miss is too large by the variance of the mean.
    square = (miss.square().sum() - covariance.trace() / DRAWS).clamp_min(0.0)
    along = miss @ covariance @ miss / miss.square().sum() if square > 0 else covariance.trace()
    bias, error = square.sqrt() / expected.norm(), (along / DRAWS).sqrt() / expected.norm()
    return Quality(float(bias), float(error), float(covariance.trace()), False)


def truth(estimator: dg.Estimator, problem: Instance) -> Tensor:
    """The gradient of E f, or of the multi-sample bound with f as log-weight, over all tuples of its points."""
    if not estimator.of_bound:
        return dg.exact.gradient(problem.f, problem.logits, problem.latent)
    assert estimator.evaluations is not None
    points = estimator.evaluations // (2 if isinstance(estimator, dg.DisARMBound) else 1)
    logits = problem.logits.clone().requires_grad_()
    values, log_probs = everything(problem, logits)
    joint, total = torch.zeros_like(log_probs), torch.zeros_like(values)
    for k in range(points):
        shape = (-1, *[1] * k)
        joint = joint + log_probs.reshape(shape)
        total = total + values.exp().reshape(shape)
    return torch.autograd.grad((joint.exp() * (total / points).log()).sum(), logits)[0]


def evaluations(variant: Variant) -> float:
    """Of f for one estimate; on the problem "random", where they depend on the shape or, in the mean, on the noise."""
    random = small("random", variant.latent)._replace(fit=False)
    estimator = variant.build(random)
    if estimator.evaluations is not None:
        return estimator.evaluations
    draw = estimator.sample(random.logits.expand(10_000, *random.logits.shape), torch.Generator().manual_seed(1))
    return draw.evaluations if draw.distinct is None else float(draw.distinct.double().mean())


def timing(latent: str, device: str = "cpu") -> Instance:
    """A cheap f of 16 variables (8 categories), whose bias nobody asks for."""
    logits = torch.zeros((16, 8) if latent == "categorical" else (16,), device=device)
    return Instance(latent, lambda points: points.flatten(2).square().sum(-1), logits, fit=False)


def costs(rows: list[Variant], device: str) -> list[float | None]:
    """Time of a draw, a cheap f and backward, over that of leave-one-out with as many evaluations (REINFORCE for 1).

    Every round times all of them once; the fastest round of each counts, for what else a machine does only adds time.
    Enumeration has no such size: None.
    """
    built = [row.build(timing(row.latent, device)) for row in rows]
    baselines: dict[tuple[str, int], dg.Estimator] = {}
    keys: list[tuple[str, int] | None] = []
    for estimator in built:
        if isinstance(estimator, dg.Exact):
            keys.append(None)
            continue
        points, latent = _step(estimator, device)[1], estimator.latent
        keys.append((latent, points))
        baselines[latent, points] = dg.RLOO(points, latent) if points > 1 else dg.Reinforce(latent=latent)
    everyone = [*baselines.values(), *(e for e, key in zip(built, keys, strict=True) if key)]
    fastest = [float("inf")] * len(everyone)
    for _ in range(15):
        for i, estimator in enumerate(everyone):
            fastest[i] = min(fastest[i], _step(estimator, device)[0])
    of_baselines = dict(zip(baselines, fastest, strict=False))
    own = iter(fastest[len(baselines) :])
    return [None if key is None else next(own) / of_baselines[key] for key in keys]


def _step(estimator: dg.Estimator, device: str) -> tuple[float, int]:
    """Seconds, and evaluations."""
    problem = timing(estimator.latent, device)
    logits = problem.logits.expand(100, *problem.logits.shape).clone().requires_grad_()
    clock = time.process_time if device == "cpu" else time.perf_counter  # others' work does not count
    start = clock()
    draw = estimator.sample(logits)
    values = problem.f(draw.points)
    estimator.surrogate(draw, values).sum().backward()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - start, draw.evaluations
