"""Fit what learns inside an estimator to a problem, from a fixed seed."""

from __future__ import annotations

from typing import TypeVar, cast

import torch

import discretegrad as dg
from experiments.studies.problems import Instance, everything

STEPS, BATCH, RATE = 300, 100, 0.03
EstimatorT = TypeVar("EstimatorT", bound=dg.Estimator)


def least_squares(problem: Instance) -> dg.nn.LinearControlVariate:
    """The linear function that leaves the least variance of f, by enumeration."""
    module = dg.nn.LinearControlVariate(shape=problem.logits.shape).to(problem.logits)
    if problem.fit:
        values, log_probs = everything(problem, problem.logits)
        points = dg.Exact(latent=problem.latent).sample(problem.logits).points.flatten(1)
        root = (log_probs / 2).exp().unsqueeze(-1)
        design = torch.cat((points, torch.ones_like(root)), -1)
        best = torch.linalg.lstsq(root * design, root * values.unsqueeze(-1), driver="gelsd").solution
        assert module.table is not None
        module.table.data = best[:-1].reshape(problem.logits.shape)
    return module


def train(estimator: EstimatorT, problem: Instance) -> EstimatorT:
    """Steps of Adam on the modules' own losses, as in use."""
    learners = [cast(dg.nn.Learner, module.to(problem.logits)) for module in estimator.learners]
    if not problem.fit:
        return estimator
    generator = torch.Generator().manual_seed(2)
    optimizer = torch.optim.Adam([p for module in learners for p in module.parameters()], RATE)
    for _ in range(STEPS):
        logits = problem.logits.expand(BATCH, *problem.logits.shape).clone().requires_grad_()
        draw = estimator.sample(logits, generator)
        values = problem.f(draw.points)
        estimator.surrogate(draw, values)
        optimizer.zero_grad()
        for module in learners:
            module.loss(draw, values).backward(retain_graph=True)
        optimizer.step()
        for module in learners:
            module.update(draw, values.detach())
    return estimator
