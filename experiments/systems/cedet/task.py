"""Detection of buildings, whose proposals look at each other along edges that are discrete latents."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import discretegrad as dg
from experiments.data.aerial.scenes import Aerial
from experiments.engine import Settings, Step, Task, UserError, World, finite, require_number
from experiments.parts.batches import Shuffled
from experiments.parts.detections import average_precision, matched
from experiments.parts.overlaps import intersection_over_union
from experiments.systems.cedet.cascade import Verdict, Wanted
from experiments.systems.cedet.coding import centres, inside
from experiments.systems.cedet.graphs import pairs, possible
from experiments.systems.cedet.judging import Edges, average_precisions, detected, share
from experiments.systems.cedet.model import Detector, Seen
from experiments.systems.cedet.scenes import Buildings, Stock

OBJECTIVES = ("loss", "ap")
CREDITS = ("node", "image")


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
        price: float = 0.01,
        segmentation: float = 1.0,
    ) -> None:
        super().__init__()
        require_number("task.price", price, least=0, below=math.inf)
        require_number("task.segmentation", segmentation, least=0, below=math.inf)
        for setting, value, known in (("objective", objective, OBJECTIVES), ("credit", credit, CREDITS)):
            if value not in known:
                raise UserError(f"task.{setting} is one of {', '.join(known)}, not {value!r}.")
        self.scenes, self.estimator, self.objective, self.credit = scenes, estimator, objective, credit
        self.price, self.segmentation = price, segmentation
        self.train_stock, self.test_stock = Stock(scenes.train), Stock(scenes.test)
        self.other_stocks = {name: Stock(others) for name, others in scenes.others.items()}
        self.model = model(bands=scenes.train[0].image.shape[0])
        self._refuse()

    def _refuse(self) -> None:
        name = type(self.estimator).__name__
        if self.estimator.latent != "bernoulli" or self.estimator.of_bound or self.estimator.learners:
            raise UserError(f"{name} is no estimator for edges; use one for Bernoulli latents, such as disarm.")
        if self.segmentation and self.model.pyramid.context is None:
            raise UserError("masks are made by SGCM; give model.context=true, or task.segmentation=0.")
        if not self.model.edges:
            return
        if self.objective == "ap" and (self.estimator.needs_grad_f or self.credit == "node"):
            raise UserError(
                "task.objective=ap has no gradient, and is of the whole image; give task.credit=image and an estimator "
                "that asks for values alone, such as disarm."
            )
        if self.credit == "node" and self.model.normalisation != "mean" and not self.estimator.needs_grad_f:
            raise UserError(
                "with model.normalisation=symmetric an edge matters to more than its ends; give task.credit=image."
            )

    @property
    def measures(self) -> dict[str, str]:  # type: ignore[override]
        """As `Task.measures`; of the terms that there are, and of all sets of scenes."""
        found = {"train_loss": "nats per proposal", "proposal_loss": "per building"}
        found |= {"segmentation_loss": "nats per cell"} if self.segmentation else {}
        found |= {"train_objective": "per image", "train_edges": "per image"} if self.model.edges else {}
        for prefix in ("", *(f"{name}_" for name in self.other_stocks)):
            found |= {f"{prefix}ap{overlap}": "hundredths" for overlap in (50, 75)}
            found |= {f"{prefix}ap50_{end}": "hundredths" for end in ("low", "high")} if prefix else {}
        if self.model.graph != "none":
            for graph in ("", "nearest_"):
                found |= {f"{graph}edges": "per image", f"{graph}edge_precision": "share of edges"}
            found |= {"chance_edge_precision": "share of pairs"}
        return found

    @property
    def title(self) -> str:
        """Graph and data."""
        by = f", {type(self.estimator).__name__}" if self.model.edges else ""
        return f"CEDet, graph: {self.model.graph}{by}, on {self.scenes.name}"

    def begin(self, settings: Settings, world: World) -> None:
        """See `Task.begin`."""
        self.world = world
        self.order = Shuffled(len(self.train_stock), settings.batch, settings.seed, world)

    def batch(self, step: int) -> Buildings:
        """Scenes `[B]`."""
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
        terms = {"proposal_loss": seen.dense.loss(batch.boxes, batch.present)}
        if self.segmentation:
            assert seen.masks is not None
            filled = self.filled(batch, seen.masks)
            terms["segmentation_loss"] = F.binary_cross_entropy_with_logits(seen.masks, filled)
        wanted = Wanted.of(seen.regions, batch.boxes, batch.present)
        count = seen.regions.present.sum().clamp(min=1)
        early = torch.where(seen.regions.present, wanted.early_loss(seen.regions), 0.0).sum() / count
        if seen.edges is None:
            drawn, price = wanted.loss(seen.regions, self.model.judge(seen, self.model.edges_of(seen)[None]))[0], 0.0
            shown = {}
        else:
            finite({"edge_logits": seen.edges})
            drawn, price, shown = self.estimated(seen, wanted, batch, generator)
        terms["train_loss"] = early + drawn.sum() / count
        shown |= {name: term.detach() for name, term in terms.items()}
        loss = terms["train_loss"] + terms["proposal_loss"] + price / count
        if self.segmentation:
            loss = loss + self.segmentation * terms["segmentation_loss"]
        return Step(loss, shown)

    def estimated(
        self, seen: Seen, wanted: Wanted, batch: Buildings, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The surrogate `[B]` of E f without the price of edges, that price, and what is shown of both."""
        assert seen.edges is not None
        mask = possible(seen.regions.present)
        draw = self.estimator.sample(seen.edges, generator, mask=mask)
        verdict = self.model.judge(seen, draw.points)
        losses = wanted.loss(seen.regions, verdict)
        values = losses.sum(-1)
        if self.objective == "loss" and (self.credit == "image" or self.estimator.needs_grad_f):
            surrogate = self.estimator.surrogate(draw, values)
        else:  # all but the edges' logits has the gradient of the loss of the whole image
            rest = dataclasses.replace(draw, logits=draw.logits.detach())
            if self.objective == "ap":
                values_of_edges = self.missed(seen, verdict, batch)
                own = self.estimator.surrogate(draw, values_of_edges)
            else:
                first, second = pairs(losses.shape[-1], losses.device)
                own = self.estimator.surrogate(draw, losses.detach()[..., first] + losses.detach()[..., second]).sum(-1)
            surrogate = self.estimator.surrogate(rest, values) + own - own.detach()
        edges = torch.where(mask, seen.edges.sigmoid(), 0.0).sum()  # their mean number, in closed form
        price = self.price * edges
        worth = values if self.objective == "loss" else self.missed(seen, verdict, batch)
        shown = {
            "train_edges": edges.detach() / len(mask),
            "train_objective": worth.detach().mean() + price.detach() / len(mask),
        }
        return surrogate, price, shown

    @torch.no_grad()
    def missed(self, seen: Seen, verdict: Verdict, batch: Buildings) -> Tensor:
        """1 - AP50 of each image in each graph, `[S, B]`; 0 where there is no building."""
        boxes, scores, kept = self.model.detections(seen, verdict)
        overlaps = intersection_over_union(boxes, batch.boxes.expand(len(boxes), *batch.boxes.shape))
        overlaps = overlaps.masked_fill(~batch.present[:, None], -1.0)
        hits = matched(overlaps, torch.where(kept, scores, -1.0), 0.5, kept)
        truths = batch.present.sum(-1).expand(len(boxes), -1).to(scores.dtype)
        found = average_precision(torch.where(kept, scores, -1.0), hits & kept, kept.to(scores.dtype), truths)
        return torch.where(truths > 0, 1 - found, 0.0)

    def filled(self, batch: Buildings, masks: Tensor) -> Tensor:
        """Which cells of a map `[B, h, w]` are within a box, 0 or 1: masks from boxes alone."""
        height, width = masks.shape[-2:]
        places = centres(height, width, batch.images.shape[-2] / height, masks)
        within = inside(places, batch.boxes) & batch.present.unsqueeze(-1)
        return within.any(1).unflatten(-1, (height, width)).to(masks.dtype)

    @torch.no_grad()
    def evaluate(self, most: int | None = None) -> dict[str, float]:
        """Average precision on all sets of scenes, and what edges connect."""
        measured, edges = {}, torch.zeros(len(Edges._fields), dtype=torch.float64)
        images = 0
        for name, stock in {"": self.test_stock, **self.other_stocks}.items():
            own = []
            for truth, found, detections in detected(self.model, stock, most, self.world):
                own += detections
                if not name:
                    counts = Edges.of(found, truth, self.model.neighbours)
                    edges, images = edges + torch.stack(counts).double().cpu(), images + len(detections)
            everything = [each for part in self.world.every(own) for each in part]
            measured |= average_precisions(everything, f"{name}_" if name else "", bool(name))
        if self.model.graph == "none":
            return measured
        found_edges = Edges(*sum(self.world.every(edges)))
        scenes = sum(self.world.every(images))
        return measured | {
            "edges": float(found_edges.kept) / scenes,
            "edge_precision": share(float(found_edges.kept_right), float(found_edges.kept_judged)),
            "nearest_edges": float(found_edges.nearest) / scenes,
            "nearest_edge_precision": share(float(found_edges.nearest_right), float(found_edges.nearest_judged)),
            "chance_edge_precision": share(float(found_edges.all_right), float(found_edges.all_judged)),
        }

    def pictures(self, folder: Path) -> list[Path]:
        """Detections beside the truth, and the edges between them."""
        from experiments.systems.cedet.pictures import draw  # takes matplotlib with it

        return draw(folder, self)
