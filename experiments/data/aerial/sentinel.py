"""Expressions on real pixels: areas of the Sentinel-2 scene, each by its class and its place in a window."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from experiments.data.aerial.phrases import PLACES
from experiments.data.aerial.scenes import Referred, Referring
from experiments.data.aerial.shipped import sentinel
from experiments.errors import UserError, require_count

WORDS = {"farm": "field", "residential": "settlement"}
"""For classes that expressions call otherwise."""
WINDOWS = range(24, 97)
"""Pixels of a window, before it is enlarged."""
FILLS = 0.55
"""The least share of a ninth of the window that an area covers to be said to be there."""
STRAYS = 0.1
"""The largest share of that ninth that other areas of its class cover."""
SEEN = 0.4
"""The least share of an area that its window holds."""
HALVES = ("east", "west")


def referring_on_sentinel(size: int = 96) -> Referring:
    """The eastern half of the scene to train on, the western one to judge by.

    "the forest in the upper left" is true where the area covers more than half of that ninth of the window, so that no
    other forest can: two thirds of the scene are in no area of the map, and may be of any class. An area that is so in
    several windows is in one of them. Nothing is relational.

    Args:
        size: of an image in pixels; the windows are a whole part of it, enlarged by repeating pixels.

    Raises:
        UserError: where `size` has no such part.
    """
    require_count("data.size", size, 24)
    train, test = (on_half(half, size) for half in HALVES)
    words = {word for found in train for word in found.expression.split()}
    return Referring("Sentinel-2", train, test, {}, tuple(sorted(words)))


@functools.cache
def on_half(half: str, size: int) -> tuple[Referred, ...]:
    """The expressions of a half of the scene, "west" or "east"; see `referring_on_sentinel`."""
    enlarged = [factor for factor in range(1, 9) if size % factor == 0 and size // factor in WINDOWS]
    if not enlarged:
        raise UserError(f"data.size={size} is no whole multiple of 24 to 96 pixels; use 96, or another such as 128.")
    image, areas, classes = _areas()
    middle = image.shape[2] // 2
    bounds = (0, middle) if half == "west" else (middle, image.shape[2])
    found = []
    for number, area in enumerate(areas):
        views = [
            view
            for factor in enlarged
            for field in range(len(PLACES))
            if (view := _view(area, classes[area.kind], field, size // factor, bounds)) is not None
        ]
        if views:
            found.append(_referred(image, views[number % len(views)], size))
    return tuple(found)


class View(NamedTuple):
    """A window, and what is where in it."""

    top: int
    left: int
    extent: int
    field: int
    kind: str
    mask: Tensor


class Area(NamedTuple):
    """Of the map."""

    kind: str
    centre: tuple[float, float]
    """Of its box, as x and y."""
    corner: tuple[int, int]
    """Row and column of the upper left corner of its mask."""
    mask: Tensor


@functools.cache
def _areas() -> tuple[Tensor, list[Area], dict[str, Tensor]]:
    """The image, the areas, and the masks of all areas of a class."""
    scene = sentinel()
    height, width = scene.image.shape[1:]
    classes = {thing.kind: torch.zeros(height, width, dtype=torch.bool) for thing in scene.things}
    areas = []
    for thing in scene.things:
        rings = torch.cat((thing.polygon, *thing.rest))
        left, top = (int(low) for low in rings.amin(0).floor().clamp(min=0))
        right, bottom = (min(int(high), size) for high, size in zip(rings.amax(0).ceil(), (width, height), strict=True))
        corner = torch.tensor([left, top])
        moved = thing._replace(polygon=thing.polygon - corner, rest=tuple(ring - corner for ring in thing.rest))
        mask = moved.mask(bottom - top, right - left)
        classes[thing.kind][top:bottom, left:right] |= mask
        x, y = thing.box[:2].tolist()
        areas.append(Area(thing.kind, (x, y), (top, left), mask))
    return scene.image, areas, classes


def _view(area: Area, same: Tensor, field: int, extent: int, bounds: tuple[int, int]) -> View | None:
    """The window in which an area's centre is in the middle of a field, where what is said is true there."""
    row, column = divmod(field, 3)
    left, top = (round(at - (2 * part + 1) * extent / 6) for at, part in zip(area.centre, (column, row), strict=True))
    if top < 0 or top + extent > len(same) or left < bounds[0] or left + extent > bounds[1]:
        return None
    mask = torch.zeros(extent, extent, dtype=torch.bool)
    down, across = (corner - start for corner, start in zip(area.corner, (top, left), strict=True))
    part = area.mask[max(0, -down) : max(0, extent - down), max(0, -across) : max(0, extent - across)]
    mask[max(0, down) : max(0, down) + len(part), max(0, across) : max(0, across) + part.shape[1]] = part
    rows, columns = (slice(part * extent // 3, (part + 1) * extent // 3) for part in (row, column))
    filled = float(mask[rows, columns].float().mean())
    if filled < FILLS or int(mask.sum()) < SEEN * int(area.mask.sum()):
        return None
    others = same[top : top + extent, left : left + extent] & ~mask
    strays = float(others[rows, columns].float().mean())
    return View(top, left, extent, field, area.kind, mask) if strays <= STRAYS else None


def _referred(scene: Tensor, view: View, size: int) -> Referred:
    top, left, extent, field, kind, mask = view
    factor = size // extent
    image = scene[:, top : top + extent, left : left + extent]
    larger = [part.repeat_interleave(factor, -1).repeat_interleave(factor, -2) for part in (image, mask)]
    return Referred(larger[0], f"the {WORDS.get(kind, kind)} {PLACES[field]}", larger[1], False)
