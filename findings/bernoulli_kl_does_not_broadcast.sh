#!/usr/bin/env bash
# torch 2.13.0, torch.distributions.kl_divergence of two Bernoulli: a prior of fewer dimensions, whose parameters broadcast
# everywhere else (log_prob, cross entropy by hand, the same divergence of two Categorical), raises an IndexError, for
# a mask of the prior's shape is laid on a result of the broadcast shape.
source "$(dirname "$0")/with_torch.sh" torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PY'
import torch
from torch.distributions import Bernoulli, Categorical, kl_divergence

posterior, prior = torch.randn(5, 2, 3), torch.randn(3)
print(torch.__version__)
assert kl_divergence(Categorical(logits=posterior), Categorical(logits=prior)).shape == (5, 2)
expanded = kl_divergence(Bernoulli(logits=posterior), Bernoulli(logits=prior.expand(5, 2, 3)))
assert expanded.shape == (5, 2, 3) and expanded.isfinite().all()
try:
    kl_divergence(Bernoulli(logits=posterior), Bernoulli(logits=prior))
except IndexError as error:
    print("IndexError:", error)
else:
    raise SystemExit("no error: mended")
PY
