"""Relaxations by Gumbel noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from discretegrad.coupling import uniform
from discretegrad.pathwise.base import straight_through


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
