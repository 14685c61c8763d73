"""One training run: the loop, what it records, and how it goes on where it stopped. Knows nothing of Hydra."""

from __future__ import annotations

import contextlib
import json
import platform
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch
from torch import Tensor
from tqdm import tqdm

import discretegrad as dg
from experiments.data.images import Images, binarise
from experiments.errors import UserError
from experiments.files import write_whole
from experiments.metrics import GradientVariance, write_csv
from experiments.models import VAE, Terms
from experiments.pictures import draw_all


@dataclass(frozen=True)
class Settings:
    """How long, how often, where. See conf/train.yaml for each."""

    dir: str
    steps: int
    batch: int
    seed: int
    log_every: int
    evaluate_every: int
    checkpoint_every: int
    bound_samples: int
    bound_images: int
    variance_decay: float
    progress: bool

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch",
            "log_every",
            "evaluate_every",
            "checkpoint_every",
            "bound_samples",
            "bound_images",
        ):
            count = getattr(self, name)
            if not isinstance(count, int) or count < 1:
                raise UserError(f"run.{name} must be an integer of at least 1, not {count!r}.")
        if not 0 <= self.variance_decay < 1:
            raise UserError(f"run.variance_decay must be in [0, 1), not {self.variance_decay!r}.")


class Interrupted(Exception):
    """The run was asked to stop, and left a checkpoint."""

    def __init__(self, step: int, signum: int) -> None:
        super().__init__(step, signum)
        self.step, self.signum = step, signum


class Run:
    """A model in training.

    Args:
        settings: see there.
        images: the data.
        model: on the device that it trains on.
        estimator: of the gradient w.r.t. the posterior's logits.
        optimizer, prior_optimizer: made with the parameters that they move.
        identity: what must not change between the start of a run and its going on.

    Raises:
        UserError: where the parts do not fit together.
    """

    def __init__(
        self,
        settings: Settings,
        images: Images,
        model: VAE,
        estimator: dg.Estimator,
        optimizer: Callable[[Any], torch.optim.Optimizer],
        prior_optimizer: Callable[[Any], torch.optim.Optimizer],
        identity: dict[str, Any],
    ) -> None:
        if estimator.latent != model.latent:
            raise UserError(
                f"{type(estimator).__name__} is for {estimator.latent} latents, but the model's are {model.latent}; "
                f"use model={estimator.latent}, or another estimator."
            )
        if settings.batch > len(images.train):
            raise UserError(f"run.batch={settings.batch} is more than the {len(images.train)} training images.")
        self.settings, self.model, self.estimator, self.identity = settings, model, estimator, identity
        self.folder = Path(settings.dir)
        self.device = model.prior_logits.device
        self.images = images._replace(train=images.train.to(self.device), test=images.test.to(self.device))
        self.generator = torch.Generator(self.device).manual_seed(settings.seed)
        control_variate = getattr(estimator, "control_variate", None)
        self.baseline = control_variate if isinstance(control_variate, dg.nn.Baseline) else None
        if self.baseline is not None:
            self.baseline.to(self.device)
        self._rehearse()
        networks = [model.encoder, model.decoder, *([] if self.baseline is None else [self.baseline])]
        self.optimizer = optimizer([p for network in networks for p in network.parameters()])
        self.prior_optimizer = prior_optimizer([model.prior_logits])
        self.variance = GradientVariance(model.encoder.parameters(), settings.variance_decay)
        self.step = 0
        self.seconds = 0.0
        self.rows: list[dict[str, Any]] = []
        self.elbo_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self.since = (0, 0.0)
        """Steps and seconds at the last row."""
        self._order: tuple[int, Tensor] | None = None

    @property
    def checkpoint(self) -> Path:
        """The file that holds all that the run needs to go on."""
        return self.folder / "checkpoint.pt"

    def start(self, resume: bool | str, config: str) -> None:
        """Claim the run folder, or take up the run that is in it.

        Args:
            resume: False, True, or "auto": True if the folder holds a run.
            config: the resolved configuration as YAML, kept beside the results.

        Raises:
            UserError: rather than overwrite a run, or go on with a different one.
        """
        present = self.checkpoint.exists()
        if resume is True and not present:
            raise UserError(f"{self.folder} holds no checkpoint to resume; leave out resume=true, or name its run.dir.")
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"run.dir={self.folder} is a file; name a folder.")
        if (resume is False or not present) and self.folder.exists() and any(self.folder.glob("[!.]*")):
            raise UserError(
                f"{self.folder} is not empty, and nothing is overwritten; go on with the run in it by resume=true, or "
                "name another folder with run.dir=FOLDER."
            )
        if present:
            self._load()
            if self.step > self.settings.steps:
                raise UserError(f"{self.folder} is at step {self.step} already; give run.steps of at least that.")
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.save()
        write_whole(self.folder / "config.yaml", lambda file: file.write(config.encode()))
        versions = {"python": platform.python_version(), "torch": torch.__version__, "discretegrad": dg.__version__}
        versions["device"] = str(self.device)
        write_whole(self.folder / "environment.json", lambda file: file.write(json.dumps(versions, indent=1).encode()))

    def train(self) -> None:
        """Train to the last step, recording on the way.

        Raises:
            UserError: at the step whose values are not finite; the last checkpoint stays.
            Interrupted: after SIGINT or SIGTERM, with a checkpoint at the step reached.
        """
        settings = self.settings
        bar = tqdm(total=settings.steps, initial=self.step, disable=not settings.progress, unit="step", smoothing=0.05)
        with bar, _stop_signals() as stopped:
            clock = time.perf_counter()
            while self.step < settings.steps:
                self.train_step()
                self.step += 1
                bar.update()
                last = self.step == settings.steps
                if last or self.step % settings.log_every == 0:
                    self.seconds, clock = self.seconds + time.perf_counter() - clock, time.perf_counter()
                    self._record(bar, last)
                    # Evaluation is no part of the steps' time.
                    clock = time.perf_counter()
                if last or stopped or self.step % settings.checkpoint_every == 0:
                    self.seconds, clock = self.seconds + time.perf_counter() - clock, time.perf_counter()
                    self.save()
                if stopped and not last:
                    raise Interrupted(self.step, stopped[0])

    def train_step(self) -> None:
        """One step of the optimisers."""
        binary = binarise(self._batch(), self.generator)
        logits = self.model.posterior_logits(binary)
        draw = self.estimator.sample(logits, self.generator)
        terms = self.model.terms(binary, draw.points, logits)
        values = terms.elbo
        if not values.isfinite().all():
            self._refuse(terms)
        surrogate = self.estimator.surrogate(draw, values)
        loss = -surrogate.mean()
        if self.baseline is not None:
            loss = loss + self.baseline.loss(draw, values)
        self.optimizer.zero_grad()
        self.prior_optimizer.zero_grad()
        loss.backward()
        self.variance.update()
        self.optimizer.step()
        self.prior_optimizer.step()
        if self.baseline is not None:
            self.baseline.update(draw, values.detach())
        self.elbo_sum += surrogate.detach().mean().double()

    @torch.no_grad()
    def bound(self, count: int | None = None) -> float:
        """The multi-sample bound on log p(x), averaged over `count` test images spread over the set, or all.

        Noise and binarisation are the same at every call, and not the training's.
        """
        generator = torch.Generator(self.device).manual_seed(0)
        images = binarise(self.images.test, generator)
        if count is not None:
            images = images[:: max(1, len(images) // count)][:count]
        sampler = dg.Reinforce(self.settings.bound_samples, latent=self.model.latent)
        total = 0.0
        for batch in images.split(50):
            logits = self.model.posterior_logits(batch)
            points = sampler.sample(logits, generator).points
            log_weights = self.model.terms(batch, points, logits).elbo
            total += float(dg.objectives.multi_sample_bound(log_weights).double().sum())
        return total / len(images)

    def pictures(self, title: str) -> list[Path]:
        """Draw the run's pictures; their paths."""
        return draw_all(self.folder, self.model, self.images, self.rows, title)

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "identity": self.identity,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "prior_optimizer": self.prior_optimizer.state_dict(),
            "baseline": None if self.baseline is None else self.baseline.state_dict(),
            "generator": self.generator.get_state(),
            "variance": self.variance.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "rows": self.rows,
            "elbo_sum": self.elbo_sum,
            "since": self.since,
        }
        write_whole(self.checkpoint, lambda file: torch.save(state, file))

    def _load(self) -> None:
        try:
            state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        except Exception as error:
            raise UserError(
                f"{self.checkpoint} cannot be read ({error}); restore it, or start anew in another run.dir."
            ) from error
        changed = [key for key in self.identity if self.identity[key] != state["identity"].get(key)]
        if changed:
            raise UserError(
                f"{self.folder} holds a run with another {', '.join(changed)}; give the same as in its config.yaml to "
                "resume it, or name another run.dir."
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.prior_optimizer.load_state_dict(state["prior_optimizer"])
        if self.baseline is not None:
            self.baseline.load_state_dict(state["baseline"])
        self.generator.set_state(state["generator"].cpu())
        self.variance.load_state_dict(state["variance"])
        self.step, self.seconds, self.rows = state["step"], state["seconds"], state["rows"]
        self.elbo_sum, self.since = state["elbo_sum"], tuple(state["since"])

    def _batch(self) -> Tensor:
        """The step's images: a function of the seed and the step alone, every epoch in an order of its own."""
        images, size = self.images.train, self.settings.batch
        epoch, position = divmod(self.step, len(images) // size)
        if self._order is None or self._order[0] != epoch:
            generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + epoch)
            self._order = (epoch, torch.randperm(len(images), generator=generator).to(self.device))
        return images[self._order[1][position * size : (position + 1) * size]]

    def _refuse(self, terms: Terms) -> NoReturn:
        broken = (name for name, values in zip(Terms._fields, terms, strict=True) if not values.isfinite().all())
        name = next(broken, "elbo")
        raise UserError(
            f"{name} is not finite at step {self.step + 1}; lower the learning rate (optimizer.lr) or look at the data "
            f"({self.checkpoint} holds the run as of an earlier step)."
        )

    def _record(self, bar: tqdm[Any], last: bool) -> None:
        steps, seconds = self.step - self.since[0], self.seconds - self.since[1]
        elbo = float(self.elbo_sum) / steps
        evaluate = last or self.step % self.settings.evaluate_every == 0
        row = {
            "step": self.step,
            "train_elbo": elbo,
            "test_bound": self.bound(None if last else self.settings.bound_images) if evaluate else "",
            "encoder_gradient_variance": self.variance.total(),
            "steps_per_second": round(steps / seconds, 2),
            "seconds": round(self.seconds, 2),
        }
        self.rows.append(row)
        self.elbo_sum.zero_()
        self.since = (self.step, self.seconds)
        write_csv(self.folder / "metrics.csv", self.rows)
        bar.set_postfix(elbo=f"{elbo:.2f}", refresh=False)

    @torch.no_grad()
    def _rehearse(self) -> None:
        """Draw once: what the estimator refuses is refused now, and a baseline's lazy layers get their shapes."""
        logits = self.model.prior_logits.unsqueeze(0)
        draw = self.estimator.sample(logits, torch.Generator(self.device))
        if self.baseline is not None:
            self.baseline.loss(draw, logits.new_zeros(draw.indices.shape[0], 1))


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying in the middle of a step; a second one is obeyed at once."""
    caught: list[int] = []
    previous: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        signal.signal(number, previous[number])

    try:
        for number in previous:
            signal.signal(number, note)
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
