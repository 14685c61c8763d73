"""What the training loop sees of a data set."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from experiments.errors import UserError, require_count


class Labels(NamedTuple):
    """What is on each image."""

    train: Tensor
    """int64 `[N]`."""
    test: Tensor
    """int64 `[M]`."""
    classes: tuple[str, ...]
    """The names of what they count."""


class Images(NamedTuple):
    """Grey images, one a row."""

    name: str
    train: Tensor
    """float32 `[N, height * width]` in [0, 1]."""
    test: Tensor
    """float32 `[M, height * width]` in [0, 1]."""
    shape: tuple[int, int]
    """`(height, width)`."""
    labels: Labels | None = None
    """Where they were asked for."""

    def holding_out(self, count: int) -> Images:
        """The last `count` training images in the place of the test images, to choose settings by; 0: as it is.

        Raises:
            UserError: where that leaves none to train on.
        """
        require_count("data.held_out", count, least=0)
        if count >= len(self.train):
            raise UserError(f"data.held_out={count} leaves none of the {len(self.train)} training images to train on.")
        if count == 0:
            return self
        labels = self.labels
        if labels is not None:
            labels = labels._replace(train=labels.train[:-count], test=labels.train[-count:])
        return self._replace(train=self.train[:-count], test=self.train[-count:], labels=labels)


def binarise(images: Tensor, generator: torch.Generator) -> Tensor:
    """Draw every pixel as a Bernoulli variable whose probability is its grey value."""
    return (torch.rand(images.shape, generator=generator, device=images.device) < images).to(images.dtype)
