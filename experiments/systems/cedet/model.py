"""CEDet, reconstructed: a cascade of oriented detectors that look at the scene and at each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from experiments.errors import UserError, require_count, require_number
from experiments.parts.networks import require_choice
from experiments.parts.overlaps import suppressed
from experiments.systems.cedet.cascade import OVERLAPS, Cascade, Regions, Verdict
from experiments.systems.cedet.graphs import GRAPHS, EdgeNetwork, adjacency, nearest, possible
from experiments.systems.cedet.proposals import Dense, ProposalHead
from experiments.systems.cedet.pyramid import Context, Pyramid


class Seen(NamedTuple):
    """What the network makes of images before the graph is known."""

    masks: Tensor | None
    """Logits `[B, h, w]` of the finest map's cells; None without SGCM."""
    dense: Dense
    regions: Regions
    edges: Tensor | None
    """Logits `[B, V]`; None where edges are not learned."""


class Found(NamedTuple):
    """What is detected."""

    boxes: Tensor
    """`[B, N, 5]`."""
    scores: Tensor
    """`[B, N]`."""
    kept: Tensor
    """bool `[B, N]`: the rest overlaps something better, or is padding."""
    edges: Tensor
    """`[B, V]`, 0 or 1."""
    regions: Regions


class Detector(nn.Module):
    """Images to oriented boxes.

    Args:
        backbone: see `Pyramid`.
        width: D, of all maps.
        hidden: H, of the heads.
        stages: of the cascade, 1 to 3.
        context: whether there is SGCM.
        graph: which regions look at each other (ICMM): none, nearest, all, or learned.
        neighbours: of each region, where they are the nearest.
        normalisation: mean or symmetric: see `normalised`.
        proposals: N, regions of an image at most.
        floor: the least score of a proposal.
        overlap: of two proposals, or of two detections, above which the better one alone is left.
        edge_hidden, edge_bias, edge_reach: see `EdgeNetwork`.
        latent: what an edge is: bernoulli.
        bands: of the images.

    Raises:
        UserError: for sizes and choices that cannot be meant.
    """

    def __init__(
        self,
        backbone: Mapping[str, Any],
        width: int = 32,
        hidden: int = 64,
        stages: int = 3,
        context: bool = True,
        graph: str = "nearest",
        neighbours: int = 4,
        normalisation: str = "mean",
        proposals: int = 32,
        floor: float = 0.05,
        overlap: float = 0.5,
        edge_hidden: int = 32,
        edge_bias: float = 2.0,
        edge_reach: float = 2.0,
        latent: str = "bernoulli",
        *,
        bands: int,
    ) -> None:
        super().__init__()
        sizes = {"width": width, "hidden": hidden, "stages": stages, "neighbours": neighbours}
        for name, count in (sizes | {"edge_hidden": edge_hidden}).items():
            require_count(f"model.{name}", count)
        require_count("model.proposals", proposals, least=2)
        for name, share in (("floor", floor), ("overlap", overlap)):
            require_number(f"model.{name}", share, least=0, below=1)
        require_choice("graph", graph, *GRAPHS)
        require_choice("latent", latent, "bernoulli")
        require_choice("normalisation", normalisation, "mean", "symmetric")
        if stages > len(OVERLAPS):
            raise UserError(f"model.stages is at most {len(OVERLAPS)}, not {stages}.")
        self.graph, self.neighbours, self.normalisation, self.overlap = graph, neighbours, normalisation, overlap
        self.pyramid = Pyramid(backbone, bands, width, Context(width) if context else None)
        levels = len(self.pyramid.across)
        self.proposals = ProposalHead(width, levels, proposals, floor, overlap)
        self.cascade = Cascade(width, hidden, stages, graph != "none", normalisation)
        self.edges = EdgeNetwork(edge_hidden, edge_bias, edge_reach) if graph == "learned" else None

    def see(self, images: Tensor) -> Seen:
        """All that does not depend on the graph, of images `[B, bands, H, W]` in [0, 1]."""
        size = (images.shape[-2], images.shape[-1])
        maps = self.pyramid(images)
        dense = self.proposals(maps, size)
        regions = self.cascade.read(maps, self.proposals.best(dense), size)
        context = self.pyramid.context
        masks = None if context is None else context.masks(maps)
        return Seen(masks, dense, regions, None if self.edges is None else self.edges(regions.between, regions.scores))

    @torch.no_grad()
    def edges_of(self, seen: Seen) -> Tensor:
        """The graph `[B, V]` that is served: the most likely one where it is learned."""
        regions = seen.regions
        there = possible(regions.present).to(regions.boxes.dtype)
        if seen.edges is not None:
            return (seen.edges > 0) * there
        if self.graph == "nearest":
            return nearest(regions.boxes[0], regions.present, self.neighbours)
        return there if self.graph == "all" else torch.zeros_like(there)

    def judge(self, seen: Seen, edges: Tensor) -> Verdict:
        """What the heads say with edges `[S, B, V]`."""
        return self.cascade.judge(seen.regions, adjacency(edges, seen.regions.present.shape[-1]))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Found:
        """What is detected, with the graph that is served."""
        seen = self.see(images)
        edges = self.edges_of(seen)
        verdict = self.judge(seen, edges.unsqueeze(0))
        boxes, scores, kept = (each[0] for each in self.detections(seen, verdict))
        return Found(boxes, scores, kept, edges, seen.regions)

    @torch.no_grad()
    def detections(self, seen: Seen, verdict: Verdict) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes `[S, B, N, 5]`, their scores, and which of them are left where they overlap, both `[S, B, N]`."""
        boxes, scores = (each(seen.regions, verdict) for each in (self.cascade.boxes, self.cascade.scores))
        present = seen.regions.present.expand(scores.shape)
        return boxes, scores, suppressed(boxes, scores, self.overlap, present)
