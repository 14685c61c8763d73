"""Which regions may be buildings: a dense head without anchors, whose best boxes go on."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.parts.overlaps import suppressed
from experiments.systems.cedet.coding import FIELDS, absolute, centres, inside, located

RARE = 0.01
"""The probability of every place at the start, as in RetinaNet (arXiv 1708.02002)."""
ALPHA, GAMMA = 0.25, 2.0
"""Of the focal loss, from there."""


class Proposals(NamedTuple):
    """Regions that may be buildings."""

    boxes: Tensor
    """`[B, N, 5]`."""
    scores: Tensor
    """`[B, N]`."""
    present: Tensor
    """bool `[B, N]`: the rest is padding."""


class ProposalHead(nn.Module):
    """Of every place of every map, whether it is in the middle of a building, and that one's box.

    As FCOS (arXiv 1904.01355) where it has no anchors; boxes are `absolute` numbers.

    Args:
        width: D.
        levels: of the maps.
        most: N, boxes that go on.
        floor: the least score that goes on.
        overlap: of two boxes, above which the better one alone goes on.
    """

    def __init__(self, width: int, levels: int, most: int, floor: float, overlap: float) -> None:
        super().__init__()
        self.most, self.floor, self.overlap = most, floor, overlap
        self.tower = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU())
        self.scores, self.fields = nn.Conv2d(width, 1, 1), nn.Conv2d(width, FIELDS, 1)
        self.sizes = nn.Parameter(torch.ones(levels))
        nn.init.constant_(self.scores.bias, -torch.tensor(1 / RARE - 1).log().item())  # type: ignore[arg-type]

    def forward(self, maps: list[Tensor], image: tuple[int, int]) -> Dense:
        """What is said of all places."""
        logits, boxes, fields, places, strides = [], [], [], [], []
        for features, size in zip(maps, self.sizes, strict=True):
            hidden = self.tower(features)
            height, width = features.shape[-2:]
            stride = image[0] / height
            place = centres(height, width, stride, features)
            own = size * self.fields(hidden).flatten(2).mT
            logits.append(self.scores(hidden).flatten(1))
            fields.append(own)
            boxes.append(located(place, stride, own.detach()))
            places.append(place)
            strides.append(torch.full_like(place[:, 0], stride))
        said = torch.cat(logits, 1), torch.cat(boxes, 1), torch.cat(fields, 1)
        return Dense(*said, torch.cat(places), torch.cat(strides))

    @torch.no_grad()
    def best(self, dense: Dense) -> Proposals:
        """The best boxes of each image that overlap no better one, from the best down."""
        scores, order = dense.logits.sigmoid().topk(min(3 * self.most, dense.logits.shape[1]), dim=1)
        boxes = dense.boxes.gather(1, order.unsqueeze(-1).expand(-1, -1, 5))
        kept = suppressed(boxes, scores, self.overlap, scores >= self.floor)
        scores, order = (scores * kept).topk(min(self.most, scores.shape[1]), dim=1)
        return Proposals(boxes.gather(1, order.unsqueeze(-1).expand(-1, -1, 5)), scores, scores > 0)


class Dense(NamedTuple):
    """What the head says of all P places of all maps."""

    logits: Tensor
    """`[B, P]`."""
    boxes: Tensor
    """`[B, P, 5]`, without a graph."""
    fields: Tensor
    """`[B, P, 7]`."""
    places: Tensor
    """`[P, 2]`, in the image."""
    strides: Tensor
    """`[P]`."""

    def loss(self, truth: Tensor, present: Tensor) -> Tensor:
        """Focal loss of all places, and the distance of the boxes at those that are in the middle of a true one.

        A true box `[B, G, 5]` is learned at the places of one map, the one whose cells are about a quarter of it, that
        lie in the middle half of it, and at the place nearest to its centre; of two that overlap, at the smaller one's.
        """
        owner, own = self._owners(truth, present)
        count = own.sum().clamp(min=1)
        focal = _focal(self.logits, own.to(self.logits.dtype)).sum() / count
        if not truth.shape[1]:
            return focal
        boxes = truth.gather(1, owner.unsqueeze(-1).expand(-1, -1, 5))
        wanted = absolute(self.places, 1.0, boxes)
        strides = self.strides.unsqueeze(-1)
        wanted = torch.cat([wanted[..., :2] / strides, wanted[..., 2:3] - strides.log(), wanted[..., 3:]], -1)
        away = F.smooth_l1_loss(self.fields, wanted, beta=0.1, reduction="none").sum(-1)
        return focal + torch.where(own, away, 0.0).sum() / count

    def _owners(self, truth: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        if not truth.shape[1]:
            return torch.zeros_like(self.logits, dtype=torch.long), torch.zeros_like(self.logits, dtype=torch.bool)
        sizes = (truth[..., 2] * truth[..., 3]).sqrt()
        strides = self.strides.unique()
        level = strides[(sizes.unsqueeze(-1) / strides / 4).log().abs().argmin(-1)]
        on_level = level.unsqueeze(-1) == self.strides
        distance = (self.places - truth[..., None, :2]).square().sum(-1)
        nearest = distance == distance.masked_fill(~on_level, torch.inf).amin(-1, keepdim=True)
        middle = (inside(self.places, truth, 0.5) | nearest) & on_level & present.unsqueeze(-1)
        area = torch.where(middle, sizes.unsqueeze(-1), torch.inf)
        least, owner = area.min(1)
        return owner, least < torch.inf


def _focal(logits: Tensor, wanted: Tensor) -> Tensor:
    right = torch.where(wanted > 0, logits, -logits)
    weight = torch.where(wanted > 0, ALPHA, 1 - ALPHA)
    return -weight * torch.sigmoid(-right) ** GAMMA * F.logsigmoid(right)
