"""Grey images of buildings in blocks, rendered: those of CEDet."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from experiments.data.aerial.footprints import TRIES, shuffled
from experiments.data.aerial.frozen import require_frozen, sampled
from experiments.data.aerial.geometry import UNIT
from experiments.data.aerial.layouts import cluttered, drawn
from experiments.data.aerial.lazy import Lazy
from experiments.data.aerial.painting import Room, dice
from experiments.data.aerial.panchromatic import render
from experiments.data.aerial.scenes import Aerial, Scene, require_pixel_size, require_scenes
from experiments.data.aerial.shipped import ATLANTA_PIXEL, atlanta, atlanta_layouts, resized
from experiments.data.aerial.traced import traced
from experiments.errors import UserError, require_count

LEAST = 4
"""Buildings of a scene."""
KINDS = ("structured", "shuffled")
LAYOUTS = ("drawn", "atlanta")
NORTH = 27
"""Of Atlanta's 33 tiles, from north to south, those to train on."""


class Style(NamedTuple):
    """What scenes have in common."""

    size: int
    """Pixels, of height and width."""
    pixel_size: float
    """Metres."""
    clutter: int
    """Percent of the buildings."""
    tiles: tuple[int, ...] | None
    """Of Atlanta, whose layouts they have; None: drawn ones."""
    shuffled: bool
    """Whether buildings and clutter are put at random places and angles, so that there is no layout."""


def building_scene(key: tuple[int, ...], style: Style) -> Scene:
    """One scene: the same one on every machine.

    Args:
        key: which one: seed, part of the data set and number.
        style: what it has in common with others.
    """
    size, metre = style.size, round(UNIT / style.pixel_size)
    for attempt in itertools.count():
        random = dice(*key, attempt)
        if style.tiles is None:
            layout = drawn(random, size, size, metre)
        else:
            layout = traced(random, style.tiles, size, size, metre)
        if len(layout.footprints) >= LEAST or attempt == TRIES:
            break
    room = Room(size, size)
    for outline in (*layout.roads, *(house.polygon for house in layout.footprints)):
        room.take(outline)
    layout = cluttered(random, layout, room, metre, style.clutter)
    if style.shuffled:
        room = Room(size, size)
        for road in layout.roads:
            room.take(road)
        layout = layout._replace(footprints=shuffled(random, layout.footprints, room, metre))
    return render(random, layout, room, metre)


def buildings(
    size: int = 96,
    pixel_size: float = 1.0,
    layouts: str = "drawn",
    tiles: int = NORTH,
    shuffle: bool = False,
    clutter: int = 40,
    scenes: int = 4000,
    held_out: int = 200,
    seed: int = 0,
    digest: str | None = None,
) -> Aerial:
    """Rendered scenes of buildings, which are their things; everything measured on them is synthetic.

    The blocks of buildings are known, and there is clutter that looks like a building but breaks the layout. `others`
    has "shuffled" scenes, with the same buildings and clutter at random places and angles; or, where those are what is
    trained on, "structured" ones. It also has "atlanta", one scene of real pixels: the whole tile.

    Args:
        size: of an image, in pixels.
        pixel_size: in metres: 0.5, 1 or 2.
        layouts: drawn: rows along roads; or atlanta: windows of 33 tiles of SpaceNet 4, without roads.
        tiles: of those, from north to south, to train on; the others are for scenes to judge by. 33: all are for both.
        shuffle: whether the scenes to train on and to judge by are shuffled.
        clutter: percent of the buildings.
        scenes: to train on.
        held_out: to judge by.
        seed: of all scenes.
        digest: see `require_frozen`.

    Raises:
        UserError: for what cannot be meant, or where the code renders something else than the digest is of.
    """
    require_scenes(size, scenes, held_out, seed)
    require_count("data.clutter", clutter, 0)
    require_pixel_size(pixel_size)
    if layouts not in LAYOUTS:
        raise UserError(f"data.layouts is {' or '.join(LAYOUTS)}, not {layouts!r}.")
    require_frozen("buildings", digest, samples)
    sources = _tiles(tiles) if layouts == "atlanta" else (None, None)

    def part(number: int, shuffled: bool, count: int) -> Lazy[Scene]:
        style = Style(size, pixel_size, clutter, sources[number], shuffled)
        return Lazy(count, lambda index: building_scene((seed, number, index), style))

    return Aerial(
        f"synthetic buildings, {layouts} and {KINDS[shuffle]}",
        float(pixel_size),
        part(0, shuffle, scenes),
        part(1, shuffle, held_out),
        {
            KINDS[not shuffle]: part(1, not shuffle, held_out),
            "atlanta": [resized(atlanta(), round(pixel_size / ATLANTA_PIXEL))],
        },
    )


def _tiles(learned: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """To train on, and to judge by."""
    require_count("data.tiles", learned)
    every = tuple(range(len(atlanta_layouts())))
    if learned > len(every):
        raise UserError(f"data.tiles={learned} are more than the {len(every)} tiles that there are.")
    return every[:learned], every[learned:] or every


def samples() -> Iterator[bytes]:
    """What the digest is of."""
    for tiles in (None, tuple(range(NORTH))):
        for mixed, pixel_size in ((False, 1.0), (True, 0.5)):
            yield from sampled(building_scene((0, 0, 1), Style(64, pixel_size, 40, tiles, mixed)))
