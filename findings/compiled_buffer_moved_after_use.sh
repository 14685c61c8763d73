#!/usr/bin/env bash
# torch 2.13.0, torch.compile with inductor: a tensor that a loss was made of is changed in place afterwards, in the same
# compiled function, and the gradient is made of the changed one, without an error or a warning.
#
# The pattern is that of REINFORCE with a running mean as baseline: subtract it, weigh the log-probabilities by what is
# left, then move the mean. What was multiplied is detached, so eager torch saves it, and is right.
#
# Seen: loss equal; gradient of the first step with inductor = gradient of the second step (the mean moved once), in place of
# that of the first. Backend "aot_eager" gives the right one for this function.
source "$(dirname "$0")/with_torch.sh" torch==2.13.0 numpy==2.4.6 setuptools==80.9.0
venv/bin/python - <<'PY'
import torch

VALUES = torch.tensor([1.0, 2.0, 3.0, 4.0])


def step(logits, mean):
    signal = (VALUES - mean).detach()
    loss = (signal * logits.log_softmax(-1)).sum()
    mean.mul_(0.9).add_(0.1 * VALUES.mean())
    return loss


def gradient(function, start):
    torch.manual_seed(0)
    logits, mean = torch.randn(4, requires_grad=True), torch.tensor(start)
    loss = function(logits, mean)
    loss.backward()
    return loss.item(), logits.grad


right_loss, right = gradient(step, 0.0)
loss, found = gradient(torch.compile(step, fullgraph=True), 0.0)
_, of_the_moved = gradient(step, 0.25)  # the mean after one move
print(torch.__version__, "eager", right.tolist(), "compiled", found.tolist(), sep="\n")
assert abs(loss - right_loss) < 1e-4, "the loss differs too: another behaviour"
assert not torch.allclose(found, right, atol=1e-3), "the gradient is right: mended"
assert torch.allclose(found, of_the_moved, atol=1e-4), "wrong in another way"
print("as found: the compiled gradient is that of the mean after it was moved")
PY
