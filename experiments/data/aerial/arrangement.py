"""Which things a coloured scene has, and where: none over another, none cut off."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.random import RandomState

from experiments.data.aerial.footprints import Footprint, plan
from experiments.data.aerial.geometry import UNIT, Ints, ellipse, rectangle
from experiments.data.aerial.layouts import Grid
from experiments.data.aerial.painting import Room, chance
from experiments.data.aerial.phrases import COLOURS, KINDS, SIZES, Facts

ROUND = ("water", "tank", "tree", "forest")
"""Kinds without corners."""
LENGTHS = {
    "building": (13, 9),
    "court": (17, 10),
    "water": (22, 16),
    "tank": (8, 8),
    "tree": (7, 7),
    "field": (24, 18),
    "forest": (22, 17),
}
"""Metres, along and across, of something between small and large."""
SCALES = {"small": (65, 80), "large": (120, 145)}
"""Percent of them."""
MARGIN = 2
"""Metres between two things."""
LEAST, MOST = 8, 14
"""Things of a scene."""
TRIES = 30
"""For a place that is free."""


class Item(NamedTuple):
    """A thing to paint."""

    facts: Facts
    plan: Footprint


def arranged(random: RandomState, room: Room, degrees: int, metre: int) -> list[Item]:
    """Things of three or four kinds, most of them turned as the roads are, where there is room.

    Args:
        random: the noise.
        room: what is taken; it gets their places.
        degrees: of the roads.
        metre: in sixteenths of a pixel.
    """
    height, width = room.taken.shape
    kinds = [KINDS[n] for n in random.permutation(len(KINDS))[: int(random.randint(3, 5))].tolist()]
    found = []
    for _ in range(int(random.randint(LEAST, MOST + 1))):
        kind, size = kinds[int(random.randint(len(kinds)))], SIZES[int(random.randint(len(SIZES)))]
        colours = COLOURS.get(kind, ("",))
        colour, outline = colours[int(random.randint(len(colours)))], _outline(random, kind, size, metre)
        reach = int(np.abs(outline).max())
        for _ in range(TRIES):
            centre = tuple(int(random.randint(reach, max(reach + 1, side * UNIT - reach))) for side in (width, height))
            turn = degrees + 90 * int(random.randint(4)) if chance(random, 70) else int(random.randint(360))
            placed = Footprint((centre[0], centre[1]), outline, turn % 360, -1)
            if _inside(placed.polygon, height, width) and room.free(placed.widened(MARGIN * metre)):
                room.take(placed.polygon)
                found.append(Item(Facts(kind, colour, size, centre[0], centre[1], placed.polygon), placed))
                break
    return found


def roads(random: RandomState, size: int, metre: int) -> tuple[int, list[Ints]]:
    """One road or two, and by how many degrees they are turned."""
    spot = int(random.randint(size * UNIT)), int(random.randint(size * UNIT))
    grid, long = Grid(metre, int(random.randint(180)), spot), 4 * size * UNIT
    found = [grid.strip(0, 0, long, int(random.randint(4, 7)) * metre)]
    if chance(random, 40):
        found.append(grid.strip(0, 0, int(random.randint(4, 6)) * metre, long))
    return grid.degrees, found


def _outline(random: RandomState, kind: str, size: str, metre: int) -> Ints:
    lengths = [2 * (length * metre * int(random.randint(*SCALES[size])) // 200) for length in LENGTHS[kind]]
    if kind == "building":
        return plan(random, lengths[0], lengths[1], 25)
    if kind not in ROUND:
        return rectangle(lengths[0], lengths[1])
    if kind == "tank":
        return ellipse(lengths[0], lengths[0], np.zeros(24, dtype=np.int64))
    found = ellipse(lengths[0], lengths[1], random.randint(-3, 4, 16).astype(np.int64))
    return found - (found.min(0) + found.max(0)) // 2


def _inside(polygon: Ints, height: int, width: int) -> bool:
    return bool((polygon >= UNIT).all() and (polygon <= np.array([(width - 1) * UNIT, (height - 1) * UNIT])).all())
