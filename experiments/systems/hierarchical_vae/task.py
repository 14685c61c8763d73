"""The hierarchy as a task: dynamically binarised images in, the ELBO or a multi-sample bound out."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

import discretegrad as dg
from experiments.data.images import Images
from experiments.engine import Step
from experiments.parts.images import GenerativeTask, require_latent
from experiments.parts.variance import GradientVariance
from experiments.systems.hierarchical_vae.model import MOST, HierarchicalVAE
from experiments.systems.hierarchical_vae.ways import Layers


class HierarchicalVAETask(GenerativeTask):
    """Train the maps up and down and the prior by the gradients of one estimator a layer.

    Args:
        images: the data.
        model: makes it from the training images' mean.
        estimator: of the gradient w.r.t. a layer's logits; each layer has one of its own.
        way: "nested", "chain" or "layerwise": see `Layers`.
        binarised, bound_samples, variance_every, variance_decay: see `ImageTask`.
        bound: K, of the multi-sample bound that is trained on in the place of the ELBO, at K times the evaluations.

    Raises:
        UserError: where the parts do not fit together.
    """

    measures: ClassVar = {"train_elbo": "nats per image", "test_bound": "nats per image"} | {
        f"encoder_gradient_variance_{layer + 1}": "total variance" for layer in range(MOST)
    }

    def __init__(
        self,
        images: Images,
        model: Callable[[Tensor], HierarchicalVAE],
        estimator: dg.Estimator,
        way: str = "chain",
        binarised: bool = True,
        bound_samples: int = 100,
        bound: int | None = None,
        variance_every: int | None = 1,
        variance_decay: float = 0.999,
    ) -> None:
        super().__init__(images, estimator, binarised, bound_samples, bound, variance_every, variance_decay)
        self.model = model(images.train.mean(0))
        require_latent(estimator, self.model.latent, "model.latent")
        self.layers = Layers(self.model, estimator, way, bound)
        self.variance = nn.ModuleDict(
            {
                f"encoder_gradient_variance_{layer + 1}": GradientVariance(encoder.parameters(), variance_decay)
                for layer, encoder in enumerate(self.model.encoders)
            }
        )

    @property
    def title(self) -> str:
        """Estimator, layers and data."""
        layers = f"{self.model.layers} layers" if self.model.layers > 1 else "1 layer"
        return f"{type(self.estimator).__name__}, {self.layers.way}, {layers}, on {self.images.name}"

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The networks, the prior, and what learns inside the estimators."""
        return {
            "optimizer": [*self.model.encoders.parameters(), *self.model.decoders.parameters()],
            "prior_optimizer": [p for p in (self.model.prior_logits,) if p.requires_grad],
            "learner_optimizer": list(self.layers.parameters()),
        }

    def forward(self, batch: Tensor, generator: torch.Generator) -> Step:
        """Minus the surrogate of the ELBO or the bound, and the losses of what learns inside the estimators."""
        elbo = self.layers(self.model, self.observed(batch, generator), generator).mean()
        return Step(self.layers.loss() - elbo, {"train_elbo": elbo.detach()})

    def variances(self) -> dict[str, GradientVariance]:
        return {name: variance for name, variance in self.variance.items() if isinstance(variance, GradientVariance)}

    def after(self) -> None:
        """Update running means, and the variance of every layer's encoder's gradient."""
        self.layers.update()
        super().after()

    def log_weights(self, images: Tensor, generator: torch.Generator) -> Tensor:
        weights = self.model.ancestral(images.expand(self.bound_samples, *images.shape), generator)[1]
        assert isinstance(weights, Tensor)
        return weights

    def decoded(self, images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """From one point of each layer of the posterior, the layers below it drawn from the model."""
        drawn, _ = self.model.ancestral(images, generator)
        rows = {f"layer {layer + 1}": (points, layer) for layer, points in enumerate(drawn)}
        return {label: self.model.generated(points, generator, layer) for label, (points, layer) in rows.items()}

    def sampled(self, count: int, generator: torch.Generator) -> Tensor:
        """From points of the prior, all layers below drawn."""
        prior = self.model.prior_logits
        points = self.model.one(prior.expand(count, *prior.shape), generator)
        return self.model.generated(points, generator, self.model.layers - 1)
