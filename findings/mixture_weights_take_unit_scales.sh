#!/usr/bin/env bash
# pyro-ppl 1.9.2, MixtureOfDiagNormals: the gradient by its path is that of another mixture in the weights of the components.
#
# The term that moves samples from one component to another takes all scales for 1 (`v_cd` in the backward pass divides by no
# scale). Where the smallest scale of each coordinate is 1 the gradient is right; the same mixture in units ten times as large,
# means, scales and all, gets less than a third of it, silently. Those of the means and of the scales are right in any unit,
# and so are all of MixtureOfDiagNormalsSharedCovariance.
source "$(dirname "$0")/with_torch.sh" torch==2.13.0 numpy==2.4.6 pyro-ppl==1.9.2
venv/bin/python - <<'PY'
import pyro
import torch
from pyro.distributions import MixtureOfDiagNormals, MixtureOfDiagNormalsSharedCovariance

print(pyro.__version__)
torch.manual_seed(0)
weights = torch.tensor([0.3, -0.4], dtype=torch.float64).softmax(0)
exact = float(-2 * weights[0] * weights[1])  # the first coordinate's mean is -1 in one component and 1 in the other
print(f"the derivative of E x[0] by the first logit: {exact:.4f}")


def estimate(unit, mixture):
    """The mean over 20 calls of 20,000 samples, in units of `unit`, and its standard error."""
    logits = torch.tensor([0.3, -0.4], requires_grad=True)
    means, scales = unit * torch.tensor([[-1.0, 0.0], [1.0, 0.5]]), unit * torch.ones(2, 2)
    gradients = torch.empty(20, dtype=torch.float64)
    for call in range(20):
        samples = mixture(means, scales if mixture is MixtureOfDiagNormals else scales[0], logits).rsample((20_000,)) / unit
        gradients[call] = torch.autograd.grad(samples[:, 0].mean(), logits)[0][0]
    mean, error = gradients.mean().item(), gradients.std().item() / 20**0.5
    print(f"{mixture.__name__}, scales of {unit:g}: {mean:.4f} +- {error:.4f}")
    return mean, error


for unit, mixture in ((1.0, MixtureOfDiagNormals), (1.0, MixtureOfDiagNormalsSharedCovariance),
                      (0.1, MixtureOfDiagNormalsSharedCovariance)):
    mean, error = estimate(unit, mixture)
    assert abs(mean - exact) < 5 * error < 0.05, "wrong here, too"
mean, error = estimate(0.1, MixtureOfDiagNormals)
assert abs(mean - exact) > 10 * error and -0.14 < mean < -0.02, "another gradient: mended?"
PY
