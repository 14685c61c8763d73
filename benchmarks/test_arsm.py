"""A whole training step with swapped points beside its evaluations of f alone, on points that were found before.

The limit has the distinct points given, and no estimator: the ratio is what sampling, the search for equal points and
the weights cost. Logits of the scale of a new encoder and of a trained one, whose points are mostly equal.
"""

import pytest
import torch

import discretegrad as dg
from benchmarks.test_step import BATCH, VARIABLES, Step

CATEGORIES = 16
ESTIMATORS = {
    "ars": dg.ARS,
    "ars-plus": dg.ARSPlus,
    "arsm": dg.ARSM,
    "arsm-all-points": lambda: dg.ARSM(distinct=False),
    "arsm-plus": dg.ARSMPlus,
}


class SwapStep(Step):
    """The step of a model whose posterior logits are as large as asked for."""

    def __init__(self, scale: float) -> None:
        super().__init__(CATEGORIES)
        self.target = scale * torch.randn(BATCH, VARIABLES, CATEGORIES)

    def logits(self) -> torch.Tensor:
        return self.model.posterior_logits(self.images) + self.target

    def __call__(self, estimator: dg.Estimator) -> None:
        logits = self.logits()
        draw = estimator.sample(logits, torch.Generator().manual_seed(0))
        values = self.model.terms(self.images, draw.points, logits).elbo
        self.finish(-estimator.surrogate(draw, values).mean())

    def limit(self, points: torch.Tensor, gradient: torch.Tensor) -> None:
        logits = self.logits()
        values = self.model.terms(self.images, points, logits).elbo
        self.finish(-dg.functional.attach_gradient(values.mean(0), logits, gradient).mean())


@pytest.mark.parametrize("kind", ["limit", "step"])
@pytest.mark.parametrize("name", list(ESTIMATORS))
@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_swaps(benchmark, scale, name, kind):
    estimator, step = ESTIMATORS[name](), SwapStep(scale)
    points = estimator.sample(step.logits().detach(), torch.Generator().manual_seed(0)).points
    benchmark.group = f"swaps, logits x {scale:g}, {name}, S={len(points)}"
    gradient = torch.randn(BATCH, VARIABLES, CATEGORIES)
    run = (lambda: step(estimator)) if kind == "step" else (lambda: step.limit(points, gradient))
    benchmark.pedantic(run, warmup_rounds=2, rounds=10)
