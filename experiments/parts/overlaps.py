"""How much oriented boxes overlap, and which of them remain where they do: exact, batched, without gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.parts.boxes import corners


@torch.no_grad()
def intersection_over_union(first: Tensor, second: Tensor) -> Tensor:
    """Of every box of `[*, N, 5]` with every one of `[*, M, 5]`, `[*, N, M]`; 0 where a box has no area.

    Pairs that lie too far apart to touch are left out before any polygon is clipped.
    """
    one, other = torch.broadcast_tensors(first.unsqueeze(-2), second.unsqueeze(-3))
    apart = (one[..., :2] - other[..., :2]).square().sum(-1).sqrt()
    near = apart <= (one[..., 2:4].norm(dim=-1) + other[..., 2:4].norm(dim=-1)) / 2
    found = torch.zeros_like(apart)
    one, other = one[near], other[near]
    shared = intersection(one, other)
    union = one[:, 2] * one[:, 3] + other[:, 2] * other[:, 3] - shared
    found[near] = torch.where(union > 0, shared / union, 0.0).clamp(0, 1)
    return found


@torch.no_grad()
def intersection(first: Tensor, second: Tensor) -> Tensor:
    """The area that each box of `[P, 5]` has in common with its partner in `[P, 5]`, `[P]`.

    The partner's polygon, seen from the frame of the first box, is clipped at that one's four sides after each other
    (Sutherland, Hodgman 1974); what remains has at most eight corners.
    """
    frame = torch.stack([first[:, 4].cos(), first[:, 4].sin()], -1)
    across = torch.stack([-frame[:, 1], frame[:, 0]], -1)
    polygon = corners(second) - first[:, None, :2]
    polygon = torch.stack([(polygon * frame[:, None]).sum(-1), (polygon * across[:, None]).sum(-1)], -1)
    for axis in (0, 1):
        for sign in (1.0, -1.0):
            polygon = _clipped(polygon, first[:, 2 + axis, None] / 2 - sign * polygon[..., axis])
    following = polygon.roll(-1, dims=1)
    doubled = polygon[..., 0] * following[..., 1] - polygon[..., 1] * following[..., 0]
    return doubled.sum(-1).abs() / 2


def _clipped(polygon: Tensor, inside: Tensor) -> Tensor:
    """The part of polygons `[P, K, 2]` where corners are `inside` by so much, `[P, K]`; `[P, K + 1, 2]`.

    Corners that are too many are repeated ones, which change no area.
    """
    following, next_inside = polygon.roll(-1, dims=1), inside.roll(-1, dims=1)
    crosses = (inside >= 0) != (next_inside >= 0)
    along = torch.where(crosses, inside / torch.where(crosses, inside - next_inside, 1.0), 0.0)
    candidates = torch.stack([polygon, polygon + along.unsqueeze(-1) * (following - polygon)], 2).flatten(1, 2)
    kept = torch.stack([inside >= 0, crosses], 2).flatten(1)
    spare = polygon.shape[1] + 1
    place = torch.where(kept, kept.long().cumsum(-1) - 1, spare)
    start = candidates[torch.arange(len(kept), device=kept.device), kept.long().argmax(-1)]
    found = start.unsqueeze(1).repeat(1, spare + 1, 1)
    return found.scatter(1, place.clamp(max=spare).unsqueeze(-1).expand(-1, -1, 2), candidates)[:, :spare]


@torch.no_grad()
def suppressed(boxes: Tensor, scores: Tensor, threshold: float, present: Tensor | None = None) -> Tensor:
    """Which boxes remain where they overlap: greedily the best, and none that overlaps a better one that remains.

    Args:
        boxes: `[*, N, 5]`.
        scores: `[*, N]`.
        threshold: of intersection over union, above which two are one.
        present: bool `[*, N]`, boxes that there are; None: all.

    Returns:
        bool `[*, N]`.
    """
    order = scores.argsort(dim=-1, descending=True, stable=True)
    arranged = boxes.gather(-2, order.unsqueeze(-1).expand_as(boxes))
    over = intersection_over_union(arranged, arranged) > threshold
    kept = torch.ones_like(order, dtype=torch.bool) if present is None else present.gather(-1, order)
    for place in range(boxes.shape[-2] - 1):
        worse = over[..., place, place + 1 :] & kept[..., place : place + 1]
        kept = torch.cat([kept[..., : place + 1], kept[..., place + 1 :] & ~worse], -1)
    return torch.zeros_like(kept).scatter(-1, order, kept)
