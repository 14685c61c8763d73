"""A whole training step with swapped points beside its evaluations of f alone, on points that were found before.

The limit has the distinct points given, and no estimator: the ratio is what sampling, the search for equal points and
the weights cost. Logits of the scale of a new encoder and of a trained one, whose points are mostly equal.
"""

import pytest
import torch

import discretegrad as dg
from benchmarks.sizes import Setting
from benchmarks.steps import Step
from benchmarks.timing import beside, report, time_rows

SIZES = Setting(3, 3) if Setting(1, 1).batch < 100 else Setting(32, 16, batch=100)
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
        super().__init__(SIZES)
        self.offset = scale * torch.randn(SIZES.batch, *SIZES.event)

    def logits(self) -> torch.Tensor:
        return super().logits() + self.offset


@pytest.mark.parametrize("name", list(ESTIMATORS))
@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_swaps(benchmark, scale, name):
    estimator, step, limit = ESTIMATORS[name](), SwapStep(scale), SwapStep(scale)
    # The same noise in every round, so that there are as many distinct points.
    draw = estimator.sample(step.logits().detach(), torch.Generator().manual_seed(0))
    points, ids = draw.points, draw.indices
    gradient = torch.randn(SIZES.batch, *SIZES.event)
    runs = {
        name: lambda: step(estimator, torch.Generator().manual_seed(0)),
        "limit": lambda: limit.limit(points, ids, gradient),
    }
    benchmark.group = f"swaps, logits x {scale:g}"
    seconds = beside(benchmark, runs)
    if seconds:
        case = {"suite": "swaps", "case": f"logits x {scale:g}", "S": len(points), **SIZES.columns}
        report(benchmark, time_rows(case, seconds, over=["limit"]))
