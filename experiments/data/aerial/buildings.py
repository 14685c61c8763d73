"""Grey images of buildings in blocks, rendered: those of CEDet."""

from __future__ import annotations

from collections.abc import Callable

from experiments.data.aerial.footprints import shuffled
from experiments.data.aerial.geometry import UNIT
from experiments.data.aerial.layouts import cluttered, drawn
from experiments.data.aerial.painting import Room, dice
from experiments.data.aerial.panchromatic import render
from experiments.data.aerial.scenes import Aerial, Scene, Scenes
from experiments.engine.errors import UserError, require_count

LEAST = 4
"""Buildings of a scene."""


def building_scene(key: tuple[int, ...], size: int, pixel_size: float, shuffle: bool, clutter: int) -> Scene:
    """One scene of `size` x `size` pixels, whatever the machine, from its numbers.

    Args:
        key: which one: seed, part of the data set and number.
        size: its height and width.
        pixel_size: in metres.
        shuffle: whether the buildings and the clutter are put at random places and angles, so that there is no layout.
        clutter: percent of the buildings.
    """
    metre = round(UNIT / pixel_size)
    for attempt in range(100):
        random = dice(*key, attempt)
        layout = drawn(random, size, size, metre)
        if len(layout.footprints) >= LEAST:
            break
    room = Room(size, size)
    for outline in (*layout.roads, *(house.polygon for house in layout.footprints)):
        room.take(outline)
    layout = cluttered(random, layout, room, metre, clutter)
    if shuffle:
        room = Room(size, size)
        for road in layout.roads:
            room.take(road)
        layout = layout._replace(footprints=shuffled(random, layout.footprints, room, metre))
    return render(random, layout, room, metre)


def buildings(
    size: int = 96,
    pixel_size: float = 1.0,
    shuffle: bool = False,
    clutter: int = 40,
    scenes: int = 4000,
    held_out: int = 200,
    seed: int = 0,
) -> Aerial:
    """Rendered scenes of buildings, which are their things; everything measured on them is synthetic.

    The blocks of buildings are known, and there is clutter that looks like a building but breaks the layout. `others`
    has "shuffled" scenes, with the same buildings and clutter at random places and angles; or, where those are what is
    trained on, "structured" ones.

    Args:
        size: of an image, in pixels.
        pixel_size: in metres: 0.5, 1 or 2.
        shuffle: whether the scenes to train on and to judge by are shuffled.
        clutter: percent of the buildings.
        scenes: to train on.
        held_out: to judge by.
        seed: of all scenes.

    Raises:
        UserError: for what cannot be meant.
    """
    for name, count, least in (("size", size, 16), ("scenes", scenes, 1), ("held_out", held_out, 1), ("seed", seed, 0)):
        require_count(f"data.{name}", count, least)
    require_count("data.clutter", clutter, 0)
    if pixel_size not in (0.5, 1, 2):
        raise UserError(f"data.pixel_size is 0.5, 1 or 2 metres, not {pixel_size!r}.")

    def part(number: int, shuffle: bool) -> Callable[[int], Scene]:
        return lambda index: building_scene((seed, number, index), size, pixel_size, shuffle, clutter)

    kinds = ("shuffled", "structured")
    return Aerial(
        f"synthetic buildings, {kinds[not shuffle]}",
        float(pixel_size),
        Scenes(scenes, part(0, shuffle)),
        Scenes(held_out, part(1, shuffle)),
        {kinds[shuffle]: Scenes(held_out, part(1, not shuffle))},
    )
