"""Uniform noise, of which all points are made.

The one operation that does not look at which implementation is chosen: all of them are to draw the same points.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from discretegrad.ops.dispatch import has_entries, in_transform
from discretegrad.ops.native import library
from discretegrad.ops.noise import native

LARGEST_SEED = 2**63 - 1


def uniform(
    shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None = None, seeded: bool = False
) -> Tensor:
    """Uniform noise on [0, 1) with the dtype and device of `like`.

    Args:
        shape: of the noise.
        like: any tensor.
        generator: the source; None for the default one. On a CPU with C kernels one seed is drawn from it.
        seeded: whether the noise is made where it is used, in a kernel. Then this draws one int64 seed, on the device
            of `like` so that nothing waits for it, and returns it expanded to the shape.
    """
    # A generator that is named, even as None, would keep torch.compile from sizes that vary.
    source: dict[str, Any] = {} if generator is None else {"generator": generator}
    if seeded:
        return torch.randint(LARGEST_SEED, (), device=like.device, **source).expand(shape)
    if has_entries(like) and like.is_cpu and not in_transform() and library(like.dtype) is not None:
        return native.uniform(shape, like.dtype, int(torch.randint(LARGEST_SEED, (), **source)))
    return torch.rand(shape, dtype=like.dtype, device=like.device, **source)


__all__ = ["uniform"]
