"""Where buildings stand: in rows along roads, and what stands among them and breaks the layout."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.random import RandomState

from experiments.data.aerial.footprints import TRIES, Footprint, plan
from experiments.data.aerial.geometry import COSINE, ONE, UNIT, Ints, rectangle, turned
from experiments.data.aerial.painting import Room, chance


class Layout(NamedTuple):
    """Of one image."""

    footprints: list[Footprint]
    """Buildings, and clutter."""
    roads: list[Ints]
    """Outlines `[P, 2]`."""


class Grid(NamedTuple):
    """A pattern of parallel roads and of streets across them; all lengths in sixteenths of a pixel."""

    metre: int
    degrees: int
    origin: tuple[int, int]

    def at(self, along: int, across: int) -> tuple[int, int]:
        """The place with these distances from the origin, along and across the roads."""
        cosine, sine = int(COSINE[self.degrees % 360]), int(COSINE[(self.degrees - 90) % 360])
        x, y = (along * cosine - across * sine) // ONE, (along * sine + across * cosine) // ONE
        return self.origin[0] + x, self.origin[1] + y

    def strip(self, along: int, across: int, length: int, width: int) -> Ints:
        """A road's outline, from its middle."""
        return turned(rectangle(2 * (length // 2), 2 * (width // 2)), self.degrees) + np.array(self.at(along, across))


def drawn(random: RandomState, height: int, width: int, metre: int) -> Layout:
    """Roads with a row of houses on both sides; a block is such a row between two cross streets.

    Args:
        random: the noise.
        height, width: of the image in pixels.
        metre: in sixteenths of a pixel.
    """
    grid = Grid(
        metre, int(random.randint(180)), (int(random.randint(width * UNIT)), int(random.randint(height * UNIT)))
    )
    reach = 2 * UNIT * max(height, width)
    apart, between = int(random.randint(52, 84)) * metre, int(random.randint(70, 130)) * metre
    road, street = int(random.randint(5, 9)) * metre, int(random.randint(5, 8)) * metre
    lines = range(-(reach // apart), reach // apart + 1)
    crossings = range(-(reach // between), reach // between + 1)
    roads = [grid.strip(0, line * apart, 2 * reach, road) for line in lines]
    roads += [grid.strip(crossing * between, 0, street, 2 * reach) for crossing in crossings]
    footprints, block = [], 0
    for line in lines:
        for side in (-1, 1):
            for crossing in crossings:
                start = crossing * between + street // 2
                row = _row(random, grid, (start, start + between - street), line * apart, side, road, block)
                seen = [house for house in row if house.seen(height, width)]
                footprints += seen
                block += bool(seen)
    return Layout(footprints, roads)


def _row(
    random: RandomState, grid: Grid, span: tuple[int, int], across: int, side: int, road: int, block: int
) -> list[Footprint]:
    """Houses alike, between two cross streets."""
    metre = grid.metre
    length, depth = int(random.randint(8, 16)) * metre, int(random.randint(7, 12)) * metre
    pitch = length + int(random.randint(5, 12)) * metre
    setback, gabled = road // 2 + int(random.randint(4, 8)) * metre, chance(random, 25)
    winged, empty = (30 if chance(random, 40) else 0), int(random.randint(5, 25))
    if chance(random, 15):  # a park
        return []
    found = []
    deep = length if gabled else depth
    for middle in range(span[0] + 3 * metre + pitch // 2, span[1] - 3 * metre - pitch // 2 + 1, pitch):
        long, short = ((part * int(random.randint(90, 111)) // 200) * 2 for part in (length, depth))
        sway = int(random.randint(-metre, metre + 1)) // 2
        degrees = grid.degrees + int(random.randint(-2, 3)) + 90 * gabled
        outline = plan(random, long, short, winged)
        if not chance(random, empty):
            centre = grid.at(middle + sway, across + side * (setback + deep // 2 + sway))
            found.append(Footprint(centre, outline, degrees % 360, block))
    return found


def cluttered(random: RandomState, layout: Layout, room: Room, metre: int, percent: int) -> Layout:
    """With things that look like its buildings, each turned by 20 to 70 degrees against the nearest of them.

    Args:
        random: the noise.
        layout: the buildings.
        room: where they and the roads are; it gets the clutter's places.
        metre: in sixteenths of a pixel.
        percent: as many as these of the buildings, rounded up; where no place is free, fewer.
    """
    height, width = room.taken.shape
    houses = layout.footprints
    found: list[Footprint] = []
    for _ in range(-(-len(houses) * percent // 100)):
        model = houses[int(random.randint(len(houses)))]
        for _ in range(TRIES):
            centre = int(random.randint(width * UNIT)), int(random.randint(height * UNIT))
            near = min(houses, key=lambda h: (h.centre[0] - centre[0]) ** 2 + (h.centre[1] - centre[1]) ** 2)
            degrees = (near.degrees + int(random.randint(20, 71)) + 90 * int(random.randint(4))) % 360
            odd = Footprint(centre, model.outline, degrees, -1, genuine=False)
            if odd.seen(height, width) and room.free(odd.widened(3 * metre // 2)):
                room.take(odd.polygon)
                found.append(odd)
                break
    return layout._replace(footprints=[*houses, *found])
