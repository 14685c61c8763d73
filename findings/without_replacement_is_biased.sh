#!/usr/bin/env bash
# storchastic 0.3.7: both estimators from draws without replacement are biased.
#
# ScoreFunctionWOR hands on its surrogate, in which the cost is already a factor, in the place of a log-probability, and it is
# multiplied with the cost once more: ten times the cost has a hundred times the gradient, a constant that is added to all
# costs changes it, and where costs are negative, as negative rewards are, a descent climbs. That `biased` is True by default
# has little to do with it. UnorderedSetEstimator's baseline takes the terms of one point twice where it leaves out two, and
# divides by those of the wrong one (`weighting_function`); with both put right its mean is the exact gradient. It is exact
# where k is the number of categories.
source "$(dirname "$0")/with_torch.sh" torch==2.13.0 numpy==2.4.6 pyro-ppl==1.9.2 entmax==1.3 storchastic==0.3.7
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import storch
import torch
from torch.distributions import OneHotCategorical

print("storchastic", version("storchastic"))
torch.manual_seed(0)
rows, costs, logits = 10_000, torch.tensor([1.0, 2.0, 4.0, 3.0]), torch.tensor([0.5, -1.0, 0.3, 0.0])
probabilities = logits.softmax(0)
exact = probabilities * (costs - probabilities @ costs)


def estimate(method, factor=1.0):
    """The mean over the rows of the gradient by the logits, divided by the costs' factor, and its standard error."""
    values = logits.expand(rows, 4).clone().requires_grad_()
    points = method(OneHotCategorical(logits=storch.denote_independent(values, 0, "rows")))
    storch.add_cost(storch.deterministic(lambda x: factor * (x @ costs))(points), "cost")
    storch.backward()
    gradients = rows * values.grad / factor
    mean, errors = gradients.mean(0), gradients.std(0) / rows**0.5
    print([f"{a:.3f} +- {b:.3f}" for a, b in zip(mean.tolist(), errors.tolist())])
    return mean, errors


methods = storch.method
print("exact:", [f"{a:.3f}" for a in exact.tolist()])
print("ScoreFunction, 3 points:")
mean, errors = estimate(methods.ScoreFunction("z", n_samples=3, baseline_factory="batch_average"))
assert ((mean - exact).abs() < 5 * errors).all(), "wrong here, too"
print("UnorderedSetEstimator, 2 points:")
mean, errors = estimate(methods.UnorderedSetEstimator("z", k=2))
assert ((mean - exact).abs() > 6 * errors).any(), "mended"
print("UnorderedSetEstimator, all 4:")
assert torch.allclose(estimate(methods.UnorderedSetEstimator("z", k=4))[0], exact, atol=2e-3), "wrong here, too"
for biased in (True, False):
    sizes = []
    for factor in (1.0, 10.0, -10.0):
        print(f"ScoreFunctionWOR, 4 points, biased={biased}, costs times {factor:g}, gradient divided by it:")
        sizes.append(float(estimate(methods.ScoreFunctionWOR("z", k=4, biased=biased), factor)[0] @ exact / (exact @ exact)))
    assert sizes[0] > 2 and 9 < sizes[1] / sizes[0] < 11 and -11 < sizes[2] / sizes[0] < -9, "mended"
PY
