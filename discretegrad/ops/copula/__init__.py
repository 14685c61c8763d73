"""Category ids from jointly antithetic uniforms: sampling, the exact law of a pair, and that of all points."""

from collections.abc import Iterable

import torch
from torch import Tensor

from discretegrad.ops import dispatch
from discretegrad.ops.copula import fused, native, reference
from discretegrad.ops.copula.families import Dirichlet, Family, Gaussian
from discretegrad.ops.copula.reference import ends, joint_law, sample

FEW = 16
"""Categories whose orders are summed one by one sooner than by the short form, where that is no C kernel."""


def pair_probs(
    family: Family, probs: Tensor, ranking: Tensor, indices: Tensor, pairs: Iterable[tuple[int, int]]
) -> Tensor:
    """See `reference.pair_probs`."""
    categories, chosen = probs.shape[-1], dispatch.implementation(probs, torch.float64)
    if chosen == "native" and isinstance(family, Dirichlet) and categories > 1:
        return native.pair_probs(family, probs, ranking, indices, pairs)
    form = fused if is_short(categories, probs) else reference
    return form.pair_probs(family, probs, ranking, indices, pairs)


def is_short(categories: int, like: Tensor) -> bool:
    """Whether the law of a pair takes C steps, and not one for each order, of any family on the device of `like`."""
    return categories > FEW and dispatch.implementation(like, torch.float64) != "reference"


__all__ = ["Dirichlet", "Family", "Gaussian", "ends", "is_short", "joint_law", "pair_probs", "sample"]
