#!/usr/bin/env bash
# torch 2.13.0: the first call of a function made by torch.compile, with any backend, turns the validation of
# torch.distributions off for the whole process, and for code that is not compiled. Before it, the log-probability of a value
# outside the support is refused; after it, it is a number. A test that relies on the refusal depends on which tests ran before.
# Distributions made with validate_args=True go on refusing.
source "$(dirname "$0")/with_torch.sh" torch==2.13.0 numpy==2.4.6 setuptools==80.9.0
venv/bin/python - <<'PY'
import torch
from torch.distributions import Bernoulli


def refuses(**arguments):
    try:
        found = Bernoulli(probs=torch.tensor(0.5), **arguments).log_prob(torch.tensor(0.7))
    except ValueError:
        return True
    print("log-probability of 0.7:", found.item())
    return False


print(torch.__version__)
assert refuses(), "not even before"
torch.compile(lambda x: x.sin(), backend="eager")(torch.ones(2))
assert not refuses(), "refused: mended"
assert refuses(validate_args=True), "not even when it is asked for"
print("as found: refused before a compiled call, accepted after it")
PY
