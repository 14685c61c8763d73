"""The second phase as functions, for people with their own sampling loop.

Each takes the logits, the ids of the points that were drawn and the values of f there, and returns the surrogate
`[*batch]`: its value is the average of the values, its gradient w.r.t. the logits is the estimator's. The points
must have been drawn from the coupling that the estimator of the same name samples from; in coupled draws points
2k and 2k + 1 are a pair. `attach_gradient` is for gradients of your own.

Shapes: logits `[*variables, C]` (Bernoulli: `[*variables]`), indices int64 `[S, *variables]`, values `[S, *batch]`
where `*batch` begins `*variables`, mask boolean and broadcastable to `*variables`. Wrong ones raise a ValueError or
TypeError.
"""

from __future__ import annotations

from torch import Tensor

from discretegrad import checks
from discretegrad.autograd import attach_gradient
from discretegrad.control_variate import ControlVariate
from discretegrad.core import Estimator
from discretegrad.draw import Draw
from discretegrad.estimators import RLOO, DisARM, DisARMIW, DisARMSB, DisARMTree, Reinforce
from discretegrad.ops.tree import TreeLike

__all__ = ["attach_gradient", "disarm", "disarm_iw", "disarm_sb", "disarm_tree", "reinforce", "rloo"]


def reinforce(
    logits: Tensor,
    indices: Tensor,
    values: Tensor,
    baseline: ControlVariate | None = None,
    latent: str = "categorical",
    mask: Tensor | None = None,
) -> Tensor:
    """See `discretegrad.Reinforce`; the points are independent.

    Example:
        >>> import torch
        >>> logits = torch.zeros(5, 4, requires_grad=True)
        >>> indices = torch.distributions.Categorical(logits=logits).sample((1,))
        >>> reinforce(logits, indices, values=indices.double()).sum().backward()
    """
    return _surrogate(Reinforce(_points(indices), baseline, latent), logits, indices, values, mask)


def rloo(
    logits: Tensor, indices: Tensor, values: Tensor, latent: str = "categorical", mask: Tensor | None = None
) -> Tensor:
    """See `discretegrad.RLOO`; the points are independent.

    Example:
        >>> import torch
        >>> logits = torch.zeros(5, 4, requires_grad=True)
        >>> indices = torch.distributions.Categorical(logits=logits).sample((2,))
        >>> rloo(logits, indices, values=indices.double()).sum().backward()
    """
    return _surrogate(RLOO(_points(indices), latent), logits, indices, values, mask)


def disarm(logits: Tensor, indices: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
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
    logits: Tensor,
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
    logits: Tensor, indices: Tensor, values: Tensor, order: str | None = None, mask: Tensor | None = None
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
    logits: Tensor,
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


def _surrogate(estimator: Estimator, logits: Tensor, indices: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    latent = checks.named_latent(estimator.latent)
    checks.logits(logits, latent, mask, validate=None)
    draw = Draw(logits, indices, latent, mask)
    checks.indices(indices, draw.variables, draw.categories, validate=None)
    return estimator.surrogate(draw, values)


def _points(indices: Tensor) -> int:
    if not isinstance(indices, Tensor) or indices.ndim == 0:
        raise TypeError("indices must be a tensor of category ids [S, *variables].")
    return indices.shape[0]


def _pairs(indices: Tensor) -> int:
    points = _points(indices)
    if points % 2:
        raise ValueError(f"coupled points come in pairs, 2k and 2k + 1, but indices hold {points} points.")
    return points // 2
