"""The oracle: E f, its gradient, and the exact mean and covariance of estimators, by enumeration.

For small problems without batch dimensions: logits `[*event, C]` (Bernoulli `[*event]`), f from points
`[N, *event, C]` to values `[N]`. `expectation` and `gradient` share no code with the estimators that they judge.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.control_variate import ControlVariate
from discretegrad.core import Composition, Estimator, Pathwise
from discretegrad.coupling import Coupling, Drawn, Independent, Law
from discretegrad.draw import Draw, category_logits, category_logits_below_zero
from discretegrad.latent import Latent
from discretegrad.ops.score import one_hot
from discretegrad.pathwise import DiscretePath, OnPath

LIMIT = 2**24
"""The most joint outcomes that are enumerated."""


class Moments(NamedTuple):
    """The exact law of an estimator's gradient, up to its second moments."""

    mean: Tensor
    """Of the logits' shape."""
    covariance: Tensor
    """`[D, D]` over the D flattened entries of the logits."""

    @property
    def total_variance(self) -> Tensor:
        """The trace of the covariance."""
        return self.covariance.trace()


def expectation(f: Callable[[Tensor], Tensor], logits: Tensor, latent: str = "categorical") -> Tensor:
    """`sum_z q(z) f(z)`, differentiable as often as f is.

    Example:
        >>> import torch
        >>> expectation(lambda points: points[..., 0].sum(-1), torch.zeros(3, 4))
        tensor(0.7500)
    """
    kind = checks.named_latent(latent)
    values = f(_all_points(logits, kind))
    probs = _joint_probs(kind.category_logits(logits))
    # What f does on forbidden values, perhaps NaN, is nobody's concern.
    return (probs * torch.where(probs > 0, values, 0.0)).sum()


def gradient(f: Callable[[Tensor], Tensor], logits: Tensor, latent: str = "categorical") -> Tensor:
    """The gradient of `expectation` w.r.t. the logits, of their shape."""
    logits = logits.detach().requires_grad_()
    return torch.autograd.grad(expectation(f, logits, latent), logits)[0]


def moments(estimator: Estimator, f: Callable[[Tensor], Tensor], logits: Tensor, chunk: int = 2**16) -> Moments:
    """Mean and covariance of an estimator's gradient, over the joint law of its points.

    Every outcome goes through `estimator.surrogate` and autograd, as in use.

    Args:
        estimator: any `Composition` of finitely many points, or a straight-through one whose ids are all its noise.
        f: from points `[N, *event, C]` to values `[N]`.
        logits: `[*event, C]`, best in float64.
        chunk: how many outcomes are evaluated at once.

    Raises:
        ValueError: where the points are not drawn from finitely many.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.tensor([[0.5, -1.0, 0.0]], dtype=torch.float64)
        >>> f = lambda points: (points[:, 0] * torch.tensor([1.0, 2.0, 4.0])).sum(-1)
        >>> rloo, tree = (moments(e, f, logits) for e in (dg.RLOO(), dg.DisARMTree()))
        >>> torch.testing.assert_close(rloo.mean, tree.mean)
        >>> bool(tree.total_variance < rloo.total_variance)
        True
    """
    logits = logits.detach()
    kind = checks.named_latent(estimator.latent)
    coupling, law = _law(estimator, kind.category_logits(logits))
    if law is None:
        leaf = logits.clone().requires_grad_()
        mean = torch.autograd.grad(estimator(f, leaf), leaf)[0]
        return Moments(mean, mean.new_zeros(mean.numel(), mean.numel()))

    event = kind.category_logits(logits).shape[:-1]
    joint = law.outcomes.ndim > 2
    count = 1 if joint else math.prod(event)
    outcomes = law.outcomes.shape[0]
    checks.enumerable(outcomes, count, LIMIT)
    by_variable = law.probabilities.reshape(count, outcomes)
    variable = torch.arange(count, device=logits.device)
    place = outcomes**variable
    # Shifting by the truth keeps the digits of a small variance beside a large mean.
    shift = gradient(f, logits, estimator.latent).flatten()
    first, second = torch.zeros_like(shift), shift.new_zeros(shift.numel(), shift.numel())
    for start in range(0, outcomes**count, chunk):
        number = torch.arange(start, min(start + chunk, outcomes**count), device=logits.device).unsqueeze(-1)
        digits = number // place % outcomes  # [N, V]: which outcome each variable has; [N, 1] where they are joint
        probability = by_variable[variable, digits].prod(-1)
        possible = probability > 0
        if not possible.any():
            continue
        digits, probability = digits[possible], probability[possible]
        leaf = logits.expand(digits.shape[0], *logits.shape).clone().requires_grad_()
        chosen = digits.squeeze(-1) if joint else digits.reshape(-1, *event)
        draw = _draw(estimator, leaf, law.drawn(coupling, category_logits(leaf.detach(), kind, None), chosen), kind)
        values = torch.stack([f(points) for points in draw.points])
        surrogate = estimator.surrogate(draw, values)
        (each,) = torch.autograd.grad(surrogate.sum(), leaf)
        deviation = each.flatten(1) - shift
        first += probability @ deviation
        second += deviation.T @ (probability.unsqueeze(-1) * deviation)
    return Moments((shift + first).reshape(logits.shape), second - torch.outer(first, first))


def _law(estimator: Estimator, category_logits: Tensor) -> tuple[Coupling, Law | None]:
    if isinstance(estimator, Composition) and not _noisy(estimator.control_variate):
        coupling: Coupling = estimator.coupling
    elif isinstance(estimator, Pathwise) and isinstance(estimator.path, DiscretePath):
        coupling, category_logits = Independent(estimator.num_samples), estimator.path.law(category_logits)
    else:
        raise ValueError(
            f"the points of {type(estimator).__name__} are continuous, so its moments cannot be enumerated; estimate "
            "them from many draws."
        )
    return coupling, coupling.law(category_logits)


def _noisy(control_variate: ControlVariate | None) -> bool:
    return control_variate is not None and control_variate.noisy


def _draw(estimator: Estimator, logits: Tensor, drawn: Drawn, latent: Latent) -> Draw:
    if isinstance(estimator, Composition):
        return estimator.complete(Draw(logits, drawn, latent))
    assert isinstance(estimator, Pathwise) and isinstance(estimator.path, DiscretePath)
    relaxed = estimator.path.carry(category_logits_below_zero(logits, latent, None), drawn.indices)
    return Draw(logits, OnPath(drawn.indices, drawn.logits, None, relaxed), latent)


def _all_points(logits: Tensor, latent: Latent) -> Tensor:
    shape = latent.category_logits(logits).shape
    checks.enumerable(shape[-1], math.prod(shape[:-1]), LIMIT)
    ids = torch.tensor(list(itertools.product(range(shape[-1]), repeat=math.prod(shape[:-1]))), device=logits.device)
    one_hots = one_hot(ids.reshape(-1, *shape[:-1]), shape[-1], logits.dtype)
    return latent.points(one_hots)


def _joint_probs(category_logits: Tensor) -> Tensor:
    joint = category_logits.new_ones(1)
    for probs in category_logits.softmax(-1).reshape(-1, category_logits.shape[-1]):
        joint = (joint.unsqueeze(-1) * probs).flatten()
    return joint
