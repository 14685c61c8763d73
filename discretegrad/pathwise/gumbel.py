"""Relaxations by Gumbel noise."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.frozen import frozen
from discretegrad.ops.gumbel import conditional_gumbel, gumbel
from discretegrad.ops.noise import uniform
from discretegrad.ops.relaxation import soften
from discretegrad.pathwise.base import Path, draw, straight_through


@frozen
class Gumbel(Path):
    """Softmax of Gumbel-perturbed logits over a temperature; with `hard` its argmax, straight-through."""

    temperature: float | Tensor
    hard: bool

    def __post_init__(self) -> None:
        checks.temperature(self.temperature)

    def sample(self, logits: Tensor, num_samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """The logits are perturbed, softened, and rounded if asked to."""
        noise = gumbel(uniform((num_samples, *logits.shape), logits, generator, dtype=logits.dtype))
        perturbed = logits + noise
        indices = perturbed.detach().argmax(-1)
        soft = soften(perturbed, self.temperature)
        return (straight_through(soft, indices) if self.hard else soft), indices


@frozen
class Averaged(Path):
    """A path over soft points, averaged over `num_rao` Gumbel noises that all lead to the drawn ids."""

    num_rao: int
    temperature: float | Tensor

    learned = False
    """Whether the temperature may have a gradient."""

    def __post_init__(self) -> None:
        checks.count(self.num_rao, "num_rao")
        checks.temperature(self.temperature, self.learned)


class ConditionalGumbel(Averaged):
    """ST-Gumbel."""

    learned = True

    def sample(self, logits: Tensor, num_samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Ids are drawn, then the noises that could have drawn them."""
        indices = draw(logits, num_samples, generator)
        moves = noise_given(logits, indices, self.num_rao, generator)
        return straight_through(soften(logits + moves, self.temperature).mean(0), indices), indices


@torch.no_grad()
def noise_given(
    logits: Tensor, indices: Tensor, count: int, generator: torch.Generator | None, law: Tensor | None = None
) -> Tensor:
    """Gumbel noises `[count, S, *variables, C]` that lead from the logits to the ids, up to an offset of every row.

    With a `law`, category logits `[S, *variables, C]`, what leads from the logits to those, perturbed, given the ids.
    """
    law = logits if law is None else law
    noise = uniform((count, *indices.shape, logits.shape[-1]), logits, generator, dtype=logits.dtype)
    perturbed = conditional_gumbel(law.log_softmax(-1), indices, noise)
    return torch.where(perturbed > -torch.inf, perturbed - logits, 0.0)
