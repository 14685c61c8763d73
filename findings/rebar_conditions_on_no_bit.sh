#!/usr/bin/env bash
# storchastic 0.3.7: REBAR and RELAX of bits are biased by half.
#
# Both need a relaxed bit given the hard one. `conditional_gumbel_rsample` takes log p + log(1 + p) for the logit of p, and the
# same of the uniform number, where it should be log p - log(1 - p), so what it draws need not even round to the bit that is
# given, and the control variate has another mean than the one that is taken off. ScoreFunction and ARM are right.
source "$(dirname "$0")/with_torch.sh" torch==2.13.0 numpy==2.4.6 pyro-ppl==1.9.2 entmax==1.3 storchastic==0.3.7
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import storch
import torch
from torch.distributions import Bernoulli

print("storchastic", version("storchastic"))
torch.manual_seed(0)
bits, probability = torch.tensor([0.0, 1.0]).repeat(10_000), torch.tensor(0.2)
relaxed = storch.conditional_gumbel_rsample(bits, probability, True, torch.tensor(1.0))
rounded = relaxed[bits == 1].round().mean().item()
print(f"of relaxed bits given 1, with probability 0.2, {100 * rounded:.0f} % round to 1")
assert rounded == 0, "mended"


@storch.deterministic
def cost(points):
    return (points[..., 0] - 0.3).square()


rows, logit = 20_000, 0.5
p = torch.tensor(logit).sigmoid().item()
exact = p * (1 - p) * (0.49 - 0.09)
print(f"the derivative of E (b - 0.3)^2: {exact:.4f}")
methods = storch.method
for name, method, wrong in (
    ("ScoreFunction", methods.ScoreFunction("b"), False),
    ("ARM", methods.ARM("b"), False),
    ("REBAR", methods.REBAR("b"), True),
    ("RELAX", methods.RELAX("b", c_phi=cost, in_dim=1), True),
):
    logits = torch.full((rows, 1), logit, requires_grad=True)
    storch.add_cost(cost(method(Bernoulli(logits=storch.denote_independent(logits, 0, "rows")))), "cost")
    storch.backward()
    gradients = rows * logits.grad.detach().double()
    mean, error = gradients.mean().item(), gradients.std().item() / rows**0.5
    print(f"{name}: {mean:.4f} +- {error:.4f}")
    assert (abs(mean - exact) > 10 * error) == wrong and (wrong or abs(mean - exact) < 5 * error), "another mean"
PY
