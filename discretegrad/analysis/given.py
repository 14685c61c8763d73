"""A true gradient that the user knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from discretegrad.analysis.digest import ROUNDING


def flat(truth: Tensor | Mapping[str, Tensor], layers: Mapping[str, Sequence[int]]) -> Tensor:
    """`[D]`, float64, on the CPU.

    Args:
        truth: `[D]` over all layers, or in the shape of the only layer; or one of either kind for each layer.
        layers: their shapes.

    Raises:
        TypeError, ValueError: for what is no gradient w.r.t. these layers, and where it is not finite.
    """
    if isinstance(truth, Mapping):
        if truth.keys() != layers.keys():
            raise ValueError(
                f"the truth has the layers {_named(truth)}, but the gradient is w.r.t. {_named(layers)}; give all of "
                "these."
            )
        return torch.cat([flat(truth[name], {name: shape}) for name, shape in layers.items()])
    if not isinstance(truth, Tensor) or not truth.is_floating_point():
        found = f"a tensor of {truth.dtype}" if isinstance(truth, Tensor) else f"a {type(truth).__name__}"
        raise TypeError(f"the truth is a tensor of floats, or one for each layer in a mapping; not {found}.")
    shapes = [tuple(shape) for shape in layers.values()]
    allowed = [(sum(torch.Size(shape).numel() for shape in shapes),), *(shapes if len(shapes) == 1 else ())]
    if tuple(truth.shape) not in allowed:
        wanted = " or ".join(str(list(shape)) for shape in dict.fromkeys(allowed))
        raise ValueError(
            f"the truth has the shape {list(truth.shape)}, but the gradient w.r.t. {_named(layers)} has {wanted}."
        )
    if not truth.isfinite().all():
        raise ValueError("the truth is not finite; look for NaN or infinity where it was computed.")
    return truth.detach().flatten().double().cpu()


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two exact gradients are one, but for rounding."""
    return float((one - other).norm()) <= ROUNDING * float(one.norm())


def _named(layers: Mapping[str, object]) -> str:
    return ", ".join(map(repr, layers))
