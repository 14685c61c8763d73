"""Paths: points that carry the gradient themselves, as relaxed one-hots or straight-through ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor

from discretegrad.ops.inverse_cdf import inverse_cdf
from discretegrad.ops.noise import uniform
from discretegrad.ops.score import one_hot


class Path(Protocol):
    """How points are made from logits and noise."""

    def sample(self, logits: Tensor, num_samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """From category logits `[*variables, C]`: one-hots that carry the gradient `[S, *variables, C]`, and ids."""
        ...


class DiscretePath(ABC):
    """A path whose only noise is a plain draw of the ids, so that the oracle can enumerate it."""

    def sample(self, logits: Tensor, num_samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Draw ids, then give their one-hots a gradient."""
        probs = logits.detach().softmax(-1)
        indices = inverse_cdf(probs, uniform((num_samples, *probs.shape[:-1]), probs, generator))
        return self.carry(logits, indices), indices

    @abstractmethod
    def carry(self, logits: Tensor, indices: Tensor) -> Tensor:
        """The one-hots `[S, *variables, C]` of the ids, with a gradient w.r.t. the logits `[*variables, C]`."""


def straight_through(soft: Tensor, indices: Tensor) -> Tensor:
    """The one-hots of `indices`, to the last bit, with the gradient of `soft`.

    Args:
        soft: `[*variables, C]` or `[S, *variables, C]`.
        indices: int64 `[S, *variables]`.
    """
    return one_hot(indices, soft.shape[-1], soft.dtype) + (soft - soft.detach())
