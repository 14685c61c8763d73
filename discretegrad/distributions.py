"""Distributions of `torch.distributions` that have an `rsample`, which goes by a path of this library.

They take the place of their namesakes wherever a distribution is asked for: in a model of your own, as TorchRL's
`distribution_class`, in Pyro with its `TorchDistributionMixin` as a second base. Estimators take them, and torch's own,
in the place of logits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints, register_kl

from discretegrad import checks, objectives
from discretegrad.core import Pathwise
from discretegrad.estimators.names import named
from discretegrad.latent import LATENTS

__all__ = ["Bernoulli", "OneHotCategorical"]


class _ByPath(torch.distributions.Distribution):
    """What both have: `rsample`, and closed forms with finite gradients."""

    latent: str
    has_rsample = True

    def __init__(
        self,
        probs: Any = None,
        logits: Any = None,
        path: str | Pathwise = "straight_through",
        validate_args: bool | None = None,
    ) -> None:
        self.path = _path(path, self.latent)
        super().__init__(probs, logits, validate_args=validate_args)
        if probs is not None:  # torch's logits would allow a little of what has no probability
            holder: Any = getattr(self, "_categorical", self)
            holder.logits = checks.logits_of_probs(holder.probs, LATENTS[self.latent])

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The shape grows as in `torch.distributions`; the path stays."""
        new = self._get_checked_instance(_ByPath, _instance)
        new.path = self.path
        return super().expand(batch_shape, new)

    def rsample(self: Any, sample_shape: Any = ()) -> Tensor:
        """Points `[*sample_shape, *batch_shape, *event_shape]` carry the path's gradient."""
        return self.path.sample(self.logits.expand(self._extended_shape(torch.Size(sample_shape)))).points[0]

    def log_prob(self: Any, value: Tensor) -> Tensor:
        """Log-probabilities, `[*sample_shape, *batch_shape]`, linear in the points, which get their gradient.

        Nothing has less than the lowest finite number.
        """
        if self._validate_args:
            self._validate_sample(value)
        return objectives.log_prob(value.to(self.logits.dtype), self.logits, 0, self.latent)

    def entropy(self: Any) -> Tensor:
        """The entropy is in nats, `[*batch_shape]`."""
        return objectives.entropy(self.logits, 0, self.latent)

    @property
    def deterministic_sample(self) -> Tensor:
        """The mode, by the name that TorchRL asks for."""
        return self.mode


class OneHotCategorical(_ByPath, torch.distributions.OneHotCategorical):
    """`torch.distributions.OneHotCategorical` whose `rsample` goes by any path, with KL and entropy in closed form.

    Args:
        probs: `[*batch, C]`, normalised here; 0 forbids a category.
        logits: `[*batch, C]`; -inf forbids a category. Give one of both.
        path: how points carry their gradient: a pathwise estimator of one sample, or its name.
        validate_args: as in `torch.distributions`.

    Raises:
        ValueError: for a path that carries no gradient.

    Departs from its namesake: a category of probability 0 cannot be drawn and has no gradient, however it was given;
    `log_prob` is linear in the points, so what a point passes through it is not lost.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(5, 3, 4, requires_grad=True)
        >>> q = dg.distributions.OneHotCategorical(logits=logits, path="reinmax")
        >>> prior = torch.distributions.OneHotCategorical(logits=torch.zeros(4))
        >>> points = q.rsample((2,))                              # [2, 5, 3, 4]
        >>> loss = points[..., 0].square().sum() + torch.distributions.kl_divergence(q, prior).sum()
        >>> loss.backward()
    """

    latent = "categorical"

    @property
    def support(self) -> constraints.Constraint:  # type: ignore[override]
        """The support has the one-hots, or is the simplex where the path relaxes them."""
        return constraints.one_hot if getattr(self.path.path, "hard", True) else constraints.simplex


class Bernoulli(_ByPath, torch.distributions.Bernoulli):
    """`torch.distributions.Bernoulli` whose `rsample` goes by any path, with KL and entropy in closed form.

    Args:
        probs: `[*batch]`, of 1.
        logits: `[*batch]`, log-odds of 1; may be infinite. Give one of both.
        path: how points carry their gradient: a pathwise estimator of Bernoulli latents and one sample, or a name.
        validate_args: as in `torch.distributions`.

    Raises:
        ValueError: for a path that carries no gradient.

    Departs from its namesake: of probability one half the mode is 0, not NaN.

    Example:
        >>> import torch, discretegrad as dg
        >>> q = dg.distributions.Bernoulli(logits=torch.zeros(5, 3, requires_grad=True), path="gumbel_softmax")
        >>> q.rsample((2,)).square().sum().backward()
    """

    latent = "bernoulli"

    @property
    def mode(self) -> Tensor:
        """The mode is the more probable of 0 and 1."""
        return (self.logits > 0).to(self.logits.dtype)

    @property
    def support(self) -> constraints.Constraint:  # type: ignore[override]
        """The support has 0 and 1, and what is between them where the path relaxes them."""
        return constraints.boolean if getattr(self.path.path, "hard", True) else constraints.unit_interval


def _path(path: str | Pathwise, latent: str) -> Pathwise:
    estimator = named(path, latent=latent) if isinstance(path, str) else named(path)
    name = type(estimator).__name__
    if not isinstance(estimator, Pathwise):
        raise ValueError(
            f"the points of {name} carry no gradient, which rsample is for; choose a path such as 'reinmax', or give "
            "the distribution to the estimator: estimator.sample(distribution)."
        )
    if estimator.latent != latent:
        raise ValueError(f"{name} is a path of {estimator.latent} latents here; make it with latent={latent!r}.")
    if estimator.num_samples != 1:
        raise ValueError(f"rsample says how many samples there are; make {name} with num_samples=1.")
    return estimator


def _kl(p: torch.distributions.Distribution, q: torch.distributions.Distribution) -> Tensor:
    latent = "bernoulli" if isinstance(p, torch.distributions.Bernoulli) else "categorical"
    of_p, of_q = (checks.logits_of(one, LATENTS[latent]) for one in (p, q))
    return objectives.kl(of_p, of_q, 0, latent)


for _ours, _theirs in (
    (OneHotCategorical, torch.distributions.OneHotCategorical),
    (Bernoulli, torch.distributions.Bernoulli),
):
    for _pair in ((_ours, _ours), (_ours, _theirs), (_theirs, _ours)):
        register_kl(*_pair)(_kl)
