"""Three ways to estimate the gradient of every layer's logits: `nested`, `chain` and `layerwise`.

With f the ELBO, what a layer's estimator sees is the part of it that depends on that layer: the terms of the layer and
of those above it. The terms below are added where the surrogate of the layer is a value of the layer below. In a bound
nothing can be left out: f is a function of all layers of all K points, and a layer's variables are those of K copies.
Or the estimator has a bound of its own, over the trajectories of a chain: see `behind_first`.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import discretegrad as dg
from discretegrad.objectives import log_prob, multi_sample_bound
from experiments.engine import finite
from experiments.errors import UserError
from experiments.parts.paths import behind_first
from experiments.systems.hierarchical_vae.model import HierarchicalVAE

WAYS = ("nested", "chain", "layerwise")


class Seen(NamedTuple):
    """What the learners of a layer's estimator learn from."""

    learners: dg.nn.Learners
    draw: dg.Draw
    values: Tensor
    context: Tensor


class Layers(nn.Module):
    """The estimators of all layers, and how they work together.

    Args:
        model: the hierarchy.
        estimator: of the first layer, and of the others: each has one of its own, with learners of its own.
        way: "nested", S points of a layer for each point below it, S ** L trajectories in all; "chain", one point for
            each, S trajectories, where the other trajectories are the baseline in place of the estimator's own in all
            layers but the first; "layerwise", S points of one layer after the other, given one point of the layers
            below and with one point of the layers above for each, S * L trajectories, as the authors of DisARM do.
        bound: K; None: the ELBO, or the estimator's own bound.

    Raises:
        UserError: for a way that the estimator cannot go.
    """

    def __init__(self, model: HierarchicalVAE, estimator: dg.Estimator, way: str, bound: int | None) -> None:
        super().__init__()
        refuse(model, estimator, way)
        self.way, self.bound, self.of_bound = way, bound, estimator.of_bound or bound is not None
        self.chains = estimator.of_bound and way == "chain"
        inner = dg.Reinforce(baseline=dg.BatchLeaveOneOut(-2), latent=model.latent) if way == "chain" else estimator
        estimators = (estimator, *(copy.deepcopy(inner) for _ in range(model.layers - 1)))
        self.each = nn.ModuleList(dg.nn.Learners(own) for own in estimators)
        self.seen: list[Seen] = []
        """Of the last call, until `update`."""

    def forward(self, model: HierarchicalVAE, images: Tensor, generator: torch.Generator) -> Tensor:
        """The surrogate of the ELBO or the bound, `[B]`.

        Args:
            model: the hierarchy.
            images: `[B, D]`.
            generator: of all noise.
        """
        self.seen = []
        if self.bound is not None:
            images = images.unsqueeze(-2).expand(-1, self.bound, -1)
        if self.chains:
            return self._chain(model, images, generator)
        if self.way == "layerwise":
            return self._layerwise(model, images, generator)
        return self._nested(model, 0, images, images.new_zeros(()), generator)

    def loss(self) -> Tensor:
        """What the learners minimise, of the last call."""
        return torch.stack([seen.learners.loss(*seen[1:]) for seen in self.seen]).sum()

    def update(self) -> None:
        """Let the learners take in what they have seen in the last call."""
        for seen in self.seen:
            seen.learners.update(seen.draw, seen.values.detach(), seen.context)
        self.seen = []  # and with it the step's graph

    def _nested(
        self, model: HierarchicalVAE, layer: int, below: Tensor, so_far: Tensor, generator: torch.Generator
    ) -> Tensor:
        """The surrogate of a layer and those above it, `[*batch]`, given what is below and, in a bound, its terms."""
        draw, points, terms = self._drawn(model, layer, below, generator)
        top = layer + 1 == model.layers
        if self.bound is not None:
            terms = so_far + terms
            values = _joined(terms) if top else self._nested(model, layer + 1, points, terms, generator)
        else:
            values = terms if top else terms + self._nested(model, layer + 1, points, so_far, generator)
        return self._surrogate(model, layer, below, draw, values)

    def _chain(self, model: HierarchicalVAE, images: Tensor, generator: torch.Generator) -> Tensor:
        """The surrogate of the bound of trajectories, one for each of the first layer's points."""
        draw, points, weights = self._drawn(model, 0, images, generator)
        score = torch.zeros_like(weights)
        for layer in range(1, model.layers):
            own, [points], [terms] = self._drawn(model, layer, points, generator)
            weights, score = weights + terms, score + log_prob(points, own.logits, latent=model.latent)
        first: Any = self.each[0]
        return self._surrogate(model, 0, images, draw, weights) + behind_first(first.estimator, weights, score)

    def _layerwise(self, model: HierarchicalVAE, images: Tensor, generator: torch.Generator) -> Tensor:
        """The sum over layers of the surrogates, whose value and gradient in all else are those of the first layer."""
        below, so_far, total = images, images.new_zeros(()), images.new_zeros(())
        of_bound = self.bound is not None
        for layer in range(model.layers):
            draw, points, terms = self._drawn(model, layer, below, generator)
            values = so_far + terms + model.ancestral(points, generator, layer + 1, of_bound)[1]
            if of_bound:
                values = _joined(values)
            surrogate = self._surrogate(model, layer, below, draw, values.detach() if layer else values)
            total = total + (surrogate - surrogate.detach() if layer else surrogate)
            if layer + 1 < model.layers:
                with torch.no_grad():
                    logits = model.posterior_logits(layer, below)
                    points = model.one(logits, generator)
                    so_far = so_far + model.terms(layer, below, points, logits) if of_bound else so_far
                    below = points
        return total

    def _drawn(
        self, model: HierarchicalVAE, layer: int, below: Tensor, generator: torch.Generator
    ) -> tuple[dg.Draw, Tensor, Tensor]:
        """The draw of a layer, in which K copies are one event, its points for each copy, and the layer's terms."""
        logits = model.posterior_logits(layer, below)
        finite({f"the posterior of layer {layer + 1}": logits})
        learners: Any = self.each[layer]
        if self.bound is None:
            draw = learners.estimator.sample(logits, generator)
            points = draw.points
        else:
            variables = logits.ndim - model.event_dims
            draw = learners.estimator.sample(logits.flatten(variables - 1, variables), generator)
            points = draw.points.unflatten(variables, (self.bound, -1))
        terms = model.terms(layer, below, points, logits, of_bound=self.of_bound)
        finite({f"the ELBO's part of layer {layer + 1}": terms})
        return draw, points, terms

    def _surrogate(self, model: HierarchicalVAE, layer: int, below: Tensor, draw: dg.Draw, values: Tensor) -> Tensor:
        context = model.encoder_input(layer, below).detach()
        if self.bound is not None:  # all copies see the same image
            context = context.flatten(-2) if layer else context[..., 0, :]
        learners: Any = self.each[layer]
        self.seen.append(Seen(learners, draw, values, context))
        surrogate: Tensor = learners.estimator.surrogate(draw, values, context)
        return surrogate


def refuse(model: HierarchicalVAE, estimator: dg.Estimator, way: str) -> None:
    """Refuse a way that an estimator cannot go.

    Raises:
        UserError: that says why, and what can be done.
    """
    name = type(estimator).__name__
    if way not in WAYS:
        raise UserError(f"task.way is {', '.join(WAYS[:-1])} or {WAYS[-1]}, not {way!r}.")
    if model.layers == 1:
        return
    if estimator.of_bound and way != "chain":
        raise UserError(
            f"{name} differentiates a bound of its own, in which what layers above are worth cannot be estimated; use "
            "task.way=chain, or task.bound with an estimator of E f such as rloo."
        )
    if estimator.needs_grad_f and any(isinstance(learner, dg.nn.LearnedRelaxation) for learner in estimator.learners):
        raise UserError(
            f"{name} learns by differentiating the gradient of f, which estimates of the layers above do not allow; "
            "use rebar with estimator.learn=false, or relax with estimator.scale=null."
        )
    if way == "chain" and estimator.evaluations == 1:
        raise UserError(
            f"task.way=chain takes the other trajectories as the baseline, but {name} has only one; give it more "
            "points, or use task.way=nested."
        )
    if way == "layerwise" and estimator.needs_grad_f:
        raise UserError(
            f"{name} needs the gradient of f, which ends in task.way=layerwise where the layers above are drawn; use "
            "task.way=nested or chain."
        )


def _joined(log_weights: Tensor) -> Tensor:
    """The bound of the K points in the last dimension."""
    return multi_sample_bound(log_weights.movedim(-1, 0))
