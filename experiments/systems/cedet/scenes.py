"""Scenes as the detector takes them: images of one size, with the buildings on them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from experiments.data.aerial import Scene

KIND = "building"


class Buildings(NamedTuple):
    """Images and the buildings whose centres are on them."""

    images: Tensor
    """`[B, bands, H, W]` in [0, 1]."""
    boxes: Tensor
    """`[B, G, 5]`."""
    present: Tensor
    """bool `[B, G]`: the rest is padding."""
    blocks: Tensor
    """int64 `[B, G]`: the number of each one's block; -1: of none."""


class Stock:
    """Scenes that are made when they are first asked for, and kept.

    Args:
        scenes: of one size.
    """

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self.scenes = scenes
        self._get = functools.cache(self._read)

    def __len__(self) -> int:
        return len(self.scenes)

    def take(self, numbers: Sequence[int], device: torch.device) -> Buildings:
        """Some of them."""
        images, boxes, blocks = zip(*(self._get(number) for number in numbers), strict=True)
        most = max(len(each) for each in boxes)
        padded, place = torch.zeros(len(boxes), most, 5), torch.full((len(boxes), most), -1)
        present = torch.zeros(len(boxes), most, dtype=torch.bool)
        for row, (own, block) in enumerate(zip(boxes, blocks, strict=True)):
            padded[row, : len(own)], place[row, : len(own)], present[row, : len(own)] = own, block, True
        stacked = torch.stack(images).float() / 255
        return Buildings(*(each.to(device) for each in (stacked, padded, present, place)))

    def _read(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        scene = self.scenes[number]
        height, width = scene.image.shape[-2:]
        chosen = torch.tensor([thing.kind == KIND for thing in scene.things], dtype=torch.bool)
        chosen &= on_image(scene.boxes, height, width)
        return scene.image, scene.boxes[chosen], scene.blocks[chosen]


def on_image(boxes: Tensor, height: int, width: int) -> Tensor:
    """Which boxes `[*, 5]` have their centres on an image, bool `[*]`: what else is cut off by its edge."""
    x, y = boxes[..., 0], boxes[..., 1]
    return (x >= 0) & (y >= 0) & (x < width) & (y < height)
