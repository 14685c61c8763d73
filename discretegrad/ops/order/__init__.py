"""Sort the categories of every variable by their logits."""

from torch import Tensor

from discretegrad.ops import dispatch
from discretegrad.ops.order import fused, native, reference


def ascending(keys: Tensor) -> Tensor:
    """See `reference.ascending`."""
    chosen = dispatch.implementation(keys)
    return {"native": native, "fused": fused}.get(chosen, reference).ascending(keys)


__all__ = ["ascending"]
