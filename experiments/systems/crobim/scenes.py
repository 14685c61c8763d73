"""Images with their expressions and masks, as the model takes them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from experiments.data.aerial.scenes import Referred
from experiments.systems.crobim.language import Words


class Referrals(NamedTuple):
    """A batch."""

    images: Tensor
    """`[B, 3, H, W]` in [0, 1]."""
    words: Words
    masks: Tensor
    """bool `[B, H, W]`."""
    relational: Tensor
    """bool `[B]`."""

    @property
    def centres(self) -> Tensor:
        """The targets' centres as x and y in pixels, `[B, 2]`."""
        weights = self.masks.to(self.images.dtype)
        height, width = weights.shape[-2:]
        x = torch.arange(width, device=weights.device) + 0.5
        y = torch.arange(height, device=weights.device) + 0.5
        area = weights.sum((1, 2)).clamp(min=1)
        return torch.stack(((weights.sum(1) @ x) / area, (weights.sum(2) @ y) / area), -1)


class Stock:
    """Examples that are made when they are first asked for, and kept.

    Args:
        examples: of one size.
        known: words by their numbers.
        length: words of an expression, at most.
    """

    def __init__(self, examples: Sequence[Referred], known: Mapping[str, int], length: int) -> None:
        self.examples, self.known, self.length = examples, known, length
        self._get = functools.cache(self._read)

    def __len__(self) -> int:
        return len(self.examples)

    def take(self, numbers: Sequence[int], device: torch.device) -> Referrals:
        """Some of them."""
        images, ids, masks, relational, _ = zip(*(self._get(number) for number in numbers), strict=True)
        stacked = torch.stack(images).to(device).float() / 255
        words = Words(torch.stack(ids).to(device))
        return Referrals(stacked, words, torch.stack(masks).to(device), torch.tensor(relational, device=device))

    def expressions(self, numbers: Sequence[int]) -> list[str]:
        """What is said of some of them."""
        return [self._get(number)[4] for number in numbers]

    def _read(self, number: int) -> tuple[Tensor, Tensor, Tensor, bool, str]:
        own = self.examples[number]
        [ids] = Words.of([own.expression], self.known, self.length).ids
        return own.image, ids, own.mask, own.relational, own.expression
