"""What regions are and where exactly, in three stages, with a look at the regions around."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.parts.regions import sampled
from experiments.systems.cedet.coding import assigned, moved, relative
from experiments.systems.cedet.graphs import FEATURES, geometry, normalised
from experiments.systems.cedet.proposals import Proposals

OVERLAPS = (0.5, 0.6, 0.7)
"""With a true box, from which a region of a stage is one: Cascade R-CNN (arXiv 1712.00726)."""
WEIGHTS = (1.0, 0.5, 0.25)
"""Of the stages' losses, from there."""
CELLS = 5
"""Along each side of a region."""
ENLARGED = 1.25
"""The sides of what is read, over the box's."""
FINEST = 24.0
"""Pixels, of a box's size, up to which the first map is read."""
RELATIONS = 16
"""Numbers that two regions have together, in what goes along an edge."""


class Regions(NamedTuple):
    """What the heads have computed of each region when the graph is not known yet; the same whatever it is."""

    present: Tensor
    """bool `[B, N]`."""
    scores: Tensor
    """`[B, N]`, of the proposals."""
    boxes: Tensor
    """`[stages, B, N, 5]`, those that each stage starts from."""
    semantics: Tensor
    """`[stages, B, N, H]`."""
    shapes: Tensor
    """`[B, N, H]`, of the last stage."""
    deltas: Tensor
    """`[stages - 1, B, N, 5]`: what the stages before the last one correct."""
    between: Tensor
    """`[B, N, N, 9]`: see `geometry`; of the proposals."""


class Verdict(NamedTuple):
    """What the heads say with a graph."""

    logits: Tensor
    """`[stages, S, B, N]`."""
    deltas: Tensor
    """`[S, B, N, 5]`, of the last stage."""


class Aggregation(nn.Module):
    """ICMM: X + ReLU(Â X W + (Â R) U), with the weights Â of a graph and what regions are to each other, R.

    Args:
        hidden: H, of X.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.own = nn.Linear(hidden, hidden)
        self.relations = nn.Sequential(nn.Linear(FEATURES, RELATIONS), nn.ReLU())
        self.between = nn.Linear(RELATIONS, hidden, bias=False)

    def forward(self, features: Tensor, between: Tensor, weights: Tensor) -> Tensor:
        """`[S, B, N, H]` of X `[B, N, H]`, `[B, N, N, 9]` and weights `[S, B, N, N]`."""
        seen = weights @ features
        relations = torch.einsum("sbij,bije->sbie", weights, self.relations(between))
        return features + F.relu(self.own(seen) + self.between(relations))


class Head(nn.Module):
    """CE head: a branch that says what a region is, and one that says where; either may look at other regions.

    Args:
        width: D.
        hidden: H.
        context: whether it looks.
        last: whether where it is may depend on other regions as well.
    """

    def __init__(self, width: int, hidden: int, context: bool, last: bool) -> None:
        super().__init__()
        self.what, self.where = (nn.Linear(width * CELLS**2, hidden) for _ in range(2))
        self.score = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.delta = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 5))
        self.around_what = Aggregation(hidden) if context else None
        self.around_where = Aggregation(hidden) if context and last else None


class Cascade(nn.Module):
    """Heads one after the other, each of which starts from the boxes that the one before has corrected.

    Only the last one corrects boxes by what it sees of other regions; so all features are read before the graph is
    known, and many graphs can be judged for little.

    Args:
        width: D, of the maps.
        hidden: H.
        stages: 1 to 3.
        context: whether regions look at each other.
        normalisation: see `normalised`.
    """

    def __init__(self, width: int, hidden: int, stages: int, context: bool, normalisation: str) -> None:
        super().__init__()
        self.normalisation = normalisation
        self.heads: Any = nn.ModuleList(Head(width, hidden, context, stage == stages - 1) for stage in range(stages))

    def read(self, maps: list[Tensor], proposals: Proposals, image: tuple[int, int]) -> Regions:
        """All that is known without the graph."""
        boxes, semantics, shapes, deltas = [proposals.boxes], [], [], []
        for head in self.heads:
            seen = sampled(maps, boxes[-1], image, CELLS, FINEST, ENLARGED).flatten(2)
            semantics.append(F.relu(head.what(seen)))
            shapes.append(F.relu(head.where(seen)))
            if len(shapes) < len(self.heads):
                deltas.append(head.delta(shapes[-1]))
                boxes.append(moved(boxes[-1], deltas[-1].detach()))
        before = torch.stack(deltas) if deltas else proposals.boxes.new_zeros(0, *proposals.boxes.shape)
        between = geometry(proposals.boxes)
        known = proposals.present, proposals.scores, torch.stack(boxes), torch.stack(semantics)
        return Regions(*known, shapes[-1], before, between)

    def judge(self, regions: Regions, graphs: Tensor) -> Verdict:
        """What the heads say in each of the graphs `[S, B, N, N]`."""
        weights, logits = normalised(graphs, self.normalisation), []
        for head, features in zip(self.heads, regions.semantics, strict=True):
            if head.around_what is not None:
                features = head.around_what(features, regions.between, weights)
            else:
                features = features.expand(len(graphs), *features.shape)
            logits.append(head.score(features).squeeze(-1))
        shapes, last = regions.shapes, self.heads[-1]
        if last.around_where is not None:
            shapes = last.around_where(shapes, regions.between, weights)
        else:
            shapes = shapes.expand(len(graphs), *shapes.shape)
        return Verdict(torch.stack(logits), last.delta(shapes))

    def boxes(self, regions: Regions, verdict: Verdict) -> Tensor:
        """The last boxes, `[S, B, N, 5]`."""
        return moved(regions.boxes[-1], verdict.deltas)

    def scores(self, regions: Regions, verdict: Verdict) -> Tensor:
        """The mean of the stages' probabilities, 0 where there is no region, `[S, B, N]`."""
        return verdict.logits.sigmoid().mean(0) * regions.present


class Wanted(NamedTuple):
    """What is right for each region."""

    labels: Tensor
    """`[stages, B, N]`: 1 where it is a building by the overlap of the stage."""
    deltas: Tensor
    """`[stages, B, N, 5]`."""

    @classmethod
    @torch.no_grad()
    def of(cls, regions: Regions, truth: Tensor, present: Tensor) -> Wanted:
        """By the true boxes `[B, G, 5]`."""
        labels, deltas = [], []
        for boxes, least in zip(regions.boxes, OVERLAPS, strict=False):
            owner, overlap = assigned(boxes, truth, present)
            labels.append(((overlap >= least) & regions.present).to(boxes.dtype))
            own = truth.gather(1, owner.unsqueeze(-1).expand(-1, -1, 5)) if truth.shape[1] else boxes
            deltas.append(torch.where(labels[-1].unsqueeze(-1) > 0, relative(boxes, own), 0.0))
        return cls(torch.stack(labels), torch.stack(deltas))

    def early_loss(self, regions: Regions) -> Tensor:
        """Of the stages' boxes before the last, on which the graph has no say, `[B, N]`."""
        found = torch.zeros_like(self.labels[0])
        for stage, deltas in enumerate(regions.deltas):
            found = found + WEIGHTS[stage] * self._away(stage, deltas)
        return found

    def loss(self, regions: Regions, verdict: Verdict) -> Tensor:
        """Of what each region is, in all stages, and of the last stage's boxes, `[S, B, N]`."""
        last = len(self.labels) - 1
        found = WEIGHTS[last] * self._away(last, verdict.deltas)
        for weight, labels, logits in zip(WEIGHTS, self.labels, verdict.logits, strict=False):
            found = found + weight * F.binary_cross_entropy_with_logits(
                logits, labels.expand_as(logits), reduction="none"
            )
        return torch.where(regions.present, found, 0.0)

    def _away(self, stage: int, deltas: Tensor) -> Tensor:
        wanted = self.deltas[stage].expand_as(deltas)
        return self.labels[stage] * F.smooth_l1_loss(deltas, wanted, reduction="none").sum(-1)
