"""A whole training step of the VAE, for every estimator beside the limit: the same step with fixed points.

`make bench` prints the table; the column to read is the ratio to the limit with as many points, for machines differ.
"""

import os

import pytest
import torch

import discretegrad as dg
from experiments.models import VAE, side_network

BATCH, VARIABLES = 100, 32
ESTIMATORS = {
    "rloo-2": lambda c: dg.RLOO(2),
    "tree": lambda c: dg.DisARMTree(),
    "sb": lambda c: dg.DisARMSB(),
    "iw": lambda c: dg.DisARMIW(),
    "carms-2": lambda c: dg.CARMS(2),
    "unordered-set-2": lambda c: dg.UnorderedSet(2),
    "flow": lambda c: dg.Flow(),
    "linear-flow": lambda c: dg.Flow(control_variate=linear(c)),
    "muprop": lambda c: dg.MuProp(),
    "double-cv": lambda c: dg.DoubleCV(learn=True),
    "rodeo": lambda c: dg.RODEO(),
    "rebar-tied": lambda c: dg.REBAR(tied=True, learn=True),
    "quadratic": lambda c: dg.Reinforce(baseline=quadratic(c)),
    "rloo-4": lambda c: dg.RLOO(4),
    "tree-2-pairs": lambda c: dg.DisARMTree(2),
    "flow-2-pairs": lambda c: dg.Flow(dg.NearlyDistinct(2)),
    "double-cv-4": lambda c: dg.DoubleCV(4, learn=True),
    "quadratic-4": lambda c: dg.Reinforce(3, quadratic(c)),
    "straight-through": lambda c: dg.StraightThrough(),
    "gumbel-softmax": lambda c: dg.GumbelSoftmax(),
    "gumbel-rao": lambda c: dg.GumbelRao(),
    "reinmax": lambda c: dg.ReinMax(),
}


def linear(categories: int) -> dg.nn.LinearControlVariate:
    return dg.nn.LinearControlVariate(side_network(512, (VARIABLES, categories)))


def quadratic(categories: int) -> dg.nn.QuadraticControlVariate:
    return dg.nn.QuadraticControlVariate((VARIABLES, categories), side_network(128, (65,)))


class Step:
    """One optimiser step on a fixed batch."""

    def __init__(self, categories: int) -> None:
        torch.manual_seed(0)
        torch.set_num_threads(int(os.environ.get("BENCH_THREADS", "1")))
        self.images = (torch.rand(BATCH, 784) < 0.2).float()
        self.model = VAE(torch.full((784,), 0.2), VARIABLES, categories)
        self.optimizers = [torch.optim.Adam(self.model.parameters(), 1e-3, fused=True)]

    def __call__(self, estimator: dg.Estimator) -> None:
        logits = self.model.posterior_logits(self.images)
        draw = estimator.sample(logits)
        values = self.model.terms(self.images, draw.points, logits).elbo
        context = self.images - self.model.mean
        loss = -estimator.surrogate(draw, values, context).mean()
        for learner in estimator.learners:
            loss = loss + learner.loss(draw, values, context)
        self.finish(loss)

    def limit(self, points: torch.Tensor, gradient: torch.Tensor) -> None:
        logits = self.model.posterior_logits(self.images)
        values = self.model.terms(self.images, points, logits).elbo
        self.finish(-dg.functional.attach_gradient(values.mean(0), logits, gradient).mean())

    def adopt(self, estimator: dg.Estimator) -> None:
        """Give the estimator's own modules their shapes, and an optimiser."""
        self(estimator)
        learnt = [parameter for learner in estimator.learners for parameter in learner.parameters()]
        if learnt:
            self.optimizers.append(torch.optim.Adam(learnt, 1e-3, fused=True))

    def finish(self, loss: torch.Tensor) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()


@pytest.mark.parametrize("points", [1, 2, 4])
@pytest.mark.parametrize("categories", [16, 64])
def test_limit(benchmark, categories, points):
    benchmark.group = f"step, C={categories}, S={points}"
    step = Step(categories)
    logits = torch.zeros(BATCH, VARIABLES, categories)
    fixed = dg.Reinforce(points).sample(logits).points
    benchmark.pedantic(step.limit, (fixed, torch.randn_like(logits)), rounds=60, warmup_rounds=5)


@pytest.mark.parametrize("name", list(ESTIMATORS))
@pytest.mark.parametrize("categories", [16, 64])
def test_estimator(benchmark, categories, name):
    estimator = ESTIMATORS[name](categories)
    benchmark.group = f"step, C={categories}, S={estimator.evaluations}"
    step = Step(categories)
    step.adopt(estimator)
    benchmark.pedantic(step, (estimator,), rounds=60, warmup_rounds=5)
