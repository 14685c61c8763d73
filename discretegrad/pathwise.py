"""Paths: points that carry the gradient themselves, as relaxed one-hots or straight-through ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from discretegrad.coupling import uniform
from discretegrad.latent import one_hot
from discretegrad.ops.inverse_cdf import inverse_cdf


class Path(Protocol):
    """How points are made from logits and noise."""

    def sample(self, logits: Tensor, num_samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """From category logits `[*variables, C]`: one-hots that carry the gradient `[S, *variables, C]`, and ids."""
        ...


@dataclass(frozen=True)
class Softmax:
    """Forward the drawn one-hot, backward the softmax of the logits (straight-through)."""

    def sample(self, logits: Tensor, num_samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Draw ids, then dress the softmax up as their one-hots."""
        probs = logits.softmax(-1)
        indices = inverse_cdf(probs.detach(), uniform((num_samples, *probs.shape[:-1]), probs, generator))
        return straight_through(probs, indices), indices


@dataclass(frozen=True)
class Gumbel:
    """Softmax of Gumbel-perturbed logits over a temperature; with `hard` its argmax, straight-through."""

    temperature: float
    hard: bool

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, not {self.temperature!r}.")

    def sample(self, logits: Tensor, num_samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Perturb, soften, and round if asked to."""
        noise = uniform((num_samples, *logits.shape), logits, generator)
        gumbel = -(-noise.clamp_min(torch.finfo(noise.dtype).tiny).log()).log()
        soft = ((logits + gumbel) / self.temperature).softmax(-1)
        indices = soft.detach().argmax(-1)
        return (straight_through(soft, indices) if self.hard else soft), indices


def straight_through(soft: Tensor, indices: Tensor) -> Tensor:
    """The one-hots of `indices`, to the last bit, with the gradient of `soft`.

    Args:
        soft: `[*variables, C]` or `[S, *variables, C]`.
        indices: int64 `[S, *variables]`.
    """
    return one_hot(indices, soft.shape[-1], soft.dtype) + (soft - soft.detach())
