"""A toy optimum is reached: minimise E (z - target)^2 summed over variables, far enough to be no accident."""

import pytest
import torch
from catalogue import every, make


# In a toy this size the relaxed points' bias does not move the optimum.
@pytest.mark.parametrize(("name", "latent"), every())
def test_a_toy_optimum_is_reached(name, latent):
    estimator = make(name, latent, 4)
    if not estimator.unbiased and name.startswith("iw"):
        pytest.skip("biased on purpose")
    target = torch.tensor([1.0, 0.0, 1.0]) if latent == "bernoulli" else torch.eye(4)[[2, 0, 3]]
    logits = torch.zeros_like(target, requires_grad=True)
    optimizer = torch.optim.Adam([logits], 0.1)

    def f(points):
        return (points - target).square().flatten(1).sum(-1)

    def reached():
        if latent == "bernoulli":
            return bool((torch.where(target > 0, logits.sigmoid(), 1 - logits.sigmoid()) > 0.9).all())
        return bool(((logits.softmax(-1) * target).sum(-1) > 0.9).all())

    for step in range(1, 301):
        optimizer.zero_grad()
        estimator(f, logits).backward()
        optimizer.step()
        if step % 20 == 0 and reached():
            break
    assert reached()
