#!/usr/bin/env bash
# torchrl 0.14.1 with torch 2.13.0: rsample of OneHotCategorical and MaskedOneHotCategorical by RelaxedOneHot has a wrong gradient.
#
# The relaxed sample is an exponential, whose backward pass multiplies by its own result; `out.data.copy_` puts the one-hot
# there, which autograd does not notice. What a cost says of the categories that were not drawn is multiplied by 0, and the
# gradient of a sample's sum, which is always 1, is not 0, its mean included. PassThrough is right.
source "$(dirname "$0")/with_torch.sh" torch==2.13.0 numpy==2.4.6 torchrl==0.14.1 tensordict==0.14.3
venv/bin/python -W ignore - <<'PY'
import torch
import torchrl
from torch.distributions import RelaxedOneHotCategorical
from torch.nn.functional import one_hot
from torchrl.modules import MaskedOneHotCategorical, OneHotCategorical, ReparamGradientStrategy

print("torchrl", torchrl.__version__, "torch", torch.__version__)
ROWS, LOGITS = 100_000, torch.tensor([0.5, 0.0, -0.5])


def straight_through(logits):
    relaxed = RelaxedOneHotCategorical(torch.tensor(1.0), logits=logits).rsample()
    return one_hot(relaxed.argmax(-1), 3) + relaxed - relaxed.detach()


def relaxed_one_hot(logits):
    return OneHotCategorical(logits=logits, grad_method=ReparamGradientStrategy.RelaxedOneHot).rsample()


def masked(logits):
    mask = torch.ones_like(logits, dtype=torch.bool)
    return MaskedOneHotCategorical(logits=logits, mask=mask, grad_method=ReparamGradientStrategy.RelaxedOneHot).rsample()


def pass_through(logits):
    return OneHotCategorical(logits=logits, grad_method=ReparamGradientStrategy.PassThrough).rsample()


def mean_gradient(sample, cost):
    torch.manual_seed(0)
    logits = LOGITS.repeat(ROWS, 1).requires_grad_()
    points = sample(logits)
    assert torch.equal(points.detach().sort(-1).values.round(decimals=4)[0], torch.tensor([0.0, 0.0, 1.0]))
    (points @ cost).sum().backward()
    return logits.grad.mean(0)


cost = torch.tensor([1.0, 2.0, 4.0])
p = LOGITS.softmax(-1)
print("the gradient of the mean cost:", [round(float(each), 3) for each in p * (cost - p @ cost)])
for name, sample, wrong in (
    ("straight-through by hand", straight_through, False),
    ("PassThrough", pass_through, False),
    ("RelaxedOneHot", relaxed_one_hot, True),
    ("RelaxedOneHot, masked, nothing off", masked, True),
):
    gradient = mean_gradient(sample, cost)
    of_sum = mean_gradient(sample, torch.ones(3))
    print(f"{name}: {[round(float(each), 3) for each in gradient]}; of a sample's sum {[round(float(each), 3) for each in of_sum]}")
    assert (of_sum.abs().max() > 0.02) == wrong, "another gradient"
PY
