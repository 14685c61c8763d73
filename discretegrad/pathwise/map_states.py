"""Finite differences of most probable states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.frozen import frozen
from discretegrad.ops.gumbel import gumbel
from discretegrad.ops.noise import uniform
from discretegrad.ops.score import one_hot
from discretegrad.pathwise.base import Path


@frozen
class MapStates(Path):
    """Perturb and take the argmax; backward, take it again after a step against the gradient of f.

    The gradient is `(e_z - e_z') / step`, z the argmax of the perturbed logits, z' that of the perturbed logits less
    `step` times the gradient of f at z.
    """

    step: float

    def __post_init__(self) -> None:
        checks.positive(self.step, "step")

    def sample(self, logits: Tensor, num_samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """The noise is Gumbel's, so that the ids have the law of the logits."""
        perturbed = logits.detach() + gumbel(
            uniform((num_samples, *logits.shape), logits, generator, dtype=logits.dtype)
        )
        indices = perturbed.argmax(-1)
        # The surrogate averages over the points, so each sees 1 / S of the gradient of f at it.
        points = _MapStates.apply(logits.expand(perturbed.shape), perturbed, indices, self.step * num_samples)
        return points, indices


class _MapStates(torch.autograd.Function):
    """The one-hots of `indices`, with the finite difference as their gradient w.r.t. `logits`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, perturbed: Tensor, indices: Tensor, step: float) -> Tensor:
        return one_hot(indices, logits.shape[-1], logits.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, float], output: Tensor) -> None:
        logits, perturbed, indices, ctx.step = inputs
        ctx.save_for_backward(logits, perturbed, indices)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None, None]:
        logits, perturbed, indices = ctx.saved_tensors
        with torch.no_grad():
            target = (perturbed - ctx.step * grad_output.to(perturbed.dtype)).argmax(-1)
            categories, dtype = perturbed.shape[-1], perturbed.dtype
            difference = (one_hot(indices, categories, dtype) - one_hot(target, categories, dtype)) / ctx.step
        return _RefuseDoubleBackward.apply(difference, logits, grad_output), None, None, None


class _RefuseDoubleBackward(torch.autograd.Function):
    """Hand the difference on as a function of the logits and of the gradient of f, whose derivative is zero or none."""

    generate_vmap_rule = True

    @staticmethod
    def forward(difference: Tensor, logits: Tensor, grad_output: Tensor) -> Tensor:
        return difference.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> None:
        raise RuntimeError(
            "the gradient of IMLE cannot be differentiated again: it is a difference of two discrete states, whose "
            "derivative is zero almost everywhere; for small problems discretegrad.exact.expectation is differentiable "
            "as often as you like."
        )
