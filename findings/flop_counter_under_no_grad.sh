#!/usr/bin/env bash
# torch 2.13.0: FlopCounterMode under no_grad fails where a module is given a view of a parameter, such as learned queries.
#
# A view of a parameter that is made under no_grad says requires_grad=True and has no gradient function. The counter asks
# for the former alone, and hangs a hook on the latter: "AssertionError: Expected gradient function to be set". With gradients
# on, or with the parameters' requires_grad off, the same call is counted.
source "$(dirname "$0")/with_torch.sh" torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PY'
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


class Queries(nn.Module):
    """Learned queries for every example of a batch, as in detectors with set prediction."""

    def __init__(self):
        super().__init__()
        self.queries, self.layer = nn.Parameter(torch.randn(3, 4)), nn.Linear(4, 4)

    def forward(self, batch):
        return self.layer(self.queries.expand(batch, 3, 4))


print(torch.__version__)
model = Queries()
with torch.no_grad():
    view = model.queries.expand(2, 3, 4)
    print("a view under no_grad: requires_grad", view.requires_grad, "gradient function", view.grad_fn)
    assert view.requires_grad and view.grad_fn is None


def counted():
    with FlopCounterMode(display=False) as counter:
        model(2)
    return counter.get_total_flops()


print("with gradients:", counted())
assert counted() == 2 * 2 * 3 * 4 * 4
try:
    with torch.no_grad():
        counted()
except AssertionError as error:
    print("under no_grad: AssertionError:", error)
    assert "gradient function" in str(error)
else:
    raise SystemExit("mended")
model.requires_grad_(False)
with torch.no_grad():
    print("under no_grad, requires_grad off:", counted())
PY
