"""Relaxations by Gumbel noise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.frozen import frozen
from discretegrad.ops.dispatch import forced, forcing
from discretegrad.ops.gumbel import averaged_pull_back, gumbel, leading_to, wants_seed
from discretegrad.ops.noise import uniform
from discretegrad.ops.relaxation import soften
from discretegrad.ops.score import one_hot
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
        if not isinstance(self.temperature, Tensor):
            noise = _uniform(logits, indices, self.num_rao, generator, wants_seed(logits, self.temperature))
            return _AveragedOut.apply(logits, indices, noise, self.temperature), indices
        moves = noise_given(logits, indices, self.num_rao, generator)
        return straight_through(soften(logits + moves, self.temperature).mean(0), indices), indices


class _AveragedOut(torch.autograd.Function):
    """The one-hots of the ids, with the gradient of the mean over soft points; these are never made."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, indices: Tensor, noise: Tensor, temperature: float) -> Tensor:
        return one_hot(indices, logits.shape[-1], logits.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, float], output: Tensor) -> None:
        *tensors, ctx.temperature = inputs
        ctx.save_for_backward(*tensors)
        ctx.forced = forced()

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None, None]:
        logits, indices, noise = ctx.saved_tensors
        with forcing(ctx.forced):
            return averaged_pull_back(logits, indices, noise, grad_output, ctx.temperature), None, None, None


def noise_given(
    logits: Tensor, indices: Tensor, count: int, generator: torch.Generator | None, law: Tensor | None = None
) -> Tensor:
    """Gumbel noises `[count, S, *variables, C]` that lead from the logits to the ids, up to an offset of every row.

    With a `law`, category logits `[S, *variables, C]`, what leads from the logits to those, perturbed, given the ids.
    """
    return leading_to(indices, logits, _uniform(logits, indices, count, generator), law)


def _uniform(
    logits: Tensor, indices: Tensor, count: int, generator: torch.Generator | None, seeded: bool = False
) -> Tensor:
    return uniform((count, *indices.shape, logits.shape[-1]), logits, generator, seeded, logits.dtype)
