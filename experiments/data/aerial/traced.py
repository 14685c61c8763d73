"""Layouts of buildings as they stand near Atlanta: windows of the tiles of SpaceNet 4 whose outlines are shipped."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.random import RandomState

from experiments.data.aerial.footprints import Footprint
from experiments.data.aerial.geometry import COSINE, UNIT, Ints, doubled_area, turned
from experiments.data.aerial.layouts import Layout
from experiments.data.aerial.shipped import ATLANTA_PIXEL, atlanta_layouts

NEAR = round(30 / ATLANTA_PIXEL) * UNIT
"""Between the centres of two buildings of a block, at most: 30 metres."""
TURN = 10
"""Degrees by which the sides of two neighbours in a block differ, at most."""


def upright(outline: Ints) -> Footprint:
    """The plan of an outline `[P, 2]`, whose least box among those of whole degrees has its long side at `degrees`."""
    middle = (outline.min(0) + outline.max(0)) // 2
    x, y = (outline - middle).T[:, None]
    cosine, sine = COSINE[:90, None], COSINE[270:, None]
    spans = [np.ptp(axis, 1) for axis in (x * cosine + y * sine, y * cosine - x * sine)]
    degrees = int((spans[0] * spans[1]).argmin())
    around = turned(outline - middle, -degrees)
    wide, high = (around.max(0) - around.min(0)).tolist()
    if wide < high:
        degrees, around = degrees + 90, turned(around, -90)
    inner = (around.min(0) + around.max(0)) // 2
    x, y = (turned(inner[None], degrees)[0] + middle).tolist()
    return Footprint((x, y), around - inner, degrees, -1)


@functools.cache
def plans() -> tuple[tuple[Footprint, ...], ...]:
    """All tiles' buildings, in sixteenths of the tile's pixels, from north to south.

    A block has the buildings that a chain of neighbours connects: no farther apart than `NEAR`, and turned alike.
    """
    return tuple(
        blocks([upright(np.round(outline.double().numpy() * UNIT).astype(np.int64)) for outline in tile])
        for tile in atlanta_layouts()
    )


def blocks(tile: Sequence[Footprint]) -> tuple[Footprint, ...]:
    """The same plans with the numbers of their blocks."""
    number = list(range(len(tile)))
    for first, a in enumerate(tile):
        for second, b in enumerate(tile[:first]):
            apart = (a.centre[0] - b.centre[0]) ** 2 + (a.centre[1] - b.centre[1]) ** 2
            turn = (a.degrees - b.degrees) % 90
            if apart <= NEAR**2 and min(turn, 90 - turn) <= TURN and number[first] != number[second]:
                number = [number[second] if n == number[first] else n for n in number]
    names = {block: place for place, block in enumerate(dict.fromkeys(number))}
    return tuple(plan._replace(block=names[block]) for plan, block in zip(tile, number, strict=True))


def traced(random: RandomState, tiles: Sequence[int], height: int, width: int, metre: int) -> Layout:
    """What stands around one of the tiles' buildings, turned by any angle, mirrored or not.

    Args:
        random: the noise.
        tiles: to choose from.
        height, width: of the image in pixels.
        metre: in sixteenths of a pixel.
    """
    tile, chosen = _building(random, tiles)
    found = plans()[tile]
    degrees, mirror = int(random.randint(360)), 1 - 2 * int(random.randint(2))
    sway = [int(random.randint(-size * UNIT // 3, size * UNIT // 3 + 1)) for size in (width, height)]
    middle = np.array([width * UNIT // 2 + sway[0], height * UNIT // 2 + sway[1]])
    scale = round(UNIT / ATLANTA_PIXEL) // metre  # of a tile's pixels, which are the smaller ones
    focus = np.array(found[chosen].centre, dtype=np.int64)
    flip = np.array([mirror, 1])
    layout = []
    for plan in found:
        moved = turned((np.array(plan.centre, dtype=np.int64) - focus)[None] * flip, degrees)[0] // scale + middle
        x, y = moved.tolist()
        own = (degrees + mirror * plan.degrees) % 360
        placed = Footprint((x, y), plan.outline * flip // scale, own, plan.block)
        if 4 * doubled_area(placed.outline) < 2 * height * width * UNIT * UNIT and placed.seen(height, width):
            layout.append(placed)
    return Layout(layout, [])


def _building(random: RandomState, tiles: Sequence[int]) -> tuple[int, int]:
    """A tile, and the number of a building on it: any of all tiles' buildings."""
    number = int(random.randint(sum(len(plans()[tile]) for tile in tiles)))
    for tile in tiles:
        if number < len(plans()[tile]):
            return tile, number
        number -= len(plans()[tile])
    raise AssertionError("the number is below the sum")
