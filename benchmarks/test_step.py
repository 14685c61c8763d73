"""A whole training step of the VAE with every estimator, beside the limit: the same step with fixed points.

The number to read is the ratio to the limit with as many points, taken in turns with the estimator's own step. A step
on ids is compared with the limit on ids, and with that on one-hots.
"""

import pytest

from benchmarks.sizes import SETTINGS
from benchmarks.steps import INPUTS, Step, estimators, evaluations
from benchmarks.timing import beside, report, time_rows
from discretegrad.memory import peak
from discretegrad.ops import dispatch

CASES = [(setting, name) for setting, sizes in SETTINGS.items() for name in estimators(sizes)]


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize(("setting", "name"), CASES, ids=[f"{setting}-{name}" for setting, name in CASES])
def test_step(benchmark, setting, name, inputs):
    sizes = SETTINGS[setting]
    estimator = estimators(sizes)[name](sizes)
    if inputs == "ids" and (estimator.needs_grad_f or sizes.latent == "bernoulli"):
        pytest.skip("this f must be differentiable in its points, or its points are ids already")
    step, limit = Step(sizes, inputs), Step(sizes, inputs)
    step.adopt(estimator)
    points = evaluations(estimator, sizes)
    fixed = limit.given(points, estimator.takes_ids)
    runs = {name: lambda: step(estimator), "limit": lambda: limit.limit(*fixed)}
    if inputs == "ids":  # what it would have been with one-hots
        with_points = Step(sizes)
        fixed_points = with_points.given(points, estimator.takes_ids)
        runs["limit, points"] = lambda: with_points.limit(*fixed_points)
    ran = dispatch.implementation(step.logits())
    benchmark.group = f"step, {setting}, {inputs}, S={points}, {ran}"
    seconds = beside(benchmark, runs)
    case = {"suite": "step", "case": f"{setting}, {inputs}", "S": points, **sizes.columns}
    if not seconds:
        return
    rows = time_rows(case, seconds, over=["limit, points", "limit"] if inputs == "ids" else ["limit"])
    for implementation in (name, "limit"):
        run = runs[implementation]
        for one in (step, limit):  # gradients of the step before would be counted where they are replaced
            for optimizer in one.optimizers:
                optimizer.zero_grad()
        bytes_ = peak(run)
        rows.append({**case, "implementation": implementation, "metric": "peak memory", "value": bytes_, "unit": "B"})
    report(benchmark, rows)
