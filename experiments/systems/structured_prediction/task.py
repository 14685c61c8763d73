"""The lower half of an image from its upper half."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

import discretegrad as dg
from experiments.data.images import Images
from experiments.engine import Settings, Step, Watch, World, finite
from experiments.errors import UserError
from experiments.parts.images import ImageTask, require_latent
from experiments.parts.paths import behind_first
from experiments.parts.variance import GradientVariance
from experiments.systems.structured_prediction.model import StochasticNetwork


class Drawn(NamedTuple):
    """What the estimator of a layer saw in the last forward pass."""

    learners: Any
    draw: dg.Draw
    values: Tensor
    context: Tensor


class StructuredPredictionTask(ImageTask):
    """Train a stochastic network by the gradient of an estimator.

    An estimator of E f is given `f = log p(y | z_L)`, and every layer has one of its own, nested: the surrogate of a
    layer is the value of the layer before it. With S evaluations and L layers that are S^L points of the last layer.
    An estimator of a multi-sample bound makes it `log 1/K sum_k p(y | z_k)` over K paths through all layers, each
    layer of which gets the path's signal.

    Args:
        images: the data.
        model: makes it from the means of the training images' upper and lower halves.
        estimator: of the gradient w.r.t. the logits of a layer.
        binarised, bound_samples, variance_every, variance_decay: see `ImageTask`; without binarised, grey values are
            inputs too.

    Raises:
        UserError: where the parts do not fit together.
    """

    measures: ClassVar = {
        "train_bound": "nats per image",
        "test_bound": "nats per image",
        "latent_gradient_variance": "total variance",
    }

    def __init__(
        self,
        images: Images,
        model: Callable[[Tensor, Tensor], StochasticNetwork],
        estimator: dg.Estimator,
        binarised: bool = True,
        bound_samples: int = 100,
        variance_every: int | None = 1,
        variance_decay: float = 0.999,
    ) -> None:
        super().__init__(images, estimator, binarised, bound_samples, None, variance_every, variance_decay)
        height, width = images.shape
        if height < 2:
            raise UserError(f"images of {height} x {width} pixels have no lower half; use other data.")
        self.upper = height // 2 * width
        """Pixels of the upper half."""
        self.model = model(*self.halves(images.train.mean(0)))
        require_latent(estimator, self.model.latent, "model.latent")
        if self.model.layers > 1 and isinstance(estimator, dg.REBAR | dg.RELAX) and estimator.learners:
            raise UserError(
                f"{type(estimator).__name__} learns by second derivatives of f, and f has none where another layer is "
                "behind; use model.layers=1, or estimator=rebar estimator.learn=false."
            )
        first = dg.nn.Learners(estimator)
        behind = [] if estimator.of_bound else range(1, self.model.layers)
        self.learners = nn.ModuleList([first, *(copy.deepcopy(first) for _ in behind)])
        self.variance = GradientVariance(self.model.latents.parameters(), variance_decay)
        self._drawn: list[Drawn] = []
        self._halves: tuple[Tensor, Tensor] | None = None

    @property
    def title(self) -> str:
        """What is predicted, estimator and data."""
        return f"lower halves, {super().title}"

    def halves(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Upper and lower half of images `[..., D]`, as views."""
        return images[..., : self.upper], images[..., self.upper :]

    def begin(self, settings: Settings, world: World) -> None:
        if settings.monitor_share is not None and (self.estimator.of_bound or self.model.layers > 1):
            raise UserError(
                "a monitor measures the gradient of E f in one layer of latents; leave run.monitor_share out, or use "
                "model.layers=1 and an estimator of E f."
            )
        super().begin(settings, world)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The networks, and what learns inside the estimators."""
        return {"optimizer": list(self.model.parameters()), "learner_optimizer": list(self.learners.parameters())}

    def forward(self, batch: Tensor, generator: torch.Generator) -> Step:
        """Minus the surrogate of `E log p(y | z)` or of the bound, and the losses of what learns in the estimators."""
        self._drawn = []
        objective = self.estimate(self.observed(batch, generator), generator).mean()
        loss = -objective
        for learners, draw, values, context in self._drawn:
            loss = loss + learners.loss(draw, values, context)
        self._drawn = [drawn._replace(values=drawn.values.detach()) for drawn in self._drawn]
        return Step(loss, {"train_bound": objective.detach()})

    def estimate(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The surrogate `[B]` of `E log p(y | z)` or of the bound, for images `[B, D]`."""
        given, wanted = self._halves = self.halves(images)
        return (self._bound if self.estimator.of_bound else self._nested)(given, wanted, generator)

    def _nested(self, before: Tensor, wanted: Tensor, generator: torch.Generator, layer: int = 0) -> Tensor:
        """The surrogate of `E log p(y | z_L)` given the layer before, whose batch dimensions it has."""
        if layer == self.model.layers:
            values = self.model.log_likelihood(before, wanted)
            finite({"log_likelihood": values})
            return values
        learners: Any = self.learners[layer]
        draw = self._sample(learners.estimator, self.model.logits(layer, before), generator)
        values = self._nested(draw.points, wanted, generator, layer + 1)
        context = self.model.inputs(layer, before).detach()
        self._drawn.append(Drawn(learners, draw, values, context))
        return learners.estimator.surrogate(draw, values, context)

    def _sample(self, estimator: dg.Estimator, logits: Tensor, generator: torch.Generator) -> dg.Draw:
        finite({"logits": logits})
        return estimator.sample(logits, generator)

    def _bound(self, given: Tensor, wanted: Tensor, generator: torch.Generator) -> Tensor:
        """The surrogate of the bound, `[B]`: the estimator's for the first layer, leave-one-out for those behind it."""
        paths = self.model.trajectories(given, self.estimator, generator)
        values = self.model.log_likelihood(paths.points, wanted)
        finite({"log_likelihood": values, "logits": paths.draw.logits})
        bound = self.estimator.surrogate(paths.draw, values)
        return bound if self.model.layers == 1 else bound + behind_first(self.estimator, values, paths.score)

    def variances(self) -> dict[str, GradientVariance]:
        return {"latent_gradient_variance": self.variance}

    def after(self) -> None:
        """Update running means, and the variance of the latent layers' gradient."""
        for learners, draw, values, context in self._drawn:
            learners.update(draw, values, context)
        super().after()

    def log_weights(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """`log p(y | z)` of the images' lower halves, `[K, B]`, at paths drawn given the upper ones."""
        given, wanted = self.halves(images)
        sampler = dg.Reinforce(self.bound_samples, latent=self.model.latent)
        return self.model.log_likelihood(self.model.trajectories(given, sampler, generator).points, wanted)

    def pictures(self, folder: Path) -> list[Path]:
        """Upper halves, and several lower halves for each."""
        from experiments.systems.structured_prediction.pictures import draw  # takes matplotlib with it

        return draw(folder, self)

    def watched(self) -> Watch | None:
        """What the estimator of a single layer saw of the last batch, at any points."""
        if self._halves is None:
            return None
        _, wanted = self._halves
        [(_, drawn, _, context)] = self._drawn
        return Watch(
            self.estimator, lambda points: self.model.log_likelihood(points, wanted), drawn.logits, context, "points"
        )
