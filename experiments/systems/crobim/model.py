"""CroBIM, reconstructed: an expression and an image to the mask of what is meant, with a closer look where it pays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.errors import UserError, require_count
from experiments.parts.backbones import backbone as backbone_of
from experiments.parts.networks import require_choice
from experiments.systems.crobim.crops import CropDecoder, Policy, centres, pasted, window
from experiments.systems.crobim.fusion import Decoder, LanguageGuided, Modulated
from experiments.systems.crobim.language import TextEncoder, Words

LOOKS = ("drawn", "soft")
PLACES = 2
"""Bands that say where a pixel is."""


class Seen(NamedTuple):
    """What is made of images and expressions before anything is looked at more closely."""

    images: Tensor
    """`[B, 3, H, W]` in [0, 1], at full resolution."""
    logits: Tensor
    """`[B, H, W]`, of the mask."""
    coarse: Tensor
    """The same `[B, 1, h, w]`, at the scale at which they are made."""
    features: Tensor | None
    """`[B, F, h, w]`, what a closer look gets of the whole; None without one."""
    whole: Tensor
    """`[B, D]`, of the expressions."""
    cells: Tensor | None
    """Logits `[B, V, C]` of the cells to look at, in Z-order; None without a closer look."""


class CroBIM(nn.Module):
    """Masks from images and expressions.

    Args:
        backbone: of `transformers`: see `experiments.parts.backbones`.
        text: see `TextEncoder`.
        width: D, of all features.
        prompts: of CAPM; 0: without it.
        guided: whether there is LGFA.
        layers: of MID; 0: without it.
        reduce: how many times smaller the image is that the backbone sees.
        glimpses: V, windows at full resolution; 0: none.
        look: drawn: a window is about a cell that is drawn; soft: about the mean cell, which gets a gradient.
        cells: of the grid, along and across.
        crop: of a window, in pixels.
        hidden: channels of what decodes a window.
        latent: what a cell is: categorical.
        vocabulary: words.

    Raises:
        UserError: for sizes and choices that cannot be meant.
    """

    def __init__(
        self,
        backbone: Mapping[str, Any],
        text: Mapping[str, Any],
        width: int = 48,
        prompts: int = 4,
        guided: bool = True,
        layers: int = 2,
        reduce: int = 2,
        glimpses: int = 0,
        look: str = "drawn",
        cells: int = 8,
        crop: int = 32,
        hidden: int = 16,
        latent: str = "categorical",
        *,
        vocabulary: int,
    ) -> None:
        super().__init__()
        for name, count in {"width": width, "reduce": reduce, "crop": crop, "hidden": hidden}.items():
            require_count(f"model.{name}", count)
        for name, count in {"prompts": prompts, "layers": layers, "glimpses": glimpses}.items():
            require_count(f"model.{name}", count, least=0)
        require_choice("look", look, *LOOKS)
        require_choice("latent", latent, "categorical")
        self.reduce, self.glimpses, self.look, self.cells, self.crop = reduce, glimpses, look, cells, crop
        self.backbone = backbone_of(backbone, 3 + PLACES)
        channels = self.backbone.channels
        self.across = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.text = TextEncoder(text, vocabulary, width, prompts)
        self.fuse = (LanguageGuided if guided else Modulated)(width, len(channels))
        self.decoder = Decoder(width, len(channels), layers)
        self.policy = Policy(width, glimpses, cells) if glimpses else None
        self.closer = CropDecoder(3, width, hidden) if glimpses else None

    def refuse_size(self, height: int, width: int) -> None:
        """Refuse images that the windows do not fit into.

        Raises:
            UserError: that says what to do.
        """
        if height != width or height % self.reduce:
            raise UserError(f"images of {height} x {width} pixels are no squares of a multiple of model.reduce.")
        if self.glimpses and self.crop > height:
            raise UserError(f"model.crop={self.crop} is larger than the images, {height} pixels; give less.")

    def see(self, images: Tensor, words: Words) -> Seen:
        """All that does not depend on where is looked more closely, of images `[B, 3, H, W]` in [0, 1]."""
        small = F.avg_pool2d(images, self.reduce) if self.reduce > 1 else images
        found = self.backbone(torch.cat((small - 0.5, places(small)), 1)).feature_maps
        maps = [layer(features) for layer, features in zip(self.across, found, strict=True)]
        read = self.text(words, maps)
        pixels, coarse = self.decoder(self.fuse(maps, read), read)
        logits = F.interpolate(coarse, size=images.shape[-2:], mode="bilinear").squeeze(1)
        if self.policy is None or self.closer is None:
            return Seen(images, logits, coarse, None, read.whole, None)
        # Where to look is not for the features to learn, which the estimator's noise would reach.
        cells = self.policy(pixels.detach(), coarse.detach())
        return Seen(images, logits, coarse, self.closer.narrow(pixels), read.whole, cells)

    def closely(self, seen: Seen, where: Tensor) -> Tensor:
        """Logits `[S, B, H, W]` with closer looks about places `[S, B, V, 2]`, x and y in pixels."""
        assert self.closer is not None and seen.features is not None
        samples, batch, glimpses, _ = where.shape
        size = seen.images.shape[-1]

        whole = seen.whole[None, :, None].expand(samples, batch, glimpses, -1).flatten(0, 2)
        parts = (self._windows(part, where, size) for part in (seen.images, seen.features, seen.logits.unsqueeze(1)))
        patches = self.closer(*parts, whole).unflatten(0, (samples * batch, glimpses))
        logits = seen.logits.expand(samples, *seen.logits.shape).flatten(0, 1)
        return pasted(logits, patches, where.flatten(0, 1)).unflatten(0, (samples, batch))

    def _windows(self, features: Tensor, where: Tensor, size: int) -> Tensor:
        samples, batch, glimpses, _ = where.shape
        repeated = features[None, :, None].expand(samples, batch, glimpses, *features.shape[1:])
        return window(repeated.flatten(0, 2), where.flatten(0, 2), self.crop, size)

    def places_of(self, ids: Tensor, images: Tensor) -> Tensor:
        """The centres `[*, 2]` of the windows of cells `[*]` of images."""
        assert self.policy is not None
        return centres(self.policy.order[ids], self.cells, images.shape[-1], self.crop).to(images.dtype)

    def mean_places(self, seen: Seen) -> Tensor:
        """The mean centre `[B, V, 2]` of the cells' windows, which has a gradient."""
        assert seen.cells is not None
        every = self.places_of(torch.arange(self.cells**2, device=seen.cells.device), seen.images)
        return seen.cells.softmax(-1) @ every

    def likeliest(self, seen: Seen) -> Tensor:
        """The centres `[B, V, 2]` of the windows that are served: those of the likeliest cells."""
        assert seen.cells is not None
        return self.places_of(seen.cells.argmax(-1), seen.images)

    def forward(self, images: Tensor, words: Words) -> Tensor:
        """The logits `[B, H, W]` that are served."""
        seen = self.see(images, words)
        return seen.logits if seen.cells is None else self.closely(seen, self.likeliest(seen)[None])[0]


def places(images: Tensor) -> Tensor:
    """Two bands `[B, 2, h, w]` that say where a pixel is, from -1 to 1: x, and y."""
    height, width = images.shape[-2:]
    y, x = (torch.linspace(-1, 1, side, device=images.device, dtype=images.dtype) for side in (height, width))
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"))
    return grid.expand(len(images), -1, -1, -1)
