"""Whether entities whose prompts are near are of one class."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

NEAREST = 5
CHUNK = 1024


def same_class(prompts: Tensor, classes: Tensor, asked: Tensor) -> float:
    """The share of the nearest neighbours, by cosine, that have the class of the entity.

    Args:
        prompts: `[E, W]`.
        classes: int64 `[E]`.
        asked: int64 `[n]`, of which entities neighbours are looked at.
    """
    units = F.normalize(prompts - prompts.mean(0), dim=-1)
    count = min(NEAREST, len(units) - 1)
    hits = 0.0
    for part in asked.split(CHUNK):
        alike = units[part] @ units.T
        alike[torch.arange(len(part), device=part.device), part] = -torch.inf
        nearest = alike.topk(count).indices
        hits += float((classes[nearest] == classes[part].unsqueeze(1)).double().sum())
    return hits / max(len(asked) * count, 1)


def chance(classes: Tensor) -> float:
    """The same of neighbours that are drawn from all other entities."""
    counts = classes.bincount().double()
    return float((counts * (counts - 1)).sum() / (len(classes) * (len(classes) - 1)))
