"""Windows of the image at its full resolution: where to look, and what is decoded there."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.errors import UserError


def z_order(side: int) -> Tensor:
    """The cells of a square grid by row and column, int64 `[side * side, 2]`, in Z-order.

    The four quarters of the grid follow each other, and so do those of each quarter: a balanced binary tree over the
    cells is a quadtree of the image.

    Raises:
        UserError: where the side is no power of two.
    """
    if side < 2 or side & (side - 1):
        raise UserError(f"model.cells must be a power of two, 2 or more, not {side}.")
    numbers = torch.arange(side * side)
    bits = [(numbers >> place) & 1 for place in range(2 * (side.bit_length() - 1))]
    column = sum((bit << place for place, bit in enumerate(bits[::2])), torch.zeros_like(numbers))
    row = sum((bit << place for place, bit in enumerate(bits[1::2])), torch.zeros_like(numbers))
    return torch.stack((row, column), -1)


def centres(cells: Tensor, side: int, size: int, crop: int) -> Tensor:
    """Where the windows of cells `[*, 2]` have their centres, as x and y in pixels, `[*, 2]`: none leaves the image.

    Args:
        cells: row and column.
        side: cells of the grid, along and across.
        size: of the image.
        crop: of a window.
    """
    found = (cells.flip(-1).float() + 0.5) * (size / side)
    return found.clamp(crop / 2, size - crop / 2)


def window(features: Tensor, places: Tensor, crop: int, size: int) -> Tensor:
    """Windows `[N, D, crop, crop]` of maps `[N, D, h, w]` over an image of `size` pixels.

    Args:
        features: of any resolution.
        places: the windows' centres, `[N, 2]`, which get a gradient.
        crop: of a window, in pixels of the image.
        size: of the image.
    """
    steps = torch.arange(crop, device=places.device, dtype=places.dtype) + 0.5 - crop / 2
    offsets = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1)
    grid = (places[:, None, None] + offsets) * (2 / size) - 1
    return F.grid_sample(features, grid, align_corners=False, padding_mode="border")


def pasted(logits: Tensor, patches: Tensor, places: Tensor) -> Tensor:
    """Logits `[N, H, W]` with those of windows `[N, V, crop, crop]` in their places; their mean, where several are.

    Args:
        logits: of the image.
        patches: of windows.
        places: their centres, `[N, V, 2]`.
    """
    size, crop = logits.shape[-1], patches.shape[-1]
    steps = torch.arange(size, device=places.device, dtype=places.dtype) + 0.5
    pixels = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1)
    grid = (pixels - places[:, :, None, None]) * (2 / crop)
    inside = (grid.abs() < 1).all(-1)
    moved = F.grid_sample(
        patches.flatten(0, 1).unsqueeze(1), grid.flatten(0, 1), align_corners=False, padding_mode="border"
    )
    moved = moved.squeeze(1).unflatten(0, inside.shape[:2])
    count = inside.sum(1)
    mean = (moved * inside).sum(1) / count.clamp(min=1)
    return torch.where(count > 0, mean, logits)


class Policy(nn.Module):
    """Where to look: logits of the cells, for each glimpse.

    Args:
        width: D.
        glimpses: V.
        side: of the grid.
    """

    order: Tensor

    def __init__(self, width: int, glimpses: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.register_buffer("order", z_order(side), persistent=False)
        self.score = nn.Sequential(nn.Conv2d(width + 1, width, 3, padding=1), nn.GELU(), nn.Conv2d(width, glimpses, 1))

    def forward(self, pixels: Tensor, logits: Tensor) -> Tensor:
        """Of features `[B, D, h, w]` and mask logits `[B, 1, h, w]`: `[B, V, cells]`, in Z-order."""
        scores = F.adaptive_avg_pool2d(self.score(torch.cat((pixels, logits), 1)), self.side)
        return scores[..., self.order[:, 0], self.order[:, 1]]


class CropDecoder(nn.Module):
    """The logits of a window, from its pixels, the features of the whole there, and the expression.

    Args:
        bands: of the image.
        width: D, of features and expression.
        hidden: channels.
        passed: channels of the features that are passed on.
    """

    def __init__(self, bands: int, width: int, hidden: int, passed: int = 8) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(width, passed, 1)
        self.first = nn.Conv2d(bands + passed + 1, hidden, 3, padding=1)
        self.second = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.by = nn.Linear(width, 2 * hidden)
        self.last = nn.Conv2d(hidden, 1, 3, padding=1)
        nn.init.zeros_(self.last.weight)  # what is decoded begins as what there was

    def forward(self, images: Tensor, features: Tensor, logits: Tensor, whole: Tensor) -> Tensor:
        """`[N, crop, crop]` of windows of images, narrow features and logits, and expressions `[N, D]`."""
        scale, shift = self.by(whole)[..., None, None].chunk(2, 1)
        found = F.gelu(self.first(torch.cat((images, features, logits), 1)) * (1 + scale) + shift)
        found = F.gelu(self.second(found))
        patch: Tensor = logits + self.last(found)
        return patch.squeeze(1)
