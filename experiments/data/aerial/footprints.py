"""Buildings as plans: where they stand, and what is left of that in an image."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import RandomState

from experiments.data.aerial.geometry import UNIT, Ints, clipped, doubled_area, rectangle, turned
from experiments.data.aerial.painting import Room
from experiments.data.aerial.scenes import SEEN, Thing
from experiments.parts.boxes import canonical

TRIES = 300
"""For a place that is free."""


class Footprint(NamedTuple):
    """A building's plan, or that of what looks like one."""

    centre: tuple[int, int]
    outline: Ints
    """`[P, 2]`, around the centre, before it is turned; its least box is upright. In sixteenths of a pixel."""
    degrees: int
    """By which it is turned, from x towards y."""
    block: int
    """Of the layout; -1: none."""
    genuine: bool = True
    """Whether it is a building; False: it looks like one and breaks the layout."""

    @property
    def polygon(self) -> Ints:
        """Where it stands."""
        return turned(self.outline, self.degrees) + np.array(self.centre, dtype=np.int64)

    def widened(self, by: int) -> Ints:
        """The polygon of its upright box with a margin on all sides."""
        low, high = self.outline.min(0) - by, self.outline.max(0) + by
        (left, top), (right, bottom) = low.tolist(), high.tolist()
        around = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], dtype=np.int64)
        return turned(around, self.degrees) + np.array(self.centre, dtype=np.int64)

    def seen(self, height: int, width: int) -> bool:
        """Whether enough of it is within an image; where there is less, it is not painted."""
        reach = 3 * int(np.abs(self.outline).max()) // 2
        if not all(-reach < c < size * UNIT + reach for c, size in zip(self.centre, (width, height), strict=True)):
            return False
        if all(reach < c < size * UNIT - reach for c, size in zip(self.centre, (width, height), strict=True)):
            return True
        part = clipped(self.polygon, height, width)
        return len(part) > 2 and SEEN * doubled_area(part) >= doubled_area(self.outline)

    def thing(self, kind: str, height: int, width: int, exact: bool = True, **known: object) -> Thing:
        """What an image of that size has of it: the outline is cut off at the edges.

        `exact`: the outline's least box is upright, so that it need not be looked for.
        """
        polygon = self.polygon
        part = clipped(polygon, height, width)
        points = torch.from_numpy(part).float() / UNIT
        if exact and np.array_equal(part, polygon):
            box = self._box()
            return Thing(kind, points, box, block=self.block, **known)  # type: ignore[arg-type]
        return Thing.of(kind, points, block=self.block, **known)

    def _box(self) -> torch.Tensor:
        low, high = self.outline.min(0), self.outline.max(0)
        middle = turned((low + high)[None] // 2, self.degrees)[0] + np.array(self.centre)
        numbers = [*(middle / UNIT), *((high - low) / UNIT), math.radians(self.degrees)]
        return canonical(torch.tensor(numbers, dtype=torch.float64)).float()


def plan(random: RandomState, length: int, depth: int, winged: int) -> Ints:
    """The outline of a house, of `winged` percent with a wing: a corner of its rectangle is missing."""
    outline = rectangle(length, depth)
    if random.randint(100) >= winged:
        return outline
    x, y = length // 2, depth // 2
    cut_x, cut_y = length * int(random.randint(25, 50)) // 100, depth * int(random.randint(30, 50)) // 100
    ell = np.array([(-x, -y), (x - cut_x, -y), (x - cut_x, -y + cut_y), (x, -y + cut_y), (x, y), (-x, y)], np.int64)
    mirrored = np.array([1 - 2 * int(random.randint(2)), 1 - 2 * int(random.randint(2))])
    return ell * mirrored


def shuffled(random: RandomState, footprints: list[Footprint], room: Room, margin: int) -> list[Footprint]:
    """The same plans at places and angles that have nothing to do with each other, none over another.

    The largest are placed first; one for which no place is found in `TRIES` is left out.

    Args:
        random: the noise.
        footprints: the plans.
        room: what is taken already; it gets theirs.
        margin: between two of them, in sixteenths of a pixel.
    """
    height, width = room.taken.shape
    placed = []
    for footprint in sorted(footprints, key=lambda f: -doubled_area(f.outline)):
        for _ in range(TRIES):
            centre = int(random.randint(width * UNIT)), int(random.randint(height * UNIT))
            moved = footprint._replace(centre=centre, degrees=int(random.randint(360)), block=-1)
            if moved.seen(height, width) and room.free(moved.widened(margin)):
                room.take(moved.polygon)
                placed.append(moved)
                break
    return placed
