#!/usr/bin/env bash
# torch 2.13.0, torch.utils.checkpoint: what draws from a generator of its own draws other numbers in the backward pass.
#
# `preserve_rng_state=True`, which is the default, puts the default generators back before the function is computed again, and
# no other. Nor does the check that both computations are the same see it, for it compares shapes, dtypes and devices. So the
# gradient belongs to other noise than the loss, in both implementations, and nothing is said.
source "$(dirname "$0")/with_torch.sh" torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PY'
import torch
from torch.utils.checkpoint import checkpoint

print(torch.__version__)


def loss(weights, generator):
    bits = torch.full((1000,), 0.5).bernoulli(generator=generator)
    return (weights * bits).square().sum()


for reentrant in (True, False):
    for name, generator in (("the default generator", None), ("a generator", torch.Generator())):
        weights = torch.ones(1000, requires_grad=True)
        (torch.default_generator if generator is None else generator).manual_seed(0)
        value = checkpoint(loss, weights, generator, use_reentrant=reentrant)
        value.backward()
        (torch.default_generator if generator is None else generator).manual_seed(0)
        bits = torch.full((1000,), 0.5).bernoulli(generator=generator)
        assert value.item() == bits.sum().item()
        wrong = (weights.grad != 2 * bits).double().mean().item()
        print(f"use_reentrant={reentrant}, {name}: {100 * wrong:.0f} % of the gradient's entries are those of another bit")
        assert wrong == 0 if generator is None else 0.4 < wrong < 0.6, "another gradient"
PY
