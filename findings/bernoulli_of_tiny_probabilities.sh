#!/usr/bin/env bash
# torch 2.13.0 on a CPU, torch.bernoulli: in float32, any probability below 6e-8 comes about as often as 6e-8.
#
# A draw compares the probability with a uniform number that is a multiple of 2^-24 = 6.0e-8, 0 among them, and 0 is below every
# probability but 0. So 1e-9 in a tensor of float32 is drawn some sixty times too often, and so is 1e-30. It is right in float64,
# and where the probability is a Python number (`bernoulli_(1e-9)`). Of 200 million draws 0.2 were expected, and 6 were seen.
source "$(dirname "$0")/with_torch.sh" torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PY'
import torch

print(torch.__version__)
torch.set_num_threads(1)
DRAWS, ROUNDS, PROBABILITY = 10_000_000, 20, 1e-9


def drawn(dtype):
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.full((DRAWS,), PROBABILITY, dtype=dtype)
    return sum(int(torch.bernoulli(probabilities, generator=generator).count_nonzero()) for _ in range(ROUNDS))


def drawn_of_a_number():
    generator = torch.Generator().manual_seed(0)
    return sum(int(torch.empty(DRAWS).bernoulli_(PROBABILITY, generator=generator).count_nonzero()) for _ in range(ROUNDS))


single, double, number = drawn(torch.float32), drawn(torch.float64), drawn_of_a_number()
print(f"probability {PROBABILITY}, {DRAWS * ROUNDS:,} draws, {PROBABILITY * DRAWS * ROUNDS:.1f} expected")
print(f"float32 tensor: {single}; float64 tensor: {double}; a Python number: {number}")
assert double <= 3 and number <= 3, "another law"
assert single >= 4, "mended"
PY
