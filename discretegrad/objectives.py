"""Objectives whose expectations the estimators differentiate: terms of the ELBO, multi-sample bounds.

`log_prob`, `entropy` and `kl` of the law that logits stand for, and `unimix`, which mixes it with the uniform one;
`contrastive` for a loss that a batch of codes shares.

An `Objective` is also a slot of a composition: it says what the values at the S points are joined to. Nearly all
estimators have `MEAN`, whose expectation is E f; those of the multi-sample bound differentiate E of the bound.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.control_variate import ControlVariate
from discretegrad.coupling import Coupling, Independent, Tree
from discretegrad.draw import category_logits
from discretegrad.frozen import frozen
from discretegrad.in_batch import Contrastive as Contrastive
from discretegrad.in_batch import contrastive as contrastive
from discretegrad.latent import Latent
from discretegrad.ops import bound as bound_ops
from discretegrad.weights import AnyWeights, RaoBlackwell, weigh


@frozen
class Objective:
    """The mean of the values: what E f is estimated by."""

    def refuse(self, coupling: Coupling, weights: AnyWeights, control_variate: ControlVariate | None) -> None:
        """Raise a ValueError that names the legal neighbour where the other slots do not fit."""

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


MEAN = Objective()
"""What all estimators of E f have."""


@frozen
class MultiSampleBound(Objective):
    """`log mean_k exp(value_k)` over K independent points, and a signal of its own for each of them.

    The signal of point k is the bound less what it would be without k: `exp(value_k)` replaced by the geometric or
    the arithmetic mean of the other K - 1, or the bound itself.

    Args:
        baseline: "geometric", "arithmetic" or None.

    Source: Mnih, Rezende, "Variational inference for Monte Carlo objectives", 2016, arXiv 1602.06725.
    """

    baseline: str | None = "geometric"

    def __post_init__(self) -> None:
        if self.baseline not in (None, "geometric", "arithmetic"):
            raise ValueError(f"baseline is 'geometric', 'arithmetic' or None, not {self.baseline!r}.")

    def refuse(self, coupling: Coupling, weights: AnyWeights, control_variate: ControlVariate | None) -> None:
        """The bound takes independent points, two for a baseline, and nothing that is subtracted besides."""
        if not isinstance(coupling, Independent):
            raise ValueError(
                f"the bound's baselines need independent points, which those of {type(coupling).__name__} are not; "
                "use coupling=Independent(), or objective=AntitheticBound() for the pairs of a tree."
            )
        if self.baseline is not None and coupling.num_samples < 2:
            raise ValueError("the bound's baselines are made of the other points: num_samples must be at least 2.")
        _refuse_control_variate(control_variate)

    def combine(self, values: Tensor, value_weights: Tensor | None) -> Tensor:
        return multi_sample_bound(values)

    def signals(self, values: Tensor) -> Tensor:
        """The signals are S times those of the points, for the weights divide by S."""
        return values.shape[0] * bound_ops.signals(values, self.baseline)


@frozen
class AntitheticBound(Objective):
    """`log mean_k exp(value_k)` over K points, at two antithetic configurations: K pairs, one point of each.

    The value is the mean of the bounds of the first points and of the second points. Point by point the pair is
    weighed by the difference that it makes to the bound while all other points stay, in either configuration.

    Source: Dong, Mnih, Tucker, "DisARM: an antithetic gradient estimator for binary latent variables", 2020, arXiv
    2006.10680. Departs from the paper: any tree; always both configurations of the others.
    """

    def refuse(self, coupling: Coupling, weights: AnyWeights, control_variate: ControlVariate | None) -> None:
        """The bound takes pairs of a tree, without cross terms, and nothing that is subtracted besides."""
        if not isinstance(coupling, Tree) or weights != RaoBlackwell(alpha=1.0):
            raise ValueError(
                "AntitheticBound weighs every pair of a tree by itself; use coupling=Tree(num_pairs=K) and "
                "weights=RaoBlackwell(alpha=1.0), or objective=MultiSampleBound() for independent points."
            )
        _refuse_control_variate(control_variate)

    def combine(self, values: Tensor, value_weights: Tensor | None) -> Tensor:
        """The objective is the mean of the two bounds."""
        return (multi_sample_bound(values[0::2]) + multi_sample_bound(values[1::2])) / 2

    def signals(self, values: Tensor) -> Tensor:
        """The signals are P times those of the points, for the weights divide by P."""
        return values.shape[0] / 2 * bound_ops.pair_signals(values)


def _refuse_control_variate(control_variate: ControlVariate | None) -> None:
    if control_variate is not None:
        raise ValueError(
            "a multi-sample bound is no mean of values, and control variates of those would bias it; use "
            "control_variate=None, the bound has baselines of its own."
        )


def log_prob(
    points: Tensor, logits: Tensor, event_dims: int = 1, latent: str = "categorical", mask: Tensor | None = None
) -> Tensor:
    """`log q(points)`, summed over the event.

    In an ELBO pass the posterior's logits detached: the mean of `grad log q` over q is zero, so without it the
    gradient keeps its mean and loses noise. In a multi-sample bound pass them as they are: its weights depend on
    the points, and the mean of the weighted `grad log q` is not zero.

    Args:
        points: floating-point one-hots `[S, *batch, *event, C]`, or `[S, *batch, *event]` in {0, 1}; relaxed ones
            interpolate. Or ids, int64 `[S, *batch, *event]`: the same numbers and gradients, without anything of the
            one-hots' size.
        logits: broadcastable to the points without S.
        event_dims: how many dimensions of variables are summed.
        latent: "categorical" or "bernoulli".
        mask: as in `Estimator.sample`; a variable that is switched off counts nothing, whatever its id.

    Returns:
        `[S, *batch]`. At a forbidden category no variable has less than the lowest finite number.

    Raises:
        TypeError, ValueError: for ids that do not belong to the logits.

    Example:
        >>> import torch
        >>> log_prob(torch.eye(2).unsqueeze(1), torch.zeros(1, 2)).exp()
        tensor([0.5000, 0.5000])
        >>> log_prob(torch.tensor([[0], [1]]), torch.zeros(1, 2)).exp()
        tensor([0.5000, 0.5000])
    """
    kind = checks.named_latent(latent)
    log_probs = category_logits(logits, kind, mask).log_softmax(-1)
    lowest = torch.finfo(log_probs.dtype).min
    if points.is_floating_point():
        if kind.rank == 0:
            points = torch.stack((1 - points, points), -1)
        # A forbidden category has log-probability -inf, which its zero in the one-hot must not turn into NaN; the
        # lowest finite number serves, and leaves relaxed points their gradient.
        terms = (points * log_probs.clamp_min(lowest)).sum(-1)
    else:
        terms = _chosen(log_probs, points, mask).clamp_min(lowest)
    return _over_event(terms, event_dims, mask)


def entropy(logits: Tensor, event_dims: int = 1, latent: str = "categorical", mask: Tensor | None = None) -> Tensor:
    """`-sum_c p_c log p_c`, in nats, summed over the event, in closed form.

    A forbidden category (-inf, or the lowest number of the logits' dtype) counts nothing, in the value and in the
    gradient.

    Args:
        logits: `[*batch, *event, C]`, or Bernoulli `[*batch, *event]`.
        event_dims: how many dimensions of variables are summed.
        latent: "categorical" or "bernoulli".
        mask: as in `Estimator.sample`; a variable that is switched off counts nothing.

    Returns:
        `[*batch]`, in at least float32.

    Raises:
        TypeError, ValueError: for logits, a mask or a number of dimensions that cannot be meant.

    Example:
        >>> import torch
        >>> entropy(torch.zeros(3, 4)).exp()
        tensor(64.)
    """
    return -_mean_log_ratio(logits, None, event_dims, latent, mask, "entropy")


def kl(
    logits: Tensor,
    prior: Tensor | None = None,
    event_dims: int = 1,
    latent: str = "categorical",
    mask: Tensor | None = None,
) -> Tensor:
    """`sum_c q_c (log q_c - log prior_c)`, in nats, summed over the event, in closed form.

    What q forbids (-inf, or the lowest number of the logits' dtype) counts nothing, in the value and in the gradient.
    Where the prior forbids what q allows, the divergence is +inf, and its gradient NaN.

    Args:
        logits: of q, `[*batch, *event, C]`, or Bernoulli `[*batch, *event]`.
        prior: logits that broadcast to those of q, and get their gradient too; None for uniform.
        event_dims: how many dimensions of variables are summed.
        latent: "categorical" or "bernoulli", of both.
        mask: as in `Estimator.sample`; a variable that is switched off counts nothing.

    Returns:
        `[*batch]`, in at least float32.

    Raises:
        TypeError, ValueError: for logits, a mask or a number of dimensions that cannot be meant.

    Example:
        >>> import torch
        >>> kl(torch.tensor([[0.0, 0.0, -torch.inf, -torch.inf]])).exp()
        tensor(2.)
    """
    if prior is None:
        prior = torch.zeros_like(logits)
    return _mean_log_ratio(logits, prior, event_dims, latent, mask, "kl")


def unimix(logits: Tensor, share: float = 0.01, latent: str = "categorical") -> Tensor:
    """The logits of `(1 - share) p + share * uniform`, normalised: every category that is not forbidden keeps a chance.

    The uniform part is over the categories that are not forbidden (-inf, or the lowest number of the logits' dtype);
    those stay forbidden, with gradient 0. Give the result to everything that is to see the mixture: the estimator,
    `log_prob`, `entropy`, `kl`.

    Args:
        logits: `[*variables, C]`, or Bernoulli `[*variables]`.
        share: of the uniform part, in [0, 1).
        latent: "categorical" or "bernoulli".

    Returns:
        Of the logits' shape and dtype: log-probabilities, or for a Bernoulli variable the difference of its two.

    Raises:
        TypeError, ValueError: for logits that cannot be meant, or what is no share.

    Source: Hafner, Pasukonis, Ba, Lillicrap, "Mastering diverse domains through world models", 2023, arXiv 2301.04104.

    Example:
        >>> import torch
        >>> unimix(torch.tensor([0.0, -1000.0, -torch.inf]), share=0.1).exp()
        tensor([0.9500, 0.0500, 0.0000])
    """
    kind = checks.named_latent(latent)
    checks.form_of_logits(logits, kind, None)
    checks.share_of_uniform(share)
    log_probs, forbidden = _log_probs(logits, kind, None)
    if share:
        uniform = math.log(share) - (~forbidden).sum(-1, keepdim=True).to(log_probs.dtype).log()
        log_probs = torch.logaddexp(log_probs + math.log1p(-share), uniform).masked_fill(forbidden, -torch.inf)
    if kind.rank == 0:
        log_probs = log_probs[..., 1] - log_probs[..., 0]
    return log_probs.to(logits.dtype)


def _mean_log_ratio(
    logits: Tensor, prior: Tensor | None, event_dims: int, latent: str, mask: Tensor | None, name: str
) -> Tensor:
    """`sum_c q_c (log q_c - log prior_c)` over the event; without a prior `sum_c q_c log q_c`."""
    kind = checks.named_latent(latent)
    checks.form_of_logits(logits, kind, mask)
    checks.event_dims(event_dims)
    checks.has_event_dims(logits.shape[: logits.ndim - kind.rank], event_dims, name)
    log_probs, _ = _log_probs(logits, kind, mask)
    probs = log_probs.exp()
    possible = probs > 0  # where it is not, infinities must not meet zeros, nor their gradients
    ratios = torch.where(possible, log_probs, 0.0)
    if prior is not None:
        checks.prior(prior, logits)
        prior = prior if mask is None else prior.expand_as(logits)
        ratios = ratios - torch.where(possible, _log_probs(prior, kind, mask)[0], 0.0)
    return _over_event((probs * ratios).sum(-1), event_dims, mask)


def _log_probs(logits: Tensor, latent: Latent, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """`[*variables, C]`, -inf where a category is forbidden, and where that is.

    The lowest number of a dtype forbids as -inf does, except where a variable has nothing higher.
    """
    categories = category_logits(logits, latent, mask)
    forbidden = (categories <= torch.finfo(logits.dtype).min) & (categories < categories.amax(-1, keepdim=True))
    return categories.masked_fill(forbidden, -torch.inf).log_softmax(-1), forbidden


def _over_event(terms: Tensor, event_dims: int, mask: Tensor | None) -> Tensor:
    if mask is not None:
        terms = torch.where(mask, terms, 0.0)
    return terms.flatten(terms.ndim - event_dims).sum(-1) if event_dims else terms


def _chosen(log_probs: Tensor, ids: Tensor, mask: Tensor | None) -> Tensor:
    """The entries at the ids, of their shape, from `[*variables, C]` that broadcast to them.

    Dimensions that the table has not are moved behind those that it has. Then the table is never expanded, nor is its
    gradient. What is added to an entry of it is added in order on the CPU, and on CUDA under
    `torch.use_deterministic_algorithms(True)`.
    """
    variables, categories = log_probs.shape[:-1], log_probs.shape[-1]
    checks.ids_of_logits(ids, variables)
    checks.ids_in_range(ids, categories, mask)
    if mask is not None:
        ids = torch.where(mask, ids, 0)
    sizes = (1,) * (ids.ndim - len(variables)) + tuple(variables)
    shared = [dim for dim, size in enumerate(sizes) if size == 1]
    own = [dim for dim, size in enumerate(sizes) if size != 1]
    moved = ids.permute(own + shared)
    rows = [sizes[dim] for dim in own]
    index = moved.reshape(*rows, math.prod(moved.shape[len(own) :]))
    found = log_probs.reshape(*rows, categories).gather(-1, index).reshape(moved.shape)
    back = sorted(range(ids.ndim), key=(own + shared).__getitem__)
    return found.permute(back)


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
