#!/usr/bin/env bash
# torch 2.13.0 on a CPU: batch normalisation in training changes its running statistics, and their version counter stays.
#
# Tensors count changes in place in `_version`, by which autograd and others tell whether one has changed since. The kernels of
# batch normalisation write into running_mean and running_var past the counter; that of num_batches_tracked goes up. Whoever
# looks for buffers that have moved by their versions does not find these.
source "$(dirname "$0")/with_torch.sh" torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PY'
import torch
from torch import nn

print(torch.__version__)
for layer, example in ((nn.BatchNorm1d(4), torch.randn(8, 4)), (nn.BatchNorm2d(4), torch.randn(8, 4, 3, 3))):
    before = {name: (buffer.clone(), buffer._version) for name, buffer in layer.named_buffers()}
    layer(example)
    for name, buffer in layer.named_buffers():
        value, version = before[name]
        changed, counted = not torch.equal(buffer, value), buffer._version > version
        print(f"{type(layer).__name__}.{name}: changed {changed}, counted {counted}")
        assert changed and counted == (name == "num_batches_tracked"), "mended"
PY
