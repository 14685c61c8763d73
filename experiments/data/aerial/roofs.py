"""Roofs, and the light that falls on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import RandomState

from experiments.data.aerial.footprints import Footprint
from experiments.data.aerial.geometry import COSINE, ONE, UNIT, Ints, clipped
from experiments.data.aerial.painting import Canvas

FAR = 1 << 12
"""In pixels, more than any outline is wide."""


class Sun(NamedTuple):
    """Where light comes from."""

    degrees: int
    """Where shadows point, from x towards y."""
    tenths: int
    """Of its height, the length of a thing's shadow."""

    def shadow(self, height: int) -> tuple[int, int]:
        """How far it reaches, for a height in sixteenths of a pixel."""
        cosine, sine = int(COSINE[self.degrees]), int(COSINE[(self.degrees - 90) % 360])
        return height * self.tenths * cosine // (10 * ONE), height * self.tenths * sine // (10 * ONE)

    def lights(self, degrees: int) -> bool:
        """Whether a slope that faces there lies in the light."""
        return bool(COSINE[(degrees - self.degrees) % 360] < 0)


def sunlight(random: RandomState) -> Sun:
    """Any direction; shadows of half to one and a half times the height."""
    return Sun(int(random.randint(360)), int(random.randint(5, 16)))


def lower_half(outline: Ints) -> Ints:
    """The part of an outline around (0, 0) with y above 0, the half of a roof behind its ridge."""
    shift = np.array([FAR * UNIT // 2, 0], dtype=np.int64)
    return clipped(outline + shift, FAR, FAR) - shift


def roof(canvas: Canvas, plan: Footprint, sun: Sun, colour: Sequence[int], slope: int, texture: Ints) -> None:
    """Paint a roof: flat, or two slopes that differ by so much in brightness."""
    canvas.fill(plan.polygon, colour, texture)
    if slope:
        half = plan._replace(outline=lower_half(plan.outline)).polygon
        lit = 1 if sun.lights(plan.degrees + 90) else -1
        canvas.fill(half, [band + lit * slope for band in colour], texture)
