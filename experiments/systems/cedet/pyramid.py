"""Maps of features at several scales, and the context that all of them share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.errors import UserError
from experiments.parts.backbones import backbone as backbone_of


class Pyramid(nn.Module):
    """A backbone of `transformers`, and a feature pyramid on all its stages (Lin et al. 2017, arXiv 1612.03144).

    Args:
        backbone: see `experiments.parts.backbones`.
        bands: of the images.
        width: D, of every map.
        context: adds what the maps have in common; None: nothing.

    Raises:
        UserError: where `transformers` has no such backbone.
    """

    def __init__(self, backbone: Mapping[str, Any], bands: int, width: int, context: Context | None) -> None:
        super().__init__()
        self.backbone = backbone_of(backbone, bands)
        self.across = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in self.backbone.channels)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in self.backbone.channels)
        self.context = context

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images `[B, bands, H, W]` in [0, 1] to maps `[B, D, h, w]`, from fine to coarse."""
        found = self.backbone(images - 0.5).feature_maps
        maps = [layer(features) for layer, features in zip(self.across, found, strict=True)]
        for level in range(len(maps) - 1, 0, -1):
            maps[level - 1] = maps[level - 1] + F.interpolate(maps[level], size=maps[level - 1].shape[-2:])
        maps = [layer(features) for layer, features in zip(self.smooth, maps, strict=True)]
        return maps if self.context is None else self.context(maps)


class Context(nn.Module):
    """SGCM: what is seen at all scales, looked at from everywhere by self-attention, added to every map.

    The maps are summed at the scale of the second one. A convolution tells its cells what is next to them, so that
    images may have any size. A head says of every cell of the finest map, with the context in it, whether it is part of
    a building.

    Args:
        width: D.
        heads: of the attention.
    """

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f"model.width must be a multiple of {heads}, the heads of its attention, not {width}.")
        self.heads = heads
        self.place = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = nn.LayerNorm(width)
        self.into = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mask = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 1))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps with their context, of the same shapes."""
        middle = maps[1].shape[-2:]
        fused = torch.stack([F.interpolate(each, size=middle, mode="bilinear") for each in maps]).sum(0)
        fused = fused + self.place(fused)
        tokens = fused.flatten(2).mT
        parts = self.into(self.norm(tokens)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(*parts.unbind()).transpose(1, 2).flatten(2)
        context = (tokens + self.out(seen)).mT.unflatten(-1, middle)
        return [each + F.interpolate(context, size=each.shape[-2:], mode="bilinear") for each in maps]

    def masks(self, maps: list[Tensor]) -> Tensor:
        """Logits of the finest map's cells, `[B, h, w]`, from maps with their context."""
        logits: Tensor = self.mask(maps[0])
        return logits.squeeze(1)
