"""A toy optimum is reached: minimise E (z - target)^2 summed over variables, far enough to be no accident.

E is over the points' own law, which some paths make of the logits: ArgmaxST has the mode only, and no noise.
"""

import pytest
import torch
from catalogue import every, make, slow_where

from discretegrad.latent import LATENTS

BIASED = [one for one in every() if not make(*one, 4).unbiased]
UNBIASED = [one for one in every() if one not in BIASED]  # which follows from their mean


# In a toy this size the relaxed points' bias does not move the optimum.
@pytest.mark.parametrize(("name", "latent"), slow_where(UNBIASED, every()))
def test_a_toy_optimum_is_reached(name, latent):
    estimator = make(name, latent, 4)
    if not estimator.unbiased and name.startswith("iw"):
        pytest.skip("biased on purpose")
    target = torch.tensor([1.0, 0.0, 1.0]) if latent == "bernoulli" else torch.eye(4)[[2, 0, 3]]
    one_hots = torch.nn.functional.one_hot(target.long(), 2) if latent == "bernoulli" else target
    logits = torch.zeros_like(target, requires_grad=True)
    law = getattr(getattr(estimator, "path", None), "law", lambda logits: logits)
    optimizer = torch.optim.Adam([logits], 0.1)

    def f(points):
        return (points - target).square().flatten(1).sum(-1)

    def reached():
        probs = law(LATENTS[latent].category_logits(logits)).softmax(-1)
        return bool(((probs * one_hots).sum(-1) > 0.9).all())

    for step in range(1, 301):
        optimizer.zero_grad()
        estimator(f, logits).backward()
        optimizer.step()
        if step % 20 == 0 and reached():
            break
    assert reached()
