"""Coloured scenes of buildings, courts, water, tanks, trees, fields and forests."""

from __future__ import annotations

import numpy as np
from numpy.random import RandomState

from experiments.data.aerial.arrangement import ROUND, Item
from experiments.data.aerial.footprints import Footprint
from experiments.data.aerial.geometry import Ints, rectangle
from experiments.data.aerial.painting import Canvas, blurred, chance, noise
from experiments.data.aerial.roofs import Sun, roof, sunlight
from experiments.data.aerial.scenes import Scene

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


def render(random: RandomState, items: list[Item], roads: list[Ints], size: int, metre: int) -> Scene:
    """A scene of red, green and blue with these things and roads."""
    sun, canvas = sunlight(random), Canvas(_ground(random, size))
    fine = noise(random, size, size, 1, 7)
    grey = int(random.randint(95, 150))
    for way in roads:
        canvas.fill(way, (grey, grey, grey + 3), fine)
    for item in sorted(items, key=lambda item: item.facts.kind in ("building", "tank", "tree")):
        tint = OWN_TINTS.get((item.facts.kind, item.facts.colour)) or TINTS[item.facts.colour]
        _paint(random, canvas, item, sun, tuple(band + int(random.randint(-9, 10)) for band in tint), fine, metre)
    canvas.pixels = blurred(canvas.pixels) + noise(random, size, size, 1, 4)
    things = [
        item.plan.thing(item.facts.kind, size, size, colour=item.facts.colour, exact=item.facts.kind not in ROUND)
        for item in items
    ]
    return Scene(canvas.image(), tuple(things))


def _ground(random: RandomState, size: int) -> Ints:
    """Grass, or bare soil, that changes slowly."""
    base = ((112, 124, 84), (138, 128, 100), (126, 132, 104))[int(random.randint(3))]
    found = np.array(base, dtype=np.int64)[:, None, None] + noise(random, size, size, 1, 6)
    for cell, most in ((32, 12), (8, 7)):
        found = found + noise(random, size, size, cell, most)
    return found + np.stack([noise(random, size, size, 32, 6) for _ in base])


def _paint(
    random: RandomState, canvas: Canvas, item: Item, sun: Sun, tint: tuple[int, ...], fine: Ints, metre: int
) -> None:
    (kind, *_), plan = item
    height, width = canvas.size
    if kind in ("building", "tank", "tree"):
        canvas.cast(plan.polygon, sun.shadow(int(random.randint(3, 6)) * metre))
        canvas.darken(7)
    if kind == "building":
        roof(canvas, plan, sun, list(tint), int(random.randint(12, 30)) * chance(random, 70), fine)
    elif kind == "court":
        canvas.fill(plan.polygon, tint)
        _lines(canvas, plan, metre)
    elif kind == "field":
        canvas.fill(plan.polygon, tint, fine)
        _furrows(canvas, plan, tint, metre)
    elif kind in ("tree", "forest"):
        canvas.fill(plan.polygon, tint, noise(random, height, width, 2, 22) + noise(random, height, width, 4, 12))
    elif kind == "tank":
        canvas.fill(plan.polygon, tint)
        lid = plan._replace(outline=plan.outline * 2 // 3)
        canvas.fill(lid.polygon, [band - 18 for band in tint])
    else:
        canvas.fill(plan.polygon, tint, noise(random, height, width, 8, 5))


def _lines(canvas: Canvas, plan: Footprint, metre: int) -> None:
    """White lines of a court: around it, and across its middle."""
    (x, y), wide = plan.outline.max(0).tolist(), metre // 2
    inner = 2 * metre
    for along, across, long, high in (
        (0, -y + inner, 2 * (x - inner), wide),
        (0, y - inner, 2 * (x - inner), wide),
        (-x + inner, 0, wide, 2 * (y - inner)),
        (x - inner, 0, wide, 2 * (y - inner)),
        (0, 0, wide, 2 * (y - inner)),
    ):
        line = rectangle(max(2, long), max(2, high)) + np.array([along, across])
        canvas.fill(plan._replace(outline=line).polygon, (230, 230, 230))


def _furrows(canvas: Canvas, plan: Footprint, tint: tuple[int, ...], metre: int) -> None:
    """Darker stripes of a field, along it."""
    x, y = plan.outline.max(0).tolist()
    for across in range(-y + 2 * metre, y - metre, 3 * metre):
        stripe = rectangle(2 * x, metre) + np.array([0, across])
        canvas.fill(plan._replace(outline=stripe).polygon, [band - 16 for band in tint])
