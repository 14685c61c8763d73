"""Detection of buildings, whose proposals look at each other along edges that are discrete latents."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import discretegrad as dg
from experiments.data.aerial.scenes import Aerial
from experiments.engine import Settings, Step, Task, World
from experiments.errors import UserError, require_count, require_number
from experiments.parts.batches import Shuffled
from experiments.systems.cedet.cascade import Wanted
from experiments.systems.cedet.coding import centres, inside
from experiments.systems.cedet.estimation import EdgeObjective
from experiments.systems.cedet.judging import PREFIXES, average_precisions, detected, edge_figures
from experiments.systems.cedet.model import Detector
from experiments.systems.cedet.scenes import Buildings, Stock

FEW = 20
"""Scenes, below which an interval is over their parts instead of them."""


class CEDetTask(Task):
    """Train a detector, and the graph along which its proposals look at each other.

    An edge between two proposals of an image is a Bernoulli latent, whose logit follows from how they lie to each
    other. f is the loss of the detections with the edges that are drawn, or 1 minus the image's average precision, plus
    a price for each edge. The image is looked at once, however many graphs are judged. The most likely graph is served.

    Args:
        scenes: the data.
        model: makes the detector from `bands`.
        estimator: of the gradient w.r.t. the edges' logits; without learned edges nothing is drawn.
        objective: loss: of the detections; or ap.
        credit: node: each edge is judged by the losses of the two proposals at its ends, which alone depend on it with
            `model.normalisation=mean`; image: by those of all. Estimators with the gradient of f need neither.
        price: of an edge, in the units of f.
        price_steps: in which the price rises from 0, so that the heads learn to use edges before they must be worth it.
        entropy: weight of an edge's entropy in nats, without which an edge that is never drawn would stay away.
        segmentation: weight of the loss of masks that are filled from the boxes; 0: none.

    Raises:
        UserError: where the parts do not fit together.
    """

    def __init__(
        self,
        scenes: Aerial,
        model: Callable[..., Detector],
        estimator: dg.Estimator,
        objective: str = "loss",
        credit: str = "node",
        price: float = 0.003,
        price_steps: int = 500,
        entropy: float = 0.001,
        segmentation: float = 1.0,
    ) -> None:
        super().__init__()
        require_number("task.segmentation", segmentation, least=0, below=math.inf)
        require_count("task.price_steps", price_steps)
        self.edges, self.price_steps = EdgeObjective(estimator, objective, credit, price, entropy), price_steps
        self.scenes, self.segmentation = scenes, segmentation
        self.train_stock, self.test_stock = Stock(scenes.train), Stock(scenes.test)
        self.other_stocks = {name: Stock(others) for name, others in scenes.others.items()}
        first = scenes.train[0].image
        self.size = max(first.shape[1:])
        self.model = model(bands=len(first))
        if segmentation and self.model.pyramid.context is None:
            raise UserError("masks are made by SGCM; give model.context=true, or task.segmentation=0.")
        if self.model.edges is not None:
            self.edges.refuse(self.model)

    @property
    def measures(self) -> dict[str, str]:  # type: ignore[override]
        """The columns of the terms that there are, and of all sets of scenes."""
        found = {"train_loss": "nats per proposal", "proposal_loss": "per building"}
        found |= {"segmentation_loss": "nats per cell"} if self.segmentation else {}
        found |= {"train_objective": "per image", "train_edges": "per image"} if self.model.edges else {}
        for prefix in ("", *(f"{name}_" for name in self.other_stocks)):
            found |= {f"{prefix}ap{overlap}": "hundredths" for overlap in (50, 75)}
            found |= {f"{prefix}ap50_{end}": "hundredths" for end in ("low", "high")} if prefix else {}
        if self.model.graph != "none":
            found |= {f"{graph}edges": "per image" for graph in ("", "nearest_")}
            for graph in PREFIXES:
                found |= {f"{graph}edge_precision": "share of edges"}
                found |= {f"{graph}edge_block_share": "share of edges between buildings"}
        return found

    @property
    def title(self) -> str:
        """Graph and data."""
        by = f", {type(self.edges.estimator).__name__}" if self.model.edges else ""
        return f"CEDet, graph: {self.model.graph}{by}, on {self.scenes.name}"

    def begin(self, settings: Settings, world: World) -> None:
        self.world = world
        self.order = Shuffled(len(self.train_stock), settings.batch, settings.seed, world)

    def batch(self, step: int) -> Buildings:
        """Scenes `[B]`."""
        self.edges.share = min(1.0, (step + 1) / self.price_steps)
        return self.train_stock.take(self.order(step).tolist(), self.world.device)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The detector, and what gives edges their logits."""
        edges = [] if self.model.edges is None else [*self.model.edges.parameters()]
        own = {id(parameter) for parameter in edges}
        detector = [parameter for parameter in self.model.parameters() if id(parameter) not in own]
        return {"optimizer": detector, "edge_optimizer": edges}

    def forward(self, batch: Buildings, generator: torch.Generator) -> Step:
        """The losses of proposals, masks and regions; where edges are learned, by an estimator's surrogate."""
        seen = self.model.see(batch.images)
        shown: dict[str, Tensor] = {}
        terms = {"proposal_loss": seen.dense.loss(batch.boxes, batch.present)}
        if self.segmentation:
            assert seen.masks is not None
            filled = self.filled(batch, seen.masks)
            terms["segmentation_loss"] = F.binary_cross_entropy_with_logits(seen.masks, filled)
        wanted = Wanted.of(seen.regions, batch.boxes, batch.present)
        count = seen.regions.present.sum().clamp(min=1)
        early = torch.where(seen.regions.present, wanted.early_loss(seen.regions), 0.0).sum() / count
        if seen.edges is None:
            verdict = self.model.judge(seen, self.model.edges_of(seen).unsqueeze(0))
            losses, closed = wanted.loss(seen.regions, verdict)[0], torch.zeros_like(early)
        else:
            losses, closed, edges, objective = self.edges(self.model, seen, wanted, batch, generator)
            shown = {"train_edges": edges, "train_objective": objective}
        terms["train_loss"] = early + losses.sum() / count
        loss = terms["train_loss"] + terms["proposal_loss"] + closed / count
        if self.segmentation:
            loss = loss + self.segmentation * terms["segmentation_loss"]
        return Step(loss, shown | {name: term.detach() for name, term in terms.items()})

    def filled(self, batch: Buildings, masks: Tensor) -> Tensor:
        """Which cells of a map `[B, h, w]` are within a box, 0 or 1: masks from boxes alone."""
        height, width = masks.shape[-2:]
        places = centres(height, width, batch.images.shape[-2] / height, masks)
        within = inside(places, batch.boxes) & batch.present.unsqueeze(-1)
        return within.any(1).unflatten(-1, (height, width)).to(masks.dtype)

    @torch.no_grad()
    def evaluate(self, most: int | None = None) -> dict[str, float]:
        """Average precision on all sets of scenes, and what edges connect."""
        measured: dict[str, float] = {}
        for name, stock in {"": self.test_stock, **self.other_stocks}.items():
            own = [*detected(self.model, stock, self.size, most, self.world)]
            found = self.world.every([each for result in own for each in result.detections])
            cell = self.size / 2 if len(stock) < FEW else None
            measured |= average_precisions([each for part in found for each in part], f"{name}_" if name else "", cell)
            if not name and self.model.graph != "none":
                measured |= edge_figures(own, self.model.neighbours, self.world)
        return measured

    def pictures(self, folder: Path) -> list[Path]:
        """Detections beside the truth, and the edges between them."""
        from experiments.systems.cedet.pictures import draw  # takes matplotlib with it

        return draw(folder, self)
