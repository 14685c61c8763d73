"""Coloured scenes of buildings, courts, water, tanks, trees, fields and forests, none over another."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.random import RandomState

from experiments.data.aerial.footprints import TRIES, Footprint, plan
from experiments.data.aerial.geometry import UNIT, Ints, doubled_area, ellipse, rectangle
from experiments.data.aerial.layouts import Grid
from experiments.data.aerial.painting import Canvas, Room, chance, noise
from experiments.data.aerial.panchromatic import Sun, blurred, roof, sunlight
from experiments.data.aerial.phrases import COLOURS, KINDS, SIZES, Facts
from experiments.data.aerial.scenes import Scene

LENGTHS = {
    "building": (13, 9),
    "court": (17, 10),
    "water": (22, 16),
    "tank": (8, 8),
    "tree": (7, 7),
    "field": (24, 18),
    "forest": (22, 17),
}
"""Pixels, along and across, of something between small and large."""
SCALES = {"small": (65, 80), "large": (120, 145)}
"""Percent of them."""
TINTS = {
    "red": (165, 75, 60),
    "grey": (140, 140, 145),
    "white": (225, 225, 220),
    "brown": (140, 105, 75),
    "blue": (60, 100, 175),
    "green": (75, 145, 75),
    "orange": (205, 125, 65),
    "yellow": (205, 185, 85),
}
OWN_TINTS = {
    ("water", ""): (40, 65, 90),
    ("forest", ""): (38, 72, 40),
    ("tree", "green"): (45, 105, 45),
    ("tree", "yellow"): (190, 160, 50),
    ("field", "brown"): (150, 120, 85),
    ("field", "green"): (105, 140, 70),
    ("field", "yellow"): (195, 180, 100),
}
MARGIN = 2 * UNIT
"""Between two things."""
LEAST, MOST = 8, 14
"""Things of a scene."""


class Item(NamedTuple):
    """A thing to paint."""

    facts: Facts
    plan: Footprint


def arranged(random: RandomState, room: Room, degrees: int) -> list[Item]:
    """Things of three or four kinds, most of them turned as the roads are, where there is room.

    Args:
        random: the noise.
        room: what is taken; it gets their places.
        degrees: of the roads.
    """
    height, width = room.taken.shape
    kinds = [KINDS[n] for n in random.permutation(len(KINDS))[: int(random.randint(3, 5))].tolist()]
    found = []
    for _ in range(int(random.randint(LEAST, MOST + 1))):
        kind, size = kinds[int(random.randint(len(kinds)))], SIZES[int(random.randint(len(SIZES)))]
        colours = COLOURS.get(kind, ("",))
        colour, outline = colours[int(random.randint(len(colours)))], _outline(random, kind, size)
        reach = int(np.abs(outline).max())
        for _ in range(TRIES // 10):
            centre = tuple(int(random.randint(reach, max(reach + 1, side * UNIT - reach))) for side in (width, height))
            turn = degrees + 90 * int(random.randint(4)) if chance(random, 70) else int(random.randint(360))
            placed = Footprint((centre[0], centre[1]), outline, turn % 360, -1)
            if _inside(placed.polygon, height, width) and room.free(placed.widened(MARGIN)):
                room.take(placed.polygon)
                area = doubled_area(placed.polygon)
                found.append(Item(Facts(kind, colour, size, centre[0], centre[1], area), placed))
                break
    return found


def render(random: RandomState, items: list[Item], roads: list[Ints], size: int) -> Scene:
    """A scene of red, green and blue with these things and roads."""
    sun, canvas = sunlight(random), Canvas(_ground(random, size))
    fine = noise(random, size, size, 1, 7)
    grey = int(random.randint(95, 150))
    for way in roads:
        canvas.fill(way, (grey, grey, grey + 3), fine)
    for item in sorted(items, key=lambda item: item.facts.kind in ("building", "tank", "tree")):
        tint = OWN_TINTS.get((item.facts.kind, item.facts.colour)) or TINTS[item.facts.colour]
        _paint(random, canvas, item, sun, tuple(band + int(random.randint(-9, 10)) for band in tint), fine)
    canvas.pixels = blurred(canvas.pixels) + noise(random, size, size, 1, 4)
    things = [
        item.plan.thing(item.facts.kind, size, size, colour=item.facts.colour, exact=item.facts.kind not in ROUND)
        for item in items
    ]
    return Scene(canvas.image(), tuple(things))


ROUND = ("water", "tank", "tree", "forest")


def roads(random: RandomState, size: int) -> tuple[int, list[Ints]]:
    """One road or two, and by how many degrees they are turned."""
    spot = int(random.randint(size * UNIT)), int(random.randint(size * UNIT))
    grid, long = Grid(UNIT, int(random.randint(180)), spot), 4 * size * UNIT
    found = [grid.strip(0, 0, long, int(random.randint(4, 7)) * UNIT)]
    if chance(random, 40):
        found.append(grid.strip(0, 0, int(random.randint(4, 6)) * UNIT, long))
    return grid.degrees, found


def _outline(random: RandomState, kind: str, size: str) -> Ints:
    lengths = [2 * (length * UNIT * int(random.randint(*SCALES[size])) // 200) for length in LENGTHS[kind]]
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


def _ground(random: RandomState, size: int) -> Ints:
    """Grass, or bare soil, that changes slowly."""
    base = ((112, 124, 84), (138, 128, 100), (126, 132, 104))[int(random.randint(3))]
    found = np.array(base, dtype=np.int64)[:, None, None] + noise(random, size, size, 1, 6)
    for cell, most in ((32, 12), (8, 7)):
        found = found + noise(random, size, size, cell, most)
    return found + np.stack([noise(random, size, size, 32, 6) for _ in base])


def _paint(random: RandomState, canvas: Canvas, item: Item, sun: Sun, tint: tuple[int, ...], fine: Ints) -> None:
    (kind, *_), plan = item
    height, width = canvas.size
    if kind in ("building", "tank", "tree"):
        canvas.cast(plan.polygon, sun.shadow(int(random.randint(3, 6)) * UNIT))
        canvas.darken(7)
    if kind == "building":
        roof(canvas, plan, sun, list(tint), int(random.randint(12, 30)) * chance(random, 70), fine)
    elif kind == "court":
        canvas.fill(plan.polygon, tint)
        _lines(canvas, plan)
    elif kind == "field":
        canvas.fill(plan.polygon, tint, fine)
        _furrows(canvas, plan, tint)
    elif kind in ("tree", "forest"):
        canvas.fill(plan.polygon, tint, noise(random, height, width, 2, 22) + noise(random, height, width, 4, 12))
    elif kind == "tank":
        canvas.fill(plan.polygon, tint)
        lid = plan._replace(outline=plan.outline * 2 // 3)
        canvas.fill(lid.polygon, [band - 18 for band in tint])
    else:
        canvas.fill(plan.polygon, tint, noise(random, height, width, 8, 5))


def _lines(canvas: Canvas, plan: Footprint) -> None:
    """White lines of a court: around it, and across its middle."""
    (x, y), wide = plan.outline.max(0).tolist(), UNIT // 2
    inner = 2 * UNIT
    for along, across, long, high in (
        (0, -y + inner, 2 * (x - inner), wide),
        (0, y - inner, 2 * (x - inner), wide),
        (-x + inner, 0, wide, 2 * (y - inner)),
        (x - inner, 0, wide, 2 * (y - inner)),
        (0, 0, wide, 2 * (y - inner)),
    ):
        line = rectangle(max(2, long), max(2, high)) + np.array([along, across])
        canvas.fill(plan._replace(outline=line).polygon, (230, 230, 230))


def _furrows(canvas: Canvas, plan: Footprint, tint: tuple[int, ...]) -> None:
    """Darker stripes of a field, along it."""
    x, y = plan.outline.max(0).tolist()
    for across in range(-y + 2 * UNIT, y - UNIT, 3 * UNIT):
        stripe = rectangle(2 * x, UNIT) + np.array([0, across])
        canvas.fill(plan._replace(outline=stripe).polygon, [band - 16 for band in tint])
