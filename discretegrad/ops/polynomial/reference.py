"""Readable reference of polynomials of the points. The derivation is in README.md beside this file.

Shapes: `*b` are the batch dimensions, D = V * C the one-hot entries of the event, R the rank.
"""

from __future__ import annotations

import torch
from torch import Tensor


def half_curvature(directions: Tensor, curvatures: Tensor, deviations: Tensor) -> Tensor:
    """`u . H u / 2`, with `H = sum_r s_r w_r w_r^T`.

    Args:
        directions: w, `[R, D]`.
        curvatures: s, `[*b, R]`.
        deviations: u, `[S, *b, D]`.

    Returns:
        `[S, *b]`.
    """
    return (curvatures * (deviations @ directions.T).square()).sum(-1) / 2


def curvature_product(directions: Tensor, curvatures: Tensor, deviations: Tensor) -> Tensor:
    """`H u`, `[S, *b, D]`; arguments as in `half_curvature`."""
    return (curvatures * (deviations @ directions.T)) @ directions


def mean_coefficients(directions: Tensor, curvatures: Tensor, probs: Tensor) -> Tensor:
    """The linear coefficients whose mean has the gradient of `E sum_r s_r / 2 (w_r . u)^2`.

    Args:
        directions: w, `[R, V, C]`.
        curvatures: s, `[*b, R]`.
        probs: `[*b, V, C]`.

    Returns:
        `[*b, V, C]`.
    """
    squares = (curvatures @ directions.square().flatten(1)).unflatten(-1, directions.shape[1:]) / 2
    means = torch.einsum("...vc,rvc->...vr", probs, directions)
    return squares - torch.einsum("...r,...vr,rvc->...vc", curvatures, means, directions)
