"""How masks are judged: intersections and unions, image by image, and what is reported of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SMALL = 0.02
"""Targets below this share of the image are small."""
THRESHOLDS = (5, 6, 7, 8, 9)
"""Tenths of overlap that precision is reported at."""
OF_OTHERS = ("miou", "oiou", "precision_at_50")
"""What is reported of further sets of examples."""


class Masks(NamedTuple):
    """Of judged images, `[N]` each."""

    intersection: Tensor
    """Pixels in the truth and in what was found."""
    union: Tensor
    share: Tensor
    """Of the image that the target has."""
    relational: Tensor
    """bool: the expression names another thing."""
    seen: Tensor
    """bool: the target's centre is in a window; always False without a closer look."""

    @property
    def overlap(self) -> Tensor:
        """`[N]`; 1 where there is nothing and nothing was found."""
        return torch.where(self.union > 0, self.intersection / self.union.clamp(min=1), 1.0)

    def where(self, chosen: Tensor) -> Masks:
        """Some of them."""
        return Masks(*(column[chosen] for column in self))


def measures(closer: bool) -> dict[str, str]:
    """The columns of `judged`, with their units."""
    found = {"miou": "hundredths", "oiou": "hundredths"}
    found |= {f"precision_at_{tenths}0": "percent of images" for tenths in THRESHOLDS}
    found |= {f"miou_{part}": "hundredths" for part in ("relational", "plain", "small", "large")}
    return found | ({"window_hits": "percent of images"} if closer else {})


def judged(masks: Masks, closer: bool) -> dict[str, float]:
    """Mean and overall overlap, and precisions; the mean also of parts, those without an image left out.

    Args:
        masks: of all judged images.
        closer: whether there was a closer look.
    """
    overlap = masks.overlap
    found = {"miou": overlap.mean(), "oiou": masks.intersection.sum() / masks.union.sum().clamp(min=1)}
    found |= {f"precision_at_{tenths}0": (overlap > tenths / 10).double().mean() for tenths in THRESHOLDS}
    small = masks.share < SMALL
    parts = {"relational": masks.relational, "plain": ~masks.relational, "small": small, "large": ~small}
    found |= {f"miou_{name}": overlap[part].mean() for name, part in parts.items() if part.any()}
    if closer:
        found["window_hits"] = masks.seen.double().mean()
    return {name: 100 * float(value) for name, value in found.items()}


def counted(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels in both and in either, `[*batch]` in float64, of logits `[*batch, H, W]` and bool masks alike."""
    found = logits > 0
    both, either = (found & truth).flatten(-2).sum(-1), (found | truth).flatten(-2).sum(-1)
    return both.double(), either.double()
