"""By what a problem and an estimator are known again, in another process and on another machine."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from discretegrad.analysis.replicator import level
from discretegrad.analysis.restore import default_generators, held, restored
from discretegrad.core import Estimator
from discretegrad.draw import Draw
from discretegrad.estimators import Reinforce

ROUNDING = 1e-4
"""By how much of its length a vector may differ from itself elsewhere; of half floats by more."""

DIFFERENCES = "f or the step, its batch, logits, layers, mask, context or `on`"
"""What makes another problem."""


def digest(tensors: Iterable[Tensor]) -> Tensor:
    """`[4]`, float64, of all entries: sum, weighted sum, norm, and the coarsest dtype's epsilon."""
    known = [tensor.detach() for tensor in tensors]
    if not known:
        return torch.zeros(4, dtype=torch.float64, device="cpu")
    entries = torch.cat([tensor.flatten().double().cpu() for tensor in known]).nan_to_num(0.0, 1.0, -1.0)
    epsilon = max(torch.finfo(tensor.dtype).eps if tensor.is_floating_point() else 0.0 for tensor in known)
    return torch.stack((entries.sum(), entries @ weights(len(entries)), entries.norm(), entries.new_tensor(epsilon)))


def weights(count: int) -> Tensor:
    """`[count]`, float64, fixed, of either sign."""
    return torch.arange(1, count + 1, dtype=torch.float64, device="cpu").sqrt().cos()


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether digests `[..., 4]` are of the same, but for rounding on another machine."""
    if one.shape != other.shape:
        return False
    most = torch.maximum(one.abs(), other.abs())
    sums, norm, epsilon = most[..., :3], most[..., 2:3], most[..., 3:]
    allowed = (8 * epsilon).clamp_min(ROUNDING) * torch.maximum(sums, norm)
    return bool(((one - other)[..., :3].abs() <= allowed).all())


def reproduced(device: torch.device, thing: object, call: Callable[[], Tensor]) -> Tensor:
    """The digest of what a call gives from random numbers that are the same always; nothing is changed.

    Zero where it raises, which is said of every estimator, and where two calls differ: what is random beyond reach,
    such as a batch that a loader hands out, tells nothing.

    Args:
        device: of the call.
        thing: the function behind it, whose generators are set and whose modules are put back.
        call: what gives a tensor.
    """
    found = []
    for _ in range(2):
        with restored(device, thing):
            for generator in (*held([thing])[1], *default_generators(device)):
                generator.manual_seed(0)
            random.seed(0)
            if "numpy" in sys.modules:
                sys.modules["numpy"].random.seed(0)
            try:
                found.append(digest([call()]))
            except Exception:
                return digest([])
    return found[0] if alike(*found) else digest([])


class AtLevel(Reinforce):
    """Draws from level logits. Without a baseline: differences of f would make its rounding large."""

    def _draw(self, logits: Tensor, *args: Any) -> Draw:
        return super()._draw(level(logits), *args)


def learned(estimator: Estimator) -> Tensor:
    """The digest of what modules inside it hold; an estimator that was trained on is another one."""
    return digest(tensors_in([module.state_dict() for module in estimator.learners]))


def tensors_in(thing: object) -> list[Tensor]:
    """Those that a mapping, a sequence, or one within, holds, or that it is."""
    if isinstance(thing, Tensor):
        return [] if torch.nn.parameter.is_lazy(thing) else [thing]
    parts = thing.values() if isinstance(thing, Mapping) else thing if isinstance(thing, list | tuple) else ()
    return [tensor for part in parts for tensor in tensors_in(part)]
