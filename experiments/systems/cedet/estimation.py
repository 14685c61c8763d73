"""The objective of edges, and its gradient by an estimator."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import torch
from torch import Tensor

import discretegrad as dg
from experiments.engine import finite
from experiments.errors import UserError, require_number
from experiments.parts.detections import average_precision, matched
from experiments.parts.estimators import require_estimator
from experiments.parts.overlaps import intersection_over_union
from experiments.systems.cedet.cascade import Verdict, Wanted
from experiments.systems.cedet.graphs import pairs, possible
from experiments.systems.cedet.model import Detector, Seen
from experiments.systems.cedet.scenes import Buildings

OBJECTIVES = ("loss", "ap")
CREDITS = ("node", "image")


class Estimated(NamedTuple):
    """Of a batch."""

    losses: Tensor
    """The surrogate of each image's mean loss, `[B]`: its value is that loss, whatever the edges are judged by."""
    closed: Tensor
    """Price and entropy of all edges, in closed form; a scalar."""
    edges: Tensor
    """The mean number of an image's edges."""
    objective: Tensor
    """The mean of f, price included."""


class EdgeObjective:
    """E f of an image's edges: what is lost with the edges that are drawn, plus a price for each of them.

    Args:
        estimator, objective, credit, price, entropy: see `CEDetTask`.

    Raises:
        UserError: for what cannot be meant.
    """

    def __init__(self, estimator: dg.Estimator, objective: str, credit: str, price: float, entropy: float) -> None:
        for setting, number in (("price", price), ("entropy", entropy)):
            require_number(f"task.{setting}", number, least=0, below=math.inf)
        for setting, value, known in (("objective", objective, OBJECTIVES), ("credit", credit, CREDITS)):
            if value not in known:
                raise UserError(f"task.{setting} is one of {', '.join(known)}, not {value!r}.")
        require_estimator(estimator, "edges", "bernoulli", learns=False)
        self.estimator, self.objective, self.credit = estimator, objective, credit
        self.price, self.entropy = price, entropy
        self.share = 1.0
        """Of the price, that counts."""

    def refuse(self, model: Detector) -> None:
        """Refuse a detector that it does not go with.

        Raises:
            UserError: that names the way out.
        """
        if self.objective == "ap" and (self.estimator.needs_grad_f or self.credit == "node"):
            raise UserError(
                "task.objective=ap has no gradient, and is of the whole image; give task.credit=image and an estimator "
                "that asks for values alone, such as disarm."
            )
        if self.credit == "node" and model.normalisation != "mean" and not self.estimator.needs_grad_f:
            raise UserError(
                "with model.normalisation=symmetric an edge matters to more than its ends; give task.credit=image."
            )

    def __call__(
        self, model: Detector, seen: Seen, wanted: Wanted, truth: Buildings, generator: torch.Generator
    ) -> Estimated:
        """Draw edges, and judge the image with them.

        Raises:
            NotFinite: for logits.
        """
        assert seen.edges is not None, "edges are learned"
        finite({"edge_logits": seen.edges})
        mask = possible(seen.regions.present)
        draw = self.estimator.sample(seen.edges, generator, mask=mask)
        verdict = model.judge(seen, draw.points)
        losses = wanted.loss(seen.regions, verdict)
        values = losses.sum(-1)
        worth = values if self.objective == "loss" else missed(model, seen, verdict, truth)
        if worth is values and (self.credit == "image" or self.estimator.needs_grad_f):
            surrogate = self.estimator.surrogate(draw, values)
        else:  # all but the edges' logits has the gradient of the loss of the whole image
            rest = dataclasses.replace(draw, logits=draw.logits.detach())
            judged = worth if self.credit == "image" else at_ends(losses)
            own = self.estimator.surrogate(draw, judged.detach())  # [B], or [B, V]
            own = own.flatten(1).sum(-1) if own.ndim > 1 else own
            surrogate = self.estimator.surrogate(rest, values) + own - own.detach()
        edges = torch.where(mask, seen.edges.sigmoid(), 0.0).sum()
        price = self.share * self.price * edges
        entropy = dg.objectives.entropy(seen.edges, latent="bernoulli", mask=mask).sum()
        objective = worth.detach().mean() + price.detach() / len(mask)
        return Estimated(surrogate, price - self.entropy * entropy, edges.detach() / len(mask), objective)


def at_ends(losses: Tensor) -> Tensor:
    """Of the losses of proposals `[*, N]`, those at both ends of each edge, `[*, V]`."""
    first, second = pairs(losses.shape[-1], losses.device)
    return losses[..., first] + losses[..., second]


@torch.no_grad()
def missed(model: Detector, seen: Seen, verdict: Verdict, truth: Buildings) -> Tensor:
    """1 - AP50 of each image in each graph, `[S, B]`; 0 where there is no building."""
    boxes, scores, kept = model.detections(seen, verdict)
    overlaps = intersection_over_union(boxes, truth.boxes.expand(len(boxes), *truth.boxes.shape))
    overlaps = overlaps.masked_fill(~truth.present[:, None], -1.0)
    scores = torch.where(kept, scores, -1.0)
    hits = matched(overlaps, scores, 0.5, kept)
    truths = truth.present.sum(-1).expand(len(boxes), -1).to(scores.dtype)
    return torch.where(truths > 0, 1 - average_precision(scores, hits, kept.to(scores.dtype), truths), 0.0)
