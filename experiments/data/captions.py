"""Captions of images: what is on them, and what is measured of how it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from experiments.data.images import Images
from experiments.errors import UserError

ATTRIBUTES = {
    "thickness": ("thin", "medium", "thick"),
    "size": ("small", "middling", "large"),
    "slant": ("left-leaning", "upright", "right-leaning"),
}
"""What is measured, in the order of a caption, and the words for the lowest, the middle and the highest third."""


def measure(pixels: Tensor, shape: tuple[int, int]) -> Tensor:
    """Thickness and size in pixels and slant, a column each: float64 `[N, 3]`, for grey images `[N, H * W]` in [0, 1].

    With ink u, its centre of mass, x to the right and y downwards from there:

        thickness = 2 sum u / sum |grad u|              area over half the perimeter
        size      = sqrt(sum u (x^2 + y^2) / sum u)     root mean square distance from the centre
        slant     = -sum u x y / sum u y^2              columns to the right for each row upwards

    A line of length L and width w has thickness w L / (w + L). The slant is the one by which MNIST is often deskewed;
    the gradient is that of forward differences, with no ink around the image. What would be divided by 0 is 0.
    """
    ink = pixels.double().reshape(-1, *shape)
    x = torch.arange(shape[1], dtype=torch.float64, device=ink.device)
    y = torch.arange(shape[0], dtype=torch.float64, device=ink.device).unsqueeze(1)
    mass = ink.sum((1, 2))

    def mean(of: Tensor) -> Tensor:
        return _ratio((ink * of).sum((1, 2)), mass)

    across = x - mean(x.expand(shape)).reshape(-1, 1, 1)
    down = y - mean(y.expand(shape)).reshape(-1, 1, 1)
    padded = torch.nn.functional.pad(ink, (1, 1, 1, 1))
    here = padded[:, :-1, :-1]
    steps = torch.hypot(padded[:, :-1, 1:] - here, padded[:, 1:, :-1] - here)
    size = mean(across.square() + down.square()).sqrt()
    slant = -_ratio(mean(across * down), mean((down * down).expand_as(ink)))
    return torch.stack((_ratio(2 * mass, steps.sum((1, 2))), size, slant), 1)


class Captions(NamedTuple):
    """How images are put into words: for each attribute that of its third, and the name of the class.

    "thick large upright seven" has a word for each of `slots`. The thirds are those of the training images.
    """

    thresholds: Tensor
    """float64 `[3, 2]`: of each attribute, where its second and its last third begin."""
    classes: tuple[str, ...]

    @classmethod
    def fitted(cls, images: Images) -> Captions:
        """Those of a data set.

        Raises:
            UserError: where the images have no labels.
        """
        if images.labels is None:
            raise UserError(f"captions need labels, which {images.name} was loaded without; give data.labels=true.")
        measured = measure(images.train, images.shape)
        cuts = torch.tensor([1 / 3, 2 / 3], dtype=torch.float64, device=measured.device)
        return cls(measured.quantile(cuts, 0).T.contiguous(), images.labels.classes)

    @property
    def slots(self) -> dict[str, tuple[str, ...]]:
        """The words for each place of a caption."""
        return ATTRIBUTES | {"class": self.classes}

    @property
    def words(self) -> tuple[str, ...]:
        """All words; a caption is made of their numbers."""
        return tuple(word for words in self.slots.values() for word in words)

    @property
    def firsts(self) -> list[int]:
        """The number of each slot's first word."""
        sizes = [len(words) for words in self.slots.values()]
        return [sum(sizes[:slot]) for slot in range(len(sizes))]

    def attributes(self, pixels: Tensor, shape: tuple[int, int]) -> Tensor:
        """The numbers of the words for what is measured, int64 `[N, 3]`, of grey images `[N, H * W]`."""
        thirds = (measure(pixels, shape).unsqueeze(-1) >= self.thresholds.to(pixels.device)).sum(-1)
        return thirds + torch.tensor(self.firsts[:-1], device=pixels.device)

    def of(self, pixels: Tensor, shape: tuple[int, int], labels: Tensor) -> Tensor:
        """The numbers of the captions' words, int64 `[N, 4]`, of grey images `[N, H * W]` with labels `[N]`."""
        return torch.cat((self.attributes(pixels, shape), labels.unsqueeze(1) + self.firsts[-1]), 1)

    def text(self, caption: Sequence[int] | Tensor) -> str:
        """A caption as a person reads it."""
        return " ".join(self.words[int(word)] for word in caption)


def _ratio(upper: Tensor, lower: Tensor) -> Tensor:
    return torch.where(lower > 0, upper / torch.where(lower > 0, lower, 1.0), 0.0)
