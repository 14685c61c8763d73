"""Sort the categories of every variable by their logits."""

from torch import Tensor

from discretegrad.ops import dispatch
from discretegrad.ops.order import fused, native, reference


def ascending(keys: Tensor) -> Tensor:
    """See `reference.ascending`."""
    chosen = dispatch.implementation(keys, keys.shape[-1])
    if chosen == "native" and keys.shape[-1] <= native.LARGEST:
        return native.ascending(keys)
    return (reference if chosen == "reference" else fused).ascending(keys)


__all__ = ["ascending"]
