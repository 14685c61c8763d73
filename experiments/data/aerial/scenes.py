"""What is on an image from above, and sets of such images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from experiments.data.aerial.geometry import FULL, UNIT, Ints, clipped, coverage, doubled_area
from experiments.errors import UserError, require_count
from experiments.parts.boxes import smallest_box

SEEN = 3
"""What is cut off by an image's edge is a thing of that image if at least a third of its area is left."""


class Thing(NamedTuple):
    """Something on an image, known by its outline."""

    kind: str
    """Such as "building"."""
    polygon: Tensor
    """float32 `[P, 2]`: the outline's corners as x and y in pixels, where the pixel in row r and column c is the square
    from (c, r) to (c + 1, r + 1). It may reach beyond the image."""
    box: Tensor
    """float32 `[5]`: the least oriented box around the outline, as in `experiments.parts.boxes`."""
    block: int = -1
    """The number of the layout's block that it is part of; -1: of none."""
    colour: str = ""
    """Where it has one that is known."""
    name: str = ""
    """Where it has one of its own, such as a lake."""
    rest: tuple[Tensor, ...] = ()
    """Further outlines `[*, 2]`: of holes, and of other parts. The box is around the first outline alone."""

    @classmethod
    def of(cls, kind: str, polygon: Tensor, **known: object) -> Thing:
        """One whose box follows from its outline.

        Raises:
            ValueError: where that is on a line.
        """
        polygon = polygon.to(torch.float32)
        return cls(kind, polygon, smallest_box(polygon), **known)  # type: ignore[arg-type]

    def mask(self, height: int, width: int) -> Tensor:
        """Bool `[height, width]`: the pixels at least half of which lie within its outlines."""
        found = np.zeros((height, width), dtype=bool)
        for outline in (self.polygon, *self.rest):
            patch = coverage(_sixteenths(outline), height, width)
            if patch is not None:
                found[patch.rows, patch.columns] ^= patch.covered >= FULL // 2
        return torch.from_numpy(found)

    def cropped(self, top: int, left: int, height: int, width: int) -> Thing | None:
        """What is left of it in a part of the image; None: less than a third of the first outline's area."""
        corner = torch.tensor([left, top], dtype=self.polygon.dtype)
        rings = [ring - corner for ring in (self.polygon, *self.rest)]
        whole = [_sixteenths(ring) for ring in rings]
        parts = [clipped(ring, height, width) for ring in whole]
        if len(parts[0]) < 3 or SEEN * doubled_area(parts[0]) < doubled_area(whole[0]):
            return None
        if np.array_equal(parts[0], whole[0]):
            moved = torch.cat((self.box[:2] - corner, self.box[2:]))
            return self._replace(polygon=rings[0], box=moved, rest=tuple(rings[1:]))
        first, *rest = (torch.from_numpy(part).float() / UNIT for part in parts if len(part) > 2)
        return self._replace(polygon=first, box=smallest_box(first), rest=tuple(rest))


class Scene(NamedTuple):
    """An image and the things on it."""

    image: Tensor
    """uint8 `[bands, H, W]`."""
    things: tuple[Thing, ...]
    clutter: tuple[Thing, ...] = ()
    """What looks like them and is none, where that is known."""

    @property
    def boxes(self) -> Tensor:
        """float32 `[N, 5]`."""
        return torch.stack([thing.box for thing in self.things]) if self.things else torch.zeros(0, 5)

    @property
    def blocks(self) -> Tensor:
        """int64 `[N]`: the number of each thing's block; -1: of none."""
        return torch.tensor([thing.block for thing in self.things], dtype=torch.long)

    def mask(self, number: int) -> Tensor:
        """Bool `[H, W]`: the pixels of a thing."""
        return self.things[number].mask(*self.image.shape[1:])

    def crop(self, top: int, left: int, height: int, width: int) -> Scene:
        """A part of the image, with the things that are left there."""
        parts = [
            [part for thing in things if (part := thing.cropped(top, left, height, width)) is not None]
            for things in (self.things, self.clutter)
        ]
        image = self.image[:, top : top + height, left : left + width].contiguous()
        return Scene(image, tuple(parts[0]), tuple(parts[1]))


class Aerial(NamedTuple):
    """A data set of scenes."""

    name: str
    """Says "synthetic" where the images are rendered."""
    pixel_size: float
    """In metres; NaN: not known."""
    train: Sequence[Scene]
    test: Sequence[Scene]
    others: Mapping[str, Sequence[Scene]]
    """Further scenes to judge by, by what they are called."""


class Referred(NamedTuple):
    """An image, and an expression that refers to one thing on it."""

    image: Tensor
    """uint8 `[3, H, W]`."""
    expression: str
    mask: Tensor
    """bool `[H, W]`: the pixels of what it refers to."""
    relational: bool
    """Whether it names another thing."""
    things: tuple[Thing, ...] = ()
    """What is on the image, where that is known."""

    @property
    def share(self) -> float:
        """Of the image, that the mask has."""
        return float(self.mask.float().mean())


class Referring(NamedTuple):
    """A data set of expressions."""

    name: str
    """See `Aerial`."""
    train: Sequence[Referred]
    test: Sequence[Referred]
    others: Mapping[str, Sequence[Referred]]
    """See `Aerial`."""
    words: tuple[str, ...]
    """Of the expressions to train on, in the alphabet's order."""


def require_scenes(size: int, scenes: int, held_out: int, seed: int) -> None:
    """Refuse sizes and numbers of rendered scenes that cannot be meant.

    Raises:
        UserError: that names the setting.
    """
    for name, count, least in (("size", size, 64), ("scenes", scenes, 1), ("held_out", held_out, 1), ("seed", seed, 0)):
        require_count(f"data.{name}", count, least)


def require_pixel_size(metres: object) -> None:
    """Refuse what is no size of a pixel that scenes can be rendered in.

    Raises:
        UserError: for anything but 0.5, 1 and 2.
    """
    if metres not in (0.5, 1, 2):
        raise UserError(f"data.pixel_size is 0.5, 1 or 2 metres, not {metres!r}.")


def _sixteenths(outline: Tensor) -> Ints:
    return np.round(outline.double().numpy() * UNIT).astype(np.int64)
