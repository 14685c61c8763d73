"""Sort the categories of every variable by their logits."""

from torch import Tensor

from discretegrad.ops import dispatch
from discretegrad.ops.order import fused, reference


def ascending(keys: Tensor) -> Tensor:
    """See `reference.ascending`."""
    chosen = fused if dispatch.implementation(keys, keys.shape[-1]) == "fused" else reference
    return chosen.ascending(keys)


__all__ = ["ascending"]
