"""What the training loop sees of a data set."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from experiments.engine.errors import UserError, require_count


class Images(NamedTuple):
    """Grey images, one a row."""

    name: str
    train: Tensor
    """float32 `[N, height * width]` in [0, 1]."""
    test: Tensor
    """float32 `[M, height * width]` in [0, 1]."""
    shape: tuple[int, int]
    """`(height, width)`."""

    def holding_out(self, count: int) -> Images:
        """The last `count` training images in the place of the test images, to choose settings by; 0: as it is.

        Raises:
            UserError: where that leaves none to train on.
        """
        require_count("data.held_out", count, least=0)
        if count >= len(self.train):
            raise UserError(f"data.held_out={count} leaves none of the {len(self.train)} training images to train on.")
        return self if count == 0 else self._replace(train=self.train[:-count], test=self.train[-count:])


def binarise(images: Tensor, generator: torch.Generator) -> Tensor:
    """Draw every pixel as a Bernoulli variable whose probability is its grey value."""
    return (torch.rand(images.shape, generator=generator, device=images.device) < images).to(images.dtype)
