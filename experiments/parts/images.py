"""Tasks of images: binarised at every step, judged by a multi-sample bound, with pictures."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

import discretegrad as dg
from experiments.data.images import Images, binarise
from experiments.engine import Settings, Task, World
from experiments.errors import UserError, require_count, require_number
from experiments.parts.batches import Shuffled
from experiments.parts.variance import GradientVariance


class ImageTask(Task):
    """Whatever trains a model of images with discrete latents by an estimator.

    Args:
        images: the data.
        estimator: of the gradient w.r.t. the latents' logits.
        binarised: whether every step draws the pixels anew, with grey values as probabilities; False: grey values are
            the targets of a cross-entropy.
        bound_samples: of the multi-sample bound by which test images are judged.
        bound: K, of the multi-sample bound that is trained on; None: the ELBO, or the estimator's own bound.
        variance_every: steps between two looks at the variance of the gradient; None: none.
        variance_decay: of the moments behind it, a look.

    Raises:
        UserError: for numbers that cannot be meant.
    """

    def __init__(
        self,
        images: Images,
        estimator: dg.Estimator,
        binarised: bool,
        bound_samples: int,
        bound: int | None,
        variance_every: int | None,
        variance_decay: float,
    ) -> None:
        super().__init__()
        require_count("task.bound_samples", bound_samples)
        for name, count in (("task.bound", bound), ("task.variance_every", variance_every)):
            if count is not None:
                require_count(name, count)
        require_number("task.variance_decay", variance_decay, least=0, below=1)
        if estimator.of_bound and bound is not None:
            raise UserError(
                f"{type(estimator).__name__} differentiates a multi-sample bound of its own, that of its points; leave "
                "task.bound out, or use an estimator of E f such as rloo."
            )
        self.images, self.estimator, self.binarised = images, estimator, binarised
        self.bound_samples, self.bound, self.variance_every = bound_samples, bound, variance_every

    @property
    def title(self) -> str:
        """Estimator and data."""
        return f"{type(self.estimator).__name__} on {self.images.name}"

    def begin(self, settings: Settings, world: World) -> None:
        self.world = world
        self.order = Shuffled(len(self.images.train), settings.batch, settings.seed, world)
        self.images = self.images._replace(
            train=self.images.train.to(world.device), test=self.images.test.to(world.device)
        )

    def batch(self, step: int) -> Tensor:
        """Grey images `[B, D]`."""
        self._step = step
        return self.images.train[self.order(step)]

    def observed(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """What the model sees of grey images."""
        return binarise(batch, generator) if self.binarised else batch

    @abstractmethod
    def variances(self) -> Mapping[str, GradientVariance]:
        """What looks at the gradient of what the estimator trains, by the column that it fills."""

    def after(self) -> None:
        """Take in the gradient."""
        if self.variance_every is not None and self._step % self.variance_every == 0:
            for variance in self.variances().values():
                variance.update()

    def noted(self) -> dict[str, float | None]:
        """The variances."""
        return {name: variance.total() for name, variance in self.variances().items()}

    @abstractmethod
    def log_weights(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """What the bound is of, `[K, B]`: of images `[B, D]`, at `bound_samples` points of what draws the latents."""

    @torch.no_grad()
    def evaluate(self, most: int | None = None) -> dict[str, float]:
        """The multi-sample bound, averaged over the test images."""
        generator = torch.Generator(self.world.device).manual_seed(0)
        images = self.observed(self.images.test, generator)
        if most is not None:
            images = images[:: max(1, len(images) // most)][:most]
        images, generator = images[self.world.share(len(images))], self.world.apart(generator)
        total = 0.0
        for batch in images.split(50):
            bounds = dg.objectives.multi_sample_bound(self.log_weights(batch, generator))
            total += float(bounds.double().sum())
        return {"test_bound": self.world.mean(total, len(images))}


class GenerativeTask(ImageTask):
    """An `ImageTask` whose model makes images of its own, which are its pictures."""

    @abstractmethod
    def decoded(self, images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Reconstructions `[N, D]` of images, by what they are called."""

    @abstractmethod
    def sampled(self, count: int, generator: torch.Generator) -> Tensor:
        """Images `[count, D]` of the model."""

    def pictures(self, folder: Path) -> list[Path]:
        """Reconstructions and samples."""
        from experiments.parts.pictures import draw  # takes matplotlib with it

        return draw(folder, self.images, self.title, self.world.device, self.decoded, self.sampled)


def require_latent(estimator: dg.Estimator, latent: str, choice: str) -> None:
    """Refuse an estimator of other latents than the model's.

    Args:
        estimator: the estimator.
        latent: the model's.
        choice: what of the configuration chooses the model's latents, such as "model".

    Raises:
        UserError: that names both ways out.
    """
    if estimator.latent != latent:
        raise UserError(
            f"{type(estimator).__name__} is for {estimator.latent} latents, but the model's are {latent}; use "
            f"{choice}={estimator.latent}, or another estimator."
        )


def log_likelihood(images: Tensor, logits: Tensor) -> Tensor:
    """`log p(x | logits)` of independent pixels, `[*batch]`, for images and logits `[*batch, D]` that broadcast."""
    return (images * logits - F.softplus(logits)).sum(-1)
