"""Whether queries and documents lie in one place or in two: what same-tower negatives change."""

from __future__ import annotations

import torch
from torch import Tensor

MEASURES = {
    "centroid_distance": "of unit vectors' means",
    "separability": "share of texts",
}


@torch.no_grad()
def alignment(queries: Tensor, documents: Tensor) -> dict[str, float]:
    """How far apart the means of both are, and how well a hyperplane tells one from the other.

    The hyperplane is that of least squares on every second text of either kind, as many of each; separability is the
    share of the others that lie on their own side of it: 0.5 where nothing tells them apart.

    Args:
        queries, documents: embeddings `[Q, D]` and `[N, D]`, 4 of each at least.

    Returns:
        `MEASURES`.
    """
    count = min(len(queries), len(documents))
    distance = float((queries.mean(0) - documents.mean(0)).norm())
    both = torch.cat([_spread(texts, count) for texts in (queries, documents)]).double()
    both = torch.cat((both, both.new_ones(len(both), 1)), 1)
    sides = torch.ones(2 * count, dtype=both.dtype, device=both.device)
    sides[count:] = -1
    learned = torch.arange(count, device=both.device).repeat(2) % 2 == 0
    x, y = both[learned], sides[learned]
    ridge = 1e-6 * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    plane = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
    right = (both[~learned] @ plane).sign() == sides[~learned]
    return {"centroid_distance": distance, "separability": float(right.double().mean())}


@torch.no_grad()
def similarity_ratios(queries: Tensor, documents: Tensor) -> Tensor:
    """cos(q_i, q_j) / cos(q_i, p_j) for every query q_i, where p_j is the nearest document but its own: `[N]`.

    Where both kinds lie in one place, a document and its query are equally far from others, and this is about 1.

    Args:
        queries, documents: embeddings `[N, D]`, row by row of one pair.
    """
    scores = (queries @ documents.T).fill_diagonal_(-torch.inf)
    nearest, place = scores.max(1)
    return (queries * queries[place]).sum(1) / nearest


def _spread(texts: Tensor, count: int) -> Tensor:
    return texts[torch.arange(count, device=texts.device) * len(texts) // count]
