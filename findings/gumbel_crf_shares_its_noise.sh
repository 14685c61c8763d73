#!/usr/bin/env bash
# torch-struct 0.5, gumbel_crf: all structures of a batch are drawn with the same noise.
#
# One vector of Gumbel noise, as long as there are alternatives, is added to every row of a chart (`GumbelCRFSemiring`), so the
# same potentials give the same structure in all places of a batch, and two that differ are dependent: an average over a batch
# is no better than one draw of it. Each structure alone has the right law; so has `sample`, which draws each for itself.
source "$(dirname "$0")/with_torch.sh" torch==2.13.0 numpy==2.4.6 torch-struct==0.5
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import torch
from torch_struct import LinearChainCRF

print("torch-struct", version("torch-struct"))
torch.manual_seed(0)
batch = LinearChainCRF(torch.zeros(1000, 1, 2, 2))  # a thousand equal chains of two variables: four states, equally likely
states = torch.stack([batch.gumbel_crf(1.0).detach()[:, 0].flatten(1).argmax(1) for _ in range(200)])
alike = (states == states[:, :1]).all(1).double().mean().item()
shares = torch.bincount(states[:, 0], minlength=4) / 200
print(f"gumbel_crf: {100 * alike:.0f} % of 200 batches have one state in all places; shares in one place {shares.tolist()}")
sampled = torch.bincount(batch.sample((1,))[0, :, 0].flatten(1).argmax(1), minlength=4) / 1000
print(f"sample: shares in one batch {sampled.tolist()}")
assert (shares - 0.25).abs().max() < 0.15 and (sampled - 0.25).abs().max() < 0.1, "another law"
assert alike == 1, "mended"
PY
