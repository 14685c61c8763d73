"""Coloured images with an expression that refers to one thing on each, rendered: those of CroBIM."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from numpy.random import RandomState

from experiments.data.aerial.arrangement import Item, arranged, roads
from experiments.data.aerial.coloured import render
from experiments.data.aerial.expressions import Expression
from experiments.data.aerial.expressions import referring as expressed
from experiments.data.aerial.frozen import require_frozen
from experiments.data.aerial.geometry import UNIT, Ints
from experiments.data.aerial.lazy import Later, Lazy
from experiments.data.aerial.painting import Room, chance, dice
from experiments.data.aerial.phrases import vocabulary
from experiments.data.aerial.scenes import Referred, Referring, require_pixel_size, require_scenes
from experiments.data.aerial.sentinel import HALVES, on_half
from experiments.errors import UserError, require_count


class Composed(NamedTuple):
    """A scene before it is painted."""

    random: RandomState
    items: list[Item]
    ways: list[Ints]
    """Roads."""
    said: Expression


def composed(key: tuple[int, ...], size: int, pixel_size: float, relational: int) -> Composed:
    """What is on an image, and its expression: the same on every machine.

    Args:
        key: which one: seed, part of the data set and number.
        size: of the image, in pixels.
        pixel_size: in metres.
        relational: percent of the expressions that name another thing.
    """
    metre = round(UNIT / pixel_size)
    names_another = chance(dice(*key), relational)
    for attempt in itertools.count():
        random = dice(*key, attempt)
        room = Room(size, size)
        degrees, ways = roads(random, size, metre)
        for way in ways:
            room.take(way)
        items = arranged(random, room, degrees, metre)
        said = expressed(random, [item.facts for item in items], size * UNIT, names_another)
        if said is not None:
            return Composed(random, items, ways, said)
    raise AssertionError("the loop ends by a return")


@functools.lru_cache(maxsize=20_000)  # a study trains many runs on the same
def referred(key: tuple[int, ...], size: int, pixel_size: float, relational: int) -> Referred:
    """One image and its expression; see `composed`."""
    random, items, ways, said = composed(key, size, pixel_size, relational)
    scene = render(random, items, ways, size, round(UNIT / pixel_size))
    return Referred(scene.image, said.text, scene.mask(said.target), said.relational, scene.things)


def referring(
    size: int = 96,
    pixel_size: float = 1.0,
    relational: int = 50,
    scenes: int = 8000,
    held_out: int = 1000,
    seed: int = 0,
    digest: str | None = None,
) -> Referring:
    """Rendered scenes with an expression for each; everything measured on them is synthetic.

    `others` has "sentinel_west" and "sentinel_east", real pixels: see `referring_on_sentinel`.

    Args:
        size: of an image, in pixels.
        pixel_size: in metres: 0.5, 1 or 2. Half of it and twice the size show as much in more detail.
        relational: percent of the expressions that name another thing, such as "the tree left of the red building".
        scenes: to train on.
        held_out: to judge by.
        seed: of all scenes.
        digest: see `require_frozen`.

    Raises:
        UserError: for what cannot be meant, or where the code renders something else than the digest is of.
    """
    require_scenes(size, scenes, held_out, seed)
    require_count("data.relational", relational, 0)
    if relational > 100:
        raise UserError(f"data.relational is a percentage, at most 100, not {relational}.")
    require_pixel_size(pixel_size)
    require_frozen("referring", digest, samples)

    def part(number: int, count: int) -> Lazy[Referred]:
        return Lazy(count, lambda index: referred((seed, number, index), size, pixel_size, relational))

    return Referring("synthetic referring expressions", part(0, scenes), part(1, held_out), _real(size), vocabulary())


def samples() -> Iterator[bytes]:
    """What the digest is of."""
    for index in range(4):
        found = referred((0, 0, index), 64, (1.0, 0.5)[index % 2], 50)
        yield from (found.expression.encode(), found.mask.numpy().tobytes(), found.image.numpy().tobytes())
    for index in range(48):
        yield composed((0, 0, index), 96, 1.0, 50).said.text.encode()


def _real(size: int) -> Mapping[str, Sequence[Referred]]:
    """Looked for when they are asked for."""
    return {f"sentinel_{half}": Later(functools.partial(on_half, half, size)) for half in HALVES}
