"""Straight through with second-order accuracy."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.frozen import frozen
from discretegrad.ops.relaxation import soften
from discretegrad.ops.score import one_hot
from discretegrad.pathwise.base import DiscretePath, draw, straight_through
from discretegrad.pathwise.gumbel import Averaged, noise_given


@frozen
class Trapezoid(DiscretePath):
    """Backward `2 J((e_z + softmax(logits / temperature)) / 2) - J(p) / 2`, J(q) = diag q - q q^T.

    The trapezoidal rule between the gradients of f at the two ends of every jump, instead of Euler's at one.
    """

    temperature: float | Tensor

    def __post_init__(self) -> None:
        checks.temperature(self.temperature, learned=False)

    def carry(self, logits: Tensor, indices: Tensor) -> Tensor:
        """Zeros that have the Jacobian are added to the one-hots."""
        with torch.no_grad():
            hard = one_hot(indices, logits.shape[-1], logits.dtype)
            probs = logits.softmax(-1)
            halfway = (hard + soften(logits, self.temperature)) / 2
        zero = _zero(logits)
        return hard + (2 * _tangent(halfway, zero) - _tangent(probs, zero) / 2)


class ConditionalTrapezoid(Averaged):
    """Backward `2 mean_k J(s_k) / temperature - J(p) / 2`, s_k relaxed points of the law halfway between `e_z` and p.

    `Trapezoid`'s matrix at temperature 1 with Gumbel-Rao's in place of `J((e_z + p) / 2)`. `ops/relaxation/README.md`
    has what that means.
    """

    def sample(self, logits: Tensor, num_samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Ids are drawn from the logits, then the noises that would have drawn them halfway."""
        indices = draw(logits, num_samples, generator)
        with torch.no_grad():
            drawn = one_hot(indices, logits.shape[-1], torch.bool)
            log_probs = logits.log_softmax(-1)
            halfway = torch.where(drawn, log_probs.exp().log1p(), log_probs)  # log(e_z + p)
        moves = noise_given(logits, indices, self.num_rao, generator, halfway)
        soft = soften(logits + moves, self.temperature).mean(0)
        return straight_through(2 * soft - logits.softmax(-1) / 2, indices), indices


class RelaxedTrapezoid(Averaged):
    """Backward `(diag s + diag p - s p^T - p s^T) / 2`, s the mean of `num_rao` relaxed points that round to the id.

    With `s = e_z` it is `Trapezoid`'s matrix at temperature 1, which is linear in `e_z`. `ops/relaxation/README.md` has
    the derivation.
    """

    def sample(self, logits: Tensor, num_samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Ids are drawn, then the noises that could have drawn them."""
        with torch.no_grad():
            indices = draw(logits, num_samples, generator)
            hard = one_hot(indices, logits.shape[-1], logits.dtype)
            probs = logits.softmax(-1)
            moves = noise_given(logits, indices, self.num_rao, generator)
            soft = soften(logits + moves, self.temperature).mean(0)
        zero = _zero(logits)
        of_probs, of_soft = ((weights * zero).sum(-1, keepdim=True) for weights in (probs, soft))
        return hard + (probs * (zero - of_soft) + soft * (zero - of_probs)) / 2, indices


def _zero(logits: Tensor) -> Tensor:
    """Zeros with the derivative of the logits."""
    # A forbidden category has no probability, so no gradient either; its -inf must not meet a zero.
    free = torch.where(logits > -torch.inf, logits, 0.0)
    return free - free.detach()


def _tangent(probs: Tensor, change: Tensor) -> Tensor:
    """`J(probs) @ change`: how a softmax with these probabilities answers to a small change of its logits."""
    return probs * (change - (probs * change).sum(-1, keepdim=True))
