"""Average precision of detected oriented boxes, and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from experiments.parts.overlaps import intersection_over_union


class Detections(NamedTuple):
    """What was found on one image, and what is there."""

    boxes: Tensor
    """`[N, 5]`."""
    scores: Tensor
    """`[N]`."""
    truth: Tensor
    """`[M, 5]`."""


class Interval(NamedTuple):
    """A figure and where it lies."""

    value: float
    low: float
    high: float


class Judged(NamedTuple):
    """All detections of a set of images, whether they hit, and what could be hit."""

    scores: Tensor
    """float64 `[D]`."""
    hits: Tensor
    """bool `[D]`."""
    unit: Tensor
    """int64 `[D]`: on which unit of the bootstrap each is, an image or a part of one."""
    truths: Tensor
    """int64 `[units]`: how many boxes there are on each."""

    @classmethod
    def of(cls, found: Sequence[Detections], threshold: float, cell: float | None = None) -> Judged:
        """Detections are judged on each image by themselves, from the highest score down: see `matched`.

        Args:
            found: an element an image.
            threshold: the least overlap that hits.
            cell: sides of the squares, in pixels, into which images are cut for the interval, where they are few and
                large; a box belongs to the square that its centre is in. None: images are whole.
        """
        hits, scores = [torch.zeros(0, dtype=torch.bool)], [torch.zeros(0, dtype=torch.float64)]
        for each in found:
            overlaps = intersection_over_union(each.boxes.double(), each.truth.double())
            hits.append(matched(overlaps, each.scores, threshold).cpu())
            scores.append(each.scores.double().cpu())
        unit, truths = _units(found, cell)
        return cls(torch.cat(scores), torch.cat(hits), unit, truths)

    def average_precision(self, times: Tensor | None = None) -> float:
        """The area under precision over recall, where precision is the best at that recall or a higher one.

        As in PASCAL VOC since 2010, over all recalls. 0 where there is nothing to find. Detections of one score count
        together, so that their order does not matter.

        Args:
            times: how often each unit counts, `[units]`; None: once.
        """
        weights = torch.ones(len(self.truths), dtype=torch.float64) if times is None else times.double()
        return float(average_precision(self.scores, self.hits, weights[self.unit], (weights * self.truths).sum()))

    def interval(self, level: float = 0.95, samples: int = 1000, seed: int = 0) -> Interval:
        """The average precision, and its percentile interval by the bootstrap: units are drawn with replacement."""
        count = len(self.truths)
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randint(count, (samples, count), generator=generator) if count else torch.zeros(samples, 0).long()
        found = torch.tensor(
            [self.average_precision(torch.bincount(units, minlength=count)) for units in drawn], dtype=torch.float64
        )
        edges = found.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64))
        return Interval(self.average_precision(), float(edges[0]), float(edges[1]))


def _units(found: Sequence[Detections], cell: float | None) -> tuple[Tensor, Tensor]:
    """The unit of each detection, and how many true boxes each has."""
    sizes = torch.tensor([[len(each.boxes), len(each.truth)] for each in found], dtype=torch.long).view(-1, 2)
    image = torch.arange(len(found)).repeat_interleave(sizes[:, 0])
    if cell is None or not found:
        return image, sizes[:, 1]
    boxes, truth = (torch.cat([each[place].cpu() for each in found]) for place in (0, 2))
    places = torch.cat([image, torch.arange(len(found)).repeat_interleave(sizes[:, 1])])
    squares = torch.cat([boxes[:, :2], truth[:, :2]]).div(cell).floor().long()
    count, unit = torch.cat([places.unsqueeze(1), squares], 1).unique(dim=0, return_inverse=True)
    return unit[: len(boxes)], torch.bincount(unit[len(boxes) :], minlength=len(count))


def matched(overlaps: Tensor, scores: Tensor, threshold: float, present: Tensor | None = None) -> Tensor:
    """Which detections hit: by falling score, each takes the box it overlaps most of those not taken yet, as in COCO.

    Args:
        overlaps: with the boxes that are there, `[*, N, M]`.
        scores: `[*, N]`.
        threshold: the least overlap that hits.
        present: bool `[*, N]`, detections that there are; None: all.

    Returns:
        bool `[*, N]`.
    """
    hits = torch.zeros_like(scores, dtype=torch.bool)
    if not overlaps.numel():
        return hits
    order = scores.argsort(dim=-1, descending=True, stable=True)
    left = overlaps.gather(-2, order.unsqueeze(-1).expand_as(overlaps)).clone()
    if present is not None:
        left = left * present.gather(-1, order).unsqueeze(-1)
    found = []
    for place in range(left.shape[-2]):
        best, taken = left[..., place, :].max(-1)
        hit = best >= threshold
        found.append(hit)
        gone = torch.nn.functional.one_hot(taken, left.shape[-1]).bool() & hit.unsqueeze(-1)
        left = left.masked_fill(gone.unsqueeze(-2), -1.0)
    return hits.scatter(-1, order, torch.stack(found, -1))


def average_precision(scores: Tensor, hits: Tensor, weights: Tensor, truths: Tensor) -> Tensor:
    """See `Judged.average_precision`; for many lists of detections at once.

    Args:
        scores: `[*, D]`.
        hits: bool `[*, D]`.
        weights: `[*, D]`, how often each detection counts.
        truths: `[*]`, how much there is to find.
    """
    order = scores.argsort(dim=-1, descending=True, stable=True)
    scores, weights = scores.gather(-1, order), weights.gather(-1, order)
    hits = hits.gather(-1, order) * weights
    recalled, seen = hits.cumsum(-1), weights.cumsum(-1)
    if not scores.shape[-1]:
        return torch.zeros_like(truths)
    # Within one score, only what holds at its end.
    last = torch.cat([scores[..., 1:] != scores[..., :-1], torch.ones_like(scores[..., :1]).bool()], -1)
    precision = torch.where(last & (seen > 0), recalled / torch.where(seen > 0, seen, 1.0), 0.0)
    best = precision.flip(-1).cummax(-1).values.flip(-1)
    return (hits * best).sum(-1) / truths.clamp(min=1)
