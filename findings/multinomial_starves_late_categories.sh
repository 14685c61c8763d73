#!/usr/bin/env bash
# torch 2.13.0 on a CPU, torch.multinomial and Categorical: of four million words by Zipf's law, the second half hardly comes.
#
# With replacement, float32 probabilities are summed one by one in float32, and categories are looked up in the sums. Late sums lie
# between 0.5 and 1, where float32 has steps of 6e-8: what is less than half of that adds nothing and is never drawn, and what is
# more is rounded. The second half of the words has 4.4 % of the probability and gets 0.14 % of the draws. Of one million words
# the last nine tenths come 1 % too rarely. Given the same probabilities in float64, all of it is right.
source "$(dirname "$0")/with_torch.sh" torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PY'
import torch
from torch.distributions import Categorical

print(torch.__version__)
WORDS, DRAWS = 2**22, 1_000_000
weights = 1 / torch.arange(1, WORDS + 1, dtype=torch.float64)
probabilities = weights / weights.sum()
late = probabilities[WORDS // 2 :].sum().item()


def share(words):
    return (words >= WORDS // 2).double().mean().item()


generator = torch.Generator().manual_seed(0)
single = share(torch.multinomial(probabilities.float(), DRAWS, replacement=True, generator=generator))
double = share(torch.multinomial(probabilities, DRAWS, replacement=True, generator=generator))
torch.manual_seed(0)
distribution = share(Categorical(probs=probabilities.float()).sample((DRAWS,)))
print(f"the second half of {WORDS:,} words has {100 * late:.2f} %")
print(f"multinomial in float32 {100 * single:.2f} %, in float64 {100 * double:.2f} %, Categorical in float32 {100 * distribution:.2f} %")
assert abs(double - late) < 0.001, "another law"
assert max(single, distribution) < late / 5, "mended"
PY
