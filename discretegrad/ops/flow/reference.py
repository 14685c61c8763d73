"""Readable reference of the minimum-norm weights. The derivation is in README.md beside this file."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from discretegrad.ops.inverse_cdf import inverse_cdf
from discretegrad.ops.score import interleave, scatter, score


def separable(probs: Tensor, rho: Tensor, indices: Tensor, coefficients: Tensor) -> Tensor:
    """`sum_s coefficients_s rho_{z_s} (e_{z_s} - p)`.

    Args:
        probs, rho: `[*v, C]`.
        indices: int64 `[S, *v]`.
        coefficients: broadcastable to `indices`, summing to zero over S.

    Returns:
        `[*v, C]`.
    """
    chosen = rho.expand(*indices.shape, rho.shape[-1]).gather(-1, indices.unsqueeze(-1)).squeeze(-1)
    return score(probs, indices, chosen * coefficients)


def potential(probs: Tensor, pair_law: Tensor, indices: Tensor, coefficients: Tensor) -> Tensor:
    """`sum_s coefficients_s phi_{z_s}`, the potentials from one symmetric solve a variable.

    Args:
        probs: `[*v, C]`.
        pair_law: `[*v, C, C]`, symmetric with both marginals `probs`.
        indices: int64 `[S, *v]`.
        coefficients: broadcastable to `indices`, summing to zero over S.

    Returns:
        `[*v, C]`.
    """
    dtype, coefficients = coefficients.dtype, coefficients.expand(indices.shape).double()
    ends = scatter(indices, coefficients, probs.shape[-1])
    p, law = probs.double(), pair_law.double()
    possible = p > 0
    scale = torch.where(possible, p, 1.0).rsqrt()
    laplacian = torch.diag_embed(law.sum(-1)) - law
    scaled = scale.unsqueeze(-1) * laplacian * scale.unsqueeze(-2)
    root = p.sqrt()
    matrix = scaled + root.unsqueeze(-1) * root.unsqueeze(-2) + torch.diag_embed((~possible).double())
    solution = scale * torch.linalg.solve(matrix, torch.where(possible, scale * ends, 0.0))
    return (p * (solution - (p * solution).sum(-1, keepdim=True))).to(dtype)


def connected(pair_law: Tensor) -> Tensor:
    """Whether the categories that can be drawn hang together by pairs that can be drawn, `[*v]`."""
    mass = pair_law.sum(-1)
    reach = (pair_law > 0) | torch.eye(mass.shape[-1], dtype=torch.bool, device=mass.device)
    for _ in range((mass.shape[-1] - 1).bit_length()):  # paths of 2, 4, 8, ... steps
        reach = (reach.float() @ reach.float()) > 0
    heaviest = mass.argmax(-1, keepdim=True)
    from_heaviest = reach.gather(-2, heaviest.unsqueeze(-1).expand(*heaviest.shape, mass.shape[-1])).squeeze(-2)
    return (from_heaviest | (mass == 0)).all(-1)


class Distinct(NamedTuple):
    """The law of the nearly distinct pair."""

    probs: Tensor
    """`[*v, C]`."""
    heaviest: Tensor
    """`[*v, C]`, True at the heaviest category m."""
    t: Tensor
    """`[*v, 1]`, 1 / A^2; 0 for the star."""
    b: Tensor
    """`[*v, C]`, A a; 0 at m, where it may be infinite."""
    left: Tensor
    """`[*v, 1]`, how probably the other point is m if one is not, times 1 - b t: 1 - sigma t, 1 for the star."""
    beside: Tensor
    """`[*v, 1]`, how probably both points are m."""
    rho: Tensor
    """`[*v, C]`."""


def distinct(probs: Tensor, iterations: int = 8) -> Distinct:
    """Solve for the law of the nearly distinct pair.

    Args:
        probs: `[*v, C]`.
        iterations: of Newton's method, kept in a bracket that is halved where a step leaves it.
    """
    top, at = probs.max(-1, keepdim=True)
    heaviest = torch.arange(probs.shape[-1], device=probs.device) == at
    others = torch.where(heaviest, 0.0, probs)
    # 1 - 2 p_m, with its digits where p_m is near a half.
    gap = others.sum(-1, keepdim=True) - top
    second = others.amax(-1, keepdim=True)
    second = torch.where(second > 0, second, 1.0)
    # Newton's method on v = 1 - sqrt(1 - 4 p_2 t) in [0, 1], in which the equation has no root's singularity.
    low, high = torch.zeros_like(top), torch.ones_like(top)
    v = low
    for _ in range(iterations):
        u, t = 1 - v, v * (2 - v) / (4 * second)
        root = (1 - 4 * others * t).clamp_min(0.0).sqrt()
        b = 2 * others / (1 + root)
        # u / root is at most 1, with equality at the second heaviest.
        slope = (b.square() * torch.where(root > 0, u / torch.where(root > 0, root, 1.0), 1.0)).sum(-1, keepdim=True)
        sigma = b.sum(-1, keepdim=True)
        # sigma - sigma^2 t - top, for b - p = b^2 t.
        excess = gap + t * (b.square().sum(-1, keepdim=True) - sigma.square())
        rise = (u * sigma.square() - slope * (1 - 2 * sigma * t)) / (2 * second)
        low, high = torch.where(excess > 0, v, low), torch.where(excess > 0, high, v)
        step = v + excess / torch.where(rise > 0, rise, torch.finfo(rise.dtype).tiny)
        v = torch.where((step >= low) & (step <= high), step, (low + high) / 2)
    t = torch.where(gap > 0, v * (2 - v) / (4 * second), 0.0)
    root = (1 - 4 * others * t).clamp_min(0.0).sqrt()
    b = 2 * others / (1 + root)
    sigma = b.sum(-1, keepdim=True)
    # 1 - sigma t, which is p_m / sigma where it is not the star's: nothing cancels.
    left = (top / torch.where(sigma > 0, sigma, top)).clamp_max(1.0)
    rho = torch.where(heaviest, sigma * t, (1 + root) / 2)
    return Distinct(probs, heaviest, t, b, left, (-gap).clamp_min(0.0), rho)


def sample_distinct(law: Distinct, noise: Tensor) -> Tensor:
    """Draw nearly distinct pairs.

    Args:
        law: of a pair.
        noise: uniform on [0, 1), `[2, P, *v]`.

    Returns:
        int64 categories `[2P, *v]`; points 2k and 2k + 1 are a pair.
    """
    first = inverse_cdf(law.probs, noise[0])
    is_first = torch.arange(law.probs.shape[-1], device=first.device) == first.unsqueeze(-1)
    first_is_heaviest = (is_first & law.heaviest).any(-1, keepdim=True)
    beside_heaviest = torch.where(law.heaviest, law.beside, law.b)
    beside_other = torch.where(law.heaviest, law.left, torch.where(is_first, 0.0, law.b * law.t))
    second = inverse_cdf(torch.where(first_is_heaviest, beside_heaviest, beside_other), noise[1])
    return interleave(first, second)


def distinct_law(law: Distinct) -> Tensor:
    """`r(i, j)`, `[*v, C, C]`."""
    b, heaviest = law.b, law.heaviest
    joint = b.unsqueeze(-1) * b.unsqueeze(-2) * law.t.unsqueeze(-1)
    with_heaviest = b * law.left
    joint = torch.where(heaviest.unsqueeze(-1), with_heaviest.unsqueeze(-2), joint)
    joint = torch.where(heaviest.unsqueeze(-2), with_heaviest.unsqueeze(-1), joint)
    both = torch.where(heaviest, law.beside, 0.0)
    eye = torch.eye(b.shape[-1], dtype=torch.bool, device=b.device)
    return torch.where(eye, both.unsqueeze(-1), joint)
