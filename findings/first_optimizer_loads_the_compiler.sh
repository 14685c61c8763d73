#!/usr/bin/env bash
# torch 2.13.0: making any optimiser of torch.optim, even SGD in a program that compiles nothing, imports torch._dynamo and
# with it sympy: some 800 modules, and nearly as much CPU time as `import torch` itself. The methods are marked
# "not to be compiled", and the mark loads the compiler at the first call.
source "$(dirname "$0")/with_torch.sh" torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PY'
import sys
import time

start = time.process_time()
import torch

imported = time.process_time()
before = len(sys.modules)
assert "torch._dynamo" not in sys.modules and "sympy" not in sys.modules
weight = torch.zeros(3, requires_grad=True)
torch.optim.SGD([weight], lr=0.1)
made = time.process_time()
more = len(sys.modules) - before
print(torch.__version__)
print(f"import torch {imported - start:.1f} s; the first optimiser {made - imported:.1f} s, {more} modules")
assert "torch._dynamo" in sys.modules and "sympy" in sys.modules and more > 300, "mended"
PY
