"""Tokens of images and their language model, learned together or one after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

import discretegrad as dg
from experiments.data.captions import Captions
from experiments.data.images import Images
from experiments.engine import Settings, Step, Watch, World
from experiments.errors import UserError, require_count, require_number
from experiments.parts.estimators import asked_on
from experiments.parts.images import ImageTask, require_latent
from experiments.parts.variance import GradientVariance
from experiments.systems.gemini import estimation
from experiments.systems.gemini.judge import Judge, trained_judge
from experiments.systems.gemini.judging import judge
from experiments.systems.gemini.model import Gemini
from experiments.systems.gemini.stages import PASSES, Stages

START = 1000
"""Training images, at most, that the codebook starts from."""


class Batch(NamedTuple):
    """Of a step."""

    images: Tensor
    """Grey, `[B, H * W]`."""
    captions: Tensor
    """int64 `[B, L]`."""


class GeminiTask(ImageTask):
    """Train a tokenizer of images by the gradient of an estimator, and a language model of captions and image tokens.

    Together: the objective of an image is `E_q log p(x | z) + log p_LM(z | caption) - log q(z | x)`, and the language
    model learns streams of several examples besides, in both orders. In two stages: for the first `tokenizer_steps`
    the prior is uniform and the language model rests; from then on it alone learns, from tokens of the posterior. With
    `model.posterior=nearest` the tokenizer is a VQ-VAE, whose posterior is one point, and no estimator is asked.

    Args:
        images: the data, with labels.
        model: makes the model from the training images' mean, their shape, captions and `examples`.
        estimator: of the gradient w.r.t. the tokens' logits.
        binarised, bound_samples, variance_every, variance_decay: see `ImageTask`.
        tokenizer_steps: of the first of two stages; None: all learns together.
        credit: what the estimator sees where all learns together: see `estimation.values`.
        warmup_steps: in which what the tokens cost, log q - log p, gets its weight in the objective, evenly.
        temperature_end: of an estimator that has a temperature, at the end of the first stage; None: it stays.
        commitment: of a VQ-VAE: see `estimation.nearest`.
        examples: of a stream; a prompt has one less that is complete.
        prompts: few-shot prompts that are judged.
        judge_steps: of the training of the classifier that judges drawn images; 0: they are not judged.
        cache: a folder for that classifier, which is trained once for each data set.

    Raises:
        UserError: where the parts do not fit together.
    """

    done: Tensor

    def __init__(
        self,
        images: Images,
        model: Callable[..., Gemini],
        estimator: dg.Estimator,
        binarised: bool = True,
        bound_samples: int = 100,
        variance_every: int | None = 1,
        variance_decay: float = 0.999,
        tokenizer_steps: int | None = None,
        credit: str = "whole",
        warmup_steps: int = 0,
        temperature_end: float | None = None,
        commitment: float = 0.25,
        examples: int = 4,
        prompts: int = 500,
        judge_steps: int = 2000,
        cache: str = "~/.cache/discretegrad",
    ) -> None:
        super().__init__(images, estimator, binarised, bound_samples, None, variance_every, variance_decay)
        require_number("task.commitment", commitment, least=0, below=float("inf"))
        require_count("task.examples", examples, least=2)
        require_count("task.prompts", prompts)
        require_count("task.judge_steps", judge_steps, least=0)
        if examples > len(images.test):
            raise UserError(f"task.examples={examples} are more than the {len(images.test)} test images.")
        self.credit = credit
        self.prompts, self.judge_steps, self.cache = prompts, judge_steps, cache
        self.captions, self.examples, self.commitment = Captions.fitted(images), examples, commitment
        self.model = model(images.train.mean(0), images.shape, self.captions, examples)
        require_latent(estimator, self.model.latent, "model.latent")
        estimation.refuse(estimator, credit)
        self.stages = Stages(tokenizer_steps, self.model.sampled, examples, warmup_steps, temperature_end)
        self.stages.refuse(estimator)
        self.learners = dg.nn.Learners(estimator)
        self.variance = GradientVariance(self.model.tokenizer.encoder.parameters(), variance_decay)
        self._drawn: tuple[Batch, estimation.Surrogate] | None = None
        """Of the last forward pass, where an estimator was asked: the batch, binary, and what it was told."""
        self._judges: list[Judge] = []  # in a list, so that it is no part of what learns
        self._step, self._points = 0, 1
        self.register_buffer("done", torch.zeros((), dtype=torch.long))  # steps, also where a run goes on

    @property
    def measures(self) -> dict[str, str]:  # type: ignore[override]
        """The columns."""
        judged = ("drawn_class", "drawn_attributes", "prompt_drawn", "judge_accuracy") if self.judge_steps else ()
        shares = ("read_class", "read_attributes", "read_caption", "prompt_read", *judged)
        nats = ("train_loss", "test_elbo", "test_bound", "test_rate")
        measured = dict.fromkeys(nats, "nats per image") | dict.fromkeys(shares, "share")
        measured |= {"tokens_used": "perplexity"} | dict.fromkeys(PASSES, "images")
        return measured | ({"encoder_gradient_variance": "total variance"} if self.model.sampled else {})

    @property
    def title(self) -> str:
        """How, and on what."""
        how = type(self.estimator).__name__ if self.model.sampled else "VQ"
        return f"{how}, {'joint' if self.stages.tokenizer_steps is None else 'two stages'}, on {self.images.name}"

    def begin(self, settings: Settings, world: World) -> None:
        if self.examples > settings.batch:
            raise UserError(f"task.examples={self.examples} of a stream are more than run.batch={settings.batch}.")
        watched = self.model.sampled and self.credit == "whole" and self.stages.tokenizer_steps is None
        if settings.monitor_share is not None and not watched:
            raise UserError(
                "a monitor measures the gradient of E f; leave run.monitor_share out, or use model.posterior=sampled, "
                "task.credit=whole and task.tokenizer_steps=null."
            )
        images, labels = self.images, self.images.labels
        assert labels is not None, "Captions.fitted has seen them"
        for name, pixels, own in (("train", images.train, labels.train), ("test", images.test, labels.test)):
            captions = self.captions.of(pixels, images.shape, own)
            self.register_buffer(f"{name}_captions", captions.to(world.device), persistent=False)
        super().begin(settings, world)
        self.batch_of_all = settings.batch * world.size
        generator = torch.Generator().manual_seed(settings.seed)
        self.model.tokenizer.start(self.images.train[:START], self.model.entropy, generator)

    def batch(self, step: int) -> Batch:  # type: ignore[override]
        self._step = step
        index = self.order(step)
        return Batch(self.images.train[index], self.get_buffer("train_captions")[index])

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The model, and what learns inside the estimator."""
        return {"optimizer": list(self.model.parameters()), "learner_optimizer": list(self.learners.parameters())}

    def forward(self, batch: Batch, generator: torch.Generator) -> Step:
        """Minus the surrogate of the objective, and what the language model has to learn of streams."""
        batch = batch._replace(images=self.observed(batch.images, generator))
        tokenizes, speaks = self.stages.learning(self._step)
        self._drawn, ids = None, None
        loss = batch.images.new_zeros(())
        if tokenizes and self.model.sampled:
            loss, logits = self._estimated(batch, speaks, generator)
            ids = dg.Reinforce(1).sample(logits, generator).indices[0] if speaks else None
        elif tokenizes:
            losses, ids = estimation.nearest(self.model, batch.images, self.commitment)
            loss = losses.mean()
        if speaks:
            if ids is None:
                with torch.no_grad():
                    ids = self.model.draw(batch.images, 1, generator)[0][0]
            loss = loss + estimation.spoken(self.model, batch.captions, ids, alone=self._drawn is None)
        return Step(loss, {"train_loss": loss.detach()})

    def _estimated(self, batch: Batch, speaks: bool, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Minus the surrogate with the losses of what learns inside the estimator, and the logits of the tokens."""
        estimator, context = self.stages.annealed(self.estimator, self._step), self.context(batch.images)
        weight = self.stages.weight(self._step)
        if speaks:
            found = estimation.joint(self.model, *batch, estimator, self.credit, weight, context, generator)
        else:
            found = estimation.alone(self.model, batch.images, estimator, weight, context, generator)
        self._points = found.draw.evaluations
        loss = self.learners.loss(found.draw, found.values, context) - found.surrogate.mean()
        self._drawn = (batch, found._replace(values=found.values.detach()))
        return loss, found.draw.logits.detach()

    def context(self, images: Tensor) -> Tensor:
        """What learns inside the estimator sees of binary images."""
        return images - self.model.tokenizer.mean

    def variances(self) -> dict[str, GradientVariance]:
        return {"encoder_gradient_variance": self.variance}

    def after(self) -> None:
        """Update running means, and the variance of the encoder's gradient."""
        self.done += 1
        if self._drawn is not None:
            batch, found = self._drawn
            self.learners.update(found.draw, found.values, self.context(batch.images))
            super().after()

    def noted(self) -> dict[str, float | None]:
        """The variance, and how many images have gone through each network: see `Stages.passes`."""
        passes = self.stages.passes(int(self.done), self.batch_of_all, self._points)
        return {**(super().noted() if self.model.sampled else {}), **passes}

    def log_weights(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Not asked: see `judge`, which has captions too."""
        raise NotImplementedError

    def evaluate(self, most: int | None = None) -> dict[str, float]:
        return judge(self, most)

    def judge(self) -> Judge:
        """The classifier of drawn images."""
        if not self._judges:
            self._judges = [trained_judge(self.images, self.judge_steps, self.cache, self.world)]
        return self._judges[0]

    def pictures(self, folder: Path) -> list[Path]:
        """Reconstructions, images drawn from captions, captions read from images, prompts."""
        from experiments.systems.gemini.pictures import draw  # takes matplotlib with it

        return draw(folder, self)

    def watched(self) -> Watch | None:
        """What the estimator saw of the last batch, at any points."""
        if self._drawn is None:
            return None
        (images, captions), found = self._drawn
        logits, weight = found.draw.logits, self.stages.weight(self._step)

        def elbo(codes: Tensor) -> Tensor:
            return self.model.terms(images, captions, codes, logits.detach()).weighted(weight).elbo

        return Watch(self.estimator, elbo, logits, self.context(images), asked_on(self.estimator))
