#!/usr/bin/env bash
# torch 2.13.0, torch.nn.functional.gumbel_softmax: its law depends on what all logits have in common, which a softmax does not.
#
# The noise is added before the largest logit is taken off, so in float32 it is rounded away: four equal logits + 1e7 give the
# first category in 36 % of draws, + 1e8 in 95 %, + 1e9 always (25 % is right). And where all logits of a row are the lowest
# number of their dtype, as masks write it, division by a temperature below 1 makes them -inf, and the row NaN; so it makes a
# single logit of 3e38, with +inf.
source "$(dirname "$0")/with_torch.sh" torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PY'
import torch
from torch.nn.functional import gumbel_softmax

print(torch.__version__)
for offset, least, most in ((0.0, 0.24, 0.26), (1e7, 0.34, 0.38), (1e8, 0.93, 0.97), (1e9, 1.0, 1.0)):
    torch.manual_seed(0)
    ids = gumbel_softmax(torch.full((100_000, 4), offset)).argmax(-1)
    share = (ids == 0).double().mean().item()
    print(f"four equal logits + {offset:g}: the first in {100 * share:.1f} % of draws")
    assert least <= share <= most, "another share"

masked = torch.full((1, 3), torch.finfo(torch.float32).min)
assert gumbel_softmax(masked, tau=1.0).isfinite().all()
assert gumbel_softmax(masked, tau=0.5).isnan().all(), "finite: mended"
assert gumbel_softmax(torch.tensor([[0.0, 3e38, 0.0]]), tau=0.5).isnan().any(), "finite: mended"
print("a row of the lowest numbers, and a row with 3e38: NaN at temperature 0.5")
PY
