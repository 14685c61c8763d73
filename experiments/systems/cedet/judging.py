"""How detections and edges are judged on scenes that were not trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from experiments.engine import World
from experiments.parts.detections import Detections, Judged
from experiments.parts.overlaps import suppressed
from experiments.parts.retrieval import spread
from experiments.systems.cedet.coding import assigned
from experiments.systems.cedet.graphs import nearest, pairs, possible
from experiments.systems.cedet.model import Detector, Found
from experiments.systems.cedet.scenes import Buildings, Stock, on_image

BATCH = 8
PREFIXES = {"": "kept", "nearest_": "nearest", "chance_": "all"}
"""Of columns, by the graph whose edges are counted."""
LEAST = 0.5
"""The overlap from which a proposal is taken for a building, where its edges are judged."""


class Edges(NamedTuple):
    """Counts, summed over images."""

    kept: Tensor
    """Edges of the graph."""
    kept_judged: Tensor
    """Those that are judged: all but those between two proposals of one building."""
    kept_built: Tensor
    """Those whose ends are two buildings."""
    kept_right: Tensor
    """Those whose ends are buildings of one block."""
    nearest: Tensor
    nearest_judged: Tensor
    nearest_built: Tensor
    nearest_right: Tensor
    all_judged: Tensor
    all_built: Tensor
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
        built = hit[:, first] & hit[:, second]
        same = built & (owner[:, first] == owner[:, second])
        everything = possible(present).float()
        counts = []
        for edges in (found.edges, nearest(boxes, present, neighbours), everything):
            judged = edges * ~same
            counts += [edges.sum(), judged.sum(), (judged * built).sum(), (judged * right).sum()]
        return cls(*counts[:8], *counts[9:])


def edge_figures(results: Iterable[Result], neighbours: int, world: World) -> dict[str, float]:
    """How many edges there are, and which share is right, 0 where there are none; of all processes' scenes."""
    counts, scenes = torch.zeros(len(Edges._fields), dtype=torch.float64), 0
    for truth, found, _ in results:
        if found is not None:
            counts = counts + torch.stack(Edges.of(found, truth, neighbours)).double().cpu()
            scenes += len(truth.images)
    total = dict(zip(Edges._fields, sum(world.every(counts)).tolist(), strict=True))
    scenes = max(1, sum(world.every(scenes)))
    figures = {"edges": total["kept"] / scenes, "nearest_edges": total["nearest"] / scenes}
    for prefix, graph in PREFIXES.items():
        right = total[f"{graph}_right"]
        figures[f"{prefix}edge_precision"] = right / max(1, total[f"{graph}_judged"])
        figures[f"{prefix}edge_block_share"] = right / max(1, total[f"{graph}_built"])
    return figures


class Result(NamedTuple):
    """Of a batch of scenes."""

    truth: Buildings
    found: Found | None
    """None where a scene was looked at through windows."""
    detections: list[Detections]


@torch.no_grad()
def detected(model: Detector, stock: Stock, size: int, most: int | None, world: World) -> Iterator[Result]:
    """What is detected on this process's part of some scenes, a batch after the other.

    Scenes that are larger than `size` are looked at through windows of that size, which overlap by half.
    """
    own = spread(len(stock), most, world.device)
    own = own[world.share(len(own))]
    for numbers in own.split(BATCH) if len(own) else ():
        truth = stock.take(numbers.tolist(), world.device)
        if max(truth.images.shape[-2:]) <= size:
            found = model(truth.images)
            kept = found.kept & on_image(found.boxes, *truth.images.shape[-2:])
            predicted = [
                (boxes[k], scores[k]) for boxes, scores, k in zip(found.boxes, found.scores, kept, strict=True)
            ]
        else:
            found, predicted = None, [through_windows(model, image, size) for image in truth.images]
        there = [boxes[present].cpu() for boxes, present in zip(truth.boxes, truth.present, strict=True)]
        found_there = zip(predicted, there, strict=True)
        yield Result(truth, found, [Detections(boxes.cpu(), scores.cpu(), own) for (boxes, scores), own in found_there])


def through_windows(model: Detector, image: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Boxes and scores on an image `[bands, H, W]`; each from the window in whose middle its centre lies most."""
    height, width = image.shape[-2:]
    tops, lefts = _starts(height, size), _starts(width, size)
    corners = torch.cartesian_prod(tops, lefts).to(image.device)
    boxes, scores = [], []
    for part in corners.split(BATCH):
        found = model(torch.stack([image[:, top : top + size, left : left + size] for top, left in part.tolist()]))
        placed = found.boxes.clone()
        placed[..., 0] += part[:, 1:]
        placed[..., 1] += part[:, :1]
        middles = corners[:, [1, 0]] + size / 2
        nearest_window = (placed[..., None, :2] - middles).abs().amax(-1).argmin(-1)
        own = (corners[nearest_window] == part.unsqueeze(1)).all(-1)
        kept = found.kept & own & on_image(placed, height, width)
        boxes.append(placed[kept])
        scores.append(found.scores[kept])
    every, score = torch.cat(boxes), torch.cat(scores)
    left = suppressed(every, score, model.overlap)
    return every[left], score[left]


def _starts(length: int, size: int) -> Tensor:
    last = max(0, length - size)
    return torch.tensor(sorted({*range(0, last, max(1, size // 2)), last}))


def average_precisions(found: list[Detections], prefix: str, cell: float | None) -> dict[str, float]:
    """AP50 and AP75 in hundredths; of what has a prefix, also the former's 95 % interval, over squares of `cell`."""
    fifty, seventy_five = (Judged.of(found, threshold, cell) for threshold in (0.5, 0.75))
    measured = {f"{prefix}ap50": fifty.average_precision(), f"{prefix}ap75": seventy_five.average_precision()}
    if prefix:
        bounds = fifty.interval()
        measured |= {f"{prefix}ap50_low": bounds.low, f"{prefix}ap50_high": bounds.high}
    return {name: 100 * value for name, value in measured.items()}
