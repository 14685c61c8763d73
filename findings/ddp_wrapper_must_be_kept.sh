#!/usr/bin/env bash
# torch 2.13.0: DistributedDataParallel averages gradients only while the wrapper itself is alive. In
# `loss = DistributedDataParallel(model)(x); loss.backward()` it is gone before the backward pass, though the loss and the
# model are not: each process keeps its own gradient, without an error or a warning. The same happens where a function
# wraps the model, computes the loss, and returns only that.
source "$(dirname "$0")/with_torch.sh" torch==2.13.0 numpy==2.4.6
cat > both.py <<'PY'
import tempfile

import torch
from torch.nn.parallel import DistributedDataParallel


def work(rank, store):
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    found = {}
    for kept in (True, False):
        model = torch.nn.Linear(1, 1, bias=False)
        wrapper = DistributedDataParallel(model)
        loss = wrapper(torch.full((1, 1), 1.0 + 2 * rank)).sum()  # gradients 1 and 3, whose mean is 2
        if not kept:
            del wrapper
        loss.backward()
        found[kept] = model.weight.grad.item()
    print(f"process {rank}: {found[True]} with the wrapper alive, {found[False]} without", flush=True)
    assert found[True] == 2.0 and found[False] == 1.0 + 2 * rank, "mended"
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    print(torch.__version__)
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(work, (f"{folder}/store",), nprocs=2)
PY
venv/bin/python both.py
