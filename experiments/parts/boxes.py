"""Oriented boxes `[*, 5]`: centre x, centre y, width, height, angle.

Lengths are in pixels, x to the right and y downwards from the image's upper left corner: the pixel in row r and column
c is the square from (c, r) to (c + 1, r + 1). The width lies along the direction (cos angle, sin angle): angles are in
radians from the x axis towards the y axis, clockwise as the image is seen. A box is canonical where its width is at
least its height and its angle in [-pi / 2, pi / 2), as in the "long edge" form of detectors for DOTA.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def corners(boxes: Tensor) -> Tensor:
    """The corners `[*, 4, 2]` of boxes `[*, 5]` as x and y, clockwise as seen; the upper left first at angle 0."""
    centre, sizes, angle = boxes[..., :2], boxes[..., 2:4], boxes[..., 4]
    along = torch.stack((angle.cos(), angle.sin()), -1)
    across = torch.stack((-along[..., 1], along[..., 0]), -1)
    half = (along * sizes[..., :1] / 2, across * sizes[..., 1:] / 2)
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return torch.stack([centre + a * half[0] + b * half[1] for a, b in signs], -2)


def canonical(boxes: Tensor) -> Tensor:
    """The same boxes `[*, 5]` with the width at least the height and the angle in [-pi / 2, pi / 2)."""
    centre, width, height, angle = boxes[..., :2], boxes[..., 2], boxes[..., 3], boxes[..., 4]
    upright = width < height
    angle = torch.where(upright, angle + math.pi / 2, angle)
    angle = torch.remainder(angle + math.pi / 2, math.pi) - math.pi / 2
    # The remainder of what is hardly below 0 rounds to pi itself.
    angle = torch.where(angle >= math.pi / 2, -math.pi / 2, angle)
    long, short = torch.where(upright, height, width), torch.where(upright, width, height)
    return torch.cat((centre, torch.stack((long, short, angle), -1)), -1)


def smallest_box(points: Tensor) -> Tensor:
    """The canonical box `[5]` of the least area around points `[P, 2]`, such as a polygon's corners.

    One of its sides lies along a side of the points' convex hull (Freeman, Shapira 1975).

    Raises:
        ValueError: for fewer than three points, or points on a line.
    """
    from scipy.spatial import ConvexHull, QhullError

    try:
        hull = points[torch.from_numpy(ConvexHull(points.double().numpy()).vertices).long()].double()
    except (QhullError, ValueError) as error:
        raise ValueError("a box needs at least three points that are not on a line.") from error
    sides = hull.roll(-1, 0) - hull
    angles = torch.atan2(sides[:, 1], sides[:, 0])
    along = torch.stack((angles.cos(), angles.sin()), -1)
    across = torch.stack((-along[:, 1], along[:, 0]), -1)
    spans = torch.stack((hull @ along.T, hull @ across.T))  # [2, P, sides]
    low, high = spans.amin(1), spans.amax(1)
    best = int((high - low).prod(0).argmin())
    middle, sizes = (low + high)[:, best] / 2, (high - low)[:, best]
    centre = middle[0] * along[best] + middle[1] * across[best]
    return canonical(torch.cat((centre, sizes, angles[best : best + 1]))).to(points.dtype)
