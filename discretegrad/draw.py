"""The record that joins the two phases."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from discretegrad.coupling import Coupling
from discretegrad.latent import Latent, one_hot
from discretegrad.pathwise import Path


@dataclass(frozen=True, eq=False, repr=False)
class Draw:
    """What was drawn: all that the second phase needs to know of the first."""

    logits: Tensor
    """The user's logits, with their graph."""
    indices: Tensor
    """int64 category ids `[S, *variables]`; 0 where a variable is masked off."""
    latent: Latent
    mask: Tensor | None = None
    """True where a variable takes part; broadcastable to `[*variables]`."""
    relaxed: Tensor | None = None
    """One-hots that carry the gradient, `[S, *variables, C]`, where the estimator makes such."""
    source: Coupling | Path | None = None
    """What the points were drawn from; None where the user vouches for them."""
    plan: Any = None
    """The coupling's preparation, kept so that the second phase need not repeat it."""
    _points: Tensor | None = field(default=None, init=False)

    @property
    def points(self) -> Tensor:
        """What f is called with, in the logits' dtype: one-hots `[S, *variables, C]`, or {0, 1} `[S, *variables]`.

        Made when first asked for, once: an f on ids (`indices`) never pays for them. Zero where masked off.
        """
        points = self._points
        if points is None:
            one_hots = self.relaxed
            if one_hots is None:
                categories = self.logits.shape[-1] if self.latent.rank else 2
                one_hots = one_hot(self.indices, categories, self.logits.dtype)
            if self.mask is not None:
                one_hots = torch.where(self.mask.unsqueeze(-1), one_hots, 0.0)
            points = self.latent.points(one_hots)
            # functools.cached_property would do, but its lock stops torch.compile before Python 3.12.
            object.__setattr__(self, "_points", points)
        return points

    @property
    def variables(self) -> torch.Size:
        """The logits' shape without the categories."""
        return self.logits.shape[: self.logits.ndim - self.latent.rank]

    def active(self, batch_dims: int) -> Tensor | None:
        """`[*batch]`, True where a value has any variable that takes part; None without a mask."""
        if self.mask is None:
            return None
        mask = self.mask.expand(self.variables)
        return mask.flatten(batch_dims).any(-1) if batch_dims < mask.ndim else mask

    def __repr__(self) -> str:
        return f"Draw({self.indices.shape[0]} points of {tuple(self.variables)} {self.latent.name} variables)"


def category_logits(logits: Tensor, latent: Latent, mask: Tensor | None) -> Tensor:
    """Category logits `[*variables, C]` in at least float32; a masked-off variable is certain to be category 0."""
    wide = torch.promote_types(logits.dtype, torch.float32)
    logits = logits.to(wide)
    if mask is not None:
        # Padding may hold anything, NaN included, and must not reach the arithmetic.
        logits = torch.where(mask.unsqueeze(-1) if latent.rank else mask, logits, 0.0)
    categories = latent.category_logits(logits)
    if mask is None:
        return categories
    certain = torch.full_like(categories[..., :1], 0.0)
    certain = torch.cat((certain, torch.full_like(categories[..., 1:], -torch.inf)), -1)
    return torch.where(mask.unsqueeze(-1), categories, certain)
