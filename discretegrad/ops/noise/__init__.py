"""Uniform noise, of which all points are made.

The one operation that does not look at which implementation is chosen: all of them are to draw the same points. But
without C kernels the noise is torch's own, and so other noise for the same seed.
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
    shape: tuple[int, ...],
    like: Tensor,
    generator: torch.Generator | None = None,
    seeded: bool = False,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Uniform noise on the multiples of 2^-53 in [0, 1), whatever the dtype of `like`; its mirror image is `mirror`.

    Compared with sums in double, it gives every category its frequency up to 2^-52 or so, 2e-4 of a probability
    of 1e-12. The 24 bits of float32 would favour what comes first among the categories, and starve what comes last.

    Args:
        shape: of the noise.
        like: any tensor, on whose device the noise is.
        generator: the source; None for the default one. On a CPU with C kernels one seed is drawn from it.
        seeded: whether the noise is made where it is used, in a kernel; in C kernels where there are any of noise.
            Then this draws one int64 seed, on the device of `like` so that nothing waits for it, and returns it
            expanded to the shape.
        dtype: float32 rounds the noise down to its 24 digits. Numbers near 0 keep their resolution, so that is enough
            for arrival times, `-log1p(-noise)`, of which the smallest count.
    """
    # A generator that is named, even as None, would keep torch.compile from sizes that vary.
    source: dict[str, Any] = {} if generator is None else {"generator": generator}
    if seeded:
        return torch.randint(LARGEST_SEED, (), device=like.device, **source).expand(shape)
    if has_kernels(like):
        seed = torch.randint(LARGEST_SEED, (), device=like.device, **source)
        return native.uniform(shape, dtype, int(seed))
    # Apple's GPUs have no float64.
    finest = torch.float32 if like.device.type == "mps" else torch.float64
    noise = torch.rand(shape, dtype=finest, device=like.device, **source)
    return noise if dtype == finest else noise.to(dtype).clamp_max(1 - torch.finfo(dtype).eps / 2)


def has_kernels(like: Tensor) -> bool:
    """Whether C kernels make the noise, from one seed."""
    return has_entries(like) and like.is_cpu and not in_transform() and library(torch.float32) is not None


def made(noise: Tensor, dtype: torch.dtype) -> Tensor:
    """The noise itself, where a C kernel would have made it from a seed: the same numbers."""
    if noise.dtype != torch.int64:
        return noise
    return native.uniform(tuple(noise.shape), dtype, int(noise[(0,) * noise.ndim]) if noise.numel() else 0)


def mirror(noise: Tensor) -> Tensor:
    """The mirror image of uniform noise, `1 - 2^-53 - noise`: exact, on the same multiples, and of the same law."""
    return (1 - torch.finfo(noise.dtype).eps / 2) - noise


__all__ = ["has_kernels", "made", "mirror", "uniform"]
