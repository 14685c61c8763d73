"""Objectives whose expectations the estimators differentiate: terms of the ELBO, multi-sample bounds.

An `Objective` is also a slot of a composition: it says what the values at the S points are joined to. All but one
estimate the mean of f.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.coupling import Coupling
from discretegrad.draw import category_logits
from discretegrad.weights import weigh


class Objective:
    """The mean of the values: what E f is estimated by."""

    def refuse(self, coupling: Coupling) -> None:
        """Raise a ValueError that names the legal neighbour where the coupling does not fit."""

    def combine(self, values: Tensor, value_weights: Tensor | None) -> Tensor:
        """`[*batch]`, the surrogate's value, from values `[S, *batch]` with their graph.

        Args:
            values: of f at the points.
            value_weights: the coupling's weights of the points, broadcastable, or None for 1 / S.
        """
        return values.mean(0) if value_weights is None else weigh(value_weights.to(values.dtype), values).sum(0)

    def signals(self, values: Tensor) -> Tensor:
        """`[S, *batch]`, what takes the place of the values in the gradient, which weighs them by 1 / S."""
        return values

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


MEAN = Objective()
"""The only one without parameters."""


def log_prob(
    points: Tensor, logits: Tensor, event_dims: int = 1, latent: str = "categorical", mask: Tensor | None = None
) -> Tensor:
    """`log q(points)`, summed over the event.

    In an ELBO pass the posterior's logits detached: the mean of `grad log q` over q is zero, so without it the
    gradient keeps its mean and loses noise.

    Args:
        points: `[S, *batch, *event, C]` one-hots, or `[S, *batch, *event]` in {0, 1}; relaxed ones interpolate.
        logits: broadcastable to the points without S.
        event_dims: how many dimensions of variables are summed.
        latent: "categorical" or "bernoulli".
        mask: as in `Estimator.sample`; a variable that is switched off counts nothing.

    Returns:
        `[S, *batch]`.

    Example:
        >>> import torch
        >>> log_prob(torch.eye(2).unsqueeze(1), torch.zeros(1, 2)).exp()
        tensor([0.5000, 0.5000])
    """
    kind = checks.named_latent(latent)
    log_probs = category_logits(logits, kind, mask).log_softmax(-1)
    if kind.rank == 0:
        points = torch.stack((1 - points, points), -1)
    # A forbidden category has log-probability -inf, which its zero in the one-hot must not turn into NaN; the
    # lowest finite number serves, and leaves relaxed points their gradient.
    terms = (points * log_probs.clamp_min(torch.finfo(log_probs.dtype).min)).sum(-1)
    if mask is not None:
        terms = torch.where(mask, terms, 0.0)
    return terms.flatten(terms.ndim - event_dims).sum(-1) if event_dims else terms


def multi_sample_bound(log_weights: Tensor) -> Tensor:
    """`log 1/K sum_k w_k`, a lower bound on log p(x) that tightens with K.

    Args:
        log_weights: `log p(x, z_k) - log q(z_k | x)`, `[K, *batch]`.

    Returns:
        `[*batch]`.

    Reference: Burda, Grosse, Salakhutdinov, "Importance weighted autoencoders", 2016, arXiv 1509.00519.

    Example:
        >>> import torch
        >>> multi_sample_bound(torch.full((8,), -3.0))
        tensor(-3.)
    """
    return log_weights.logsumexp(0) - math.log(log_weights.shape[0])
