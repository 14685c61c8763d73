"""Features of oriented boxes, sampled from the maps of a pyramid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def sampled(
    maps: Sequence[Tensor], boxes: Tensor, image: tuple[int, int], cells: int, size: float, scale: float = 1.0
) -> Tensor:
    """Of every box a grid of cells in its own frame, bilinear, from the map of a scale that fits it.

    Args:
        maps: `[B, D, h, w]` from fine to coarse, all of the whole image.
        boxes: `[B, N, 5]`, in pixels of the image.
        image: its height and width.
        cells: R, along each side of a box.
        size: the square root of the largest area that is read from the first map, in pixels; each next map has boxes
            of sides twice as long.
        scale: of the region over the box's sides.

    Returns:
        `[B, N, D, R, R]`; rows go along the box's height, columns along its width. Zero beyond the image. The gradient
        reaches the maps alone.
    """
    levels = (boxes[..., 2] * boxes[..., 3]).sqrt().div(size).clamp(min=1e-6).log2().ceil().clamp(0, len(maps) - 1)
    height, width = image
    places = 2 * grid(boxes.detach(), cells, scale) / boxes.new_tensor([width, height]) - 1
    found = torch.zeros((), dtype=boxes.dtype, device=boxes.device)
    for level, features in enumerate(maps):
        chosen = (levels == level).to(features.dtype)
        own = F.grid_sample(features, places.flatten(2, 3), align_corners=False).unflatten(-1, (cells, cells))
        found = found + own.movedim(2, 1) * chosen[..., None, None, None]
    return found


def grid(boxes: Tensor, cells: int, scale: float) -> Tensor:
    """The centres of cells in image coordinates, `[B, N, R, R, 2]`."""
    steps = (torch.arange(cells, dtype=boxes.dtype, device=boxes.device) + 0.5) / cells - 0.5
    along = steps * boxes[..., 2:3] * scale
    across = steps * boxes[..., 3:4] * scale
    cosine, sine = boxes[..., 4].cos()[..., None, None], boxes[..., 4].sin()[..., None, None]
    x = boxes[..., 0, None, None] + cosine * along.unsqueeze(-2) - sine * across.unsqueeze(-1)
    y = boxes[..., 1, None, None] + sine * along.unsqueeze(-2) + cosine * across.unsqueeze(-1)
    return torch.stack([x, y], -1)
