"""What the estimators are measured on: three small problems, always the same ones, and the truth about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

import discretegrad as dg

PROBLEMS = ("toy", "random", "saturated")


class Problem(NamedTuple):
    """f, from points `[N, V, C]` (Bernoulli `[N, V]`) to `[N]`, and logits."""

    name: str
    latent: str
    f: Callable[[Tensor], Tensor]
    logits: Tensor


def problem(name: str, latent: str) -> Problem:
    """One of the problems.

    Args:
        name: "toy", the squared distance of the mean id (spread over [0, 1]) from 0.499; "random", a random smooth
            function of three variables jointly; "saturated", one where a category has nearly all the probability.
        latent: "categorical" (three categories) or "bernoulli".
    """
    generator = torch.Generator().manual_seed(0)
    variables, categories = 3 if name == "random" or latent == "bernoulli" else 2, 3 if latent == "categorical" else 2
    inner = torch.randn(variables * categories, 8, generator=generator, dtype=torch.float64)
    outer = torch.randn(8, generator=generator, dtype=torch.float64)
    logits = torch.randn(variables, categories, generator=generator, dtype=torch.float64)
    if name == "saturated":
        logits[:, 0] += 5.0
    spread = torch.linspace(0.0, 1.0, categories, dtype=torch.float64)

    def f(points: Tensor) -> Tensor:
        if points.ndim == 2:
            points = torch.stack((1 - points, points), -1)
        if name == "toy":
            return ((points @ spread).mean(-1) - 0.499).square()
        return (points.flatten(1) @ inner).tanh() @ outer

    return Problem(name, latent, f, logits if latent == "categorical" else logits[:, 1] - logits[:, 0])


def timing(latent: str, device: str = "cpu") -> Problem:
    """A cheap f of 16 variables (8 categories), whose bias nobody asks for."""
    logits = torch.zeros((16, 8) if latent == "categorical" else (16,), device=device)
    return Problem("timing", latent, lambda points: points.flatten(1).square().sum(-1), logits)


def everything(problem: Problem, logits: Tensor) -> tuple[Tensor, Tensor]:
    """f at all joint values, and the logarithms of their probabilities, with the logits' graph."""
    points = dg.Exact(latent=problem.latent).sample(logits.detach()).points
    return problem.f(points), dg.objectives.log_prob(points, logits, latent=problem.latent)


def truth(estimator: dg.Estimator, problem: Problem) -> Tensor:
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
