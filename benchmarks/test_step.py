"""A whole training step of the VAE, for every estimator beside the limit: the same step with fixed points.

`make bench` prints the table; the column to read is the ratio to the limit with as many points, for machines differ.
"""

import os

import pytest
import torch

import discretegrad as dg
from experiments.models import VAE

BATCH, VARIABLES = 100, 32
ESTIMATORS = {
    "rloo-2": lambda: dg.RLOO(2),
    "tree": lambda: dg.DisARMTree(),
    "sb": lambda: dg.DisARMSB(),
    "iw": lambda: dg.DisARMIW(),
    "rloo-4": lambda: dg.RLOO(4),
    "tree-2-pairs": lambda: dg.DisARMTree(2),
    "straight-through": lambda: dg.StraightThrough(),
    "gumbel-softmax": lambda: dg.GumbelSoftmax(),
}


class Step:
    """One optimiser step on a fixed batch."""

    def __init__(self, categories: int) -> None:
        torch.manual_seed(0)
        torch.set_num_threads(int(os.environ.get("BENCH_THREADS", "1")))
        self.images = (torch.rand(BATCH, 784) < 0.2).float()
        self.model = VAE(torch.full((784,), 0.2), VARIABLES, categories)
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-3, fused=True)

    def __call__(self, estimator: dg.Estimator) -> None:
        logits = self.model.posterior_logits(self.images)
        draw = estimator.sample(logits)
        values = self.model.terms(self.images, draw.points, logits).elbo
        self.finish(-estimator.surrogate(draw, values).mean())

    def limit(self, points: torch.Tensor, gradient: torch.Tensor) -> None:
        logits = self.model.posterior_logits(self.images)
        values = self.model.terms(self.images, points, logits).elbo
        self.finish(-dg.functional.attach_gradient(values.mean(0), logits, gradient).mean())

    def finish(self, loss: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


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
    estimator = ESTIMATORS[name]()
    benchmark.group = f"step, C={categories}, S={estimator.evaluations}"
    benchmark.pedantic(Step(categories), (estimator,), rounds=60, warmup_rounds=5)
