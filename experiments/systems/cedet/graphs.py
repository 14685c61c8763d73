"""The graph of an image's proposals: which of them look at each other, by where they lie."""

from __future__ import annotations

import torch
from torch import Tensor, nn

GRAPHS = ("none", "nearest", "all", "learned")
FEATURES = 9
"""Numbers by which two boxes are compared."""


def geometry(boxes: Tensor) -> Tensor:
    """How boxes `[B, N, 5]` lie to each other, `[B, N, N, 9]`; the second one as it is seen from the first.

    The distance over their sizes and its logarithm; how much they are turned, and in which direction the second one
    lies, by the cosine and sine of four times the angle, for a rectangle is the same after a quarter turn; the ratio of
    the sizes, and how long both are.
    """
    size = (boxes[..., 2] * boxes[..., 3]).clamp(min=1e-6).sqrt()
    away = boxes[:, None, :, :2] - boxes[:, :, None, :2]
    distance = away.norm(dim=-1) / (size.unsqueeze(1) + size.unsqueeze(2))
    turned = 4 * (boxes[:, None, :, 4] - boxes[:, :, None, 4])
    # Of a box and itself there is no direction.
    towards = 4 * (torch.atan2(away[..., 1], away[..., 0] + 1e-6) - boxes[:, :, None, 4])
    ratio = (size.unsqueeze(1) / size.unsqueeze(2)).log()
    long = (boxes[..., 2] / boxes[..., 3]).clamp(min=1e-6).log().abs()
    own, other = torch.broadcast_tensors(long.unsqueeze(2), long.unsqueeze(1))
    found = (distance, distance.log1p(), turned.cos(), turned.sin(), towards.cos(), towards.sin(), ratio, own, other)
    return torch.stack(found, -1)


def pairs(count: int, device: torch.device) -> Tensor:
    """The two ends of each of the V = N (N - 1) / 2 edges among N proposals, `[2, V]`."""
    return torch.triu_indices(count, count, 1, device=device)


def adjacency(edges: Tensor, count: int) -> Tensor:
    """Edges `[*, V]` as a symmetric matrix `[*, N, N]`, with zeros on its diagonal."""
    first, second = pairs(count, edges.device)
    found = edges.new_zeros(*edges.shape[:-1], count, count)
    place = (first * count + second).expand_as(edges)
    found = found.flatten(-2).scatter(-1, place, edges).unflatten(-1, (count, count))
    return found + found.mT


def possible(present: Tensor) -> Tensor:
    """Which edges have proposals at both ends, bool `[B, V]` for `[B, N]`."""
    first, second = pairs(present.shape[-1], present.device)
    return present[..., first] & present[..., second]


def nearest(boxes: Tensor, present: Tensor, count: int) -> Tensor:
    """Edges `[B, V]` of 0 and 1 between every proposal and the `count` whose centres are nearest to its own."""
    far = torch.cdist(boxes[..., :2], boxes[..., :2])
    far = far.masked_fill(~present.unsqueeze(1), torch.inf).masked_fill(~present.unsqueeze(2), torch.inf)
    far = far.masked_fill(torch.eye(far.shape[-1], dtype=torch.bool, device=far.device), torch.inf)
    distance, places = far.topk(min(count, far.shape[-1]), dim=-1, largest=False)
    found = torch.zeros_like(far).scatter(-1, places, distance.isfinite().to(far.dtype))
    first, second = pairs(far.shape[-1], far.device)
    return torch.maximum(found, found.mT)[..., first, second]


def normalised(matrix: Tensor, way: str) -> Tensor:
    """What of every proposal goes to every other one and to itself, `[*, N, N]`: rows receive.

    Args:
        matrix: from `adjacency`.
        way: mean: of a proposal and its neighbours, so that an edge matters to its two ends alone; symmetric: divided
            by the root of the degrees of both ends (Kipf, Welling, arXiv 1609.02907).
    """
    matrix = matrix + torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    degree = matrix.sum(-1)
    if way == "mean":
        return matrix / degree.unsqueeze(-1)
    return matrix * degree.rsqrt().unsqueeze(-1) * degree.rsqrt().unsqueeze(-2)


class EdgeNetwork(nn.Module):
    """Logits of edges from how their ends lie to each other, and how likely both are.

    At the start they fall with the distance alone, so that the graph is about that of the nearest.

    Args:
        hidden: its width.
        bias: of all logits at the start.
        reach: how much a logit is less, at the start, for two that are the sum of their sizes away.
    """

    def __init__(self, hidden: int, bias: float, reach: float) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(FEATURES + 2, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        last: nn.Linear = self.network[-1]  # type: ignore[assignment]
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, bias)
        self.reach = nn.Parameter(torch.tensor(reach))

    def forward(self, between: Tensor, scores: Tensor) -> Tensor:
        """`[B, V]` from `geometry` and the proposals' scores `[B, N]`; the mean of how either end sees the other."""
        odds = scores.clamp(1e-3, 1 - 1e-3).logit()
        ends = torch.stack(torch.broadcast_tensors(odds.unsqueeze(2), odds.unsqueeze(1)), -1)
        logits = self.network(torch.cat([between, ends], -1)).squeeze(-1) - self.reach * between[..., 0]
        first, second = pairs(between.shape[1], between.device)
        return (logits + logits.mT)[:, first, second] / 2
