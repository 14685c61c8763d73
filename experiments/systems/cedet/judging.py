"""How detections and edges are judged on scenes that were not trained on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from experiments.engine import World
from experiments.parts.detections import Detections, Judged
from experiments.parts.retrieval import spread
from experiments.systems.cedet.coding import assigned
from experiments.systems.cedet.graphs import nearest, pairs, possible
from experiments.systems.cedet.model import Detector, Found
from experiments.systems.cedet.scenes import Buildings, Stock, on_image

BATCH = 8
LEAST = 0.5
"""The overlap from which a proposal is taken for a building, where its edges are judged."""


class Edges(NamedTuple):
    """Counts, summed over images."""

    kept: Tensor
    """Edges of the graph."""
    kept_judged: Tensor
    """Those that are judged: all but those between two proposals of one building."""
    kept_right: Tensor
    """Those whose ends are buildings of one block."""
    nearest: Tensor
    nearest_judged: Tensor
    nearest_right: Tensor
    all_judged: Tensor
    all_right: Tensor

    @classmethod
    def of(cls, found: Found, truth: Buildings, neighbours: int) -> Edges:
        """Of a batch; also those of the graph of nearest proposals, and of all pairs, which chance would draw from."""
        boxes, present = found.regions.boxes[0], found.regions.present
        owner, overlap = assigned(boxes, truth.boxes, truth.present)
        block = truth.blocks.gather(1, owner) if truth.blocks.shape[1] else torch.full_like(owner, -1)
        block = torch.where(overlap >= LEAST, block, -1)
        first, second = pairs(boxes.shape[1], boxes.device)
        right = (block[:, first] == block[:, second]) & (block[:, first] >= 0)
        hit = overlap >= LEAST
        same = hit[:, first] & hit[:, second] & (owner[:, first] == owner[:, second])
        everything = possible(present).float()
        counts = []
        for edges in (found.edges, nearest(boxes, present, neighbours), everything):
            judged = edges * ~same
            counts += [edges.sum(), judged.sum(), (judged * right).sum()]
        return cls(*counts[:6], *counts[7:])


def share(right: float, judged: float) -> float:
    """0 where there is nothing."""
    return right / judged if judged else 0.0


@torch.no_grad()
def detected(
    model: Detector, stock: Stock, most: int | None, world: World
) -> Iterator[tuple[Buildings, Found, list[Detections]]]:
    """Detections on this process's part of some scenes, a batch after the other; those centred on the image."""
    own = spread(len(stock), most, world.device)
    own = own[world.share(len(own))]
    for numbers in own.split(BATCH):
        truth = stock.take(numbers.tolist(), world.device)
        found = model(truth.images)
        height, width = truth.images.shape[-2:]
        kept = found.kept & on_image(found.boxes, height, width)
        detections = [
            Detections(boxes[k].cpu(), scores[k].cpu(), true[p].cpu())
            for boxes, scores, k, true, p in zip(
                found.boxes, found.scores, kept, truth.boxes, truth.present, strict=True
            )
        ]
        yield truth, found, detections


def average_precisions(found: list[Detections], prefix: str, interval: bool) -> dict[str, float]:
    """AP50 and AP75 in hundredths, and the former's 95 % interval over images where that is asked for."""
    fifty, seventy_five = (Judged.of(found, threshold) for threshold in (0.5, 0.75))
    measured = {f"{prefix}ap50": fifty.average_precision(), f"{prefix}ap75": seventy_five.average_precision()}
    if interval:
        bounds = fifty.interval()
        measured |= {f"{prefix}ap50_low": bounds.low, f"{prefix}ap50_high": bounds.high}
    return {name: 100 * value for name, value in measured.items()}
