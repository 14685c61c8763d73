#!/usr/bin/env bash
# torch 2.13.0: compiled code goes on with the default of a threading.local after another value was set, silently.
#
# An attribute that is a default of the class when the function is compiled is taken for a constant, and no guard looks at it
# again. Set in `__init__`, or kept by an ordinary object, it is looked at, and the function is compiled anew.
source "$(dirname "$0")/with_torch.sh" torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PY'
import threading

import torch

print(torch.__version__)


class OfClass(threading.local):
    scale = None


class OfInstance(threading.local):
    def __init__(self):
        self.scale = None


class Ordinary:
    scale = None


for kind, kept in ((OfClass, True), (OfInstance, False), (Ordinary, False)):
    state = kind()

    def times(x):
        return x if state.scale is None else state.scale * x

    torch.compiler.reset()
    compiled, one = torch.compile(times, fullgraph=True, backend="eager"), torch.ones(())
    compiled(one)
    state.scale = 10
    found, right = compiled(one).item(), times(one).item()
    print(f"{kind.__name__}: compiled {found:g}, not compiled {right:g}")
    assert right == 10 and found == (1 if kept else 10), "mended, or another value"
PY
