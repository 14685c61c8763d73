"""Relaxations by Gumbel noise."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.frozen import frozen
from discretegrad.ops.gumbel import conditional_gumbel, gumbel
from discretegrad.ops.inverse_cdf import inverse_cdf
from discretegrad.ops.noise import uniform
from discretegrad.pathwise.base import straight_through


@frozen
class Gumbel:
    """Softmax of Gumbel-perturbed logits over a temperature; with `hard` its argmax, straight-through."""

    temperature: float
    hard: bool

    def __post_init__(self) -> None:
        checks.positive(self.temperature, "temperature")

    def sample(self, logits: Tensor, num_samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Perturb, soften, and round if asked to."""
        noise = gumbel(uniform((num_samples, *logits.shape), logits, generator, dtype=logits.dtype))
        soft = ((logits + noise) / self.temperature).softmax(-1)
        indices = soft.detach().argmax(-1)
        return (straight_through(soft, indices) if self.hard else soft), indices


@frozen
class ConditionalGumbel:
    """ST-Gumbel with its soft points averaged over `num_rao` Gumbel noises that all lead to the drawn ids."""

    num_rao: int
    temperature: float

    def __post_init__(self) -> None:
        checks.count(self.num_rao, "num_rao")
        checks.positive(self.temperature, "temperature")

    def sample(self, logits: Tensor, num_samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Draw ids, then the noises that could have drawn them."""
        with torch.no_grad():
            probs = logits.softmax(-1)
            indices = inverse_cdf(probs, uniform((num_samples, *probs.shape[:-1]), probs, generator))
            noise = uniform((self.num_rao, num_samples, *probs.shape), probs, generator, dtype=probs.dtype)
            perturbed = conditional_gumbel(logits.log_softmax(-1), indices, noise)
            moves = torch.where(perturbed > -torch.inf, perturbed - logits, 0.0)
        soft = ((logits + moves) / self.temperature).softmax(-1).mean(0)
        return straight_through(soft, indices), indices
