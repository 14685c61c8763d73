"""The VAE as a task: dynamically binarised images in, the ELBO or a multi-sample bound out."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

import discretegrad as dg
from experiments.data.images import Images
from experiments.engine import Settings, Step, Watch, World, finite
from experiments.errors import UserError
from experiments.parts.images import GenerativeTask, require_latent
from experiments.parts.variance import GradientVariance
from experiments.systems.vae.model import VAE


class VAETask(GenerativeTask):
    """Train encoder, decoder and prior by the gradient of an estimator.

    Args:
        images: the data.
        model: makes it from the training images' mean.
        estimator: of the gradient w.r.t. the posterior's logits.
        binarised, bound_samples, variance_every, variance_decay: see `ImageTask`.
        kl: "sampled", log-probabilities at the points; or "closed": the divergence between posterior and prior by its
            formula, so that the estimator sees the likelihood alone.
        bound: K, of the multi-sample bound that is trained on in the place of the ELBO: f of K copies of the latents,
            jointly, so that every estimator of E f estimates its gradient, at K times the evaluations. `VIMCO` and
            `DisARMBound` have a bound of their own.

    Raises:
        UserError: where the parts do not fit together.
    """

    measures: ClassVar = {
        "train_elbo": "nats per image",
        "test_bound": "nats per image",
        "encoder_gradient_variance": "total variance",
    }

    def __init__(
        self,
        images: Images,
        model: Callable[[Tensor], VAE],
        estimator: dg.Estimator,
        binarised: bool = True,
        kl: str = "sampled",
        bound_samples: int = 100,
        bound: int | None = None,
        variance_every: int | None = 1,
        variance_decay: float = 0.999,
    ) -> None:
        super().__init__(images, estimator, binarised, bound_samples, bound, variance_every, variance_decay)
        self.kl, self.of_bound = kl, estimator.of_bound or bound is not None
        self.model = model(images.train.mean(0))
        self._refuse()
        self.learners = dg.nn.Learners(estimator)
        self.variance = GradientVariance(self.model.encoder.parameters(), variance_decay)
        self._drawn: tuple[Tensor, Tensor, dg.Draw, Tensor] | None = None
        """Of the last forward pass: binarised images, posterior's logits, draw, ELBO."""

    def _refuse(self) -> None:
        name = type(self.estimator).__name__
        if self.kl not in ("sampled", "closed"):
            raise UserError(f"task.kl is sampled or closed, not {self.kl!r}.")
        if self.kl == "closed" and self.of_bound:
            raise UserError(f"{self._objective()}, which has no divergence of its own; use task.kl=sampled.")
        require_latent(self.estimator, self.model.latent, "model")
        if self.model.inputs == "ids" and not self.estimator.takes_ids:
            raise UserError(
                f"{name} needs the gradient of f in the points, or f at points that have no ids; use "
                "model.inputs=points, or another estimator."
            )

    def _objective(self) -> str:
        by = type(self.estimator).__name__ if self.bound is None else f"task.bound={self.bound}"
        return f"{by} differentiates a multi-sample bound"

    def begin(self, settings: Settings, world: World) -> None:
        if settings.monitor_share is not None and self.of_bound:
            raise UserError(
                f"{self._objective()}, not E f, which is all that a monitor measures; leave run.monitor_share out."
            )
        super().begin(settings, world)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The networks, the prior, and what learns inside the estimator."""
        return {
            "optimizer": [*self.model.encoder.parameters(), *self.model.decoder.parameters()],
            "prior_optimizer": [p for p in (self.model.prior_logits,) if p.requires_grad],
            "learner_optimizer": list(self.learners.parameters()),
        }

    def forward(self, batch: Tensor, generator: torch.Generator) -> Step:
        """Minus the surrogate of the ELBO or the bound, and the losses of what learns inside the estimator."""
        binary = self.observed(batch, generator)
        surrogate, draw, values = self.estimate(binary, generator)
        elbo = surrogate.mean()
        if self.kl == "closed":
            prior = self.model.prior_logits.expand_as(draw.logits)
            elbo = elbo - dg.objectives.kl(draw.logits, prior, latent=self.model.latent).mean()
        loss = -elbo + self.learners.loss(draw, values, self.context(binary))
        self._drawn = (binary, draw.logits, draw, values.detach())
        return Step(loss, {"train_elbo": elbo.detach()})

    def estimate(self, binary: Tensor, generator: torch.Generator) -> tuple[Tensor, dg.Draw, Tensor]:
        """The surrogate `[B]` of what the estimator sees, its draw, and the values `[S, B]` there."""
        logits = self.model.posterior_logits(binary)
        finite({"log_posterior": logits})
        draw, values = (self._plain if self.bound is None else self._bound)(binary, logits, generator)
        return self.estimator.surrogate(draw, values, self.context(binary)), draw, values

    def _plain(self, binary: Tensor, logits: Tensor, generator: torch.Generator) -> tuple[dg.Draw, Tensor]:
        draw = self.estimator.sample(logits, generator)
        terms = self.model.terms_of(binary, draw, self.estimator)
        finite(terms._asdict())
        return draw, terms.elbo if self.kl == "sampled" else terms.log_likelihood

    def _bound(self, binary: Tensor, logits: Tensor, generator: torch.Generator) -> tuple[dg.Draw, Tensor]:
        """The bound of K copies of every image's latents, which are one joint latent to the estimator."""
        assert self.bound is not None
        copies = logits.repeat_interleave(self.bound, 0)
        draw = self.estimator.sample(copies.reshape(len(logits), -1, *logits.shape[2:]), generator)
        inputs = self.model.inputs_of(draw)
        inputs = inputs.reshape(len(inputs), *copies.shape[: inputs.ndim - 1])
        ids = draw.indices.reshape(len(inputs), *copies.shape[:2]) if self.estimator.takes_ids else None
        terms = self.model.terms(binary.repeat_interleave(self.bound, 0), inputs, copies, of_bound=True, ids=ids)
        finite(terms._asdict())
        log_weights = terms.elbo.unflatten(1, (-1, self.bound)).movedim(2, 0)
        return draw, dg.objectives.multi_sample_bound(log_weights)

    def context(self, binary: Tensor) -> Tensor:
        """What baselines see of the images."""
        return binary - self.model.mean

    def variances(self) -> dict[str, GradientVariance]:
        return {"encoder_gradient_variance": self.variance}

    def after(self) -> None:
        """Update running means, and the variance of the encoder's gradient."""
        assert self._drawn is not None, "after a forward pass"
        binary, _, draw, values = self._drawn
        self.learners.update(draw, values, self.context(binary))
        super().after()

    def log_weights(self, images: Tensor, generator: torch.Generator) -> Tensor:
        sampler = dg.Reinforce(self.bound_samples, latent=self.model.latent)
        draw = sampler.sample(self.model.posterior_logits(images), generator)
        return self.model.terms_of(images, draw, sampler).elbo

    def decoded(self, images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """From one point of the posterior."""
        return {"decoded": self._pixels(self.model.posterior_logits(images), generator)}

    def sampled(self, count: int, generator: torch.Generator) -> Tensor:
        """From points of the prior."""
        prior = self.model.prior_logits
        return self._pixels(prior.expand(count, *prior.shape), generator)

    def _pixels(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        draw = dg.Reinforce(latent=self.model.latent).sample(logits, generator)
        return self.model.pixel_logits(self.model.inputs_of(draw)).sigmoid()[0]

    def watched(self) -> Watch | None:
        """What the estimator saw of the last batch, at any points."""
        if self._drawn is None:
            return None
        binary, logits, _, _ = self._drawn

        def elbo(inputs: Tensor) -> Tensor:
            ids = inputs if self.model.inputs == "ids" else None
            terms = self.model.terms(binary, inputs, logits.detach(), ids=ids)
            return terms.elbo if self.kl == "sampled" else terms.log_likelihood

        return Watch(self.estimator, elbo, logits, self.context(binary), self.model.inputs)
