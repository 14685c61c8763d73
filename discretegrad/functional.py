"""The second phase as functions, for people with their own sampling loop; and points that carry the gradient.

`one_hot` takes the place of `torch.nn.functional.gumbel_softmax`. `draw` joins logits and ids of your own to what
learners take, `baseline.update(draw(logits, indices), values)`.

Each of the others takes the logits, the ids of the points that were drawn and the values of f there, and returns the
surrogate `[*batch]`: its value is the average of the values, its gradient w.r.t. the logits is the estimator's. The
points must have been drawn from the coupling that the estimator of the same name samples from; in coupled draws points
2k and 2k + 1 are a pair. `attach_gradient` is for gradients of your own.

Shapes: logits `[*variables, C]` (Bernoulli: `[*variables]`), or a distribution that has them, indices int64
`[S, *variables]`, values `[S, *batch]` where `*batch` begins `*variables`, mask boolean and broadcastable to
`*variables`; ids where it is False are never looked at, so padding may hold -100, say. Wrong ones raise a ValueError or
TypeError.

Values may be local to some of the event's dimensions too, `[S, *batch, T]` with one for each time step. Then so is the
surrogate, `[*batch, T]`: entry t is the average of the values at t, its gradient that of the variables of step t. Of
costs that depend on the variables of their own step alone the sum over t estimates E f, the total. Of returns-to-go the
sum has the gradient of E f, but not its value: a cost counts as often as there are steps up to it, and the estimate of
E f is the entry at the first step.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from discretegrad import checks
from discretegrad.autograd import attach_gradient
from discretegrad.control_variate import ControlVariate
from discretegrad.core import Estimator, Pathwise
from discretegrad.draw import Draw, given
from discretegrad.estimators import (
    ESTIMATORS,
    RLOO,
    VIMCO,
    DisARM,
    DisARMBound,
    DisARMIW,
    DisARMSB,
    DisARMTree,
    LocalExpectation,
    Reinforce,
    SumAndSample,
    UnorderedSet,
)
from discretegrad.latent import Latent
from discretegrad.ops.tree import TreeLike

__all__ = [
    "attach_gradient",
    "disarm",
    "disarm_bound",
    "disarm_iw",
    "disarm_sb",
    "disarm_tree",
    "draw",
    "local_expectation",
    "one_hot",
    "reinforce",
    "rloo",
    "sum_and_sample",
    "unordered_set",
    "vimco",
]


def draw(
    logits: Tensor | Distribution, indices: Tensor, latent: str = "categorical", mask: Tensor | None = None
) -> Draw:
    """A record of points of your own, as learners take it: to update a baseline, or for its loss.

    Args:
        logits: `[*variables, C]`, or `[*variables]` for Bernoulli latents; or a distribution that has them.
        indices: int64 `[S, *variables]`.
        latent: "categorical" or "bernoulli".
        mask: boolean, broadcastable to `*variables`.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits, baseline = torch.zeros(5, 4, requires_grad=True), dg.nn.RunningMean()
        >>> indices = torch.distributions.Categorical(logits=logits).sample((1,))
        >>> values = indices.double()
        >>> dg.functional.reinforce(logits, indices, values, baseline).sum().backward()
        >>> baseline.update(dg.functional.draw(logits, indices), values)
    """
    logits, kind = _checked(logits, indices, latent, mask)
    return given(logits, indices if mask is None else torch.where(mask, indices, 0), kind, mask)


PATHS = {name: kind for name, kind in ESTIMATORS.items() if isinstance(kind, type) and issubclass(kind, Pathwise)}
"""The methods that `one_hot` knows, by name."""

SETTINGS = {name: tuple(inspect.signature(kind).parameters) for name, kind in PATHS.items()}


def one_hot(
    logits: Tensor,
    method: str = "reinmax",
    tau: float | Tensor | None = None,
    hard: bool = True,
    dim: int = -1,
    generator: torch.Generator | None = None,
    mask: Tensor | None = None,
    num_samples: int | None = None,
    latent: str = "categorical",
    validate: bool | None = None,
    **settings: Any,
) -> Tensor:
    """Points that carry a biased gradient, to be put into any network: every estimator of the biased paths by its name.

    In the place of torch's function two words change:

        torch.nn.functional.gumbel_softmax(logits, tau=0.5, hard=True, dim=1)
        dg.functional.one_hot(logits, "reinmax", tau=0.5, dim=1)

    Args:
        logits: categories in dimension `dim`; Bernoulli logits have no such dimension.
        method: "straight_through", "gumbel_softmax", "gumbel_rao", "gapped_st", "reinmax", "reinmax_rao",
            "relaxed_reinmax", "imle" or "argmax_st".
        tau: the temperature, a number or a tensor that broadcasts to the logits without dimension `dim`; None for the
            method's own default. "imle" has none.
        hard: one-hots; False for the soft points of "gumbel_softmax", which alone has them.
        dim: of the categories.
        generator, mask, validate: as in `Estimator.sample`; the mask is broadcastable to the logits without `dim`.
        num_samples: None for one point, of the logits' shape; a number for so many in a new dimension in front, whose
            values of f are then averaged.
        latent: "categorical" or "bernoulli".
        settings: further arguments of the method's class, such as `num_rao` or `gap`.

    Returns:
        Of the logits' shape and dtype, with S in front where `num_samples` is given.

    Raises:
        TypeError, ValueError: for a method that is not known, or arguments that it does not have.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 4, 3, requires_grad=True)
        >>> points = dg.functional.one_hot(logits, "reinmax", dim=1)
        >>> points.sum(1)
        tensor([[1., 1., 1.],
                [1., 1., 1.]], grad_fn=<SumBackward1>)
        >>> points[:, 0].square().sum().backward()
    """
    if method not in PATHS:
        raise ValueError(f"method is one of {', '.join(map(repr, PATHS))}, not {method!r}.")
    if tau is not None:
        settings["temperature"] = tau
    if num_samples is not None:
        settings["num_samples"] = num_samples
    if method == "gumbel_softmax":
        settings["hard"] = hard
    elif not hard:
        raise ValueError(f"the points of {method!r} are one-hots; hard=False is for 'gumbel_softmax' only.")
    unknown = [name for name in settings if name not in SETTINGS[method]]
    if unknown:
        raise TypeError(f"{method!r} has no {', '.join(unknown)}; its settings are {', '.join(SETTINGS[method])}.")
    kind = checks.named_latent(latent)
    logits = checks.categories_last(logits, kind, dim)
    points = PATHS[method](latent=latent, **settings).sample(logits, generator, mask, validate).points
    if kind.rank:
        points = points.movedim(-1, dim % logits.ndim + 1)
    return points if num_samples is not None else points.squeeze(0)


def reinforce(
    logits: Tensor | Distribution,
    indices: Tensor,
    values: Tensor,
    baseline: ControlVariate | None = None,
    latent: str = "categorical",
    mask: Tensor | None = None,
) -> Tensor:
    """See `discretegrad.Reinforce`; the points are independent.

    With `discretegrad.BatchLeaveOneOut` it is leave-one-out over points that have logits of their own, as where those
    depend on the ids before (docs/guide/training.md, "Sequences").

    Example:
        >>> import torch
        >>> logits = torch.zeros(5, 4, requires_grad=True)
        >>> indices = torch.distributions.Categorical(logits=logits).sample((1,))
        >>> reinforce(logits, indices, values=indices.double()).sum().backward()
    """
    return _surrogate(Reinforce(_points(indices), baseline, latent), logits, indices, values, mask)


def rloo(
    logits: Tensor | Distribution,
    indices: Tensor,
    values: Tensor,
    latent: str = "categorical",
    mask: Tensor | None = None,
) -> Tensor:
    """See `discretegrad.RLOO`; the points are independent.

    Example:
        >>> import torch
        >>> logits = torch.zeros(5, 4, requires_grad=True)
        >>> indices = torch.distributions.Categorical(logits=logits).sample((2,))
        >>> rloo(logits, indices, values=indices.double()).sum().backward()
    """
    checks.several_points(_points(indices))
    return _surrogate(RLOO(_points(indices), latent), logits, indices, values, mask)


def disarm(logits: Tensor | Distribution, indices: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """See `discretegrad.DisARM`; the points are antithetic pairs of Bernoulli variables.

    Example:
        >>> import torch
        >>> logits = torch.zeros(5, requires_grad=True)
        >>> noise = torch.rand(5)
        >>> indices = torch.stack((noise, 1 - noise)).lt(logits.sigmoid()).long()
        >>> disarm(logits, indices, values=indices.double()).sum().backward()
    """
    return _surrogate(DisARM(_pairs(indices)), logits, indices, values, mask)


def disarm_iw(
    logits: Tensor | Distribution,
    indices: Tensor,
    values: Tensor,
    order: str | None = "ascending",
    mask: Tensor | None = None,
) -> Tensor:
    """See `discretegrad.DisARMIW`; the points are antithetic stick-breaking pairs.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(5, 4, requires_grad=True)
        >>> indices = dg.DisARMIW().sample(logits).indices
        >>> disarm_iw(logits, indices, values=indices.double()).sum().backward()
    """
    return _surrogate(DisARMIW(order, _pairs(indices)), logits, indices, values, mask)


def disarm_sb(
    logits: Tensor | Distribution, indices: Tensor, values: Tensor, order: str | None = None, mask: Tensor | None = None
) -> Tensor:
    """See `discretegrad.DisARMSB`; the points are antithetic stick-breaking pairs.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(5, 4, requires_grad=True)
        >>> indices = dg.DisARMSB().sample(logits).indices
        >>> disarm_sb(logits, indices, values=indices.double()).sum().backward()
    """
    return _surrogate(DisARMSB(_pairs(indices), order), logits, indices, values, mask)


def disarm_tree(
    logits: Tensor | Distribution,
    indices: Tensor,
    values: Tensor,
    tree: str | TreeLike = "balanced",
    order: str | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """See `discretegrad.DisARMTree`; the points are antithetic pairs on the tree.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(5, 4, requires_grad=True)
        >>> indices = dg.DisARMTree().sample(logits).indices
        >>> disarm_tree(logits, indices, values=indices.double()).sum().backward()
    """
    return _surrogate(DisARMTree(_pairs(indices), tree, order), logits, indices, values, mask)


def unordered_set(
    logits: Tensor | Distribution,
    indices: Tensor,
    values: Tensor,
    baseline: bool = True,
    event_dims: int = 1,
    latent: str = "categorical",
    mask: Tensor | None = None,
) -> Tensor:
    """See `discretegrad.UnorderedSet`; the points are a set of joint values that was drawn without replacement.

    The surrogate's value is the set's weighted average.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(5, 3, 4, requires_grad=True)
        >>> indices = dg.UnorderedSet(k=3).sample(logits).indices
        >>> unordered_set(logits, indices, values=indices.double().sum(-1)).sum().backward()
    """
    return _surrogate(UnorderedSet(_points(indices), baseline, event_dims, latent), logits, indices, values, mask)


def sum_and_sample(
    logits: Tensor | Distribution,
    indices: Tensor,
    values: Tensor,
    k: int = 1,
    baseline: ControlVariate | None = None,
    event_dims: int = 1,
    latent: str = "categorical",
    mask: Tensor | None = None,
) -> Tensor:
    """See `discretegrad.SumAndSample`; first the k most probable joint values, then independent ones of the rest.

    The surrogate's value is the same weighted sum.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(5, 3, 4, requires_grad=True)
        >>> indices = dg.SumAndSample(k=2, num_samples=1).sample(logits).indices
        >>> sum_and_sample(logits, indices, values=indices.double().sum(-1), k=2).sum().backward()
    """
    num_samples = _points(indices) - k
    if num_samples < 1:
        raise ValueError(
            f"sum_and_sample needs a point beside the k = {k} that are summed, but indices hold {num_samples + k}."
        )
    return _surrogate(SumAndSample(k, num_samples, baseline, event_dims, latent), logits, indices, values, mask)


def local_expectation(
    logits: Tensor | Distribution,
    indices: Tensor,
    values: Tensor,
    event_dims: int = 1,
    latent: str = "categorical",
    mask: Tensor | None = None,
) -> Tensor:
    """See `discretegrad.LocalExpectation`; a base, then for each chosen variable the base with its other categories.

    Those are in the order `base + 1, base + 2, ... (mod C)`; which variables were chosen is read off the ids. The
    surrogate's value is the mean of the local expectations.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(5, 3, 4, requires_grad=True)
        >>> indices = dg.LocalExpectation(num_variables=2).sample(logits).indices
        >>> local_expectation(logits, indices, values=indices.double().sum(-1)).sum().backward()
    """
    logits, kind = _checked(logits, indices, latent, mask)
    if mask is not None:  # alternatives of what is off have no weight, but tell what was chosen
        indices = torch.where(mask, indices, indices.clamp(0, logits.shape[-1] - 1 if kind.rank else 1))
    return LocalExpectation(None, event_dims, latent).surrogate(given(logits, indices, kind, mask), values)


def vimco(
    logits: Tensor | Distribution,
    indices: Tensor,
    values: Tensor,
    baseline: str | None = "geometric",
    latent: str = "categorical",
    mask: Tensor | None = None,
) -> Tensor:
    """See `discretegrad.VIMCO`; the points are independent, the values log-weights, the surrogate's value the bound.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(5, 3, 4, requires_grad=True)
        >>> indices = torch.distributions.Categorical(logits=logits).sample((4,))
        >>> log_weights = indices.double().sum(-1) - dg.objectives.log_prob(indices, logits)
        >>> vimco(logits, indices, log_weights).sum().backward()
    """
    return _surrogate(VIMCO(_points(indices), baseline, latent), logits, indices, values, mask)


def disarm_bound(
    logits: Tensor | Distribution,
    indices: Tensor,
    values: Tensor,
    tree: str | TreeLike = "balanced",
    order: str | None = None,
    latent: str = "categorical",
    mask: Tensor | None = None,
) -> Tensor:
    """See `discretegrad.DisARMBound`; antithetic pairs on the tree, log-weights; the value is the mean of two bounds.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(5, 3, 4, requires_grad=True)
        >>> indices = dg.DisARMBound(num_pairs=2).sample(logits).indices
        >>> log_weights = indices.double().sum(-1) - dg.objectives.log_prob(indices, logits)
        >>> disarm_bound(logits, indices, log_weights).sum().backward()
    """
    return _surrogate(DisARMBound(_pairs(indices), tree, order, latent), logits, indices, values, mask)


def _surrogate(
    estimator: Estimator, logits: Tensor | Distribution, indices: Tensor, values: Tensor, mask: Tensor | None
) -> Tensor:
    return estimator.surrogate(draw(logits, indices, estimator.latent, mask), values)


def _checked(logits: Tensor | Distribution, indices: Tensor, latent: str, mask: Tensor | None) -> tuple[Tensor, Latent]:
    kind = checks.named_latent(latent)
    logits = checks.logits_of(logits, kind)
    checks.logits(logits, kind, mask, validate=None)
    variables = logits.shape[: logits.ndim - kind.rank]
    checks.indices(indices, variables, logits.shape[-1] if kind.rank else 2, mask, validate=None)
    return logits, kind


def _points(indices: Tensor) -> int:
    if not isinstance(indices, Tensor) or indices.ndim == 0:
        raise TypeError("indices must be a tensor of category ids [S, *variables].")
    return indices.shape[0]


def _pairs(indices: Tensor) -> int:
    points = _points(indices)
    if points % 2:
        raise ValueError(f"coupled points come in pairs, 2k and 2k + 1, but indices hold {points} points.")
    return points // 2
