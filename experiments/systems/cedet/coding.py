"""Oriented boxes as numbers that a network can predict, and which boxes are right."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from experiments.parts.overlaps import intersection_over_union

DELTAS = (0.1, 0.1, 0.2, 0.2, 0.1)
"""Typical sizes of what one stage of a cascade corrects: centre over side, logarithms of the sides, radians."""
FIELDS = 7
"""Numbers of a box at a place of a map."""
LARGEST = 4.0
"""Of a logarithm that is decoded."""


def relative(boxes: Tensor, targets: Tensor) -> Tensor:
    """What leads from boxes `[*, 5]` to targets `[*, 5]`, in the boxes' own frames, over `DELTAS`.

    Of the four ways to name a rectangle, the one is led to whose angle is nearest, at most 45 degrees off.
    """
    turns = ((targets[..., 4] - boxes[..., 4]) / (math.pi / 2)).round()
    odd = torch.remainder(turns, 2) == 1
    sizes = torch.where(odd.unsqueeze(-1), targets[..., [3, 2]], targets[..., 2:4])
    angle = targets[..., 4] - turns * (math.pi / 2) - boxes[..., 4]
    moved = targets[..., :2] - boxes[..., :2]
    along, across = _axes(boxes[..., 4])
    shift = torch.stack([(moved * along).sum(-1), (moved * across).sum(-1)], -1) / boxes[..., 2:4]
    return torch.cat([shift, (sizes / boxes[..., 2:4]).log(), angle.unsqueeze(-1)], -1) / boxes.new_tensor(DELTAS)


def moved(boxes: Tensor, deltas: Tensor) -> Tensor:
    """Where `relative` numbers lead from boxes `[*, 5]`; sides change by at most a factor of e."""
    deltas = deltas * boxes.new_tensor(DELTAS)
    along, across = _axes(boxes[..., 4])
    shift = deltas[..., :2] * boxes[..., 2:4]
    centre = boxes[..., :2] + shift[..., :1] * along + shift[..., 1:] * across
    sizes = boxes[..., 2:4] * deltas[..., 2:4].clamp(-1, 1).exp()
    return torch.cat([centre, sizes, boxes[..., 4:] + deltas[..., 4:]], -1)


def absolute(places: Tensor, stride: float, boxes: Tensor) -> Tensor:
    """Boxes `[*, 5]` seen from places `[*, 2]` of a map, `[*, 7]`, without a jump however a box is turned.

    The centre and the logarithm of the size, over the stride; log(width / height) times the direction of 2 angle, which
    is zero for a square; the direction of 4 angle, in which all four ways to name a rectangle are one.
    """
    shift = (boxes[..., :2] - places) / stride
    size = (boxes[..., 2:3] * boxes[..., 3:4]).sqrt().div(stride).log()
    angle, long = boxes[..., 4:], (boxes[..., 2:3] / boxes[..., 3:4]).log()
    longer = torch.cat([long * (2 * angle).cos(), long * (2 * angle).sin()], -1)
    return torch.cat([shift, size, longer, (4 * angle).cos(), (4 * angle).sin()], -1)


def located(places: Tensor, stride: float, fields: Tensor) -> Tensor:
    """The boxes `[*, 5]` that `absolute` numbers `[*, 7]` describe, with angles within 45 degrees of the x axis."""
    angle = torch.atan2(fields[..., 6], fields[..., 5]) / 4
    long = fields[..., 3] * (2 * angle).cos() + fields[..., 4] * (2 * angle).sin()
    size = fields[..., 2].clamp(-LARGEST, LARGEST).exp() * stride
    half = (long / 2).clamp(-LARGEST, LARGEST).exp()
    return torch.cat(
        [places + fields[..., :2] * stride, torch.stack([size * half, size / half, angle], -1)],
        -1,
    )


def assigned(boxes: Tensor, truth: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """The true box that each box overlaps most, and by how much.

    Args:
        boxes: `[B, N, 5]`.
        truth: `[B, G, 5]`.
        present: bool `[B, G]`.

    Returns:
        int64 and float `[B, N]`; overlaps of 0 where an image has no true box.
    """
    if not truth.shape[1]:
        return torch.zeros_like(boxes[..., 0], dtype=torch.long), torch.zeros_like(boxes[..., 0])
    overlaps = intersection_over_union(boxes, truth).masked_fill(~present.unsqueeze(1), 0.0)
    overlap, best = overlaps.max(-1)
    return best, overlap


def inside(places: Tensor, boxes: Tensor, share: float = 1.0) -> Tensor:
    """Whether places `[P, 2]` lie in boxes `[*, G, 5]` whose sides are scaled by `share`, bool `[*, G, P]`."""
    away = places - boxes[..., None, :2]
    along, across = _axes(boxes[..., 4])
    own = torch.stack([(away * along.unsqueeze(-2)).sum(-1), (away * across.unsqueeze(-2)).sum(-1)], -1)
    return (own.abs() <= share / 2 * boxes[..., None, 2:4]).all(-1)


def centres(height: int, width: int, stride: float, like: Tensor) -> Tensor:
    """The middles of a map's cells in the image, `[height * width, 2]`."""
    y, x = ((torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) * stride for count in (height, width))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1)


def _axes(angle: Tensor) -> tuple[Tensor, Tensor]:
    along = torch.stack([angle.cos(), angle.sin()], -1)
    return along, torch.stack([-along[..., 1], along[..., 0]], -1)
