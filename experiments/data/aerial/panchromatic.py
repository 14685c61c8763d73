"""Grey images of a layout of buildings, in the style of satellites that see half a metre to a metre."""

from __future__ import annotations

import numpy as np
from numpy.random import RandomState

from experiments.data.aerial.geometry import FULL, UNIT, Ints, ellipse, rectangle, turned
from experiments.data.aerial.layouts import Layout
from experiments.data.aerial.painting import Canvas, Room, blurred, chance, noise
from experiments.data.aerial.roofs import roof, sunlight
from experiments.data.aerial.scenes import Scene


def woods(random: RandomState, height: int, width: int, percent: int) -> Ints:
    """Where trees stand close together: of FULL, `[H, W]`."""
    shape = (
        noise(random, height, width, 32, 100)
        + noise(random, height, width, 8, 40)
        + noise(random, height, width, 2, 15)
    )
    place = min(shape.size - 1, shape.size * percent // 100)
    return np.where(shape < np.partition(shape.ravel(), place)[place], FULL, 0)


def render(random: RandomState, layout: Layout, room: Room, metre: int) -> Scene:
    """A grey scene with the layout's buildings as its things; what looks like them is its clutter.

    Args:
        random: the noise.
        layout: where what stands.
        room: which pixels it takes; ponds, courts and trees take others.
        metre: in sixteenths of a pixel.
    """
    height, width = room.taken.shape
    ground, sun = int(random.randint(60, 150)), sunlight(random)
    canvas = Canvas(_ground(random, height, width, ground))
    _plant(random, canvas, layout, ground, metre)
    fine = noise(random, height, width, 1, 7)
    _pave(random, canvas, layout, room, ground, metre, fine)
    for plan in layout.footprints:
        canvas.cast(plan.polygon, sun.shadow(int(random.randint(3, 8)) * metre))
    crowns = _trees(random, room, metre)
    for crown in crowns:
        canvas.cast(crown, sun.shadow(4 * metre))
    canvas.darken(int(random.randint(4, 8)))
    dark = chance(random, 50)
    for plan in layout.footprints:
        bright = ground + (-1 if dark != chance(random, 25) else 1) * int(random.randint(20, 75))
        roof(canvas, plan, sun, [bright], int(random.randint(10, 35)) * chance(random, 60), fine)
    leaves = noise(random, height, width, 2, 25)
    for crown in crowns:
        canvas.fill(crown, [ground - int(random.randint(15, 55))], leaves)
    canvas.pixels = blurred(canvas.pixels) + noise(random, height, width, 1, 4)
    things = [
        (plan, plan.thing("building" if plan.genuine else "clutter", height, width)) for plan in layout.footprints
    ]
    genuine, clutter = (tuple(thing for plan, thing in things if plan.genuine is kind) for kind in (True, False))
    return Scene(canvas.image(), genuine, clutter)


def _ground(random: RandomState, height: int, width: int, base: int) -> Ints:
    found = np.full((height, width), base, dtype=np.int64)
    for cell, most in ((32, 18), (16, 12), (4, 8), (1, 6)):
        found += noise(random, height, width, cell, most)
    return found[None]


def _plant(random: RandomState, canvas: Canvas, layout: Layout, ground: int, metre: int) -> None:
    """Woods, but for clearings around buildings."""
    height, width = canvas.size
    share = woods(random, height, width, int(random.randint(0, 70)))
    for plan in layout.footprints:
        patch = canvas.patch(plan.widened(int(random.randint(2, 6)) * metre))
        if patch is not None:
            part = share[patch.rows, patch.columns]
            np.minimum(part, FULL - patch.covered, out=part)
    crowns = noise(random, height, width, 4, 30) + noise(random, height, width, 2, 24)
    canvas.blend(share, (ground - int(random.randint(15, 50)) + crowns)[None])


def _pave(random: RandomState, canvas: Canvas, layout: Layout, room: Room, ground: int, metre: int, fine: Ints) -> None:
    """Roads, what lies beside them, and yards."""
    paved = ground + int(random.randint(25, 70))
    for road in layout.roads:
        canvas.fill(road, [paved], fine)
    _beside(random, canvas, room, ground, metre)
    for plan in layout.footprints:
        if chance(random, 50):
            canvas.fill(plan.widened(int(random.randint(1, 4)) * metre), [ground + int(random.randint(0, 60))], fine)


def _beside(random: RandomState, canvas: Canvas, room: Room, ground: int, metre: int) -> None:
    """A pond and a court, now and then, where there is room."""
    height, width = canvas.size
    for percent in (20, 20):
        spot = np.array([int(random.randint(width)) * UNIT, int(random.randint(height)) * UNIT])
        wobble = random.randint(-4, 5, 24).astype(np.int64)
        long, short = int(random.randint(12, 30)) * metre, int(random.randint(9, 18)) * metre
        water, degrees = chance(random, 50), int(random.randint(360))
        outline = turned(ellipse(long, short, wobble) if water else rectangle(long, short), degrees) + spot
        if chance(random, percent) and room.free(outline):
            room.take(outline)
            bright = int(random.randint(15, 40)) if water else ground + int(random.randint(10, 50))
            canvas.fill(outline, [bright])
            if not water:
                canvas.fill(turned(rectangle(long, max(2, metre // 2 * 2)), degrees) + spot, [bright + 40])


def _trees(random: RandomState, room: Room, metre: int) -> list[Ints]:
    """Crowns of single trees that stand free of buildings and roads, though they may reach over them."""
    height, width = room.taken.shape
    found = []
    for _ in range(int(random.randint(0, height * width // 400 + 2))):
        spot = np.array([int(random.randint(width)) * UNIT, int(random.randint(height)) * UNIT])
        wobble = random.randint(-4, 5, 12).astype(np.int64)
        wide = int(random.randint(3, 8)) * metre
        if room.free(spot + rectangle(wide, wide) * 3 // 4):
            found.append(spot + ellipse(wide, wide, wobble))
    return found
