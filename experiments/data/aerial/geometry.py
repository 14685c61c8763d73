"""Outlines in whole sixteenths of a pixel, and the share of each pixel that they cover.

All of it is arithmetic of integers, so that every machine renders the same bytes: floating-point sines and sums differ
in their last bits from one processor to another.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

UNIT = 16
"""Of a pixel: the numbers of an outline count sixteenths."""
FULL = 16
"""What a pixel counts that is covered all over: so many points of it are looked at."""
ONE = 4096
COSINE = np.array([round(ONE * math.cos(math.radians(degrees))) for degrees in range(360)], dtype=np.int64)
"""Of whole degrees, times ONE. None of them is near the middle between two integers."""


class Patch(NamedTuple):
    """Part of an image, and how much of its pixels an outline covers."""

    rows: slice
    columns: slice
    covered: Ints
    """`[h, w]`, 0 to FULL."""


def rectangle(width: int, height: int) -> Ints:
    """The outline `[4, 2]` of a rectangle around (0, 0); both sizes are even."""
    x, y = width // 2, height // 2
    return np.array([(-x, -y), (x, -y), (x, y), (-x, y)], dtype=np.int64)


def ellipse(width: int, height: int, wobble: Ints) -> Ints:
    """A round outline around (0, 0) with a corner for each of `wobble`, sixteenths by which its radius is larger."""
    degrees = np.arange(len(wobble)) * 360 // len(wobble)
    across = np.stack((COSINE[degrees] * width, COSINE[degrees - 90] * height), -1)
    return across * (UNIT + wobble[:, None]) // (2 * UNIT * ONE)


def turned(outline: Ints, degrees: int) -> Ints:
    """An outline `[P, 2]` turned about (0, 0), from x towards y."""
    cosine, sine = COSINE[degrees % 360], COSINE[(degrees - 90) % 360]
    turn = np.array([(cosine, sine), (-sine, cosine)])
    return (outline[:, :1] * turn[0] + outline[:, 1:] * turn[1] + ONE // 2) // ONE


def hull(points: Ints) -> Ints:
    """The convex hull `[Q, 2]` of points `[P, 2]`, without those on its sides (Andrew 1979)."""
    order = sorted({(x, y) for x, y in points.tolist()})
    sides: list[list[tuple[int, int]]] = []
    for way in (order, order[::-1]):
        side: list[tuple[int, int]] = []
        for x, y in way:
            while len(side) > 1 and _turn(side[-2], side[-1], (x, y)) <= 0:
                side.pop()
            side.append((x, y))
        sides.append(side[:-1])
    return np.array(sides[0] + sides[1], dtype=np.int64)


def doubled_area(outline: Ints) -> int:
    """Twice the area of an outline `[P, 2]`, in squared sixteenths."""
    points = outline.tolist()
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True)))


def coverage(outline: Ints, height: int, width: int) -> Patch | None:
    """What an outline `[P, 2]` covers of an image: 4 x 4 points of each pixel, by the even-odd rule.

    None: nothing, because it lies outside.
    """
    low, high = outline.min(0), outline.max(0)
    left, top = (max(0, int(bound) // UNIT) for bound in low)
    right, bottom = (min(size, -(-int(bound) // UNIT)) for size, bound in zip((width, height), high, strict=True))
    if left >= right or top >= bottom:
        return None
    columns, rows = 4 * (right - left), 4 * (bottom - top)
    crossed = np.zeros((rows, columns + 1), dtype=np.uint8)
    points = (outline - (UNIT * left, UNIT * top)).tolist()
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        if y0 == y1:
            continue
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        # The points lie at 2, 6, 10, 14 of each pixel's sixteenths.
        first, last = max(0, -((2 - y0) // 4)), min(rows, -((2 - y1) // 4))
        if first >= last:
            continue
        row = np.arange(first, last)
        column = -(((2 - x0) * (y1 - y0) - (2 + 4 * row - y0) * (x1 - x0)) // (4 * (y1 - y0)))
        crossed[row, np.minimum(np.maximum(column, 0), columns)] ^= 1
    inside = np.bitwise_xor.accumulate(crossed[:, :columns], 1)
    lines = inside[0::4] + inside[1::4] + inside[2::4] + inside[3::4]
    covered = lines[:, 0::4] + lines[:, 1::4] + lines[:, 2::4] + lines[:, 3::4]
    return Patch(slice(top, bottom), slice(left, right), covered.astype(np.int64))


def clipped(outline: Ints, height: int, width: int) -> Ints:
    """The part of an outline `[P, 2]` within an image (Sutherland, Hodgman 1974); `[0, 2]`: none."""
    points: list[tuple[int, int]] = [(x, y) for x, y in outline.tolist()]
    for axis, bound, sign in ((0, 0, 1), (0, width * UNIT, -1), (1, 0, 1), (1, height * UNIT, -1)):
        kept: list[tuple[int, int]] = []
        for before, point in zip(points[-1:] + points[:-1], points, strict=True):
            inside, was = (sign * (p[axis] - bound) >= 0 for p in (point, before))
            if inside != was:
                share = (bound - before[axis], point[axis] - before[axis])
                other = before[1 - axis] + (point[1 - axis] - before[1 - axis]) * share[0] // share[1]
                kept.append((bound, other) if axis == 0 else (other, bound))
            if inside:
                kept.append(point)
        points = kept
    return np.array(points, dtype=np.int64).reshape(-1, 2)


def _turn(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> int:
    """Above 0 where the way from a over b to c turns from x towards y."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
