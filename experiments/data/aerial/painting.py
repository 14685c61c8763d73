"""Images that are painted: ground, shadows, and what has an outline. In integers alone, as `geometry` says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor

from experiments.data.aerial.geometry import FULL, Ints, Patch, coverage, hull


def dice(*seed: int) -> RandomState:
    """Random numbers that numpy has promised never to change (its NEP 19); only integers are drawn of them."""
    return RandomState(seed)


def chance(random: RandomState, percent: int) -> bool:
    """Whether it happens."""
    return bool(random.randint(100) < percent)


def noise(random: RandomState, height: int, width: int, cell: int, most: int) -> Ints:
    """Smooth noise `[height, width]` between -most and most: values at every `cell` pixels, and lines between them."""
    shape = (height // cell + 2, width // cell + 2)
    values: Ints = random.randint(-most, most + 1, shape).astype(np.int64)
    if cell == 1:
        return values[:height, :width]
    share: Ints = np.arange(cell, dtype=np.int64)
    rows: Ints = np.add(values[:-1, None] * (cell - share)[:, None], values[1:, None] * share[:, None])
    rows = rows.reshape(-1, shape[1])
    both: Ints = rows[:, :-1, None] * (cell - share) + rows[:, 1:, None] * share
    return np.floor_divide(both.reshape(len(rows), -1)[:height, :width], cell * cell)


def blurred(pixels: Ints) -> Ints:
    """What a lens makes of `[bands, H, W]`: each pixel with a share of its neighbours'."""
    padded = np.pad(pixels, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    return (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) // 16


class Canvas:
    """An image in the making.

    Args:
        ground: `[bands, H, W]`, what it shows at first.
    """

    def __init__(self, ground: Ints) -> None:
        self.pixels = ground
        self.shadow = np.zeros(ground.shape[1:], dtype=np.int64)
        """How much of each pixel lies in shadow, 0 to FULL."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[1], self.pixels.shape[2]

    def patch(self, outline: Ints) -> Patch | None:
        """What an outline covers."""
        return coverage(outline, *self.size)

    def fill(self, outline: Ints, colour: Sequence[int], texture: Ints | None = None) -> None:
        """Paint it in a colour, with a number for each band, to which a texture `[H, W]` is added."""
        patch = self.patch(outline)
        if patch is not None:
            self.cover(patch, colour, texture)

    def cover(self, patch: Patch, colour: Sequence[int], texture: Ints | None = None) -> None:
        """The same of what is known to be covered."""
        rows, columns, covered = patch
        below = self.pixels[:, rows, columns]
        above = np.array(colour, dtype=np.int64)[:, None, None]
        if texture is not None:
            above = above + texture[rows, columns]
        below += (above - below) * covered // FULL

    def blend(self, share: Ints, above: Ints) -> None:
        """Paint an image `[bands, H, W]` over all of it, where `share`, `[H, W]` of FULL, says how much."""
        self.pixels += (above - self.pixels) * share // FULL

    def cast(self, outline: Ints, toward: tuple[int, int]) -> None:
        """Note the shadow of something: all between its outline and the same outline `toward` away."""
        patch = self.patch(hull(np.concatenate((outline, outline + np.array(toward, dtype=np.int64)))))
        if patch is not None:
            part = self.shadow[patch.rows, patch.columns]
            np.maximum(part, patch.covered, out=part)

    def darken(self, to: int) -> None:
        """Paint all shadows that were noted: so many sixteenths of the light are left there."""
        self.pixels = self.pixels * (FULL * 16 - self.shadow * (16 - to)) // (FULL * 16)
        self.shadow[:] = 0

    def image(self) -> Tensor:
        """Uint8 `[bands, H, W]`."""
        return torch.from_numpy(self.pixels.clip(0, 255).astype(np.uint8))


class Room:
    """Which pixels are taken.

    Args:
        height, width: of the image.
    """

    def __init__(self, height: int, width: int) -> None:
        self.taken = np.zeros((height, width), dtype=bool)

    def free(self, outline: Ints) -> bool:
        """Whether nothing lies there; what is outside the image is free."""
        patch = coverage(outline, *self.taken.shape)
        return patch is None or not bool((self.taken[patch.rows, patch.columns] & (patch.covered > 0)).any())

    def take(self, outline: Ints) -> None:
        """Put something there."""
        patch = coverage(outline, *self.taken.shape)
        if patch is not None:
            self.taken[patch.rows, patch.columns] |= patch.covered > 0
