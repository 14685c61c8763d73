"""The VAE as a task: dynamically binarised images in, the ELBO out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

import discretegrad as dg
from experiments.data.images import Images, binarise
from experiments.engine import (
    Settings,
    Step,
    Task,
    UserError,
    Watch,
    World,
    finite,
    require_count,
    require_number,
)
from experiments.parts.batches import Shuffled
from experiments.parts.variance import GradientVariance
from experiments.systems.vae.model import VAE


class VAETask(Task):
    """Train encoder, decoder and prior by the gradient of an estimator.

    Args:
        images: the data.
        model: makes it from the training images' mean.
        estimator: of the gradient w.r.t. the posterior's logits.
        binarised: whether every step draws the pixels anew, with grey values as probabilities; False: grey values are
            the targets of a cross-entropy.
        kl: "sampled", log-probabilities at the points; or "closed": the divergence between posterior and prior by its
            formula, so that the estimator sees the likelihood alone.
        bound_samples: of the multi-sample bound by which test images are judged.
        variance_every: steps between two looks at the variance of the encoder's gradient; None: none.
        variance_decay: of the moments behind it, a look.

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
        variance_every: int | None = 1,
        variance_decay: float = 0.999,
    ) -> None:
        super().__init__()
        require_count("task.bound_samples", bound_samples)
        if variance_every is not None:
            require_count("task.variance_every", variance_every)
        require_number("task.variance_decay", variance_decay, least=0, below=1)
        if kl not in ("sampled", "closed"):
            raise UserError(f"task.kl is sampled or closed, not {kl!r}.")
        if kl == "closed" and estimator.of_bound:
            raise UserError(
                f"{type(estimator).__name__} differentiates a multi-sample bound, which has no divergence of its own; "
                "use task.kl=sampled."
            )
        self.images, self.estimator, self.bound_samples = images, estimator, bound_samples
        self.binarised, self.kl = binarised, kl
        self.model = model(images.train.mean(0))
        if estimator.latent != self.model.latent:
            raise UserError(
                f"{type(estimator).__name__} is for {estimator.latent} latents, but the model's are "
                f"{self.model.latent}; use model={estimator.latent}, or another estimator."
            )
        if self.model.inputs == "ids" and not estimator.takes_ids:
            raise UserError(
                f"{type(estimator).__name__} needs the gradient of f in the points, or f at points that have no ids; "
                "use model.inputs=points, or another estimator."
            )
        self.learners = dg.nn.Learners(estimator)
        self.variance_every = variance_every
        self.variance = GradientVariance(self.model.encoder.parameters(), variance_decay)
        self._drawn: tuple[Tensor, Tensor, dg.Draw, Tensor] | None = None
        """Of the last forward pass: binarised images, posterior's logits, draw, ELBO."""

    @property
    def title(self) -> str:
        """Estimator and data."""
        return f"{type(self.estimator).__name__} on {self.images.name}"

    def begin(self, settings: Settings, world: World) -> None:
        """See `Task.begin`."""
        if settings.monitor_share is not None and self.estimator.of_bound:
            raise UserError(
                f"{type(self.estimator).__name__} differentiates a multi-sample bound, not E f, which is all that a "
                "monitor measures; leave run.monitor_share out."
            )
        self.world = world
        self.order = Shuffled(len(self.images.train), settings.batch, settings.seed, world)
        self.images = self.images._replace(
            train=self.images.train.to(world.device), test=self.images.test.to(world.device)
        )

    def batch(self, step: int) -> Tensor:
        """Grey images `[B, D]`."""
        self._step = step
        return self.images.train[self.order(step)]

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The networks, the prior, and what learns inside the estimator."""
        return {
            "optimizer": [*self.model.encoder.parameters(), *self.model.decoder.parameters()],
            "prior_optimizer": [p for p in (self.model.prior_logits,) if p.requires_grad],
            "learner_optimizer": list(self.learners.parameters()),
        }

    def forward(self, batch: Tensor, generator: torch.Generator) -> Step:
        """Minus the surrogate of the ELBO, and the losses of what learns inside the estimator."""
        binary = binarise(batch, generator) if self.binarised else batch
        logits = self.model.posterior_logits(binary)
        finite({"log_posterior": logits})
        draw = self.estimator.sample(logits, generator)
        terms = self.model.terms_of(binary, draw, self.estimator)
        finite(terms._asdict())
        context = self.context(binary)
        values = terms.elbo if self.kl == "sampled" else terms.log_likelihood
        surrogate = self.estimator.surrogate(draw, values, context)
        elbo = surrogate.mean()
        if self.kl == "closed":
            prior = self.model.prior_logits.expand_as(logits)
            elbo = elbo - dg.objectives.kl(logits, prior, latent=self.model.latent).mean()
        loss = -elbo + self.learners.loss(draw, values, context)
        self._drawn = (binary, logits, draw, values.detach())
        return Step(loss, {"train_elbo": elbo.detach()})

    def context(self, binary: Tensor) -> Tensor:
        """What baselines see of the images."""
        return binary - self.model.mean

    def after(self) -> None:
        """Update running means, and the variance of the encoder's gradient."""
        assert self._drawn is not None, "after a forward pass"
        binary, _, draw, values = self._drawn
        self.learners.update(draw, values, self.context(binary))
        if self.variance_every is not None and self._step % self.variance_every == 0:
            self.variance.update()

    def noted(self) -> dict[str, float | None]:
        """The variance of the encoder's gradient."""
        return {"encoder_gradient_variance": self.variance.total()}

    @torch.no_grad()
    def evaluate(self, most: int | None = None) -> dict[str, float]:
        """The multi-sample bound on log p(x), averaged over the test images."""
        device = self.world.device
        generator = torch.Generator(device).manual_seed(0)
        images = binarise(self.images.test, generator) if self.binarised else self.images.test
        if most is not None:
            images = images[:: max(1, len(images) // most)][:most]
        images, generator = images[self.world.share(len(images))], self.world.apart(generator)
        sampler = dg.Reinforce(self.bound_samples, latent=self.model.latent)
        total = 0.0
        for batch in images.split(50):
            draw = sampler.sample(self.model.posterior_logits(batch), generator)
            log_weights = self.model.terms_of(batch, draw, sampler).elbo
            total += float(dg.objectives.multi_sample_bound(log_weights).double().sum())
        return {"test_bound": self.world.mean(total, len(images))}

    def pictures(self, folder: Path) -> list[Path]:
        """Reconstructions and samples."""
        from experiments.systems.vae.pictures import draw  # takes matplotlib with it

        return draw(folder, self.model, self.images, self.title)

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
