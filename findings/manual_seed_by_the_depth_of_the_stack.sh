#!/usr/bin/env bash
# torch 2.13.0 without a GPU: torch.manual_seed takes a hundred times as long as seeding the one generator that there is,
# and longer the deeper the call stack, for it formats the stack to keep it beside a seed for devices that are absent. A
# loop that seeds every step, for dropout that is the same after a resume, pays it at every step; seed
# torch.default_generator (and torch.cuda.manual_seed on a GPU) instead.
source "$(dirname "$0")/with_torch.sh" torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PY'
import time

import torch


def least(seed, depth):
    if depth:
        return least(seed, depth - 1)
    found = []
    for _ in range(7):
        start = time.process_time()
        for step in range(200):
            seed(step)
        found.append((time.process_time() - start) / 200)
    return min(found) * 1e6


print(torch.__version__, "GPU:", torch.cuda.is_available())
one = least(torch.default_generator.manual_seed, 0)
shallow, deep = least(torch.manual_seed, 0), least(torch.manual_seed, 40)
print(f"one generator {one:.1f} us; torch.manual_seed {shallow:.0f} us, {deep:.0f} us under 40 more calls")
assert shallow > 20 * one and deep > 1.5 * shallow, "mended"
PY
