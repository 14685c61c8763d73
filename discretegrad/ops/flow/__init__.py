"""Minimum-norm weights of exchangeable couplings, and the nearly distinct pair, whose weights are in closed form."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from discretegrad.ops import dispatch
from discretegrad.ops import score as score_ops
from discretegrad.ops.flow import native, reference
from discretegrad.ops.flow.reference import connected, potential, separable
from discretegrad.ops.layout import switch_off
from discretegrad.ops.native import differentiated


def sample_distinct(logits: Tensor, noise: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Any, bool]:
    """Draw nearly distinct pairs.

    Args:
        logits: `[*v, C]`.
        noise: uniform on [0, 1), `[2, P, *v]`.
        mask: `[*v]`, False where nothing is drawn, and ids are 0.

    Returns:
        int64 `[2P, *v]`; what `flow_of_distinct` may be given to spare it a search; and False where kernels that look
        met a row of no probabilities.
    """
    if has_kernels(logits):
        return native.sample_distinct(logits, noise, mask)
    law = reference.distinct(switch_off(logits, mask).softmax(-1))
    return reference.sample_distinct(law, noise), law, True


def flow_of_distinct(
    logits: Tensor,
    indices: Tensor,
    coefficients: Tensor,
    others: Tensor | None = None,
    kept: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The minimum-norm weights of nearly distinct pairs, summed, and a sum of one-hots beside it.

        sum_s coefficients_s rho_{z_s} (e_{z_s} - p) + sum_s others_s e_s

    Args:
        logits: `[*v, C]`.
        indices: int64 `[S, *v]`.
        coefficients: broadcastable to `indices`, summing to zero over S.
        others: of the coefficients' shape; None for zero.
        kept: what `sample_distinct` returned beside these points.
        mask: `[*v]`, False where ids are 0 and the result is.

    Returns:
        `[*v, C]`.
    """
    if has_kernels(logits) and not differentiated(logits, coefficients):
        kept = kept if isinstance(kept, Tensor) else None
        return native.flow_of_distinct(logits, indices, coefficients, others, kept, mask)
    law = kept if isinstance(kept, reference.Distinct) else reference.distinct(switch_off(logits, mask).softmax(-1))
    flow = separable(law.probs, law.rho, indices, coefficients)
    return flow if others is None else flow + score_ops.scatter(indices, others, logits.shape[-1])


def distinct_law(probs: Tensor) -> Tensor:
    """`r(i, j)` of nearly distinct pairs, `[*v, C, C]`: symmetric, both marginals p, from those."""
    return reference.distinct_law(reference.distinct(probs))


def has_kernels(logits: Tensor) -> bool:
    """Whether nearly distinct pairs are drawn by C kernels, which look at the logits."""
    return dispatch.implementation(logits) == "native"


__all__ = [
    "connected",
    "distinct_law",
    "flow_of_distinct",
    "has_kernels",
    "potential",
    "sample_distinct",
    "separable",
]
