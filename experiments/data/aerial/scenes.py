"""What is on an image from above, and sets of such images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from experiments.parts.boxes import smallest_box


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

    @classmethod
    def of(cls, kind: str, polygon: Tensor, **known: object) -> Thing:
        """One whose box follows from its outline.

        Raises:
            ValueError: where that is on a line.
        """
        polygon = polygon.to(torch.float32)
        return cls(kind, polygon, smallest_box(polygon), **known)  # type: ignore[arg-type]


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


class Scenes(Sequence[Scene]):
    """Scenes that are made when they are asked for: the same one every time, by its number.

    Args:
        count: of them.
        make: makes one.
    """

    def __init__(self, count: int, make: Callable[[int], Scene]) -> None:
        self.count, self.make = count, make

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Scene:  # type: ignore[override]
        if not -self.count <= index < self.count:
            raise IndexError(f"there are {self.count} scenes, and none is number {index}.")
        return self.make(index % self.count)

    def __iter__(self) -> Iterator[Scene]:
        return (self[index] for index in range(self.count))


class Aerial(NamedTuple):
    """A data set of scenes."""

    name: str
    """Says "synthetic" where the images are rendered."""
    pixel_size: float
    """In metres."""
    train: Sequence[Scene]
    test: Sequence[Scene]
    others: Mapping[str, Sequence[Scene]]
    """Further scenes to judge by, by what they are called."""
