"""One training run: the loop, what it records, and how it goes on where it stopped. Knows nothing of Hydra."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor
from tqdm import tqdm

import discretegrad as dg
from discretegrad.analysis import Monitor
from experiments.data.images import Images, binarise
from experiments.errors import UserError, require_count, require_number
from experiments.files import write_json, write_whole
from experiments.metrics import GradientVariance, write_csv
from experiments.models import VAE
from experiments.pictures import draw_all
from experiments.stops import Interrupted, stop_signals


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
    keep: Sequence[int]
    bound_samples: int
    bound_images: int
    variance_every: int | None
    variance_decay: float
    monitor_share: float | None
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
            require_count(f"run.{name}", getattr(self, name))
        require_count("run.seed", self.seed, least=0)
        for step in self.keep:
            require_count("each step in run.keep", step)
        if self.variance_every is not None:
            require_count("run.variance_every", self.variance_every)
        require_number("run.variance_decay", self.variance_decay, least=0, below=1)
        if self.monitor_share is not None:
            require_number("run.monitor_share", self.monitor_share, least=0, below=1)


class Run:
    """A model in training.

    Args:
        settings: see there.
        images: the data.
        model: on the device that it trains on.
        estimator: of the gradient w.r.t. the posterior's logits.
        optimizer, prior_optimizer, learner_optimizer: made with the parameters that they move: the networks', the
            prior's, and those of the estimator's own modules.
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
        learner_optimizer: Callable[[Any], torch.optim.Optimizer],
        identity: dict[str, Any],
    ) -> None:
        if estimator.latent != model.latent:
            raise UserError(
                f"{type(estimator).__name__} is for {estimator.latent} latents, but the model's are {model.latent}; "
                f"use model={estimator.latent}, or another estimator."
            )
        if model.inputs == "ids" and not estimator.takes_ids:
            raise UserError(
                f"{type(estimator).__name__} needs the gradient of f in the points, or f at points that have no ids; "
                "use model.inputs=points, or another estimator."
            )
        if settings.monitor_share is not None and estimator.of_bound:
            raise UserError(
                f"{type(estimator).__name__} differentiates a multi-sample bound, not E f, which is all that a monitor "
                "measures; leave run.monitor_share out."
            )
        if settings.batch > len(images.train):
            raise UserError(f"run.batch={settings.batch} is more than the {len(images.train)} training images.")
        self.settings, self.model, self.estimator, self.identity = settings, model, estimator, identity
        self.folder = Path(settings.dir)
        self.device = model.prior_logits.device
        self.images = images._replace(train=images.train.to(self.device), test=images.test.to(self.device))
        self.generator = torch.Generator(self.device).manual_seed(settings.seed)
        self.learners: list[Any] = [learner.to(self.device) for learner in estimator.learners]
        self._rehearse()
        networks = (model.encoder, model.decoder)
        self.optimizers = {
            "optimizer": optimizer([p for network in networks for p in network.parameters()]),
            "prior_optimizer": prior_optimizer([model.prior_logits]),
        }
        learnt = [p for learner in self.learners for p in learner.parameters()]
        if learnt:
            self.optimizers["learner_optimizer"] = learner_optimizer(learnt)
        self.variance = GradientVariance(model.encoder.parameters(), settings.variance_decay)
        self.monitor: Monitor | None = None
        if settings.monitor_share is not None:
            self.monitor = Monitor(settings.monitor_share, path=self.folder / "monitor.csv")
        self.step = 0
        self.seconds = 0.0
        self.saved = 0
        """The checkpoint's step."""
        self.rows: list[dict[str, Any]] = []
        self.result: dict[str, Any] | None = None
        """The last figures, once all steps are done."""
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
        if present and resume is False:
            raise UserError(
                f"{self.folder} holds a run, and nothing is overwritten; go on with it by resume=true, or name another "
                "folder with run.dir=FOLDER."
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            strange = not present and any(self.folder.glob("[!.]*"))
        except OSError as error:
            raise UserError(
                f"{self.folder} cannot be the run's folder ({error}); name another with run.dir=FOLDER."
            ) from error
        if strange:
            raise UserError(
                f"{self.folder} holds something that is no run, and nothing is overwritten; name another folder with "
                "run.dir=FOLDER."
            )
        if present:
            self.load(self.checkpoint)
        else:  # before all else: a folder with a checkpoint can be resumed, whatever else is missing
            self.save()
        write_csv(self.folder / "metrics.csv", self.rows)  # without the rows after the checkpoint
        if self.monitor is not None:
            self.monitor.write()
        write_whole(self.folder / "config.yaml", lambda file: file.write(config.encode()))
        versions = {"python": platform.python_version(), "torch": torch.__version__, "discretegrad": dg.__version__}
        versions["device"] = str(self.device)
        write_json(self.folder / "environment.json", versions)

    def train(self) -> None:
        """Train to the last step, recording on the way, and evaluate on all test images.

        Raises:
            UserError: at the step whose values are not finite; the last checkpoint stays.
            Interrupted: after SIGINT or SIGTERM, with a checkpoint at the step reached.
        """
        settings = self.settings
        bar = tqdm(total=settings.steps, initial=self.step, disable=not settings.progress, unit="step", smoothing=0.05)
        with bar, stop_signals() as stopped:
            while self.step < settings.steps:
                start = time.perf_counter()
                self.train_step()
                self.seconds += time.perf_counter() - start  # evaluation and checkpoints are no part of it
                self.step += 1
                bar.update()
                if self.step % settings.log_every == 0:
                    self._record()
                    bar.set_postfix(elbo=f"{self.rows[-1]['train_elbo']:.2f}", refresh=False)
                stopping = bool(stopped)  # once: a signal after this line finds the step unsaved and waits for the next
                if stopping or self.step in (settings.steps, self.saved + settings.checkpoint_every, *settings.keep):
                    self.save()
                if self.step in settings.keep:
                    write_whole(
                        self.folder / f"checkpoint-{self.step}.pt",
                        lambda file: file.write(self.checkpoint.read_bytes()),
                    )
                if stopping:
                    raise Interrupted(self.step, stopped[0])
            self._finish(stopped)

    def train_step(self) -> None:
        """One step of the optimisers."""
        binary = binarise(self._batch(), self.generator)
        logits = self.model.posterior_logits(binary)
        try:
            draw = self.estimator.sample(logits, self.generator)
        except ValueError:  # the estimator was accepted in _rehearse, so it is these logits that it refuses
            self._refuse({"log_posterior": logits})
        terms = self.model.terms_of(binary, draw, self.estimator)
        values = terms.elbo
        if not values.isfinite().all():
            self._refuse(terms._asdict())
        context = binary - self.model.mean
        surrogate = self.estimator.surrogate(draw, values, context)
        loss = -surrogate.mean()
        for learner in self.learners:
            loss = loss + learner.loss(draw, values, context)
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        loss.backward()
        if self.settings.variance_every and self.step % self.settings.variance_every == 0:
            self.variance.update()
        if self.monitor is not None:
            self._watch(self.monitor, binary, logits)
        for optimizer in self.optimizers.values():
            optimizer.step()
        for learner in self.learners:
            learner.update(draw, values.detach(), context)
        self.elbo_sum += surrogate.detach().mean().double()

    @torch.no_grad()
    def bound(self, count: int | None = None, stopped: Sequence[int] = ()) -> float:
        """The multi-sample bound on log p(x), averaged over `count` test images spread over the set, or all.

        Noise and binarisation are the same at every call, and not the training's.

        Raises:
            Interrupted: as soon as `stopped` holds a signal.
        """
        generator = torch.Generator(self.device).manual_seed(0)
        images = binarise(self.images.test, generator)
        if count is not None:
            images = images[:: max(1, len(images) // count)][:count]
        sampler = dg.Reinforce(self.settings.bound_samples, latent=self.model.latent)
        total = 0.0
        for batch in images.split(50):
            if stopped:
                raise Interrupted(self.step, stopped[0])
            logits = self.model.posterior_logits(batch)
            draw = sampler.sample(logits, generator)
            log_weights = self.model.terms_of(batch, draw, sampler).elbo
            total += float(dg.objectives.multi_sample_bound(log_weights).double().sum())
        return total / len(images)

    def pictures(self, title: str) -> list[Path]:
        """Draw the run's pictures; their paths."""
        watched = None if self.monitor is None else self.monitor.rows
        return draw_all(self.folder, self.model, self.images, self._table(), title, watched)

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "identity": self.identity,
            "model": self.model.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "learners": [learner.state_dict() for learner in self.learners],
            "generator": self.generator.get_state(),
            "variance": self.variance.state_dict(),
            "monitor": None if self.monitor is None else self.monitor.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "rows": self.rows,
            "elbo_sum": self.elbo_sum,
            "since": self.since,
        }
        write_whole(self.checkpoint, lambda file: torch.save(state, file))
        self.saved = self.step

    def load(self, path: Path) -> None:
        """Take up the state of a checkpoint of this run.

        Raises:
            UserError: where it cannot be read, or is of another run.
        """
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            before, now = state["identity"], self.identity
        except Exception as error:
            raise UserError(
                f"{path} cannot be read ({error}); restore it, or start anew in another run.dir."
            ) from error
        changed = [key for key in before | now if before.get(key) != now.get(key)]
        if changed:
            found = ", ".join(f"{key}={before.get(key)} instead of {now.get(key)}" for key in changed)
            raise UserError(f"{self.folder} holds a run with {found}; give the same to resume it, or another run.dir.")
        if state["step"] > self.settings.steps:
            raise UserError(
                f"{self.folder} holds a run of {state['step']} steps already; give run.steps of at least as many to "
                "resume it."
            )
        self.model.load_state_dict(state["model"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        for learner, learnt in zip(self.learners, state["learners"], strict=True):
            learner.load_state_dict(learnt)
        self.generator.set_state(state["generator"].cpu())
        self.variance.load_state_dict(state["variance"])
        if self.monitor is not None and state.get("monitor") is not None:
            self.monitor.load_state_dict(state["monitor"])
        self.step, self.seconds, self.rows = state["step"], state["seconds"], state["rows"]
        self.saved = self.step
        self.elbo_sum, self.since = state["elbo_sum"], tuple(state["since"])

    def _batch(self) -> Tensor:
        """The step's images: a function of the seed and the step alone, every epoch in an order of its own."""
        images, size = self.images.train, self.settings.batch
        epoch, position = divmod(self.step, len(images) // size)
        if self._order is None or self._order[0] != epoch:
            generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + epoch)
            self._order = (epoch, torch.randperm(len(images), generator=generator).to(self.device))
        return images[self._order[1][position * size : (position + 1) * size]]

    def _watch(self, monitor: Monitor, binary: Tensor, logits: Tensor) -> None:
        def elbo(inputs: Tensor) -> Tensor:
            ids = inputs if self.model.inputs == "ids" else None
            return self.model.terms(binary, inputs, logits.detach(), ids=ids).elbo

        context = binary - self.model.mean
        monitor.after(self.estimator, elbo, logits, step=self.step + 1, context=context, on=self.model.inputs)

    def _refuse(self, terms: dict[str, Tensor]) -> NoReturn:
        name = next((name for name, values in terms.items() if not values.isfinite().all()), "elbo")
        raise UserError(
            f"{name} is not finite at step {self.step + 1}; lower the learning rate (optimizer.lr) or look at the data "
            f"({self.checkpoint} holds step {self.saved})."
        )

    def _measure(self) -> dict[str, Any]:
        """The row of the steps since the last one."""
        steps, seconds = self.step - self.since[0], self.seconds - self.since[1]
        return {
            "step": self.step,
            "train_elbo": float(self.elbo_sum) / steps,
            "test_bound": None,
            "encoder_gradient_variance": self.variance.total() if self.settings.variance_every else None,
            "steps_per_second": round(steps / seconds, 2),
            "seconds": round(self.seconds, 2),
        }

    def _record(self) -> None:
        row = self._measure()
        every = self.settings.evaluate_every
        if self.step // every > self.since[0] // every:  # in the first row at or after its turn
            row["test_bound"] = self.bound(self.settings.bound_images)
        self.rows.append(row)
        self.elbo_sum.zero_()
        self.since = (self.step, self.seconds)
        write_csv(self.folder / "metrics.csv", self.rows)

    def _table(self) -> list[dict[str, Any]]:
        """All rows, and one for the steps after the last. It is not kept: a longer run has its rows elsewhere."""
        return [*self.rows, self._measure()] if self.step > self.since[0] else self.rows

    def _finish(self, stopped: Sequence[int]) -> None:
        table = self._table()
        write_csv(self.folder / "metrics.csv", table)
        self.result = table[-1] | {"test_bound": self.bound(stopped=stopped)}
        write_json(self.folder / "result.json", self.result)

    def _rehearse(self) -> None:
        """One step without its end: what the estimator refuses is refused now, and lazy layers get their shapes."""
        generator = torch.Generator(self.device)
        binary = binarise(self.images.train[:1], generator)
        logits = self.model.posterior_logits(binary)
        draw = self.estimator.sample(logits, generator)
        values = self.model.terms_of(binary, draw, self.estimator).elbo
        context = binary - self.model.mean
        self.estimator.surrogate(draw, values, context)
        for learner in self.learners:
            learner.loss(draw, values, context)
